"""The whole path on real processes, with a Redis and without: a click, a visit, a payment, a commission."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from decimal import Decimal

import httpx
import pytest

from relo_ingest._fast import digest, ulid
from support.processes import Product, redis_server
from support.stripe_events import checkout_completed, signed

SEED_QUERY = """SELECT event_id, event_name, event_type, revenue, order_id FROM events
WHERE media_source = 'stripe' ORDER BY event_time DESC LIMIT 10;"""

ATTRIBUTION = (
    "SELECT partner_ref, method, click_id FROM attributions WHERE client_id = 1 AND conversion_key = {k:String}"
)
LEDGER = (
    "SELECT partner_ref, kind, amount, currency, rule FROM ledger WHERE client_id = 1 AND conversion_key = {k:String}"
)


@pytest.fixture(scope="module", params=["with Redis", "without Redis"])
def product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    directory = tmp_path_factory.mktemp("story")
    if request.param == "without Redis":
        running = Product(directory)
        yield running
        assert running.stop() == 0
        return
    with redis_server(directory / "redis") as url:
        running = Product(directory, RELO_REDIS_URL=url)
        yield running
        assert running.stop() == 0


def click(product: Product, ref: str) -> str:
    return product.http.get(f"/r?ref={ref}").headers["location"].rpartition("click_id=")[2]


def pay(product: Product, **session: object) -> str:
    """A payment; its conversion key."""
    event = checkout_completed(**session)
    assert product.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    key: str = event["data"]["object"]["payment_intent"]
    return key


def test_a_beacon_can_be_queried(product: Product) -> None:
    event_id = ulid.new()
    curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json"]
    body = f'{{"client_id":1,"event_id":"{event_id}"}}'
    done = subprocess.run([*curl, "-d", body, f"{product.base_url}/e"], capture_output=True, text=True, timeout=150)
    assert done.stdout == "204", done.stderr
    product.eventually_rows("SELECT 1 FROM events WHERE event_id = {id:String}", id=event_id)


def test_a_payment_that_names_its_click_is_in_the_ledger(product: Product) -> None:
    click_id = click(product, "ana")
    key = pay(product, amount_total=12_345, metadata={"relo_click_id": click_id})
    assert product.eventually_rows(LEDGER, k=key) == [("ana", "accrual", Decimal("12.34"), "USD", "ana-every-payment")]
    assert product.rows(ATTRIBUTION, k=key) == [("ana", "click_id", click_id)]


def test_a_payment_without_a_click_is_found_by_the_buyers_device(product: Product) -> None:
    first, last, device_id = click(product, "ana"), click(product, "luis"), ulid.new()
    email = f"{ulid.new()}@example.com"
    for click_id in (first, last):
        product.http.post("/e", json={"client_id": 1, "cid": click_id, "did": device_id}).raise_for_status()
    identify = {"client_id": 1, "event": "identify", "did": device_id, "email_hash": digest.email_hash(email)}
    product.http.post("/e", json=identify).raise_for_status()
    key = pay(product, customer_details={"email": email.upper()}, currency="jpy", amount_total=999)
    # 15 % of 999 yen is 149.85; a yen has no cents.
    assert product.eventually_rows(LEDGER, k=key) == [("luis", "accrual", Decimal(150), "JPY", "luis-first")]
    assert product.rows(ATTRIBUTION, k=key) == [("luis", "device", last)]


def test_a_payment_delivered_often_counts_once(product: Product) -> None:
    event = checkout_completed(metadata={"relo_click_id": click(product, "luis")})
    for _ in range(5):
        assert product.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    key = event["data"]["object"]["payment_intent"]
    assert product.eventually_rows(LEDGER, k=key) == [("luis", "accrual", Decimal(15), "USD", "luis-first")]
    assert product.rows("SELECT revenue FROM conversions WHERE conversion_key = {k:String}", k=key) == [(Decimal(100),)]


def test_a_test_payment_earns_nothing(product: Product) -> None:
    test_key = pay(product, metadata={"relo_click_id": click(product, "ana")}, livemode=False)
    live_key = pay(product, metadata={"relo_click_id": click(product, "ana")})
    product.eventually_rows(LEDGER, k=live_key)
    assert product.rows("SELECT is_test FROM conversions WHERE conversion_key = {k:String}", k=test_key) == [(True,)]
    assert product.rows(ATTRIBUTION, k=test_key) == []


def test_the_demo_tells_its_story_and_the_sums_are_right(product: Product) -> None:
    done = product.relo("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in done.stdout.splitlines() if line.startswith("│")]
    assert [row for row in cells if row[0] in ("ana", "luis")] == [
        ["ana", "8", "1", "EUR", "80.00", "0.00", "8.00"],
        ["ana", "8", "4", "USD", "218.00", "0.00", "21.80"],
        ["luis", "5", "1", "EUR", "59.00", "0.00", "8.85"],
        ["luis", "5", "4", "USD", "179.90", "25.00", "23.23"],
    ]
    sales = {row[0]: row[2:] for row in cells if len(row) == 8}
    click = "the payment names the click"
    assert sales["Marta"] == ["click_id", "ana", click, "10.00 USD", "pending", ""]
    assert sales["Chiara"][:2] == ["device", "ana"]
    assert sales["Chiara"][3:] == ["8.00 EUR", "pending", ""]
    assert sales["Paula"] == [
        "promo_code",
        "luis",
        "the promotion code LUIS10 is the partner's",
        "6.00 USD",
        "pending",
        "",
    ]
    assert sales["Ken"] == ["click_id", "ana", click, "2.90 USD", "approved", ""]
    assert sales["Ken, renewal"][:2] == ["customer", "ana"]
    assert sales["Ken, renewal"][3:5] == ["2.90 USD", "pending"]
    assert sales["Ravi"] == ["click_id", "ana", click, "6.00 USD", "pending", "fast_conversion"]
    assert sales["Nora"][:2] == ["none", ""]
    lines = [row[1:4] for row in cells if row[0] == "Olga" and len(row) == 7]
    assert lines == [["luis", "accrual", "10.50 USD"], ["luis", "reversal", "-3.75 USD"]]
    assert "ana lost with the click" in done.stdout
    assert "15 % of 59.00 EUR is exactly 8.85 EUR." in done.stdout


def test_the_query_of_the_integration_guide_works_as_written(product: Product) -> None:
    key = pay(product)
    product.eventually_rows("SELECT 1 FROM conversions WHERE conversion_key = {k:String}", k=key)
    answer = httpx.post(f"http://127.0.0.1:{product.clickhouse_port}/", content=SEED_QUERY)
    assert answer.status_code == 200, answer.text
    rows = [line.split("\t") for line in answer.text.splitlines()]
    assert 1 <= len(rows) <= 10
    assert {len(row) for row in rows} == {5}
    assert rows[0][1:3] == ["purchase", "purchase"]
