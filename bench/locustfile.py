"""Visitors of a client's shop, for locust: they come through a partner's link, browse, and sometimes buy.

The mix of requests is that of a real client: 80 % beacons, 15 % links, 4 % batches, 1 % signed webhooks. It follows
from what a visit is: one click; after each page the visitor leaves with a probability of 15/80; in 4 of 15 visits the
browser was offline for a while and sends a batch; 1 visit of 15 buys. Every answer is checked, and when the test stops,
the books are compared with ClickHouse (``traffic/books``), whose address comes from the settings, as relo's own does.
Run it in one process: the books are kept there.
"""

from __future__ import annotations

import random
from argparse import ArgumentParser
from typing import Any

from locust import FastHttpUser, events, task
from locust.env import Environment

from bench.traffic import requests
from bench.traffic.books import Books, reconcile
from relo_ingest._fast import ulid
from relo_ingest.clickhouse.client import connected
from relo_ingest.settings import load

LEAVES, WAS_OFFLINE, BUYS = 15 / 80, 4 / 15, 1 / 15
BATCH = (2, 40)
"""Events that wait in the pixel while a browser is offline: from, to."""
DELIVERED_TWICE = 0.2
"""Of the webhooks: Stripe sends again what it is not sure of."""
BROWSERS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
)

books = Books("")


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--page-time", type=float, default=0.2, help="mean seconds a visitor stays on a page (default 0.2: in a hurry)"
    )


@events.test_start.add_listener
def open_books(**_: object) -> None:
    global books  # noqa: PLW0603 one per test; the web UI starts several
    books = Books(ulid.new())


@events.test_stop.add_listener
def close_books(environment: Environment, **_: object) -> None:
    print(f"\n{books}; comparing with ClickHouse …", flush=True)
    with connected(load()) as client:
        complaints = reconcile(books, client)
    for complaint in complaints:
        print(f"  {complaint}")
    if complaints or not books.sales:
        environment.process_exit_code = 1
        print(f"the books do not agree: {len(complaints)} complaints" if complaints else "nobody bought: run it longer")
        return
    owed: dict[tuple[str, str], list[Any]] = {}
    for sale in books.sales.values():
        owed.setdefault((sale.partner, sale.currency), []).append(sale.commission)
    for (partner, currency), commissions in sorted(owed.items()):
        print(f"  {partner} earns {sum(commissions):,} {currency} from {len(commissions)} payments")
    print("everything acknowledged is in ClickHouse exactly once, and every commission is right\n", flush=True)


class Visitor(FastHttpUser):
    """One after the other: each visit is somebody else's."""

    def wait_time(self) -> float:
        return random.expovariate(1 / self.environment.parsed_options.page_time)

    @task
    def visit(self) -> None:
        self._headers = {
            "User-Agent": random.choice(BROWSERS),
            "X-Forwarded-For": ".".join(str(random.randrange(1, 255)) for _ in range(4)),
        }
        device_id, partner = ulid.new(), random.choice(requests.PARTNERS)
        click_id = self._click(partner)
        if not click_id:
            return
        while True:
            self._beacon(device_id, click_id)
            self.wait()
            if random.random() < LEAVES:
                break
        if random.random() < WAS_OFFLINE:
            self._batch(device_id, click_id)
        if random.random() < BUYS:
            self._buy(partner, click_id)

    def _click(self, partner: str) -> str:
        """The click id; "" when the link did not work."""
        key = ulid.new()
        books.note_sent([key])
        path = requests.link(books.run, partner, key)
        with self.client.get(
            path, name="/r", headers=self._headers, allow_redirects=False, catch_response=True
        ) as response:
            click_id = str((response.headers or {}).get("Location", "")).rpartition("click_id=")[2]
            if response.status_code != 302 or not ulid.is_valid(click_id):
                response.failure(f"expected 302 with a click id, got {response.status_code}")
                return ""
            if click_id not in str((response.headers or {}).get("Set-Cookie", "")):
                response.failure("the click id is not in the cookie")
            books.acknowledged.add(key)
            books.clicks[key] = (click_id, partner)
        return click_id

    def _beacon(self, device_id: str, click_id: str) -> None:
        event = requests.page_view(books.run, device_id, click_id)
        self._post("/e", "/e", [event["event_id"]], 204, self._headers, json=event)

    def _batch(self, device_id: str, click_id: str) -> None:
        found = [requests.page_view(books.run, device_id, click_id) for _ in range(random.randint(*BATCH))]
        self._post("/e", "/e (batch)", [event["event_id"] for event in found], 204, self._headers, json=found)

    def _buy(self, partner: str, click_id: str) -> None:
        webhook = requests.purchase(books.run, partner, click_id)
        for _ in range(2 if random.random() < DELIVERED_TWICE else 1):
            headers = {"Stripe-Signature": requests.sign(webhook.body), "Content-Type": "application/json"}
            path = f"/postback/stripe/{requests.SLUG}"
            if self._post(path, path, [webhook.event_id], 200, headers, data=webhook.body):
                books.sales[webhook.event_id] = webhook.sale

    def _post(self, path: str, name: str, keys: list[str], expected: int, headers: dict[str, str], **body: Any) -> bool:
        """Whether it was answered as expected."""
        books.note_sent(keys)
        with self.client.post(path, name=name, headers=headers, catch_response=True, **body) as response:
            if response.status_code != expected:
                response.failure(f"expected {expected}, got {response.status_code}")
                return False
            books.acknowledged.update(keys)
            return True
