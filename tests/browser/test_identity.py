"""The ids: where they come from, how long they stay, and who says that they must not be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from relo_ingest._fast import ulid
from support.processes import Product, eventually
from support.site import Site

Rows = Callable[..., list[dict[str, Any]]]
Jar = Callable[[], dict[str, str]]
CALLS = "relo('init', { client_id: 1 }); relo('page');"


def settled(page: Page, url: str) -> None:
    """Open the page, and wait until its beacon is answered."""
    with page.expect_response("**/e"):
        page.goto(url)


def test_click_of_the_landing_page_replaces_the_id_and_not_the_device(
    page: Page, jar: Jar, site: Site, path: str, rows: Rows
) -> None:
    site.put(path, CALLS)
    settled(page, site.url(path))
    before = jar()
    first, second = ulid.new(), ulid.new()
    for click_id in (first, second.lower()):
        settled(page, site.url(f"{path}?click_id={click_id}"))
    settled(page, site.url(path))
    assert jar() == {"_relo_cid": second, "_relo_did": before["_relo_did"]}
    assert [row["click_id"] for row in rows(4)] == [before["_relo_cid"], first, second, second]
    settled(page, site.url(path + "?click_id=none"))
    assert jar()["_relo_cid"] == second


def test_partner_link_to_the_landing_page_is_a_click(
    page: Page, jar: Jar, site: Site, path: str, rows: Rows, product: Product
) -> None:
    site.put(path, CALLS)
    url = site.url(path + "?ref=ana&s1=news&fbclid=AbC&email=a@b.example")
    with page.expect_response("**/click") as answer:
        page.goto(url, referer="https://blog.example/")
    assert answer.value.status == 204
    (click,) = rows(1, "click")
    assert (click["event_id"], click["click_id"]) == (jar()["_relo_cid"], jar()["_relo_cid"])
    assert (click["event_type"], click["partner_ref"], click["offer"], click["client_id"]) == (
        "click",
        "ana",
        "demo",
        1,
    )
    assert (click["device_id"], click["referrer"]) == (jar()["_relo_did"], "https://blog.example/")
    assert click["properties"] == {"s1": "news", "fbclid": "AbC", "email": "REDACTED"}
    assert click["is_bot"] is False
    found = product.eventually_rows("SELECT partner_ref FROM clicks WHERE click_id = {c:String}", c=click["click_id"])
    assert found == [("ana",)]
    settled(page, url)  # a reload is no second click
    settled(page, site.url(path))
    rows(3, "page")
    assert len(rows(1, "click")) == 1
    assert jar()["_relo_cid"] == click["click_id"]


def test_later_partner_replaces_the_click_and_a_foreign_ref_does_not(
    page: Page, jar: Jar, site: Site, path: str, rows: Rows
) -> None:
    site.put(path, CALLS)
    for ref in ("ana", "luis", "producthunt"):
        with page.expect_response("**/click"):
            page.goto(site.url(f"{path}?ref={ref}"))
        rows(1, "page")
    ana, luis = rows(2, "click")
    assert (ana["partner_ref"], luis["partner_ref"]) == ("ana", "luis")
    assert jar()["_relo_cid"] == luis["click_id"]
    assert ana["device_id"] == luis["device_id"] == jar()["_relo_did"]


def test_click_during_an_outage_is_the_same_click_later(
    page: Page, jar: Jar, site: Site, path: str, rows: Rows
) -> None:
    earlier = ulid.new()
    site.put(path, CALLS)
    settled(page, site.url(f"{path}?click_id={earlier}"))
    seen: list[str] = []

    def refuse(route: Any) -> None:
        seen.append(route.request.post_data_json["click_id"])
        route.fulfill(status=503, headers={"Access-Control-Allow-Origin": "*"})

    page.route("**/click", refuse)
    page.goto(site.url(path + "?ref=ana"))
    eventually(lambda: page.wait_for_timeout(50) or len(seen) > 1, "a second try")
    assert jar()["_relo_cid"] == earlier
    page.unroute("**/click")
    (click,) = rows(1, "click")
    assert {click["click_id"]} == set(seen)
    eventually(lambda: page.wait_for_timeout(50) or jar()["_relo_cid"] == seen[0], "the click is adopted")


def test_cookie_is_shared_by_the_subdomains(
    page: Page, context: BrowserContext, jar: Jar, site: Site, path: str
) -> None:
    site.put(path, CALLS)
    settled(page, site.url(path, "www.shop.localhost"))
    first = jar()
    settled(page, site.url(path, "checkout.eu.shop.localhost"))
    assert jar() == first
    assert {c["domain"] for c in context.cookies()} == {".shop.localhost"}
    settled(page, site.url(path, "127.0.0.1"))
    assert {c["domain"] for c in context.cookies()} == {".shop.localhost", "127.0.0.1"}


def test_cookie_domain_and_days_can_be_set(page: Page, context: BrowserContext, site: Site, path: str) -> None:
    options = "{ client_id: 1, cookie_domain: 'eu.shop.localhost', cookie_days: 7 }"
    site.put(path, f"relo('init', {options}); relo('page');")
    settled(page, site.url(path, "www.eu.shop.localhost"))
    found = context.cookies()
    assert {c["domain"] for c in found} == {".eu.shop.localhost"}
    assert {round((c["expires"] - ulid.timestamp_ms(c["value"]) / 1000) / 86400, 1) for c in found} == {7.0}


def test_lost_cookie_heals_from_its_copy(page: Page, context: BrowserContext, jar: Jar, site: Site, path: str) -> None:
    site.put(path, CALLS)
    settled(page, site.url(path))
    first = jar()
    context.clear_cookies()
    settled(page, site.url(path))
    assert jar() == first
    context.clear_cookies()
    page.evaluate("localStorage._relo_cid = localStorage._relo_cid.replace(/\\d+$/, Date.now() - 1)")
    settled(page, site.url(path))
    assert jar()["_relo_cid"] != first["_relo_cid"]  # the copy had expired
    assert jar()["_relo_did"] == first["_relo_did"]


def test_without_cookies_the_copy_carries_the_id(
    page: Page, context: BrowserContext, site: Site, path: str, rows: Rows
) -> None:
    session = context.new_cdp_session(page)
    session.send("Emulation.setDocumentCookieDisabled", {"disabled": True})
    site.put(path, CALLS)
    settled(page, site.url(path))
    settled(page, site.url(path))
    first, second = rows(2)
    assert ulid.is_valid(first["click_id"])
    assert (first["click_id"], first["device_id"]) == (second["click_id"], second["device_id"])
    assert context.cookies() == []


def test_without_any_storage_the_page_view_still_counts(
    page: Page, jar: Jar, site: Site, path: str, rows: Rows
) -> None:
    site.put(path, CALLS + "relo('event', 'more');", headers={"Content-Security-Policy": "sandbox allow-scripts"})
    page.goto(site.url(path))
    first, second = rows(2)
    assert ulid.is_valid(first["click_id"])
    assert (first["click_id"], first["device_id"]) == (second["click_id"], second["device_id"])
    assert jar() == {}


def test_without_local_storage_the_cookie_does_it(page: Page, jar: Jar, site: Site, path: str, rows: Rows) -> None:
    page.add_init_script(
        "for (const name of ['localStorage', 'sessionStorage'])"
        " Object.defineProperty(window, name, { get() { throw new DOMException('', 'SecurityError'); } });"
    )
    site.put(path, CALLS)
    settled(page, site.url(path + "?ref=ana"))
    settled(page, site.url(path))
    assert {row["click_id"] for row in rows(2, "page")} == {jar()["_relo_cid"]}


def test_cookieless_lives_in_the_session(
    page: Page, context: BrowserContext, jar: Jar, site: Site, path: str, rows: Rows
) -> None:
    site.put(path, "relo('init', { client_id: 1, cookieless: true }); relo('page');")
    settled(page, site.url(path))
    settled(page, site.url(path))
    first, second = rows(2)
    assert first["device_id"] == second["device_id"] != ""
    assert jar() == {}
    assert page.evaluate("[localStorage.length, Object.keys(sessionStorage).sort().join()]") == [
        0,
        "_relo_cid,_relo_did",
    ]


STORED = "[document.cookie, localStorage.length, sessionStorage.length]"


@pytest.mark.parametrize("consent", ["wait", "denied"])
def test_nothing_is_stored_or_sent_before_consent(
    page: Page, jar: Jar, site: Site, path: str, rows: Rows, consent: str
) -> None:
    sent: list[str] = []
    page.on("request", lambda r: sent.append(r.url) if r.method == "POST" else None)
    calls = f"relo('init', {{ client_id: 1, consent: '{consent}' }}); relo('page'); relo('event', 'look');"
    site.put(path, calls + "relo('get', ids => { window.found = ids; });", "<a href='https://buy.stripe.com/x'>Buy</a>")
    page.goto(site.url(path + "?ref=ana"), wait_until="networkidle")
    assert page.evaluate(STORED) == ["", 0, 0]
    assert sent == []
    assert page.evaluate("window.found") == {"click_id": "", "device_id": ""}
    assert page.get_attribute("a", "href") == "https://buy.stripe.com/x"
    page.evaluate("relo('consent', 'granted'); relo('event', 'after')")
    names = [row["event_name"] for row in rows(3 if consent == "denied" else 4)]
    # What was done under a denial is gone; the page that the visitor is on counts.
    assert sorted(names) == sorted(["click", "page", "after"] + (["look"] if consent == "wait" else []))
    assert {row["click_id"] for row in rows(3)} == {jar()["_relo_cid"]}


def test_withdrawn_consent_removes_everything(page: Page, jar: Jar, site: Site, path: str, rows: Rows) -> None:
    site.put(path, CALLS)
    settled(page, site.url(path + "?ref=ana"))
    rows(2)
    page.evaluate("relo('consent', 'denied'); relo('event', 'hidden')")
    assert page.evaluate(STORED) == ["", 0, 0]
    page.evaluate("relo('consent', 'granted'); relo('event', 'back')")
    rows(1, "back")
    assert "hidden" not in {row["event_name"] for row in rows(4)}
    assert ulid.is_valid(jar()["_relo_did"])


def test_what_is_under_way_when_consent_is_withdrawn_leaves_no_trace(
    page: Page, context: BrowserContext, jar: Jar, site: Site, path: str
) -> None:
    site.put(path, CALLS)
    settled(page, site.url(path))
    context.set_offline(True)
    page.evaluate("relo('event', 'late'); relo('identify', { email: 'a@b.example' })")
    page.evaluate("new Promise(resolve => setTimeout(resolve))")
    page.evaluate("relo('consent', 'denied')")
    page.wait_for_timeout(300)
    assert page.evaluate(STORED) == ["", 0, 0]
    assert jar() == {}


def private(browser: Browser, signal: str) -> BrowserContext:
    header, script = {
        "gpc": ("Sec-GPC", "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', { get: () => true })"),
        "dnt": ("DNT", "Object.defineProperty(Navigator.prototype, 'doNotTrack', { get: () => '1' })"),
    }[signal]
    visitor = browser.new_context(user_agent="Mozilla/5.0 Private", extra_http_headers={header: "1"})
    visitor.add_init_script(script)
    return visitor


@pytest.mark.parametrize("signal", ["gpc", "dnt"])
def test_privacy_signal_leaves_an_event_without_a_person(
    browser: Browser, site: Site, path: str, signal: str, product: Product
) -> None:
    visitor = private(browser, signal)
    page = visitor.new_page()
    name = f"private_{path[1:]}"
    site.put(
        path,
        f"relo('init', {{ client_id: 1 }}); relo('event', '{name}', {{ value: 5, currency: 'USD', order_id: 'A', user_id: 7, a: 1 }});",
    )
    with page.expect_response("**/e") as answer:
        page.goto(site.url(path + "?ref=ana&click_id=" + ulid.new()))
    assert set(answer.value.request.post_data_json) == {"client_id", "event", "event_id", "ts", "value", "currency"}
    assert page.evaluate(STORED) == ["", 0, 0]
    columns = "device_id, click_id, order_id, email_hash, url, referrer, title, user_agent, ip, lang, screen, toString(properties)"
    found = product.eventually_rows(
        f"SELECT toFloat64(revenue), {columns} FROM events WHERE event_name = {{n:String}}", n=name
    )
    assert found == [(5.0, *[""] * 11, "{}")]
    visitor.close()


def test_client_may_decide_that_the_signals_do_not_apply(browser: Browser, site: Site, path: str, rows: Rows) -> None:
    visitor = private(browser, "gpc")
    page = visitor.new_page()
    site.put(path, "relo('init', { client_id: 2, privacy_signals: 'ignore' }); relo('page');")
    settled(page, site.url(path))
    (row,) = rows(1)
    assert {"_relo_cid": row["click_id"], "_relo_did": row["device_id"]} == {
        c["name"]: c["value"] for c in visitor.cookies()
    }
    assert row["user_agent"] == "Mozilla/5.0 Private"
    visitor.close()


def test_ingest_on_the_sites_subdomain_sets_the_cookies(
    page: Page, context: BrowserContext, site: Site, path: str, product: Product, rows: Rows
) -> None:
    site.put(
        path,
        "relo('init', { client_id: 3, server_cookies: true, endpoint: 'http://relo.shop.localhost:PORT' });"
        "relo('page');".replace("PORT", str(product.port)),
    )
    with page.expect_response("**/e") as answer:
        page.goto(site.url(path))
    headers = answer.value.headers_array()
    set_cookies = sorted(h["value"] for h in headers if h["name"].lower() == "set-cookie")
    assert [c.partition("=")[0] for c in set_cookies] == ["_relo_cid", "_relo_did"]
    assert all("Domain=shop.localhost" in c and "HttpOnly" not in c for c in set_cookies)
    found = {c["name"]: c for c in context.cookies()}
    (row,) = rows(1)
    assert (found["_relo_cid"]["value"], found["_relo_did"]["value"]) == (row["click_id"], row["device_id"])
    settled(page, site.url(path, "shop.localhost"))
    assert {c["name"]: c["value"] for c in context.cookies()} == {n: c["value"] for n, c in found.items()}


def test_server_cookies_of_a_client_that_has_none_cost_nothing(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put(path, "relo('init', { client_id: 1, server_cookies: true }); relo('page');")
    page.goto(site.url(path))
    assert len(rows(1)) == 1


OWN_SUBDOMAIN = "relo('init', {{ client_id: 3, server_cookies: true, endpoint: 'http://relo.shop.localhost:{port}' }});"


def test_landing_click_of_a_visitor_who_has_server_cookies_replaces_the_id(
    page: Page, jar: Jar, site: Site, path: str, product: Product, rows: Rows
) -> None:
    calls = OWN_SUBDOMAIN.format(port=product.port) + "relo('page');"
    site.put(path, calls, "<a href='https://buy.stripe.com/a'>Buy</a>")
    earlier = ulid.new()
    settled(page, site.url(f"{path}?click_id={earlier}"))
    with page.expect_response("**/click") as answer:
        settled(page, site.url(path + "?ref=olga"))
    assert answer.value.status == 204
    (click,) = rows(1, "click")
    assert (click["partner_ref"], click["client_id"]) == ("olga", 3)
    page.wait_for_function("document.querySelector('a').href.includes('client_reference_id')")
    assert jar()["_relo_cid"] == click["click_id"] != earlier
    assert page.get_attribute("a", "href") == f"https://buy.stripe.com/a?client_reference_id={click['click_id']}"
    settled(page, site.url(path))
    assert jar()["_relo_cid"] == click["click_id"]


def test_answer_to_a_beacon_keeps_the_click_that_came_after_it(
    page: Page, jar: Jar, site: Site, path: str, product: Product
) -> None:
    site.put(path, OWN_SUBDOMAIN.format(port=product.port) + "relo('page');")
    settled(page, site.url(path))
    newer = ulid.new()
    with page.expect_response("**/e") as answer:
        page.evaluate(
            "id => { relo('event', 'late'); document.cookie = '_relo_cid=' + id + ';path=/;domain=shop.localhost' }",
            newer,
        )
    assert answer.value.request.post_data_json["cid"] != newer
    assert "_relo_cid=" + newer in answer.value.header_value("set-cookie")  # type: ignore[operator]
    assert jar()["_relo_cid"] == newer


def test_refusal_can_be_read_by_a_page_that_sends_cookies(page: Page, site: Site, path: str, product: Product) -> None:
    posted: list[str] = []
    page.on("request", lambda r: posted.append(r.url) if r.url.endswith("/e") else None)
    site.put(path, OWN_SUBDOMAIN.format(port=product.port))
    page.goto(site.url(path))
    page.wait_for_function("relo.version")
    with page.expect_response("**/e") as answer:
        page.evaluate("relo('event', 'bad', { currency: 'dollars' })")
    assert answer.value.status == 400
    page.wait_for_function("!localStorage._relo_q")
    page.wait_for_timeout(1500)
    assert len(posted) == 1, "a final refusal that the page could not read would be tried again"
    with page.expect_response("**/e") as answer:
        page.evaluate("relo('event', 'good'); relo('event', 'bad', { currency: 'dollars' })")
    assert (answer.value.status, answer.value.header_value("access-control-allow-credentials")) == (200, "true")


def test_earlier_click_that_arrives_later_does_not_replace_a_later_one(
    page: Page, context: BrowserContext, jar: Jar, site: Site, path: str, rows: Rows
) -> None:
    def refuse_ana(route: Any) -> None:
        if "ref=ana" in route.request.post_data:
            route.fulfill(status=503, headers={"Access-Control-Allow-Origin": "*"})
        else:
            route.continue_()

    site.put(path, CALLS)
    context.route("**/click", refuse_ana)
    with page.expect_response("**/click"):
        page.goto(site.url(path + "?ref=ana"))
    other = context.new_page()
    with other.expect_response("**/click"):
        other.goto(site.url(path + "?ref=luis"))
    (luis,) = rows(1, "click")
    other.close()
    context.unroute("**/click")
    page.wait_for_function("!localStorage._relo_q")
    assert {row["partner_ref"] for row in rows(2, "click")} == {"ana", "luis"}
    assert jar()["_relo_cid"] == luis["click_id"]


def test_reload_of_an_earlier_landing_page_brings_no_earlier_partner_back(
    page: Page, context: BrowserContext, jar: Jar, site: Site, path: str
) -> None:
    site.put(path, CALLS)
    first, second = ulid.new(), ulid.new()
    settled(page, site.url(f"{path}?click_id={first}"))
    other = context.new_page()
    settled(other, site.url(f"{path}?click_id={second}"))
    settled(page, site.url(path))
    settled(page, site.url(f"{path}?click_id={first}"))
    assert jar()["_relo_cid"] == second


def test_get_waits_for_the_answer_to_a_landing_click(page: Page, jar: Jar, site: Site, path: str) -> None:
    site.put(path, CALLS + "relo('get', ids => { window.found = ids; });")
    earlier = ulid.new()
    settled(page, site.url(f"{path}?click_id={earlier}"))
    page.goto(site.url(path + "?ref=luis"))
    found = page.wait_for_function("window.found").json_value()
    assert found["click_id"] == jar()["_relo_cid"] != earlier


def test_get_and_links_do_not_wait_for_an_ingest_that_hangs(page: Page, jar: Jar, site: Site, path: str) -> None:
    site.put(path, CALLS + "relo('get', ids => { window.found = ids; });", "<a href='https://buy.stripe.com/a'>Buy</a>")
    earlier = ulid.new()
    settled(page, site.url(f"{path}?click_id={earlier}"))
    page.route("**/click", lambda _: None)
    page.goto(site.url(path + "?ref=luis"))
    assert page.wait_for_function("window.found").json_value()["click_id"] == earlier
    page.wait_for_function("document.querySelector('a').href.includes('client_reference_id')")
    page.unroute("**/click")


def test_answer_after_the_consent_was_withdrawn_brings_no_cookie_back(
    page: Page, jar: Jar, site: Site, path: str, product: Product
) -> None:
    site.put(path, OWN_SUBDOMAIN.format(port=product.port) + "relo('page');")
    settled(page, site.url(path))
    under_way: list[Any] = []

    def hold(route: Any) -> None:
        under_way.append(route)

    page.route("**/e", hold)
    page.evaluate("relo('event', 'late')")
    eventually(lambda: page.wait_for_timeout(50) or under_way, "the beacon is under way")
    page.evaluate("relo('consent', 'denied')")
    assert jar() == {}
    with page.expect_response("**/e") as answer:
        under_way[0].continue_()
    assert answer.value.header_value("set-cookie")
    eventually(lambda: page.wait_for_timeout(50) or jar() == {}, "the cookies are gone")
    assert page.evaluate(STORED) == ["", 0, 0]


def test_denial_removes_what_pages_with_other_options_have_stored(page: Page, jar: Jar, site: Site, path: str) -> None:
    site.put(path, CALLS)
    site.put(path + "/narrow", "relo('init', { client_id: 1, cookie_domain: 'eu.shop.localhost' }); relo('page');")
    denied = "relo('init', { client_id: 1, cookieless: true, consent: 'denied', cookie_domain: 'eu.shop.localhost' });"
    site.put(path + "/denied", denied)
    for page_path in (path, path + "/narrow"):
        settled(page, site.url(page_path, "www.eu.shop.localhost"))
    assert page.evaluate("localStorage.length") == 2
    page.goto(site.url(path + "/denied", "www.eu.shop.localhost"))
    page.wait_for_function("relo.version")
    assert jar() == {}
    assert page.evaluate(STORED) == ["", 0, 0]


@pytest.mark.parametrize("value", ["false", "null", "''", "undefined", "true"])
def test_consent_that_is_no_word_of_ours_is_waited_for(page: Page, site: Site, path: str, value: str) -> None:
    sent: list[str] = []
    page.on("request", lambda r: sent.append(r.url) if r.method == "POST" else None)
    site.put(path, f"relo('init', {{ client_id: 1, consent: {value} }}); relo('page');")
    page.goto(site.url(path), wait_until="networkidle")
    page.wait_for_function("relo.version")
    page.wait_for_timeout(300)
    assert (page.evaluate(STORED), sent) == (["", 0, 0], [])
    with page.expect_response("**/e"):
        page.evaluate("relo('consent', 'granted')")


def test_cookie_whose_name_ends_like_ours_is_not_ours(
    page: Page, context: BrowserContext, jar: Jar, site: Site, path: str
) -> None:
    foreign = ulid.new()
    context.add_cookies([{"name": "x-_relo_cid", "value": foreign, "domain": "www.shop.localhost", "path": "/"}])
    site.put(path, CALLS)
    settled(page, site.url(path))
    assert ulid.is_valid(jar()["_relo_cid"])
    assert jar()["_relo_cid"] != foreign


def test_browser_that_asks_for_privacy_gets_no_server_cookie(
    browser: Browser, site: Site, path: str, product: Product
) -> None:
    visitor = private(browser, "gpc")
    page = visitor.new_page()
    site.put(path, OWN_SUBDOMAIN.format(port=product.port) + "relo('page');")
    visitor.add_cookies([{"name": "_relo_cid", "value": ulid.new(), "domain": ".shop.localhost", "path": "/"}])
    with page.expect_response("**/e") as answer:
        page.goto(site.url(path))
    assert answer.value.header_value("set-cookie") is None
    assert visitor.cookies() == []
    visitor.close()
