"""Imported rates: a file is taken whole or not at all, and what was imported stays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from relo_ingest import rates
from relo_ingest.clickhouse import migrate
from relo_ingest.rates import BadRates

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

GOOD = "date,currency,rate\n2026-03-10,USD,1.0832\n2026-03-11,USD,1.1\n2026-03-11,JPY,160.25\n"
ALL = "SELECT day, currency, rate FROM rates FINAL ORDER BY day, currency"


@pytest.fixture(scope="module")
def engine(clickhouse: Any) -> Any:
    return clickhouse


@pytest.fixture
def client(engine: Any) -> Iterator[Client]:
    client = engine.connect(engine.fresh_database())
    migrate.apply(client)
    yield client
    client.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rates.csv"


def load(client: Client, file: Path, text: str, base: str = "EUR") -> rates.Imported:
    file.write_text(text)
    return rates.write(client, rates.read(str(file), base), base, "rates.csv")


def known(client: Client) -> list[tuple[Any, ...]]:
    return [(str(day), currency, rate) for day, currency, rate in client.query(ALL).result_rows]


def test_rates_are_imported_with_the_base_on_each_day(client: Client, file: Path) -> None:
    assert load(client, file, GOOD) == rates.Imported(5, 5)
    assert known(client) == [
        ("2026-03-10", "EUR", Decimal(1)),
        ("2026-03-10", "USD", Decimal("1.0832")),
        ("2026-03-11", "EUR", Decimal(1)),
        ("2026-03-11", "JPY", Decimal("160.25")),
        ("2026-03-11", "USD", Decimal("1.1")),
    ]
    assert list(rates.listing(client))[1:] == [
        "JPY            160.25  on 2026-03-11, the last of 1 since 2026-03-11",
        "USD               1.1  on 2026-03-11, the last of 2 since 2026-03-10",
    ]


def test_the_same_file_again_changes_nothing(client: Client, file: Path) -> None:
    load(client, file, GOOD)
    before = known(client)
    assert load(client, file, GOOD.replace("1.1\n", "1.10\n")) == rates.Imported(5, 0)
    assert known(client) == before


def test_another_rate_for_a_known_day_is_refused_and_nothing_is_imported(client: Client, file: Path) -> None:
    load(client, file, GOOD)
    before = known(client)
    with pytest.raises(BadRates, match=r"USD on 2026-03-11 is 1.1 already.*1.2 is refused, and nothing was imported"):
        load(client, file, "date,currency,rate\n2026-03-12,USD,1.3\n2026-03-11,USD,1.2\n")
    assert known(client) == before


def test_rates_for_another_base_are_not_mixed_in(client: Client, file: Path) -> None:
    load(client, file, GOOD)
    with pytest.raises(BadRates, match="the rates so far are for one EUR, these for one USD"):
        load(client, file, "date,currency,rate\n2026-05-01,EUR,0.9\n", base="USD")
    assert len(known(client)) == 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2026-03-10,USD", "expected 3 fields, found 2"),
        ("2026-03-10,USD,1.1,x", "expected 3 fields, found 4"),
        ("10.03.2026,USD,1.1", "date: expected YYYY-MM-DD"),
        ("2026-02-30,USD,1.1", "date: there is no 2026-02-30"),
        ("1969-12-31,USD,1.1", "date: expected one from"),
        ("2150-01-01,USD,1.1", "date: expected one from"),
        ("2026-03-10,usd,1.1", "currency: expected three capital letters"),
        ("2026-03-10,USD,0", "rate: expected a number above 0"),
        ("2026-03-10,USD,-1", "rate: expected a number above 0"),
        ("2026-03-10,USD,1e3", "rate: expected a number above 0"),
        ("2026-03-10,USD,NaN", "rate: expected a number above 0"),
        ("2026-03-10,USD,1.123456789", "at most 8 decimals"),
        ("2026-03-10,USD,٣", "rate: expected a number above 0"),
        ("2026-03-10,EUR,1.1", "EUR is the base, so its rate is 1"),
        ("2026-03-11,USD,1.2", "USD on 2026-03-11 stands there twice, with different rates"),
    ],
)
def test_a_bad_line_is_named_by_its_number(file: Path, line: str, said: str) -> None:
    file.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(BadRates, match=f"line 6: .*{said}"):
        rates.read(str(file), "EUR")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: expected the header date,currency,rate"),
        (b"day,currency,rate\n2026-03-10,USD,1\n", "line 1: expected the header"),
        (b"date,currency,rate\n", "has no rates"),
        (b"date,currency,rate\n\xff\xfe,USD,1\n", "is no CSV file in UTF-8"),
        (b'date,currency,rate\n2026-03-10,"USD,1\n', "is no CSV file in UTF-8"),
    ],
)
def test_a_file_that_is_none_is_refused(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    with pytest.raises(BadRates, match=said):
        rates.read(str(file), "EUR")


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(BadRates, match="cannot be read: No such file"):
        rates.read(str(file), "EUR")


def test_a_file_of_a_spreadsheet_is_read(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfdate, currency, rate\r\n2026-03-10 , USD , 1.0832\r\n\r\n")
    day = dt.date(2026, 3, 10)
    assert rates.read(str(file), "EUR") == {(day, "EUR"): Decimal(1), (day, "USD"): Decimal("1.0832")}


def test_sales_that_may_have_waited_are_looked_at_again(client: Client, file: Path) -> None:
    def sold(key: str, day: int, partner: str = "ana", **fields: Any) -> None:
        told = {"client_id": 1, "conversion_key": key, "partner_ref": partner, "method": "click_id", "reason": "{}"}
        row = told | {"event_time": dt.datetime(2026, 3, day, 12)} | fields
        client.insert("attribution_rows", [list(row.values())], column_names=list(row))

    for key, day in {"before": 9, "first": 10, "week": 18, "after": 19, "paid": 11}.items():
        sold(key, day)
    sold("nobody", 11, "", method="none")
    sold("gone", 11, gone=True)
    sold("moved", 11, "luis")
    client.command("TRUNCATE TABLE changes")
    load(client, file, GOOD)
    found = client.query("SELECT kind, id FROM changes ORDER BY id").result_rows
    assert [tuple(r) for r in found] == [("payment", k) for k in ("first", "moved", "paid", "week")]
