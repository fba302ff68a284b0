"""The README's table of claims is the ledger's."""

from latentkit.claims import ledger
from tests.conftest import ROOT


def test_the_table_is_the_ledgers():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.split("<!-- latentkit claims --markdown -->\n")[1].split("<!-- end -->")[0].strip()
    wanted = ledger.markdown_table(ledger.load_all())
    assert shown == wanted, "put the output of `latentkit claims --markdown` between the two comments of README.md"
