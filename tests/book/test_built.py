"""The built book: complete, whole, and nothing in it comes from elsewhere."""

import importlib.util
import pkgutil
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from latentkit.claims import ledger

ROOT = Path(__file__).parents[2]
LABS = sorted(path.stem for path in (ROOT / "labs/solved").glob("*.ipynb"))
LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}


def test_no_output_is_an_error(pages):
    shown = [
        f"{name}: {cell.get_text()[:200]}"
        for name, page in pages.items()
        for cell in page.select(".cell_output")
        if "Traceback (most recent call last)" in cell.get_text() or cell.select(".traceback, .stderr")
    ]
    assert shown == []


def test_every_internal_link_leads_somewhere(site, pages):
    anchors = {name: {tag["id"] for tag in page.select("[id]")} for name, page in pages.items()}
    broken = []
    for name, page in pages.items():
        for tag in page.select("[href], [src]"):
            url = urlsplit(tag.get("href") or tag.get("src") or "")
            if url.scheme or url.netloc:
                continue
            target = (site / name).parent / unquote(url.path) if url.path else site / name
            if not target.is_file():
                broken.append(f"{name}: {url.geturl()}")
            elif url.fragment and target.suffix == ".html":
                page_id = target.resolve().relative_to(site.resolve()).as_posix()
                if page_id in anchors and url.fragment not in anchors[page_id]:
                    broken.append(f"{name}: no anchor {url.geturl()}")
    assert broken == []


def test_the_front_door_leads_home(site):
    target = re.search(r"url=([^\"]+)", (site / "index.html").read_text("utf-8"))[1]
    assert (site / target).is_file()


def test_nothing_is_loaded_from_elsewhere(site, pages):
    outside = re.compile(r"^\s*(https?:)?//")  # at the start: an image in the page may hold two slashes
    loaded = [
        f"{name}: {tag[attribute]}"
        for name, page in pages.items()
        for kind, attribute in LOADED.items()
        for tag in page.find_all(kind, {attribute: outside})
    ]
    loaded += [
        f"{name}: {link['href']}" for name, page in pages.items() for link in page.find_all("link", href=outside)
    ]
    rule = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")
    loaded += [
        f"{css.relative_to(site)}: {m[1]}" for css in site.rglob("*.css") for m in rule.finditer(css.read_text("utf-8"))
    ]
    loaded += [
        f"{name}: {m[1]}" for name, page in pages.items() for s in page.find_all("style") for m in rule.finditer(s.text)
    ]
    assert loaded == []


def test_no_page_waits_for_a_kernel(pages):
    """No require.js, widget manager or thebe: widgets are shown as html of their own."""
    waiting = [
        f"{name}: {script.get('src') or script.get('type')}"
        for name, page in pages.items()
        for script in page.find_all("script")
        if re.search(
            "require|html-manager|thebe|jupyter.widget", (script.get("src") or "") + (script.get("type") or "")
        )
    ]
    assert waiting == []


def test_every_page_introduces_itself(pages):
    missing = []
    for name, page in pages.items():
        description = page.find("meta", attrs={"name": "description"})
        if not page.title or not page.title.text.strip() or page.html.get("lang") != "en":
            missing.append(f"{name}: title or language")
        if not description or len(description["content"]) < 20:
            missing.append(f"{name}: description")
        if len(page.select("main article h1, main .bd-search-container h1")) != 1:
            missing.append(f"{name}: one heading of the first level")
        missing += [f"{name}: alt of {img.get('src')}" for img in page.select("article img:not([alt])")]
    assert missing == []


def test_the_ledger_is_complete(pages):
    page = pages["book/claims.html"]
    records = ledger.load_all()
    assert records
    for record in records:
        section = page.find(id=f"claim-{record.id}").find_parent("section")
        text = " ".join(section.get_text(" ").split())
        assert section.select_one(".lk-verdict").text == record.verdict
        assert " ".join(record.command.split()) in text
        for name, entry in record.metrics.items():
            if not isinstance(entry["values"][0], list):
                assert ", ".join(f"{v:.4g}" for v in entry["values"]) in text, (record.id, name)
        assert section.select("a[href*='bibliography']"), f"{record.id}: its source is not in the bibliography"


@pytest.mark.parametrize("lab", LABS)
def test_both_notebooks_of_a_lab_can_be_downloaded(site, pages, lab):
    name = f"labs/solved/{lab}.html"
    links = {a["download"]: (site / name).parent / a["href"] for a in pages[name].select("a[download]")}
    assert links.keys() == {f"{lab}.ipynb", f"{lab}_solved.ipynb"}
    assert links[f"{lab}.ipynb"].read_bytes() == (ROOT / f"labs/{lab}.ipynb").read_bytes()
    assert links[f"{lab}_solved.ipynb"].read_bytes() == (ROOT / f"labs/solved/{lab}.ipynb").read_bytes()
    for notebook in links.values():
        nbformat.validate(nbformat.read(notebook, as_version=4))


def test_every_lab_is_in_the_book(pages):
    assert LABS
    assert {f"labs/solved/{lab}.html" for lab in LABS} <= pages.keys()


def test_every_public_module_is_in_the_reference(pages):
    documented = {
        tag["id"] for name, page in pages.items() if name.startswith("book/api/") for tag in page.select("[id]")
    }
    modules = ["latentkit.recurrence", "latentkit.layers", "latentkit.claims.ledger", "latentkit.widgets.scrubber"]
    for package in ("latentkit.models", "latentkit.tasks", "latentkit.training"):
        folder = importlib.util.find_spec(package).submodule_search_locations
        modules += [package, *(m.name for m in pkgutil.iter_modules(folder, f"{package}."))]
    assert [m for m in modules if f"module-{m}" not in documented] == []
