"""Takes events to the ingest the way Stripe does: signed with the client's own secret, through the public door.

Safe to repeat: a row is identified by its event id, so an event that comes again replaces itself.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec
import urllib3

from relo_ingest._fast import signature
from relo_ingest.clickhouse.client import connected
from relo_ingest.errors import ConfigError, ReloError
from relo_ingest.registry import snapshot
from relo_ingest.registry.refresh import SELECT_ROWS
from relo_ingest.registry.secrets import keyring
from relo_ingest.registry.snapshot import Client
from relo_ingest.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

TRIES = 10
"""For one event, while the ingest asks for patience: with its waits of 1 to 5 s, half a minute."""
LONGEST_WAIT_S = 30.0
BUSY = (429, 503)

STORED = "stored"
IGNORED = "ignored"


class NothingAnswers(ReloError):
    """The ingest is not there, or went away."""


class StillBusy(ReloError):
    """The ingest takes nothing for too long."""


class NoSuchClient(ReloError):
    """No active client has this slug, or it is not clear which one is meant."""


class Envelope(msgspec.Struct):
    """What is looked at of an event here; the ingest reads the rest."""

    id: str
    type: str
    created: int
    livemode: bool = False
    object: str = "event"


class _Answer(msgspec.Struct):
    stored: bool


class _Refusal(msgspec.Struct):
    code: str


class _Refused(msgspec.Struct):
    error: _Refusal


class Summary:
    """What became of the events that were sent."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()

    @property
    def sent(self) -> int:
        return sum(self.results.values())

    @property
    def refused(self) -> dict[str, int]:
        return {reason: n for reason, n in sorted(self.results.items()) if reason not in (STORED, IGNORED)}

    def lines(self) -> Iterator[str]:
        refused, stored, ignored = self.refused, self.results[STORED], self.results[IGNORED]
        yield (
            f"{self.sent} sent: {stored} stored, {ignored} ignored (nothing to store in them), "
            f"{sum(refused.values())} refused"
        )
        for reason, n in refused.items():
            yield f"  refused {n}: {reason}{HINTS.get(reason, '')}"


HINTS = {
    "bad_signature": "; the running ingest has other secrets: compare `relo secret list`, wait 5 s after a change",
    "unknown_client": "; the running ingest does not know the client: is it on this registry?",
    "no_live_secret": "; put one into force with `relo secret add --live`",
    "no_test_secret": "; put one into force with `relo secret add --test`",
    "not_an_event": "; expected the event objects of Stripe's API, with id, type, created and data",
}


class Courier:
    """Posts the events of one client. ``say`` hears of waits."""

    def __init__(
        self, url: str, client: Client, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.summary = Summary()
        self._base = url
        self._address = f"{url}/postback/stripe/{client.slug}"
        self._client = client
        self._say = say
        self._sleep = sleep
        self._http = urllib3.PoolManager(timeout=30.0, retries=False)
        self._met = False

    def deliver(self, body: bytes) -> str:
        """STORED, IGNORED, or the reason of the refusal; counted. Raises NothingAnswers and StillBusy."""
        result = self._deliver(body)
        self.summary.results[result] += 1
        return result

    def _deliver(self, body: bytes) -> str:
        try:
            envelope = msgspec.json.decode(body, type=Envelope)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return "not_an_event"
        if envelope.object != "event":
            return "not_an_event"
        said = ""
        for attempt in range(TRIES):
            # Signed anew for each attempt: a signature ages, and a secret may end meanwhile.
            now_s = int(time.time())
            secrets = self._client.secrets_at(now_s, envelope.livemode)
            if not secrets:
                return "no_live_secret" if envelope.livemode else "no_test_secret"
            # The last one: that of the environment comes first, and the running ingest may have another environment.
            signed = signature.sign(body, secrets[-1], now_s)
            response = self._post(body, signed)
            if response is None:
                said, wait_s = "does not answer", 1.0
            else:
                self._met = True
                if response.status not in BUSY:
                    return _result(response)
                said, wait_s = _result(response), _retry_after(response)
            if attempt < TRIES - 1:
                self._say(f"the ingest says {said}: waiting {wait_s:.0f} s")
                self._sleep(wait_s)
        raise StillBusy(
            f"the ingest at {self._base} says {said} after {TRIES} tries; run this again later: nothing counts twice"
        )

    def _post(self, body: bytes, signed: str) -> urllib3.BaseHTTPResponse | None:
        headers = {"Content-Type": "application/json", "Stripe-Signature": signed}
        try:
            return self._http.request("POST", self._address, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError:
            if self._met:
                return None
            raise NothingAnswers(
                f"nothing answers at {self._base}; start it with `relo up`, or name it with --url"
            ) from None


def signing_client(settings: Settings, slug: str) -> Client:
    """The active client of this slug, or the only one there is, with its secrets. Raises NoSuchClient."""
    with connected(settings) as clickhouse:
        return client_in(clickhouse, settings, slug)


def client_in(clickhouse: ClickHouseClient, settings: Settings, slug: str) -> Client:
    """The same, with a connection that is there already."""
    rows: list[snapshot.Row] = [(kind, key, body) for kind, key, body in clickhouse.query(SELECT_ROWS).result_rows]
    clients = snapshot.build(1, rows, keyring(settings), settings.stripe_webhook_secret).slugs
    known = ", ".join(sorted(clients)) or "none"
    if slug:
        if slug not in clients:
            raise NoSuchClient(f"there is no active client {slug}; the registry has {known}")
        return clients[slug]
    if len(clients) != 1:
        raise NoSuchClient(f"say which client with --client; the registry has {known}")
    return next(iter(clients.values()))


def address_of(settings: Settings, url: str) -> str:
    """Where the ingest is: as given, or as the settings have it. Raises ConfigError."""
    if url:
        if not re.fullmatch(r"https?://[^/\s?#@]+(/[^\s?#]*)?", url):
            raise ConfigError("--url: expected http(s)://host[:port]")
        return url.rstrip("/")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.ingest.host, settings.ingest.host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.ingest.port}"


def _result(response: urllib3.BaseHTTPResponse) -> str:
    """What an answer says; never its text, which may be anything."""
    try:
        if response.status == 200:
            return STORED if msgspec.json.decode(response.data, type=_Answer).stored else IGNORED
        code = msgspec.json.decode(response.data, type=_Refused).error.code
        if re.fullmatch(r"[a-z_]{1,40}", code):
            return code
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return f"http_{response.status}"


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), LONGEST_WAIT_S) if re.fullmatch(r"[0-9]{1,6}", text) else 1.0
