"""``relo demo``: a believable story, told to the running service through its own doors.

Partners share links, visitors click and browse over several days, some pay through Stripe in two currencies. Every
sale is chosen so that its commission can be checked by hand. What is printed at the end is read from ClickHouse.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import urllib3

from relo_ingest._fast import digest, signature, ulid
from relo_ingest.clickhouse.client import connect
from relo_ingest.errors import ReloError
from relo_ingest.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SECRET = b"whsec_demo_for_local_use_only"
CLIENT_ID, SLUG = 1, "demo"
HOUR, DAY = 3_600_000, 86_400_000
PATIENCE_S = 30.0
BROWSERS = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
)

REPORT = """
SELECT p.ref AS partner, clicks.n AS clicks, sales.n AS sales, sales.currency AS currency,
       sales.revenue AS revenue, sales.commission AS commission
FROM partners AS p
LEFT JOIN
(
    SELECT partner_ref, count() AS n FROM clicks FINAL
    WHERE client_id = {client:UInt32} AND click_id IN {clicks:Array(String)}
    GROUP BY partner_ref
) AS clicks ON clicks.partner_ref = p.ref
LEFT JOIN
(
    SELECT a.partner_ref AS partner_ref, c.currency AS currency, count() AS n, sum(c.revenue) AS revenue,
           sum(l.amount) AS commission
    FROM attributions AS a
    INNER JOIN conversions AS c ON c.client_id = a.client_id AND c.conversion_key = a.conversion_key
    LEFT JOIN ledger AS l ON l.client_id = a.client_id AND l.conversion_key = a.conversion_key
    WHERE a.client_id = {client:UInt32} AND a.conversion_key IN {keys:Array(String)}
    GROUP BY partner_ref, currency
) AS sales ON sales.partner_ref = p.ref
WHERE p.client_id = {client:UInt32}
ORDER BY partner, currency
"""

SALES = """
SELECT c.order_id AS sale, c.revenue AS revenue, c.currency AS currency, a.partner_ref AS partner, a.method AS method,
       l.rule AS rule, l.amount AS commission
FROM conversions AS c
INNER JOIN attributions AS a ON a.client_id = c.client_id AND a.conversion_key = c.conversion_key
LEFT JOIN ledger AS l ON l.client_id = c.client_id AND l.conversion_key = c.conversion_key
WHERE c.client_id = {client:UInt32} AND c.conversion_key IN {keys:Array(String)}
ORDER BY c.event_time
"""

SETTLED = """
SELECT (SELECT count() FROM attributions WHERE client_id = {client:UInt32} AND conversion_key IN {keys:Array(String)}),
       (SELECT count() FROM ledger WHERE client_id = {client:UInt32} AND conversion_key IN {keys:Array(String)})
