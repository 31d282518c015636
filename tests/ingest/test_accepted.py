"""What is accepted, and the row it becomes, on both servers."""

from __future__ import annotations

import gzip
import time
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from relo_ingest._fast import digest, signature, ulid
from support.processes import SECRET, Product, Server
from support.stripe_events import checkout_completed, signed


def stored(product: Product, event_id: str) -> dict[str, Any]:
    """The one row of an event, by column name."""
    sql = "SELECT * EXCEPT properties, toJSONString(properties) AS properties FROM events WHERE event_id = {id:String}"
    product.eventually_rows(sql, id=event_id)
    result = product.clickhouse.query(sql, parameters={"id": event_id})
    assert len(result.result_rows) == 1
    row = dict(zip(result.column_names, result.result_rows[0], strict=True))
    row["properties"] = msgspec.json.decode(row["properties"])
    return row


def test_every_field_of_a_beacon_reaches_its_column(server: Server, product: Product) -> None:
    event_id, click_id, device_id = ulid.new(), ulid.new(), ulid.new()
    now = int(time.time() * 1000)
    beacon = {
        "client_id": 1, "event": "purchase", "event_id": event_id, "cid": click_id, "did": device_id, "ts": now,
        "url": "https://shop.example/ñ?q=1#top", "referrer": "https://ref.example/", "title": "Café ☕", "lang": "es-MX",
        "screen": "1440x900", "user_id": 42, "email_hash": digest.email_hash(" Ann@Example.com"), "value": 19.99,
        "currency": "eur", "order_id": "A-1", "products": [{"id": "p1", "price": "19.99"}], "props": {"color": "red"},
        "campaign": "spring",
    }  # fmt: skip
    response = server.http.post("/e", json=beacon, headers={"User-Agent": "Browser/1"})
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "*"
    row = stored(product, event_id)
    assert row["event_time"].timestamp() * 1000 == pytest.approx(now, abs=1)
    expected = {
        "client_id": 1, "event_type": "purchase", "event_name": "purchase", "channel": "pixel", "media_source": "pixel",
        "is_test": False, "device_id": device_id, "click_id": click_id, "order_id": "A-1", "revenue": Decimal("19.99"),
        "currency": "EUR", "email_hash": beacon["email_hash"], "url": beacon["url"], "referrer": beacon["referrer"],
        "title": "Café ☕", "user_agent": "Browser/1", "ip": "127.0.0.0", "lang": "es-MX", "screen": "1440x900",
        "conversion_key": "",
    }  # fmt: skip
    assert {k: row[k] for k in expected} == expected
    assert row["properties"] == {
        "color": "red", "campaign": "spring", "user_id": "42", "products": [{"id": "p1", "price": "19.99"}],
    }  # fmt: skip


def test_beacon_in_text_plain_needs_no_preflight(server: Server, product: Product) -> None:
    event_id = ulid.new()
    body = msgspec.json.encode({"client_id": 1, "event_id": event_id.lower()})
    assert server.http.post("/e", content=body, headers={"Content-Type": "text/plain;charset=UTF-8"}).status_code == 204
    assert stored(product, event_id)["event_name"] == "page"


