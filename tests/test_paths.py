import pytest

from latentkit import paths
from tests.conftest import ROOT


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """As in a wheel: the package has no checkout around it; the reader's home is empty."""
    package = tmp_path / "site-packages/latentkit"
    (package / "_data/claims").mkdir(parents=True)
    (package / "_data/claims/a.json").write_text("shipped")
    (package / "_data/claims/b.json").write_text("shipped")
    monkeypatch.setattr(paths, "_PACKAGE", package)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LATENTKIT_HOME", raising=False)
    return package


def test_a_checkout_reads_and_writes_its_own_data(monkeypatch):
    monkeypatch.delenv("LATENTKIT_HOME", raising=False)
    assert paths.shipped_dir() == paths.writable_dir() == ROOT / "data"


def test_an_installed_package_is_never_written_to(installed, tmp_path):
    assert paths.shipped_dir() == installed / "_data"
    assert paths.writable_dir() == tmp_path / "home/.latentkit"


def test_the_environment_names_another_home(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTKIT_HOME", str(tmp_path / "mine"))
    assert paths.writable_dir() == tmp_path / "mine"
    monkeypatch.setenv("LATENTKIT_HOME", "")
    assert paths.writable_dir() == tmp_path / "home/.latentkit"


def test_the_readers_own_copy_comes_first(installed):
    assert paths.find("claims/a.json") == installed / "_data/claims/a.json"
    own = paths.writable_dir() / "claims/a.json"
    own.parent.mkdir(parents=True)
    own.write_text("own")
    assert paths.find("claims/a.json") == own
    assert paths.find("claims/b.json") == installed / "_data/claims/b.json"


def test_a_missing_file_lists_what_there_is(installed):
    with pytest.raises(FileNotFoundError, match=r"'claims/c\.json'; claims/ holds a\.json, b\.json"):
        paths.find("claims/c.json")
    with pytest.raises(FileNotFoundError, match=r"puzzles/ holds nothing: the folder is missing"):
        paths.find("puzzles/c.csv")
