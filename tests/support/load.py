"""Visitors, browsers and Stripe, all at once: a load whose every answer is noted in a ledger."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec

from relo_ingest._fast import digest, ulid
from support.ledger import Answer, Ledger, Payment
from support.stripe_events import checkout_completed, signed

MINOR_UNITS = {"usd": 100, "eur": 100, "mxn": 100, "jpy": 1, "kwd": 1000}
"""Of one whole unit, as Stripe sends it: https://docs.stripe.com/currencies#zero-decimal"""

AT_ONCE = 100
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
"""Beacons of what calls itself a program are bots, which the traffic leaves out."""
ANSWER_WITHIN_S = 15
LATER_S = 0.05
"""Pause of a sender that was refused or cut off."""


class Request(msgspec.Struct):
    """``keys``: the events in it, in order, as the ledger knows them."""

    method: str
    path: str
    keys: list[str]
    options: dict[str, Any] = {}
    payment: Payment | None = None
    may_repeat: bool = True
    """Whether sending it again means the same event. A link opened again is another click."""


def beacon(**fields: Any) -> Request:
    event = {"client_id": 1, "event_id": ulid.new(), "did": ulid.new(), "url": "https://shop.test/"} | fields
    return Request("POST", "/e", [event["event_id"]], {"json": event})


def beacons(count: int, **fields: Any) -> Request:
    events = [beacon(**fields).options["json"] for _ in range(count)]
    return Request("POST", "/e", [e["event_id"] for e in events], {"json": events})


def identify() -> Request:
    """A visitor says who they are: the pair of e-mail and device is kept in the identity cache."""
    return beacon(event="identify", email_hash=digest.email_hash(f"{ulid.new()}@example.com"))


def click() -> Request:
    key = ulid.new()
    return Request("GET", f"/r?ref=ana&s1={key}", [key], may_repeat=False)


def payment(**session: Any) -> Request:
    currency = random.choice(list(MINOR_UNITS))
    amount = random.randrange(1, 2_000_000)
    event = checkout_completed(amount_total=amount, currency=currency, **session)
    made = Payment(event["data"]["object"]["payment_intent"], currency.upper(), Decimal(amount) / MINOR_UNITS[currency])
    options = signed(event)
    options["data"] = options.pop("content")
    return Request("POST", "/postback/stripe/demo", [event["id"]], options, made)


Mix = Mapping[Callable[[], Request], int]
"""What is sent, and how often in proportion."""

EVERYTHING: Mix = {beacon: 5, lambda: beacons(random.randrange(2, 20)): 1, click: 1, payment: 3}


class Load:
    """``connections`` senders, each one request after the other, until the ``with`` block ends.

    Some requests that were refused or cut off are sent again, as browsers and Stripe do; ``repeat=False``: none is.
    """

    def __init__(
        self,
        base_urls: str | Sequence[str],
        ledger: Ledger,
        mix: Mix = EVERYTHING,
        *,
        connections: int = 8,
        pause_s: float = 0.004,
        repeat: bool = True,
    ) -> None:
        self._base_urls = [base_urls] if isinstance(base_urls, str) else base_urls
        self.ledger = ledger
        self.statuses: Counter[int] = Counter()
        """Answers by HTTP status; 0: none came."""
        self.last_headers: dict[int, Mapping[str, str]] = {}
        """Of the last answer with each status, names in lower case."""
        self._mix = mix
        self._connections = connections
        self._pause_s = pause_s
        self._repeat = repeat
        self._again: deque[Request] = deque(maxlen=2000)
        self._stopping = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join(2 * ANSWER_WITHIN_S)
        assert not self._thread.is_alive(), "the load does not end"
        if self._error is not None:
            raise self._error

    def go_on(self, events: int, timeout_s: float = 60) -> None:
        """Return when this many more events were acknowledged."""
        enough = self.ledger.acknowledged + events
        until = time.monotonic() + timeout_s
        while self._error is None and self.ledger.acknowledged < enough:
            assert time.monotonic() < until, f"{events} more events not within {timeout_s} s; {dict(self.statuses)}"
            time.sleep(0.02)

    def go_on_for(self, seconds: float) -> None:
        """Let it run, for loads that are not answered."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as error:  # the test's thread raises it
            self._error = error

    async def _send_all(self) -> None:
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=BROWSER) as session:
            # Or a GET whose connection broke is sent once more unseen, and one click becomes two.
            session._retry_connection = False
            await asyncio.gather(*(self._send(session, n) for n in range(self._connections)))

    async def _send(self, session: aiohttp.ClientSession, number: int) -> None:
        base_url = self._base_urls[number % len(self._base_urls)]
        kinds, weights = list(self._mix), list(self._mix.values())
        while not self._stopping:
            request = self._again.popleft() if self._again else random.choices(kinds, weights)[0]()
            refused = await self._send_one(session, base_url, request)
            if refused and self._repeat and request.may_repeat and random.random() < 0.5:
                self._again.append(request)
            await asyncio.sleep(LATER_S if refused else self._pause_s)

    async def _send_one(self, session: aiohttp.ClientSession, base_url: str, request: Request) -> bool:
        """Send it and note the answer; whether it may be worth another try."""
        status, answers, click_id = 0, [Answer.UNANSWERED] * len(request.keys), ""
        try:
            async with session.request(
                request.method, base_url + request.path, allow_redirects=False, **request.options
            ) as response:
                body = await response.read()
                status = response.status
                self.last_headers[status] = {k.lower(): v for k, v in response.headers.items()}
                click_id = parse_qs(urlsplit(response.headers.get("Location", "")).query).get("click_id", [""])[0]
                answers = [Answer.ACKNOWLEDGED if status < 400 else Answer.REFUSED] * len(request.keys)
                if status == 200 and len(request.keys) > 1:  # a part of an array was refused
                    for refused in msgspec.json.decode(body)["refused"]:
                        answers[refused["index"]] = Answer.REFUSED
        except aiohttp.ClientConnectorError:
            answers = [Answer.REFUSED] * len(request.keys)  # it was never sent
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        self.statuses[status] += 1
        for key, answer in zip(request.keys, answers, strict=True):
            self.ledger.note(key, answer, payment=request.payment, click_id=click_id)
        return Answer.ACKNOWLEDGED not in answers


def send_at_once(base_urls: Sequence[str], request: Request, times: int, ledger: Ledger) -> Counter[int]:
    """The same request many times, AT_ONCE at a time, over several servers; the answers by status."""
    load = Load(base_urls, ledger)

    async def send() -> None:
        connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=True)  # each request may meet another process
        async with aiohttp.ClientSession(connector=connector, headers=BROWSER) as session:
            session._retry_connection = False
            await asyncio.gather(
                *(load._send_one(session, base_urls[n % len(base_urls)], request) for n in range(times))
            )

    asyncio.run(send())
    return load.statuses
