"""Any Event → a row → ClickHouse → the same again, but for the cuts and replacements that its marks tell of."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fast.test_rowbinary import FIRST_MS, LAST_MS, MARKS_KEY, expected, values_of
from faults.station import Station
from relo_ingest._fast import rowbinary
from relo_ingest._fast.segment import Segment
from relo_ingest.clickhouse.client import INSERT_SETTINGS
from relo_ingest.events import COLUMNS, SCALE, Event

# Few months, or each row would make a part of its own.
TIMES = st.sampled_from([FIRST_MS, LAST_MS, FIRST_MS - 1, LAST_MS + 1, -(10**30), 10**30, 0, -1, 1, 1_700_000_000_123])
KEYS = st.text(alphabet="abcé☕ _-:", min_size=1, max_size=6)
VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3),
    max_leaves=5,
)
LISTS = st.lists(st.text(max_size=5), min_size=1, max_size=3) | st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1)
PROPERTIES = st.dictionaries(KEYS, VALUES | LISTS, max_size=4)


def strategy(column: Any) -> st.SearchStrategy[Any]:
    if column.kind == "json":
        return PROPERTIES.map(lambda value: json.dumps(value, ensure_ascii=False).encode())
    return TIMES if column.kind == "ms" else values_of(column)


EVENTS = st.builds(Event, **{column.name: strategy(column) for column in COLUMNS})
EXAMPLES = 400


def collected() -> list[Event]:
    found: list[Event] = []

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )  # fmt: skip
    @given(EVENTS)
    def collect(event: Event) -> None:
        # An identity of its own, or the table would take two for one; the first characters, so that it is never cut.
        found.append(msgspec.structs.replace(event, event_id=f"{len(found)}~{event.event_id}"))

    collect()
    return found


def selected(column: Any) -> str:
    match column.kind:
        case "ms":
            return f"toUnixTimestamp64Milli({column.name})"
        case "decimal4":
            return f"toString({column.name})"
        case "json":
            return f"toJSONString({column.name})"
    return str(column.name)


def test_any_event_comes_back_as_it_went(tmp_path: Path, clickhouse: Any) -> None:
    station = Station(tmp_path, clickhouse)
    names = ",".join(c.name for c in COLUMNS)
    events = collected()
    with Segment.create(
        tmp_path / "all", segment_id="all", lane="beacons", schema_version=1, columns=names,
        capacity=64 << 20, max_rows=len(events), created_ms=0,
    ) as segment:  # fmt: skip
        for event in events:
            assert rowbinary.append(segment, event)
        station.client.raw_insert(
            "events", names.split(","), bytes(segment.body()), settings=INSERT_SETTINGS, fmt="RowBinary"
        )
    rows = station.rows(f"SELECT {', '.join(map(selected, COLUMNS))} FROM events")
    by_number = {int(row[0].partition("~")[0]): row for row in rows}
    assert len(rows) == len(by_number) == len(events)
    for number, event in enumerate(events):
        values, marks = expected(event)
        stored = dict(zip((c.name for c in COLUMNS), by_number[number], strict=True))
        for column in COLUMNS:
            value = stored[column.name]
            match column.kind:
                case "texts":
                    value = tuple(value)
                case "decimal4":
                    value = int(Decimal(value) * SCALE)
                case "json":
                    properties = json.loads(value)
                    assert set(properties.pop(MARKS_KEY, ())) == marks
                    assert properties == json.loads(event.properties)
                    continue
            assert value == values[column.name], (number, column.name)
    station.client.command("SYSTEM START MERGES events")
    station.client.command("OPTIMIZE TABLE events FINAL")
    assert station.count() == len(events)
    station.close()