"""

WHY = """
SELECT method, partner_ref, click_id, toJSONString(reason)
FROM attributions
WHERE client_id = {client:UInt32} AND conversion_key = {key:String}
"""


class DemoFailed(ReloError):
    """The service did not do what the story needs."""


class Sale(msgspec.Struct):
    """A payment of the story; ``click_in`` says where its click id is, if anywhere."""

    amount: int
    currency: str
    click_in: str = ""
    email: str = ""
    live: bool = True
    delivered: int = 1


class Visitor(msgspec.Struct):
    """Somebody who shops: links opened (partner, hours before the sale), pages seen, a payment perhaps."""

    name: str
    days_ago: int
    clicks: list[tuple[str, int]]
    pages: list[str]
    sale: Sale | None = None
    note: str = ""


STORY = (
    Visitor("Marta", 4, [("ana", 3)], ["page", "view_product", "add_to_cart", "begin_checkout"],
            Sale(100_00, "usd", "metadata", delivered=2), "the webhook comes twice and counts once"),
    Visitor("Jorge", 4, [("luis", 2)], ["page", "view_product", "begin_checkout"],
            Sale(49_90, "usd", "client_reference_id"), "15 % of 49.90 is 7.485: half-even, 7.48"),
    Visitor("Chiara", 3, [("ana", 30)], ["page", "identify", "add_to_cart"],
            Sale(80_00, "eur", email="chiara@example.com"), "no click id on the payment: found by her device"),
    Visitor("Sven", 2, [("ana", 40), ("luis", 5)], ["page", "identify", "view_product", "add_to_cart"],
            Sale(59_00, "eur", email="sven@example.com"), "two partners: the last click wins"),
    Visitor("Nora", 2, [], ["page", "view_product"], Sale(30_00, "usd"), "came by herself: nobody earns"),
    Visitor("Test card", 1, [("ana", 1)], ["page"], Sale(999_00, "usd", "metadata", live=False), "test mode: no sale"),
    Visitor("Ines", 1, [("ana", 2)], ["page", "view_product"]),
    Visitor("Tom", 1, [("luis", 2)], ["page", "view_product", "add_to_cart"]),
    Visitor("Yuki", 0, [("luis", 6)], ["page", "view_product", "add_to_cart", "begin_checkout"],
            Sale(20_00, "usd", "metadata")),
)  # fmt: skip


class Storyteller:
    """Sends the story; remembers the clicks and conversions that came of it."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._http = urllib3.PoolManager(timeout=10.0, retries=False)
        self._now = time.time_ns() // 1_000_000
        self.clicks: list[str] = []
        self.keys: list[str] = []
        self.paid_keys: list[str] = []

    def tell(self, index: int, visitor: Visitor) -> str:
        """One visitor's story; returns the conversion key of the sale, or ""."""
        sold_at = self._now - visitor.days_ago * DAY - (len(STORY) - index) * 60_000
        device_id, browser = ulid.new(), BROWSERS[index % len(BROWSERS)]
        click_id = ""
        for partner, hours_before in visitor.clicks:
            clicked_at = sold_at - hours_before * HOUR
            click_id = self._click(partner, clicked_at, browser)
            self._pages(visitor, device_id, click_id, clicked_at, browser)
        if not visitor.clicks:
            self._pages(visitor, device_id, ulid.new_at(sold_at), sold_at - HOUR, browser)
        return self._pay(visitor.sale, sold_at, click_id) if visitor.sale else ""

    def _address(self, sale: Sale) -> str | None:
        """An address of this run alone, or the devices of an earlier run would be known by it too."""
        return sale.email.replace("@", f"+{self._now}@") or None

    def _request(self, method: str, path: str, expected: int, **options: Any) -> urllib3.BaseHTTPResponse:
        try:
            response = self._http.request(method, self._base_url + path, redirect=False, **options)
        except urllib3.exceptions.HTTPError:
            raise DemoFailed(f"nothing answers at {self._base_url}; start it with `relo up`") from None
        if response.status != expected:
            raise DemoFailed(
                f"{method} {path.partition('?')[0]} was answered {response.status}: {response.data.decode()[:200]}"
            )
        return response

    def _click(self, partner: str, at: int, browser: str) -> str:
        query = urlencode({"ref": partner, "s1": "newsletter", "ts": at})
        signed = signature.sign(query.encode(), SECRET, int(time.time()))
        response = self._request("GET", f"/r?{query}", 302, headers={"Relo-Signature": signed, "User-Agent": browser})
        click_id = response.headers["Location"].rpartition("click_id=")[2]
        self.clicks.append(click_id)
        return click_id

    def _pages(self, visitor: Visitor, device_id: str, click_id: str, since: int, browser: str) -> None:
        beacons = []
        for step, name in enumerate(visitor.pages):
            beacon = {
                "client_id": CLIENT_ID, "event": name, "event_id": ulid.new_at(since + step * 45_000), "cid": click_id,
                "did": device_id, "ts": since + step * 45_000, "url": f"{self._base_url}/demo?step={step}",
                "title": "Demo shop", "lang": "en", "screen": "1440x900",
            }  # fmt: skip
            if name == "identify" and visitor.sale:
                beacon["email_hash"] = digest.email_hash(self._address(visitor.sale) or "")
            if name == "add_to_cart":
                beacon |= {"value": "12.50", "currency": "USD", "products": [{"id": "coffee", "quantity": 1}]}
            beacons.append(beacon)
        self._request("POST", "/e", 204, body=msgspec.json.encode(beacons),
                      headers={"Content-Type": "application/json", "User-Agent": browser})  # fmt: skip

    def _pay(self, sale: Sale, at: int, click_id: str) -> str:
        unique = ulid.new()
        intent = f"pi_demo_{unique}"
        session = {
            "id": f"cs_demo_{unique}", "object": "checkout.session", "mode": "payment", "payment_status": "paid",
            "amount_total": sale.amount, "currency": sale.currency, "payment_intent": intent, "invoice": None,
            "customer": f"cus_demo_{unique}", "customer_details": {"email": self._address(sale)},
            "client_reference_id": click_id if sale.click_in == "client_reference_id" else None,
            "metadata": {"relo_click_id": click_id} if sale.click_in == "metadata" else {},
        }  # fmt: skip
        body = msgspec.json.encode(
            {
                "id": f"evt_demo_{unique}", "object": "event", "api_version": "2025-03-31.basil", "created": at // 1000,
                "livemode": sale.live, "type": "checkout.session.completed", "data": {"object": session},
            }
        )  # fmt: skip
        for _ in range(sale.delivered):
            signed = signature.sign(body, SECRET, int(time.time()))
            self._request("POST", f"/postback/stripe/{SLUG}", 200, body=body,
                          headers={"Content-Type": "application/json", "Stripe-Signature": signed})  # fmt: skip
        if sale.live:
            self.keys.append(intent)
        return intent


