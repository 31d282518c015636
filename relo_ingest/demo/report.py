"""Has the story told, waits until it is settled, and prints what ClickHouse says of it."""

from __future__ import annotations

import time
from importlib import resources
from typing import TYPE_CHECKING, Any

from relo_ingest.clickhouse.client import connected
from relo_ingest.demo.people import STORY
from relo_ingest.demo.teller import CLIENT_ID, SLUG, DemoFailed, Storyteller, Told, sentence
from relo_ingest.explain import facts, story
from relo_ingest.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PATIENCE_S = 30.0
ASKED_ABOUT = "Sven"


def tell(settings: Settings) -> None:
    """Raises ReloError."""
    with connected(settings) as client:
        storyteller = Storyteller(f"http://{settings.ingest.host}:{settings.ingest.port}")
        for index, visitor in enumerate(STORY):
            storyteller.tell(index, visitor)
            print(f"[{index + 1}/{len(STORY)}] {sentence(visitor)}", flush=True)
        told = storyteller.told
        parameters = {"client": CLIENT_ID, "keys": list(told.names), "names": list(told.names.values())}
        _wait_until_settled(client, told, parameters)
        print("\nEach payment of this story, whose it is, and why:")
        _print_table(client, "sales", parameters)
        print("\nThe ledger, line by line:")
        _print_table(client, "lines", parameters)
        print("\nPartners:")
        _print_table(client, "partners", parameters | {"clicks": told.clicks})
        asked = next(key for key, name in told.names.items() if name == ASKED_ABOUT)
        print(f"\n$ relo why {asked}")
        for line in story.tell(facts.gather(client, CLIENT_ID, asked), SLUG):
            print(line)
        print("\nMore: relo review list; relo query 'SELECT * FROM partner_daily'")


def _wait_until_settled(client: Client, told: Told, parameters: dict[str, Any]) -> None:
    """All payments are attributed, and all lines are in the ledger."""
    until = time.monotonic() + PATIENCE_S
    print("waiting for the worker …", flush=True)
    while True:
        attributed, lines = client.query(_sql("settled"), parameters=parameters).result_rows[0]
        if attributed == len(told.names) and lines == told.lines:
            return
        if time.monotonic() > until:
            raise DemoFailed(
                f"after {PATIENCE_S:.0f} s {attributed} of {len(told.names)} payments are attributed and {lines} of "
                f"{told.lines} lines are in the ledger; is `relo worker` running?"
            )
        time.sleep(0.25)


def _print_table(client: Client, name: str, parameters: dict[str, Any]) -> None:
    answer = client.raw_query(
        _sql(name),
        parameters=parameters,
        fmt="PrettyCompactMonoBlock",
        settings={"output_format_pretty_row_numbers": 0, "output_format_pretty_color": 0},
    )
    print(answer.decode(), end="")


def _sql(name: str) -> str:
    return (resources.files("relo_ingest.demo") / f"{name}.sql").read_text(encoding="utf-8")
