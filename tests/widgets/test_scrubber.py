import json
import re

import pytest
import torch
import traitlets

from latentkit.recurrence import ArgmaxStable, RelativeStep, Trajectory, unroll
from latentkit.widgets import Frame, frame, frames, scrub
from latentkit.widgets.base import ranges
from latentkit.widgets.scrubber import _CSS, _JS
from tests.widgets.pages import Page, channels, contrast

T, B, N, V = 6, 3, 5, 4


def run(halting=None, keep="all", passes=T, seed=0):
    """A run of a random contraction: states that really converge, so that halting rules really fire."""
    generator = torch.Generator().manual_seed(seed)
    weight = 0.3 * torch.randn(V, V, generator=generator)
    table = torch.randn(7, V, generator=generator)

    class Contraction:
        def encode(self, tokens):
            return table[tokens]

        def initial_state(self, context):
            return torch.zeros_like(context)

        def step(self, state, context):
            return torch.tanh(state @ weight + context)

        def decode(self, state):
            return 4 * state

    tokens = torch.randint(7, (B, N), generator=generator)
    return unroll(Contraction(), tokens, passes, keep=keep, halting=halting)


def targets_of(trajectory):
    """Half right at the last pass, whatever the model does."""
    last = trajectory.predictions[-1]
    return torch.where(torch.arange(N) % 2 == 0, last, (last + 1) % V)


RULES = [None, RelativeStep(0.05), ArgmaxStable(2)]


@pytest.mark.parametrize("halting", RULES, ids=["none", "relative-step", "argmax-stable"])
@pytest.mark.parametrize("keep", ["all", 4, "last"])
@pytest.mark.parametrize("judged", [True, False])
def test_frame_says_what_the_trajectory_says(halting, keep, judged):
    trajectory = run(halting, keep)
    targets = targets_of(trajectory) if judged else None
    for example in range(B):
        shown = frames(trajectory, targets=targets, example=example)
        assert [f.pass_number for f in shown] == list(trajectory.passes)
        for row, (k, f) in enumerate(zip(trajectory.passes, shown, strict=True)):
            assert f == frame(trajectory, k, targets=targets, example=example)
            assert f.passes_run == len(trajectory.residuals)
            for i in range(N):
                logits = trajectory.logits[row, example, i]
                assert f.predictions[i] == logits.argmax()
                assert f.confidence[i] == pytest.approx(logits.softmax(-1).max().item())
                assert f.residuals[i] == trajectory.residuals[k - 1, example, i]
                halt = int(trajectory.halted_at[example, i])
                assert f.halted_at[i] == (halt if 0 < halt <= k else 0)
                assert f.settled[i] == all(g.predictions[i] == f.predictions[i] for g in shown[row:])
                if targets is not None:
                    assert f.right[i] == (f.predictions[i] == targets[example, i])
            assert (f.right is None) == (targets is None) == (f.num_right is None)
            assert f.text.startswith(f"Pass {k} of {f.passes_run}: ")
            assert ("halted" in f.text) == any(f.halted_at)
            assert ("positions right" in f.text) == judged


def test_the_grid_covers_what_it_should():
    halted = run(RelativeStep(0.05), passes=30)
    assert (halted.halted_at > 0).all() and len(halted.residuals) < 30
    assert len({int(t) for t in halted.halted_at.flatten()}) > 1
    assert run(keep=4).passes == (4, 6)


def test_text_alternative():
    right, settled = [True] * 4 + [False] * 2, [True] * 3 + [False] * 2 + [True]
    f = Frame(5, 16, [1] * 6, [0.9] * 6, right, [0.31] * 6, [2, 3, 0, 0, 0, 0], settled)
    assert f.text == (
        "Pass 5 of 16: 4 of 6 positions right; positions 0 to 2, 5 keep their prediction from here on; "
        "positions 0 to 1 halted; mean distance to the previous state 0.31."
    )


def test_text_of_the_last_pass_does_not_look_ahead():
    assert "from here on" not in frames(run())[-1].text
    assert "keeps its prediction" in Frame(1, 2, [0], [1.0], None, [0.5], [0], [True]).text


def test_many_ranges_become_a_number():
    settled = [i % 2 == 0 for i in range(12)]
    f = Frame(1, 2, [0] * 12, [1.0] * 12, None, [0.5] * 12, [0] * 12, settled)
    assert "6 positions keep" in f.text
    assert ranges([0, 1, 2, 4, 6, 7]) == "0 to 2, 4, 6 to 7"


