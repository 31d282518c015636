"""What ``relo secret`` and ``relo stripe`` do, print and exit with: 1 when an event was refused."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import getpass
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from relo_ingest._fast import ulid
from relo_ingest.clickhouse.client import connected
from relo_ingest.errors import ReloError
from relo_ingest.registry import apply, stripe_secrets
from relo_ingest.registry.model import BEGINNING, END
from relo_ingest.registry.secrets import keyring
from relo_ingest.settings import Settings
from relo_ingest.stripe_tools import endpoint
from relo_ingest.stripe_tools import reconcile as reconciling
from relo_ingest.stripe_tools import replay as replaying
from relo_ingest.stripe_tools.api import Api
from relo_ingest.stripe_tools.courier import Courier, address_of, signing_client
from relo_ingest.stripe_tools.samples import Story

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

PROGRESS_EVERY = 1_000
LONGEST_SECRET = 4_096


class NotGiven(ReloError):
    """There is no secret, or no file, to read."""


def say(line: str) -> None:
    print(line, flush=True)


# relo secret


def add_secret(settings: Settings, arguments: argparse.Namespace) -> int:
    secret = _read_secret(arguments.from_env)
    keys = keyring(settings, create=True)
    with connected(settings) as clickhouse:
        todo = stripe_secrets.add(
            apply.current(clickhouse),
            keys,
            arguments.client,
            secret,
            arguments.mode,
            arguments.valid_from or BEGINNING,
            arguments.valid_to or END,
        )
        _write(clickhouse, todo)
    return 0


def list_secrets(settings: Settings, arguments: argparse.Namespace) -> int:
    now = dt.datetime.now(dt.UTC)
    with connected(settings) as clickhouse:
        found = stripe_secrets.listed(apply.current(clickhouse), arguments.client)
    if not found:
        say("no secrets; `relo secret add` puts one into force")
        return 0
    say(stripe_secrets.HEADING)
    for secret in found:
        say(secret.line(now))
    return 0


def retire_secret(settings: Settings, arguments: argparse.Namespace) -> int:
    with connected(settings) as clickhouse:
        _write(
            clickhouse, stripe_secrets.retire(apply.current(clickhouse), arguments.client, arguments.name, arguments.at)
        )
        gaps = list(stripe_secrets.gaps(apply.current(clickhouse), arguments.client, arguments.at))
    for mode in gaps:
        say(f"! client {arguments.client} then has no secret for {mode} events: their webhooks will be answered 401")
    return 0


def _write(clickhouse: ClickHouseClient, todo: list[apply.Change]) -> None:
    for change in todo:
        say("\n".join(change.lines()))
    if todo:
        say(f"written as version {apply.write(clickhouse, todo)}; running servers see it within 5 s")
    else:
        say("nothing to change")


def _read_secret(variable: str | None) -> str:
    """From the environment or stdin: arguments stand in process lists and shell histories."""
    if variable is not None:
        found = os.environ.get(variable, "")
        if not found.strip():
            raise NotGiven(f"the environment has no {variable}")
    elif sys.stdin.isatty():
        found = getpass.getpass("signing secret (whsec_…): ")
    else:
        found = sys.stdin.buffer.read(LONGEST_SECRET).decode("utf-8", "replace")
    if not found.strip():
        raise NotGiven("no secret on stdin; pipe it in, or name an environment variable with --from-env")
    return found.strip()


# relo stripe


def replay(settings: Settings, arguments: argparse.Namespace) -> int:
    courier = _courier(settings, arguments)
    with _opened(arguments.file) as file, _summary(courier):
        for number, event in enumerate(replaying.events(file, arguments.file), 1):
            courier.deliver(event)
            if number % PROGRESS_EVERY == 0:
                say(f"{number} sent …")
    return _code(courier)


def trigger(settings: Settings, arguments: argparse.Namespace) -> int:
    story = Story(
        ulid.new(), int(time.time()), arguments.api_version, livemode=arguments.live, click_id=arguments.click_id
    )
    events = list(story.all()) if arguments.all else [story.one(arguments.type)]
    courier = _courier(settings, arguments)
    with _summary(courier):
        for number, event in enumerate(events, 1):
            result = courier.deliver(msgspec.json.encode(event))
            say(f"[{number}/{len(events)}] {event['type']:<40}  {event['id']}  {result}")
    return _code(courier)


def setup(settings: Settings, arguments: argparse.Namespace) -> int:
    for line in endpoint.set_up(settings, arguments.client, arguments.url, Api()):
        say(line)
    return 0


def reconcile(settings: Settings, arguments: argparse.Namespace) -> int:
    courier = reconciling.reconcile(
        settings, arguments.client, arguments.since, arguments.url, Api(), say, dry_run=arguments.dry_run
    )
    if courier.summary.sent:
        _print_summary(courier)
    return _code(courier)


def _courier(settings: Settings, arguments: argparse.Namespace) -> Courier:
    url = address_of(settings, arguments.url)
    return Courier(url, signing_client(settings, arguments.client), say)


@contextlib.contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        with open(name, "rb") as file:
            yield file
    except OSError as error:
        raise NotGiven(f"{name}: cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def _summary(courier: Courier) -> Iterator[None]:
    """Printed in any case: also what was done before something broke."""
    try:
        yield
    finally:
        _print_summary(courier)


def _print_summary(courier: Courier) -> None:
    for line in courier.summary.lines():
        say(line)


def _code(courier: Courier) -> int:
    return 1 if courier.summary.refused else 0


SECRET = {"add": add_secret, "list": list_secrets, "retire": retire_secret}
STRIPE = {"replay": replay, "trigger": trigger, "setup": setup, "reconcile": reconcile}
