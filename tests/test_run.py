import pytest

from tests import run
from tests.run import Counts


@pytest.fixture
def stages(monkeypatch, tmp_path):
    """Every stage replaced by one pass; returns the names of those that ran, and what each comes to."""
    ran, outcome = [], {}

    def stand_in(name, *arguments):
        ran.append(name)
        return outcome.get(name, Counts(passed=1))

    monkeypatch.setattr(run, "REPORTS", tmp_path)
    monkeypatch.setenv("LATENTKIT_METER", "")
    monkeypatch.setattr(run, "make", stand_in)
    monkeypatch.setattr(run, "pytest", stand_in)
    return ran, outcome


def test_last_line_counts_and_exit_status_tells(stages, capsys):
    ran, outcome = stages
    assert run.main() == 0
    assert ran == ["lint", "types", "unit", "solved", "notebooks", "book", "book", "browser"]
    assert capsys.readouterr().out.splitlines()[-1] == "8 passed, 0 failed, 0 skipped"
    outcome["lint"] = Counts(failed=1)
    outcome["browser"] = Counts(skipped=3)
    assert run.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "6 passed, 1 failed, 3 skipped"


def test_no_book_from_notebooks_that_failed(stages, capsys):
    ran, outcome = stages
    outcome["solved"] = Counts(passed=20, failed=2)
    assert run.main() == 1
    assert "book" not in ran
    assert "browser" in ran
    assert "skipped: solved notebooks did not pass" in capsys.readouterr().out


@pytest.mark.slow
def test_counts_are_those_of_pytest(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "REPORTS", tmp_path)
    (tmp_path / "test_all.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 0\n"
        "def test_skipped(): pytest.skip('no GPU')\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError\n"
        "def test_error(broken): pass\n"
    )
    assert run.pytest("all", str(tmp_path)) == Counts(passed=1, failed=2, skipped=1)
    (tmp_path / "test_all.py").write_text("")
    assert run.pytest("all", str(tmp_path)) == Counts(failed=1), "nothing collected is a failure"
