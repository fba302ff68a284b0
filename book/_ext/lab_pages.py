"""What pages have beside their source: a lab's notebooks to download, descriptions, the widget on the home page."""

import html
import json
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective

SOLVED = "labs/solved/"
DESCRIPTION = "Search the latentkit course: labs, claims and the API reference."


class NotebookWidget(SphinxDirective):
    """Shows a solved notebook's first scrubber: `{notebook-widget} labs/solved/02_loop_it.ipynb`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The widget's html, as the notebook carries it."""
        path = Path(self.env.srcdir, self.arguments[0])
        self.env.note_dependency(str(path))
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                page = "".join(output.get("data", {}).get("text/html", ""))
                if 'class="lk-scrubber' in page:
                    return [nodes.raw("", page, format="html")]
        raise self.error(f"{path.name} shows no scrubber")


def name_repository(app: Sphinx, config: Config) -> None:
    """`{{ repository }}` in a page links to the one address that pyproject.toml names."""
    project = tomllib.loads(Path(app.srcdir, "pyproject.toml").read_text("utf-8"))["project"]
    config.myst_substitutions["repository"] = f"[the repository]({project['urls']['Repository']})"


def drop_widget_state(app: Sphinx, docname: str, source: list[str]) -> None:
    """Leaves the saved state of widgets out: only a widget manager would read it, and it repeats every frame."""
    if docname.startswith(SOLVED):
        notebook = json.loads(source[0])
        notebook["metadata"].pop("widgets", None)
        source[0] = json.dumps(notebook)


def describe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    """A description for search engines where the page gives none: its first paragraph of prose."""
    if 'name="description"' in context.get("metatags", ""):
        return
    prose = (p.astext() for p in doctree.findall(nodes.paragraph)) if doctree else ()
    text = next((" ".join(t.split()) for t in prose if len(t.split()) > 8), DESCRIPTION)
    short = text if len(text) <= 200 else text[:200].rsplit(" ", 1)[0] + " …"
    context["metatags"] = context.get("metatags", "") + f'<meta name="description" content="{html.escape(short)}" />'


def offer_notebooks(
    app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None
) -> None:
    """Puts a lab's two notebooks beside the site and links them above its title.

    Each also comes as a script that hands over its text, for `offline.js`: a browser shows a linked notebook on disk
    instead of saving it, and lets no page read one.
    """
    if not pagename.startswith(SOLVED):
        return
    name = Path(pagename).name
    folder = Path(app.outdir, "notebooks")
    folder.mkdir(exist_ok=True)
    links = []
    for label, source, suffix in (("Notebook to work in", "labs", ""), ("Solved notebook", "labs/solved", "_solved")):
        text = Path(app.srcdir, source, f"{name}.ipynb").read_text("utf-8")
        file = f"{name}{suffix}.ipynb"
        (folder / file).write_text(text, "utf-8")
        (folder / f"{file}.js").write_text(f"saveNotebook({json.dumps(file)}, {json.dumps(text)});", "utf-8")
        href = context["pathto"](f"notebooks/{file}", 1)
        links.append(f'<a class="lk-download" href="{href}" download="{file}">{label}</a>')
    bar = f'<nav class="lk-downloads" aria-label="Download this lab"><span>Solved lab</span>{"".join(links)}</nav>'
    context["body"] = bar + context["body"]


def setup(app: Sphinx) -> dict:
    """Registers the directive and the hooks."""
    app.add_directive("notebook-widget", NotebookWidget)
    app.connect("config-inited", name_repository)
    app.connect("source-read", drop_widget_state)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", offer_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
