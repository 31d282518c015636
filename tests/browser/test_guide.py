"""The integration guide to the letter: its snippet, its calls, its verification steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from playwright.sync_api import BrowserContext, Page, Request

from relo_ingest._fast import digest, ulid
from support.processes import Product
from support.site import Site

Rows = Callable[..., list[dict[str, Any]]]
Jar = Callable[[], dict[str, str]]


def test_verification_steps_of_the_guide(
    page: Page, context: BrowserContext, site: Site, path: str, product: Product
) -> None:
    answered: dict[str, list[int]] = {}
    page.on("response", lambda r: answered.setdefault(r.url.removeprefix(product.base_url), []).append(r.status))
    site.put(path, "relo('init', { client_id: 1 }); relo('page');")
    with page.expect_response("**/e"):
        page.goto(site.url(path))
    assert page.evaluate("typeof relo") == "function"
    assert answered["/r.js"] == [200]
    assert answered["/e"] == [204]
    cookies = {c["name"]: c for c in context.cookies()}
    cookie = cookies["_relo_cid"]
    assert ulid.is_valid(cookie["value"])
    assert (cookie["domain"], cookie["sameSite"], cookie["httpOnly"]) == (".shop.localhost", "Lax", False)
    assert 59.9 < (cookie["expires"] - time.time()) / 86400 < 60.1
    assert ulid.is_valid(cookies["_relo_did"]["value"])
    assert cookies["_relo_did"]["value"] != cookie["value"]


def test_every_call_of_the_guide_reaches_its_columns(page: Page, jar: Jar, site: Site, path: str, rows: Rows) -> None:
    products = [{"id": "p1", "name": "Café", "price": 19.99, "quantity": 2}]
    site.put(path, "relo('init', { client_id: 1 }); relo('page');")
    page.goto(site.url(path + "?q=1#top"), referer="https://blog.example/post")
    page.evaluate(
        """products => {
          relo('event', 'view_product', { products });
          relo('event', 'add_to_cart', { value: 19.99, currency: 'usd', products });
          relo('event', 'begin_checkout', { value: '39.98', currency: 'USD' });
          relo('event', 'purchase', { order_id: 'A-1', value: 39.98, currency: 'MXN', products });
          relo('event', 'newsletter', { title: 'Weekly', plan: { tier: 2 }, props: { color: 'red' } });
          relo('identify', { email: ' Ann@Example.com ', user_id: 42 });
          relo('identify', { email_hash: 'a'.repeat(64) });
        }""",
        products,
    )
    found = rows(8)
    ids = jar()
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        by_name.setdefault(row["event_name"], []).append(row)
        assert ulid.is_valid(row["event_id"])
        assert (row["client_id"], row["channel"], row["is_bot"]) == (1, "pixel", False)
        assert (row["click_id"], row["device_id"]) == (ids["_relo_cid"], ids["_relo_did"])
        assert (row["url"], row["referrer"]) == (site.url(path + "?q=1#top"), "https://blog.example/post")
        assert (row["title"], row["lang"], row["screen"]) == ("Shop", "es-MX", "1200x800")
        assert abs(row["event_time"].timestamp() - time.time()) < 60
    assert {name: len(r) for name, r in by_name.items()} == {
        "page": 1, "view_product": 1, "add_to_cart": 1, "begin_checkout": 1, "purchase": 1, "newsletter": 1, "identify": 2,
    }  # fmt: skip
    assert by_name["page"][0]["properties"] == {}
    assert by_name["view_product"][0]["properties"] == {"products": products}
    cart, checkout, purchase = (by_name[n][0] for n in ("add_to_cart", "begin_checkout", "purchase"))
    assert (cart["revenue"], cart["currency"], cart["properties"]) == (Decimal("19.99"), "USD", {"products": products})
    assert (checkout["revenue"], checkout["currency"]) == (Decimal("39.98"), "USD")
    assert (purchase["event_type"], purchase["order_id"], purchase["revenue"], purchase["currency"]) == (
        "purchase", "A-1", Decimal("39.98"), "MXN",
    )  # fmt: skip
    assert by_name["newsletter"][0]["properties"] == {"title": "Weekly", "plan": {"tier": 2}, "color": "red"}
    person, other = sorted(by_name["identify"], key=lambda row: row["email_hash"] == "a" * 64)
    assert (person["email_hash"], person["properties"]) == (digest.email_hash("ann@example.com"), {"user_id": "42"})
    assert other["email_hash"] == "a" * 64


def test_calls_of_one_tick_go_as_one_array_in_their_order(page: Page, site: Site, path: str, rows: Rows) -> None:
    sent: list[Request] = []
    page.on("request", lambda r: sent.append(r) if r.url.endswith("/e") else None)
    site.put(path, "relo('init', { client_id: 1 }); relo('page'); relo('event', 'one'); relo('event', 'two');")
    page.goto(site.url(path))
    rows(3)
    assert [[beacon["event"] for beacon in request.post_data_json] for request in sent] == [["page", "one", "two"]]
    assert sent[0].headers["content-type"].startswith("text/plain")


def test_address_never_leaves_a_page_without_tls(page: Page, site: Site, path: str, rows: Rows) -> None:
    bodies: list[str] = []
    page.on("request", lambda r: bodies.append(r.post_data or ""))
    site.put(path, "relo('init', { client_id: 1 }); relo('identify', { email: 'ann@example.com', user_id: 'u1' });")
    page.goto(site.url(path, "www.shop.example"))
    assert not page.evaluate("isSecureContext")
    (row,) = rows(1)
    assert (row["email_hash"], row["properties"]) == ("", {"user_id": "u1"})
    assert "ann" not in "".join(bodies)


def test_get_gives_the_ids_for_the_back_end(page: Page, jar: Jar, site: Site, path: str) -> None:
    site.put(path, "relo('init', { client_id: 1 }); relo('get', function (ids) { window.found = ids; });")
    page.goto(site.url(path))
    found = page.wait_for_function("window.found").json_value()
    assert found == {"click_id": jar()["_relo_cid"], "device_id": jar()["_relo_did"]}


def test_snippet_on_the_page_twice_counts_once(page: Page, site: Site, path: str, rows: Rows) -> None:
    calls = "relo('init', { client_id: 1 }); relo('page');"
    site.put(path, calls, site.snippet(calls))
    page.goto(site.url(path), wait_until="networkidle")
    page.evaluate("relo('event', 'last')")
    rows(1, "last")
    assert [row["event_name"] for row in rows(2)] == ["page", "last"]


def test_script_adds_no_global_but_relo(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put_text(path + "/bare", "<!doctype html><title>Bare</title>")
    page.goto(site.url(path + "/bare"))
    before = set(page.evaluate("Object.getOwnPropertyNames(window)"))
    site.put(path, "relo('init', { client_id: 1, auto: true }); relo('page');")
    page.goto(site.url(path))
    rows(1)
    assert set(page.evaluate("Object.getOwnPropertyNames(window)")) - before == {"relo"}


def test_nothing_that_a_page_hands_over_breaks_it(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put(path, "relo('init', { client_id: 1 });")
    page.goto(site.url(path))
    page.evaluate(
        """() => {
          const circle = {}; circle.self = circle;
          relo('event', 'circle', circle); relo('nonsense', 1); relo(); relo('init'); relo('identify', { email: 7 });
          relo('get', () => { throw new Error('of the page'); }); relo('event', 'big', { n: 10n });
          relo('event', 'after');
        }"""
    )
    assert [row["event_name"] for row in rows(1, "after")] == ["after"]


def test_two_clients_on_one_page_have_a_page_view_each(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put(path, "relo('init', { client_id: 1 }); relo('page'); relo('init', { client_id: 2 }); relo('page');")
    page.goto(site.url(path))
    assert sorted((row["client_id"], row["event_name"]) for row in rows(2)) == [(1, "page"), (2, "page")]
