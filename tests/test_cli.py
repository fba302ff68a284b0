import subprocess
import sys
from pathlib import Path

import pytest

from latentkit import cli
from latentkit.claims import REGISTRY


@pytest.mark.parametrize("command", [[], *([name] for name in cli.COMMANDS)])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in (command or cli.COMMANDS))


@pytest.mark.parametrize("argv", [[], ["reprodcue"], ["reproduce"], ["reproduce", "x", "--budget", "tpu"]])
def test_wrong_usage_is_exit_code_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert "usage: latentkit" in capsys.readouterr().err


def test_an_unknown_claim_lists_those_there_are(capsys):
    assert cli.main(["reproduce", "flat-earth"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("latentkit reproduce: no claim 'flat-earth'; choose one of ")
    assert said.count("\n") == 1
    assert all(claim in said for claim in REGISTRY)


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--seeds", "0"], "seeds=0; at least 1"), (["--device", "abacus"], "device 'abacus' is not available here")],
)
def test_a_bad_option_is_one_line(options, said, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTKIT_HOME", str(tmp_path))
    assert cli.main(["reproduce", "loop-a5", *options]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_missing_file_is_named(capsys, monkeypatch):
    """An error from the system holds a number and a text; the number alone would help nobody."""
    from latentkit.claims import ledger

    monkeypatch.setattr(ledger, "load_all", Path("/no/such/file").read_text)
    assert cli.main(["claims"]) == 2
    assert "/no/such/file" in capsys.readouterr().err


@pytest.mark.slow
def test_the_module_is_a_program():
    run = subprocess.run([sys.executable, "-m", "latentkit.cli", "claims"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "lab 0" in run.stdout
