"""Where worlds are played: facts come into the tables batch by batch, rounds of the worker between them."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.fernet import Fernet

from relo_ingest.clickhouse.client import INSERT_SETTINGS
from relo_ingest.registry import apply, model
from relo_ingest.registry.secrets import Keyring
from worker.oracle.facts import Event, Review, Version, World, milliseconds, moment
from worker.oracle.settle import Answer, settle
from worker.worlds import RATES, make_world

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

KEYS = Keyring(Fernet.generate_key().decode())
FIRST_ARRIVAL = dt.datetime(2025, 9, 1, tzinfo=dt.UTC)
EVENT_COLUMNS = [field.name for field in fields(Event)]

ATTRIBUTIONS = """
SELECT client_id, conversion_key, payment, method, partner_ref, offer, click_id FROM attributions
WHERE client_id BETWEEN {first:UInt32} AND {last:UInt32}
"""
COMMISSIONS = """
SELECT client_id, conversion_key, partner_ref, currency, earned, reversed FROM commissions
WHERE client_id BETWEEN {first:UInt32} AND {last:UInt32}
"""
LINES = """
SELECT entry_id, client_id, conversion_key, partner_ref, currency, part, kind, amount,
       toUnixTimestamp64Milli(hold_until) AS hold_until
FROM ledger_lines FINAL
WHERE client_id BETWEEN {first:UInt32} AND {last:UInt32}
"""

Fact = Event | Version | Review
Arrival = tuple[int, ...]
"""The batches in which a fact arrives; () for one that is left out."""
_client_ids = itertools.count(1_000_000)


class Line(msgspec.Struct, frozen=True):
    """A line of the ledger."""

    entry_id: str
    client_id: int
    conversion_key: str
    partner_ref: str
    currency: str
    part: str
    kind: str
    amount: Decimal
    hold_until: int


@dataclass(frozen=True)
class Played:
    """The world of a seed, for a client of its own, and how its facts arrive."""

    seed: int
    arrivals: tuple[Arrival, ...]
    """Of every fact of the seed's world, in the order of ``facts``."""
    world: World
    """Of the facts that are not left out."""

    @classmethod
    def of(cls, seed: int, arrivals: Iterable[Arrival]) -> Played:
        whole, arrivals = make_world(seed, next(_client_ids)), tuple(arrivals)
        kept = [fact for fact, arrival in zip(facts(whole), arrivals, strict=True) if arrival]
        world = World(
            whole.client_id,
            whole.slug,
            [f for f in kept if isinstance(f, Version)],
            [f for f in kept if isinstance(f, Event)],
            [f for f in kept if isinstance(f, Review)],
            whole.rates,
        )
        return cls(seed, arrivals, world)

    @classmethod
    def shuffled(cls, seed: int, batches: int) -> Played:
        """Events come in any order, some again later; a registry is only ever added to, version after version."""
        chance, world = random.Random(-seed), make_world(seed, 0)
        of_events: list[Arrival] = []
        for _ in world.events:
            first, times_more = chance.randrange(batches), chance.choice((0, 0, 0, 1, 2))
            of_events.append((first, *(chance.randrange(first, batches) for _ in range(times_more))))
        known_early = chance.random() < 0.6
        of_versions = sorted(0 if known_early else chance.randrange(batches) for _ in world.versions)
        of_reviews = [chance.randrange(batches) for _ in world.reviews]
        return cls.of(seed, [*of_events, *((n,) for n in (*of_versions, *of_reviews))])

    @classmethod
    def at_once(cls, seed: int) -> Played:
        return cls.of(seed, [(0,)] * len(facts(make_world(seed, 0))))

    def without(self, left_out: Collection[int]) -> Played:
        """Without the facts of these numbers, for another client."""
        return self.of(self.seed, [() if n in left_out else arrival for n, arrival in enumerate(self.arrivals)])

    def arriving(self, batch: int) -> Iterator[Fact]:
        arrivals = (arrival for arrival in self.arrivals if arrival)
        for fact, arrival in zip(facts(self.world), arrivals, strict=True):
            yield from itertools.repeat(fact, arrival.count(batch))


def facts(world: World) -> list[Fact]:
    return [*world.events, *world.versions, *world.reviews]