def test_beacon_in_the_query_is_answered_with_an_image(server: Server, product: Product) -> None:
    event_id = ulid.new()
    response = server.http.get(
        f"/e?client_id=1&event=view_product&event_id={event_id}&value=5.5&currency=usd&shelf=top&props=%7B%22a%22%3A1%7D"
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/gif"
    assert response.content.startswith(b"GIF89a")
    row = stored(product, event_id)
    assert (row["event_name"], row["revenue"], row["properties"]) == (
        "view_product",
        Decimal("5.5"),
        {"a": 1, "shelf": "top"},
    )


def test_array_of_500_is_stored_whole(server: Server, product: Product) -> None:
    title = ulid.new()
    assert server.http.post("/e", json=[{"client_id": 1, "title": title}] * 500).status_code == 204
    assert product.eventually_rows("SELECT 1 FROM events WHERE title = {t:String} HAVING count() = 500", t=title)


def test_the_same_event_sent_again_is_one_row_once_merged(server: Server, product: Product) -> None:
    event_id = ulid.new()
    for _ in range(3):
        assert server.http.post("/e", json={"client_id": 1, "event_id": event_id}).status_code == 204
    product.eventually_rows("SELECT 1 FROM events WHERE event_id = {id:String}", id=event_id)
    assert product.rows("SELECT count() FROM events FINAL WHERE event_id = {id:String}", id=event_id) == [(1,)]


def test_a_time_that_cannot_be_believed_is_kept_but_not_used(server: Server, product: Product) -> None:
    event_id = ulid.new()
    assert server.http.post("/e", json={"client_id": 1, "event_id": event_id, "ts": 1}).status_code == 204
    row = stored(product, event_id)
    assert int(row["event_time"].timestamp() * 1000) == ulid.timestamp_ms(event_id)
    assert row["properties"] == {"_relo_ts": 1}


def test_bot_is_stored_like_anybody_and_marked(server: Server, product: Product) -> None:
    crawler, prefetch, person = ulid.new(), ulid.new(), ulid.new()
    googlebot = {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}
    for event_id, headers in (
        (crawler, googlebot),
        (prefetch, {"User-Agent": "Browser/1", "Sec-Purpose": "prefetch;prerender"}),
        (person, {"User-Agent": "Browser/1"}),
    ):
        body = {"client_id": 1, "event": "bots", "event_id": event_id}
        assert server.http.post("/e", json=body, headers=headers).status_code == 204
    verdicts = [(row["is_bot"], row["bot_reason"]) for row in (stored(product, e) for e in (crawler, prefetch, person))]
    assert verdicts == [(True, "declared_crawler"), (True, "prerender"), (False, "")]
    (daily,) = product.rows("SELECT sum(events) >= 1, sum(bots) >= 2 FROM traffic_daily WHERE event_name = 'bots'")
    assert daily == (True, True)

    click_id = server.http.get("/r?ref=ana", headers=googlebot).headers["location"].rpartition("=")[2]
    assert stored(product, click_id)["bot_reason"] == "declared_crawler"
    click = "SELECT is_bot, bot_reason FROM clicks WHERE click_id = {c:String}"
    assert product.eventually_rows(click, c=click_id) == [(True, "declared_crawler")]


def test_secrets_and_addresses_do_not_reach_the_row(server: Server, product: Product) -> None:
    event_id = ulid.new()
    url, referrer = "https://shop.example/p?token=abc&utm_source=x%20y", "https://mail.example/ann%40x.example?a=1"
    assert server.http.post(
        "/e", json={"client_id": 1, "event_id": event_id, "url": url, "referrer": referrer}
    ).is_success
    row = stored(product, event_id)
    assert (row["url"], row["referrer"]) == (
        "https://shop.example/p?token=REDACTED&utm_source=x%20y",
        "https://mail.example/REDACTED?a=1",
    )
    response = server.http.get("/r?ref=ana", headers={"Referer": "https://blog.example/?email=a&b=1"})
    click_id = response.headers["location"].rpartition("=")[2]
    assert stored(product, click_id)["referrer"] == "https://blog.example/?email=REDACTED&b=1"


def test_preflight_is_answered(server: Server) -> None:
    response = server.http.options(
        "/e",
        headers={
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )
    assert response.status_code == 204
    assert "POST" in response.headers["access-control-allow-methods"]
    assert response.headers["access-control-allow-headers"] == "content-type"


def test_script_is_cached_and_compressed(server: Server) -> None:
    plain = server.http.get("/r.js", headers={"Accept-Encoding": "identity"})
    packed = server.http.get("/r.js", headers={"Accept-Encoding": "gzip"})
    assert plain.status_code == packed.status_code == 200
    assert plain.headers["content-type"].startswith("text/javascript")
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.content == packed.content != gzip.compress(plain.content)
    again = server.http.get("/r.js", headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_link_records_the_click_and_leads_on(server: Server, product: Product) -> None:
    headers = {"Referer": "https://blog.example/", "User-Agent": "Browser/1"}
    response = server.http.get("/r?ref=ana&s1=news&fbclid=AbC", headers=headers)
    server.http.cookies.clear()  # the next test's click is no repeat of this one
    assert response.status_code == 302
    landing, _, click_id = response.headers["location"].partition("?click_id=")
    assert landing == "http://127.0.0.1:4080/demo"
    assert ulid.is_valid(click_id)
    cookie = response.headers["set-cookie"]
    assert cookie.startswith(f"_relo_cid={click_id};")
    assert "Max-Age=5184000" in cookie
    row = stored(product, click_id)
    assert (row["event_type"], row["partner_ref"], row["offer"], row["referrer"]) == (
        "click",
        "ana",
        "demo",
        "https://blog.example/",
    )
    assert row["properties"] == {"s1": "news", "fbclid": "AbC"}
    assert product.eventually_rows("SELECT partner_ref FROM clicks WHERE click_id = {c:String}", c=click_id) == [
        ("ana",)
    ]


def test_only_the_client_itself_can_backdate_a_click(server: Server, product: Product) -> None:
    yesterday = int(time.time() * 1000) - 86_400_000
    query = f"ref=ana&ts={yesterday}"
    header = signature.sign(query.encode(), SECRET, int(time.time()))
    response = server.http.get(f"/r?{query}", headers={"Relo-Signature": header})
    click_id = response.headers["location"].rpartition("=")[2]
    assert int(stored(product, click_id)["event_time"].timestamp() * 1000) == yesterday
    unsigned = server.http.get(f"/r?{query}").headers["location"].rpartition("=")[2]
    assert stored(product, unsigned)["event_time"].timestamp() > time.time() - 60


def test_checkout_becomes_the_documented_row(server: Server, product: Product) -> None:
    event = checkout_completed(
        customer_details={"email": "Ann@Example.com "}, metadata={"relo_click_id": "C1"}, client_reference_id="C2"
    )
    response = server.http.post("/postback/stripe/demo", **signed(event))
    assert (response.status_code, response.json()) == (200, {"received": True, "stored": True})
    row = stored(product, event["id"])
    session = event["data"]["object"]
    expected = {
        "event_type": "purchase", "event_name": "purchase", "channel": "stripe", "media_source": "stripe", "is_test": False,
        "order_id": session["id"], "conversion_key": session["payment_intent"], "revenue": Decimal("100"), "currency": "USD",
        "customer_ref": session["customer"], "click_id": "C1", "email_hash": digest.email_hash("ann@example.com"),
    }  # fmt: skip
    assert {k: row[k] for k in expected} == expected
    assert "ann@example.com" not in str(row).lower()


def test_unpaid_checkout_is_no_conversion_yet(server: Server, product: Product) -> None:
    event = checkout_completed(payment_status="unpaid")
    assert server.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    row = stored(product, event["id"])
    assert (row["event_name"], row["event_type"], row["revenue"], row["conversion_key"]) == (
        "purchase_pending",
        "custom",
        0,
        "",
    )


def test_other_types_are_answered_and_not_stored(server: Server) -> None:
    event = checkout_completed() | {"type": "product.created"}
    assert server.http.post("/postback/stripe/demo", **signed(event)).json() == {"received": True, "stored": False}


def test_expanded_objects_and_new_fields_are_read(server: Server, product: Product) -> None:
    event = checkout_completed(invoice={"id": "in_expanded", "object": "invoice"}, brand_new={"a": [1]})
    event["brand_new"] = True
    assert server.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    assert stored(product, event["id"])["conversion_key"] == "in_expanded"


def test_demo_shop_has_the_pixel(server: Server) -> None:
    page = server.http.get("/demo")
    assert page.status_code == 200
    assert "relo('init', { client_id: 1 })" in page.text


def test_addresses_and_forged_marks_do_not_reach_properties(server: Server, product: Product) -> None:
    event_id = ulid.new()
    beacon = {
        "client_id": 1, "event_id": event_id, "title": "Hello ann@example.com", "user_id": "ann@example.com",
        "props": {"note": "write to ann@example.com, please", "_relo_marks": ["url:cut"]}, "_relo_ts": 1,
    }  # fmt: skip
    assert server.http.post("/e", json=beacon).status_code == 204
    row = stored(product, event_id)
    assert row["title"] == "Hello REDACTED"
    assert row["properties"] == {"note": "write to REDACTED, please", "user_id": "REDACTED"}
    click = server.http.get("/r?ref=ana&s1=news&email=ann@example.com&token=abc")
    click_id = click.headers["location"].rpartition("=")[2]
    assert stored(product, click_id)["properties"] == {"s1": "news", "email": "REDACTED", "token": "REDACTED"}
