"""Docstrings are written to be read in an editor; this makes them reStructuredText for the API reference.

`name`                      becomes a literal
indented blocks             (equations, legends, tables of choices) become literal blocks
Args:, Raises: ...          become fields; one entry may name several things, as in `low, high: bounds`
||h||, h_, *                are characters, not markup
"""

import re

from sphinx.application import Sphinx

FIELDS = {"Args:": "Parameters", "Attributes:": "Attributes", "Raises:": "Raises", "Returns:": "Returns"}
ENTRY = re.compile(r"    (?P<names>\w[\w., ]*): (?P<text>.*)")
LITERAL = re.compile(r"(`[^`]+`)")
MARKUP = re.compile(r"([*|\\]|_(?=\W|$))")


def to_rst(lines: list[str]) -> list[str]:
    """The docstring `lines` as reStructuredText."""
    out: list[str] = []
    inside = "prose"  # or "field", or "block"
    for line in lines:
        if not line.strip():
            out.append("")
        elif line in FIELDS:
            inside = "field"
            out += [f":{FIELDS[line]}:", ""]
        elif not line.startswith(" "):
            if inside == "block" and out[-1]:
                out.append("")
            inside = "prose"
            out.append(inline(line))
        elif inside == "field":
            entry = ENTRY.fullmatch(line)
            out.append(
                f"    * **{inline(entry['names'])}** – {inline(entry['text'])}" if entry else f"  {inline(line)}"
            )
        else:
            if inside == "prose":
                out += ["", ".. code-block:: text", ""]
            inside = "block"
            out.append(line)
    return [*out, ""]


def inline(text: str) -> str:
    """One line: `literals` doubled, everything else as it stands."""
    parts = LITERAL.split(text)
    return "".join(f"`{part}`" if i % 2 else MARKUP.sub(r"\\\1", part) for i, part in enumerate(parts))


def setup(app: Sphinx) -> dict:
    """Connects to autodoc."""

    def docstring(app, what, name, obj, options, lines):
        lines[:] = to_rst(lines)

    def signature(app, what, name, obj, options, signature, returns):
        """A protocol is not called; a default such as `<factory>` is no Python, and would spoil the parsing."""
        if what == "class" and signature == "(*args, **kwargs)":
            signature = ""
        return signature and re.sub(r"<[^<>]*>", "...", signature), returns

    def skip(app, what, name, obj, skipped, options):
        """The fields of a named tuple stand in its signature."""
        return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None

    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