class Stage:
    """The tables of one engine, with the rates of all worlds."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._batches = 0
        rates = [(day, currency, _decimal(rate)) for currency, by_day in RATES.items() for day, rate in by_day.items()]
        self._insert("rates", ["day", "currency", "rate"], rates)

    def bring(self, played: Sequence[Played], batch: int) -> None:
        """The facts of all worlds that arrive in this batch: an insert for each table."""
        self._batches += 1
        received_at = FIRST_ARRIVAL + dt.timedelta(seconds=self._batches)
        events, versions, reviews = [], [], []
        for p in played:
            bodies = None
            for fact in p.arriving(batch):
                if isinstance(fact, Event):
                    events.append(_event_row(p.world, fact, received_at))
                elif isinstance(fact, Review):
                    reviews.append((p.world.client_id, *_review_row(fact)))
                else:
                    bodies = bodies or dict(registry_rows(p.world))
                    place = fact.entry.kind, fact.entry.key, fact.since
                    versions.append((*place, bodies[place]))
        if versions:
            versions.append(self._latest())
        self._insert("events", ["client_id", "received_at", *EVENT_COLUMNS], events)
        self._insert("registry", ["kind", "key", "version", "body"], versions)
        self._insert("reviews", ["client_id", "conversion_key", "partner_ref", "approved", "reviewed_at"], reviews)

    def _latest(self) -> tuple[str, str, int, str]:
        """`relo apply` never writes a version below the highest that is there; those of worlds are of any time."""
        return "client", "latest", milliseconds(FIRST_ARRIVAL) + self._batches, '{"client_id": 0}'

    def _insert(self, table: str, names: list[str], rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self.client.insert(table, rows, column_names=names, settings=INSERT_SETTINGS)

    def _query(self, sql: str, played: Collection[Played]) -> Iterator[Sequence[Any]]:
        """Of these worlds: the client id comes in the first two columns."""
        ids = {p.world.client_id for p in played}
        rows = self.client.query(sql, parameters={"first": min(ids), "last": max(ids)}).result_rows
        return (row for row in rows if ids & set(row[:2]))

    def answers(self, played: Collection[Played]) -> dict[int, Answer]:
        """client id → what the tables say."""
        found = {p.world.client_id: Answer({}, {}) for p in played}
        for client_id, key, *answer in self._query(ATTRIBUTIONS, played):
            found[client_id].attributions[key] = (answer[0], answer[1], answer[2], answer[3], answer[4])
        for client_id, key, partner, currency, earned, back in self._query(COMMISSIONS, played):
            if earned or back:
                found[client_id].ledger[key, partner, currency] = earned, back
        return found

    def lines(self, played: Collection[Played]) -> list[Line]:
        return [Line(*row) for row in self._query(LINES, played)]


def _event_row(world: World, event: Event, received_at: dt.datetime) -> list[Any]:
    row = {name: getattr(event, name) for name in EVENT_COLUMNS}
    row["event_time"] = moment(event.event_time)
    row["refs"] = list(event.refs)
    row["properties"] = msgspec.json.encode(event.properties).decode()
    return [world.client_id, received_at, *row.values()]


def _review_row(review: Review) -> tuple[Any, ...]:
    return review.conversion_key, review.partner_ref, review.approved, moment(review.at)


def registry_rows(world: World) -> Iterator[tuple[tuple[str, str, int], str]]:
    """Each version as ``relo apply`` writes it, by (kind, key, version). Raises ConfigError as that does."""
    now: dict[tuple[str, str], Any] = {}
    owner = model.Client(client_id=world.client_id, slug=world.slug)
    for since, group in itertools.groupby(world.versions, key=lambda v: v.since):
        entries = [v.entry for v in group]
        declaration = model.Declaration(
            clients=(owner,),
            offers=tuple(e for e in entries if isinstance(e, model.Offer)),
            partners=tuple(e for e in entries if isinstance(e, model.Partner)),
            promo_codes=tuple(e for e in entries if isinstance(e, model.PromoCode)),
            commission_rules=tuple(e for e in entries if isinstance(e, model.CommissionRule)),
        )
        for change in apply.changes(declaration, now, KEYS):
            now[change.kind, change.key] = change.after
        for entry in entries:
            body = now[entry.kind, entry.key]
            yield (entry.kind, entry.key, since), msgspec.json.encode(body, order="sorted").decode()


def _decimal(rate: Fraction) -> Decimal:
    return Decimal(rate.numerator) / rate.denominator


def differences(played: Played, found: Answer, oracle: Callable[[World], Answer] = settle) -> list[str]:
    """Where the tables and the oracle disagree, a line each."""
    expected, lines = oracle(played.world), []
    for what in ("attributions", "ledger"):
        of_oracle, of_tables = getattr(expected, what), getattr(found, what)
        for place in sorted(of_oracle.keys() | of_tables.keys()):
            if of_oracle.get(place) != of_tables.get(place):
                lines.append(f"{what} {place}: expected {of_oracle.get(place)}, found {of_tables.get(place)}")
    return lines


def lines_only_added(before: dict[str, Line], lines: Sequence[Line]) -> dict[str, Line]:
    """The lines by id. Fails unless each that was there before is there as it was."""
    now = {line.entry_id: line for line in lines}
    assert len(now) == len(lines), "two lines have one id"
    assert [line for line in before.values() if now.get(line.entry_id) != line] == [], "a line was edited"
    return now
