"""A working memory, block by block: what its tokens attend to, and what can still be read from them.

    attention, probe --memory_scope--> MemoryScope (all blocks, drawn by memory.js)

How a widget reaches a page: `latentkit.widgets.base`.
"""

import html
from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from latentkit.widgets import base

_JS, _CSS = base.script("memory"), base.style("memory")


def memory_scope(
    blocks: Sequence[Sequence[str]],
    attention: Float[Tensor, "t l f fn"],
    read: Int[Tensor, "t c"],
    answer: Sequence[int],
    *,
    norms: Float[Tensor, "t l"],
    title: str = "",
    start: int = 1,
) -> "MemoryScope":
    """A widget with a slider over the blocks of one sequence.

    Args:
        blocks: names of the tokens of each block.
        attention: after each block, in every layer, how much each of the f memory tokens attended to the memory (first
            f entries) and to the block; non-negative, each row sums to 1.
        read: what a probe reads from the memory after each block.
        answer: what it should read.
        norms: mean length of the memory tokens of every layer, after each block.
        title: a heading.
        start: the block shown first, counted from 1.

    Raises:
        ValueError: numbers of blocks, tokens or readings that do not fit together, or a start that is not there.
    """
    t, layers, f, width = attention.shape
    sizes = {"blocks": len(blocks), "read": len(read), "norms": len(norms)}
    if wrong := [f"{name} has {size}" for name, size in sizes.items() if size != t]:
        raise ValueError(f"attention has {t} blocks, {', '.join(wrong)}; they must be of the same run")
    if bad := [len(block) for block in blocks if len(block) != width - f]:
        raise ValueError(f"a block of {bad[0]} tokens; {f} memory tokens and {width} weights leave {width - f} tokens")
    if read.shape[1] != len(answer) or norms.shape[1] != layers:
        raise ValueError(
            f"read has {read.shape[1]} values a block, answer {len(answer)}; norms has {norms.shape[1]} layers, "
            f"attention {layers}"
        )
    start = base.first_pass(range(1, t + 1), start)
    # Weights in percent: what is below half of one is not seen anyway.
    weights = (100 * attention).round().int().tolist()
    frames = []
    for i, row in enumerate(read.tolist()):
        right = [a == b for a, b in zip(row, answer, strict=True)]
        outside = float(attention[i, :, :, f:].sum(-1).mean())
        reads = f"the probe reads {' '.join(map(str, row))}, {sum(right)} of {len(right)} right"
        frames.append(
            {
                "pass": i + 1,
                "tokens": list(blocks[i]),
                "weights": weights[i],
                "read": row,
                "right": [int(x) for x in right],
                "norms": [base.rounded(x, 3) for x in norms[i].tolist()],
                "text": f"Block {i + 1} of {t}: {reads}; the memory gives {outside:.0%} of its attention to the "
                "block, the rest to itself.",
            }
        )
    return MemoryScope(view={"title": title, "memory": f, "answer": list(answer), "frames": frames}, value=start)


class MemoryScope(base.PassWidget):
    """All blocks of one sequence, with a slider; made by `memory_scope`.

    Attributes:
        value: the block shown; follows the slider, and moves it.
    """

    kind = "memory"
    _esm = _JS
    _css = _CSS

    def table(self) -> str:
        """What is read after the last block, beside what should be."""
        last = self.view["frames"][-1]
        rows = [["answer", *self.view["answer"]], ["read", *last["read"]], ["norm by layer", *last["norms"]]]
        return f"<p>{html.escape(self.view['title'])} {html.escape(last['text'])}</p>{base.table([], rows)}"
