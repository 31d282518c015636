"""docs/stripe.md: its commands and queries work as written, its table is what the ingest stores."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from relo_ingest import cli
from relo_ingest.stripe_tools.kinds import SUPPORTED
from support.processes import Product, eventually

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "stripe.md").read_text()
QUERIES = re.findall(r"^```sql\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
SHELL = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)).splitlines()
COMMANDS = [line for line in SHELL if line.startswith("relo ")]
INLINE = re.findall(r"`relo ([a-z][a-z ]*)", PAGE)


@pytest.fixture(scope="module")
def told(product: Product) -> Product:
    """A product in which there is something to find."""
    assert product.relo("stripe", "trigger", "--all", "--client", "demo", "--live").returncode == 0
    eventually(lambda: product.rows("SELECT 1 FROM attributions WHERE client_id = 1"), "an attribution")
    return product


@pytest.mark.parametrize("sql", QUERIES, ids=range(len(QUERIES)))
def test_query_works_as_written(told: Product, sql: str) -> None:
    answer = told.relo("query", sql, "--format", "csv")
    assert answer.returncode == 0, answer.stderr
    if "FROM ledger" not in sql and "HAVING" not in sql and "'pi_…'" not in sql and "c.click_id != ''" not in sql:
        assert len(answer.stdout.splitlines()) > 1, "finds nothing in a story that has everything"


@pytest.mark.parametrize("line", COMMANDS)
def test_command_is_understood(line: str) -> None:
    cli.parser().parse_args(shlex.split(line)[1:])


def test_page_is_not_empty() -> None:
    assert len(QUERIES) > 10
    assert len(COMMANDS) > 10
    for line in SHELL:
        assert line.startswith(("relo ", "export STRIPE_API_KEY=")) or not line, f"{line}: not looked at by any test"


def test_commands_named_in_the_text_exist() -> None:
    names = {c.__name__.replace("_", "-") for c in cli.COMMANDS}
    assert {name.split()[0] for name in INLINE} <= names


def test_table_names_every_type_that_is_stored_and_no_other() -> None:
    table = re.findall(r"^\| `([a-z_.]+)`.*?\| `(\w+)` \| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    assert {kind for kind, *_ in table} == set(SUPPORTED)


def test_table_says_what_is_stored(told: Product) -> None:
    table = re.findall(r"^\| `[a-z_.]+`.*?\| `(\w+)` \| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    stored = told.rows("SELECT DISTINCT event_name, event_type FROM events WHERE media_source = 'stripe'")
    assert set(stored) <= set(table)
    assert set(table) - set(stored) <= {("invoice_payment", "custom")}


def test_readme_leads_here() -> None:
    assert "(docs/stripe.md)" in (ROOT / "README.md").read_text()


def test_links_within_the_page_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([a-z-]+)\)", PAGE)) <= headings