def tell(settings: Settings) -> None:
    """Send the story, wait until it is settled, print what ClickHouse says of it. Raises ReloError."""
    client = connect(settings)
    try:
        storyteller = Storyteller(f"http://{settings.ingest.host}:{settings.ingest.port}")
        told = {}
        for index, visitor in enumerate(STORY):
            told[visitor.name] = storyteller.tell(index, visitor)
            print(f"[{index + 1}/{len(STORY)}] {''.join(_sentence(visitor))}", flush=True)
        parameters = {"client": CLIENT_ID, "keys": storyteller.keys, "clicks": storyteller.clicks}
        _wait_until_settled(client, parameters)
        print("\nEach sale of this story:")
        _print_table(client, SALES, parameters)
        print("\nPartners:")
        _print_table(client, REPORT, parameters)
        print("\nWhy does Sven's sale belong to Luis?")
        for line in _why(client, told["Sven"]):
            print(f"  {line}")
    finally:
        client.close()


def _sentence(visitor: Visitor) -> Iterator[str]:
    yield f"{visitor.name}, {visitor.days_ago} days ago: " if visitor.days_ago else f"{visitor.name}, today: "
    yield ", then ".join(f"clicks {partner}'s link" for partner, _ in visitor.clicks) or "comes without a link"
    yield f", sees {len(visitor.pages)} pages"
    if visitor.sale:
        yield f", pays {Decimal(visitor.sale.amount) / 100:.2f} {visitor.sale.currency.upper()}"
    if visitor.note:
        yield f" ({visitor.note})"


def _wait_until_settled(client: Client, parameters: dict[str, Any]) -> None:
    """All sales are attributed, and all but the one nobody earns on are in the ledger."""
    sales = len(parameters["keys"])
    until = time.monotonic() + PATIENCE_S
    print("waiting for the worker …", flush=True)
    while True:
        attributed, entries = client.query(SETTLED, parameters=parameters).result_rows[0]
        if attributed == sales and entries == sales - 1:
            return
        if time.monotonic() > until:
            raise DemoFailed(
                f"after {PATIENCE_S:.0f} s {attributed} of {sales} sales are attributed and {entries} of {sales - 1} "
                "commissions are in the ledger; is `relo worker` running?"
            )
        time.sleep(0.25)


def _print_table(client: Client, sql: str, parameters: dict[str, Any]) -> None:
    answer = client.raw_query(
        sql,
        parameters=parameters,
        fmt="PrettyCompactMonoBlock",
        settings={"output_format_pretty_row_numbers": 0, "output_format_pretty_color": 0},
    )
    print(answer.decode(), end="")


def _why(client: Client, key: str) -> Iterator[str]:
    rows = client.query(WHY, parameters={"client": CLIENT_ID, "key": key}).result_rows
    for method, partner, click_id, reason in rows:
        told = msgspec.json.decode(reason)
        yield f"method: {method}; partner: {partner}; click: {click_id} at {told['clicked_at']}"
        yield f"evidence: {told['evidence']} (device {told['device_id']})"
        yield f"candidates: {told['candidates']}"