def test_a_diverged_run_is_shown_and_is_valid_json():
    trajectory = run()
    trajectory.residuals[3:] = torch.inf
    trajectory.logits[3:] = torch.nan
    widget = scrub(trajectory)
    shown = widget.frames["frames"][4]
    assert shown["residual"] == [None] * N and shown["confidence"] == [None] * N and shown["mean"] is None
    assert "not finite" in shown["text"]
    json.loads(json.dumps(widget.frames, allow_nan=False))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"example": 3}, r"example=3; this trajectory holds examples 0 to 2"),
        ({"example": -1}, r"example=-1; .* 0 to 2"),
        ({"targets": torch.zeros(B, N + 1, dtype=torch.long)}, r"targets have shape \[3, 6\]; expected \[3, 5\]"),
        ({"depth": torch.zeros(B + 1, N, dtype=torch.long)}, r"depth has shape \[4, 5\]; expected \[3, 5\]"),
        ({"start": 5}, r"start=5 was not kept; this trajectory holds passes 4, 6"),
        ({"token_names": ["a"]}, r"token_names has 1 names for ids \d to \d"),
        ({"class_names": []}, r"class_names has 0 names"),
        ({"targets": torch.full((B, N), -1), "class_names": "abcd"}, r"class_names has 4 names for ids -1 to -1"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        scrub(run(keep=4), **wrong)


def test_a_pass_that_was_not_kept():
    with pytest.raises(ValueError, match="pass 5 was not kept; this trajectory holds passes 4, 6"):
        frame(run(keep=4), 5)


def test_a_run_along_time_is_refused():
    tokens, halted_at = torch.zeros(1, 6, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long)
    blocks = Trajectory(tokens, (1, 2), (None, None), torch.zeros(2, 1, 3, V), torch.zeros(2, 1, 1), halted_at)
    with pytest.raises(ValueError, match="3 predictions a pass for 6 tokens and 1 residuals"):
        scrub(blocks)


def test_widget_value_is_a_kept_pass():
    widget = scrub(run(keep=4), start=6)
    assert widget.value == 6
    widget.value = 4
    with pytest.raises(traitlets.TraitError, match="value=5: that pass was not kept; choose from 4, 6"):
        widget.value = 5
    assert widget.value == 4
    assert repr(widget).startswith("Scrubber(Pass 4 of 6: ")


def test_names_are_sent_once():
    trajectory = run()
    targets, class_names = targets_of(trajectory), [f"class {c}" for c in range(V)]
    widget = scrub(trajectory, targets=targets, class_names=class_names, token_names="abcdefg")
    assert widget.frames["tokens"] == ["abcdefg"[t] for t in trajectory.tokens[0]]
    assert widget.frames["targets"] == [f"class {c}" for c in targets[0]]
    used = {int(c) for c in trajectory.predictions[:, 0].flatten()}
    assert widget.frames["names"] == {str(c): f"class {c}" for c in used}


def test_html_survives_hostile_names():
    hostile = ["</script><script>alert(1)</script>", "<!--", "&amp;", '"', "\u2028", "é", "\\"]
    trajectory = run()
    names = {"token_names": hostile, "class_names": hostile, "title": hostile[0]}
    widget = scrub(trajectory, targets=targets_of(trajectory), **names)
    page = Page(widget.html())
    data, script = page.scripts
    assert json.loads(data) == {**widget.frames, "start": 1}
    assert script == _JS
    assert page.tags["td"] == 4 * N


def test_mimebundle_is_live_and_static():
    data, _ = scrub(run())._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert data["text/html"] == scrub(run()).html()  # no random identifier: rebuilt notebooks do not differ
    assert data["text/plain"].startswith("Scrubber(Pass 1 of 6")


def test_nothing_is_fetched_and_the_page_stays_small():
    assert len((_JS + _CSS).encode()) < 25_000
    external = re.findall(r"https?://[^\"')\s]+|@import|url\(|import ", _JS + _CSS)
    assert external == ["http://www.w3.org/2000/svg"]  # a name, not an address
    assert "</" not in _JS and "</" not in _CSS and "<!--" not in _JS


PAIRS = [
    ("ink", "surface"),
    ("ink", "ground"),
    ("muted", "surface"),
    ("muted", "ground"),
    ("good", "good-soft"),
    ("bad", "bad-soft"),
    ("surface", "good"),
]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("judged", [True, False])
def test_text_contrast(theme, judged):
    """4.5:1 (WCAG AA) for the pairs of text and ground that the style sheet makes."""
    colours = {}
    for name, *pair in re.findall(r"--lk-([\w-]+): (?:var\(.*)?light-dark\((#\w+), (#\w+)\)", _CSS):
        if not (judged and name in colours):  # the second mention of a name is the unjudged one
            colours[name] = channels(pair[theme])
    colours["bad-soft"] = colours["bad-soft" if judged else "ground"]
    for text, ground in PAIRS:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
