"""Nothing is lost and nothing counts twice: offline, refused, overloaded, a tab that closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from relo_ingest._fast import ulid
from support.processes import eventually
from support.site import Site

Rows = Callable[..., list[dict[str, Any]]]
INIT = "relo('init', { client_id: 1 });"


class Refusing:
    """The beacons of a page are answered with ``status`` by a broken ingest; ``ids`` are those of their events."""

    def __init__(self, page: Page, status: int) -> None:
        self._page = page
        self._status = status
        self.requests: list[list[str]] = []
        page.route("**/e", self._answer)

    def _answer(self, route: Route) -> None:
        body = route.request.post_data_json
        events = body if isinstance(body, list) else [body]
        self.requests.append([e["event_id"] for e in events])
        route.fulfill(status=self._status, headers={"Access-Control-Allow-Origin": "*"}, body="{}")

    def wait(self, count: int) -> None:
        eventually(lambda: self._page.wait_for_timeout(50) or len(self.requests) >= count, f"{count} requests")

    def stop(self) -> None:
        self._page.unroute("**/e")


@pytest.mark.parametrize("status", [503, 429])
def test_event_of_a_time_of_trouble_arrives_later_once(
    page: Page, site: Site, path: str, rows: Rows, status: int
) -> None:
    broken = Refusing(page, status)
    site.put(path, INIT + "relo('event', 'kept');")
    page.goto(site.url(path))
    broken.wait(2)
    assert broken.requests[0] == broken.requests[1]
    assert page.evaluate("JSON.parse(localStorage._relo_q).length") == 1
    broken.stop()
    (row,) = rows(1)
    assert row["event_id"] == broken.requests[0][0]
    page.wait_for_function("!localStorage._relo_q")


def test_refused_event_is_not_sent_again(page: Page, site: Site, path: str, rows: Rows) -> None:
    broken = Refusing(page, 400)
    site.put(path, INIT + "relo('event', 'refused');")
    page.goto(site.url(path))
    broken.wait(1)
    page.wait_for_timeout(2500)
    assert len(broken.requests) == 1
    assert page.evaluate("localStorage._relo_q") is None
    broken.stop()
    page.evaluate("relo('event', 'next')")
    assert [row["event_name"] for row in rows(1)] == ["next"]


def test_one_bad_event_does_not_take_the_others_with_it(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put(
        path, INIT + "relo('event', 'good'); relo('event', 'bad', { currency: 'dollars' }); relo('event', 'fine');"
    )
    page.goto(site.url(path))
    rows(2)
    page.evaluate("relo('event', 'last')")
    rows(1, "last")
    assert {row["event_name"] for row in rows(3)} == {"good", "fine", "last"}


def test_events_of_an_offline_time_arrive_when_it_is_over(
    page: Page, context: BrowserContext, site: Site, path: str, rows: Rows
) -> None:
    site.put(path, INIT + "relo('page');")
    page.goto(site.url(path))
    rows(1)
    context.set_offline(True)
    page.evaluate("relo('event', 'tunnel')")
    page.wait_for_function("localStorage._relo_q")
    page.evaluate("relo('event', 'still')")
    context.set_offline(False)
    assert [row["event_name"] for row in rows(3)] == ["page", "tunnel", "still"]
    page.wait_for_function("!localStorage._relo_q")


def test_what_was_left_unsent_goes_with_the_next_visit(
    page: Page, context: BrowserContext, site: Site, path: str, rows: Rows
) -> None:
    site.put(path, INIT + "relo('page');")
    page.goto(site.url(path))
    rows(1)
    context.set_offline(True)
    page.evaluate("relo('event', 'tunnel')")
    page.wait_for_function("localStorage._relo_q")
    page.close()
    context.set_offline(False)
    again = context.new_page()
    again.goto(site.url(path))
    assert [row["event_name"] for row in rows(3)] == ["page", "tunnel", "page"]
    again.wait_for_function("!localStorage._relo_q")


def test_what_waits_is_bounded(page: Page, site: Site, path: str) -> None:
    broken = Refusing(page, 503)
    site.put(path, INIT)
    page.goto(site.url(path))
    page.evaluate("for (let i = 0; i < 80; i++) relo('event', 'n' + i)")
    broken.wait(1)
    page.wait_for_function("localStorage._relo_q")
    kept = page.evaluate("JSON.parse(localStorage._relo_q).map(text => JSON.parse(text).event)")
    assert kept == [f"n{i}" for i in range(30, 80)]


def test_what_waited_for_days_is_given_up(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put_text(path + "/bare", "<!doctype html><title>Bare</title>")
    site.put(path, INIT)
    page.goto(site.url(path + "/bare"))
    page.evaluate(
        """url => {
          const text = (event, ts) => JSON.stringify({ client_id: 1, event, ts, url });
          localStorage._relo_q = JSON.stringify([text('old', Date.now() - 3 * 864e5), text('fresh', Date.now() - 864e5)]);
        }""",
        site.url(path),
    )
    page.goto(site.url(path))
    assert [row["event_name"] for row in rows(1)] == ["fresh"]


def test_event_of_a_tab_that_closes_at_once_arrives(
    page: Page, context: BrowserContext, site: Site, path: str, rows: Rows
) -> None:
    button = "<button onclick=\"relo('event', 'bought'); window.close()\">Buy</button>"
    site.put(path, INIT, button)
    site.put_text(path + "/bare", "<!doctype html><title>Bare</title>")
    page.goto(site.url(path + "/bare"))
    with context.expect_page() as opened:
        page.evaluate("url => { window.open(url) }", site.url(path))
    tab = opened.value
    tab.wait_for_function("window.relo && relo.version")
    with tab.expect_event("close"):
        tab.click("button")
    assert [row["event_name"] for row in rows(1)] == ["bought"]


def test_event_of_a_link_that_is_followed_arrives(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put(path, INIT, f"<a href='{path}/next' onclick=\"relo('event', 'left')\">Next</a>")
    site.put_text(path + "/next", "next")
    page.goto(site.url(path))
    page.click("a")
    assert [row["event_name"] for row in rows(1)] == ["left"]


@pytest.mark.parametrize(
    ("name", "removal"),
    [("sendBeacon", "delete Request.prototype.keepalive;"),
     ("image", "delete Request.prototype.keepalive; delete Navigator.prototype.sendBeacon;")],
)  # fmt: skip
def test_older_browsers_send_too(page: Page, site: Site, path: str, rows: Rows, name: str, removal: str) -> None:
    page.add_init_script(removal)
    site.put(path, INIT + "relo('event', 'old', { value: 1.5, products: [{ id: 'p' }], props: { a: 1 } });")
    with page.expect_request("**/e*") as sent:
        page.goto(site.url(path))
    assert sent.value.resource_type == ("image" if name == "image" else "ping")
    (row,) = rows(1)
    assert row["properties"] == {"a": 1, "products": [{"id": "p"}]}


def test_page_works_when_the_ingest_is_blocked(page: Page, site: Site, path: str) -> None:
    page.route("**/r.js", lambda route: route.abort())
    site.put(path, INIT + "relo('page'); document.title = 'alive';")
    page.goto(site.url(path))
    assert page.title() == "alive"
    page.unroute("**/r.js")
    page.route("**/e", lambda route: route.abort())
    page.goto(site.url(path))
    page.wait_for_function("localStorage._relo_q")


def kept(page: Page) -> list[str]:
    """The names of the events that wait in storage."""
    names: list[str] = page.evaluate("JSON.parse(localStorage._relo_q || '[]').map(text => JSON.parse(text).event)")
    return names


def test_page_that_is_left_while_the_ingest_is_in_trouble_loses_nothing(
    page: Page, site: Site, path: str, rows: Rows
) -> None:
    broken = Refusing(page, 503)
    site.put(path, INIT + "relo('event', 'first');")
    site.put_text(path + "/bare", "<!doctype html><title>Bare</title>")
    page.goto(site.url(path))
    broken.wait(1)
    page.wait_for_function("localStorage._relo_q")
    page.evaluate("relo('event', 'between')")
    page.goto(site.url(path + "/bare"))
    assert kept(page) == ["first", "between"]
    broken.stop()
    page.goto(site.url(path))
    assert sorted(row["event_name"] for row in rows(3)) == ["between", "first", "first"]


def test_page_that_is_left_before_the_answer_loses_nothing(page: Page, site: Site, path: str, rows: Rows) -> None:
    page.route("**/e", lambda _: None)
    site.put(path, INIT)
    site.put_text(path + "/bare", "<!doctype html><title>Bare</title>")
    page.goto(site.url(path))
    page.wait_for_function("relo.version")
    with page.expect_request("**/e"):
        page.evaluate("relo('event', 'unanswered')")
    page.goto(site.url(path + "/bare"))
    assert kept(page) == ["unanswered"]
    page.unroute("**/e")
    page.goto(site.url(path))
    assert [row["event_name"] for row in rows(1)] == ["unanswered"]
    page.wait_for_function("!localStorage._relo_q")


def test_more_events_than_an_array_takes_arrive_in_parts(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put(path, INIT)
    page.goto(site.url(path))
    page.wait_for_function("relo.version")
    page.evaluate("for (let i = 0; i < 501; i++) relo('event', 'n' + i)")
    assert {row["event_name"] for row in rows(501)} == {f"n{i}" for i in range(501)}


def test_field_that_is_null_is_no_field(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put(path, INIT)
    page.goto(site.url(path))
    page.evaluate(
        "relo('identify', { user_id: null, email: null });"
        "relo('event', 'purchase', { order_id: 'N-1', value: 5, currency: null, products: null, coupon: undefined, props: null })"
    )
    by_name = {row["event_name"]: row for row in rows(2)}
    assert by_name["identify"]["properties"] == by_name["purchase"]["properties"] == {}
    assert (by_name["purchase"]["order_id"], by_name["purchase"]["currency"]) == ("N-1", "")


@pytest.mark.parametrize("damaged", ["null", '{"a":1}', "[null]", '["x"]', "[1]", "garbage"])
def test_damaged_queue_does_no_harm(page: Page, site: Site, path: str, rows: Rows, damaged: str) -> None:
    site.put_text(path + "/bare", "<!doctype html><title>Bare</title>")
    site.put(path, INIT + "relo('page');")
    page.goto(site.url(path + "/bare"))
    page.evaluate("text => { localStorage._relo_q = text }", damaged)
    page.goto(site.url(path))
    assert [row["event_name"] for row in rows(1)] == ["page"]
    page.wait_for_function("!localStorage._relo_q")


def test_what_is_too_old_to_be_sent_is_removed(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put_text(path + "/bare", "<!doctype html><title>Bare</title>")
    site.put(path, INIT + "relo('page');")
    page.goto(site.url(path + "/bare"))
    page.evaluate(
        """localStorage._relo_q = JSON.stringify(
          [JSON.stringify({ client_id: 1, event: 'old', ts: Date.now() - 3 * 864e5, url: location.href })])"""
    )
    page.goto(site.url(path))
    page.wait_for_function("!localStorage._relo_q")
    assert [row["event_name"] for row in rows(1)] == ["page"]


@pytest.mark.parametrize(("target", "name"), [("document", "visibilitychange"), ("window", "pagehide")])
def test_event_of_the_pages_own_handler_of_its_leaving_arrives(
    page: Page, site: Site, path: str, rows: Rows, target: str, name: str
) -> None:
    site.put(path, INIT)
    site.put_text(path + "/next", "next")
    page.goto(site.url(path))
    page.wait_for_function("relo.version")
    page.evaluate(f"{target}.addEventListener('{name}', () => relo('event', 'bye'))")
    page.goto(site.url(path + "/next"))
    assert {row["event_name"] for row in rows(1)} == {"bye"}


@pytest.mark.parametrize("removal", ["", "delete Navigator.prototype.sendBeacon;"])
def test_click_in_an_older_browser_is_known_by_its_answer(
    page: Page, context: BrowserContext, site: Site, path: str, rows: Rows, removal: str
) -> None:
    page.add_init_script("delete Request.prototype.keepalive;" + removal)
    site.put(path, INIT, "<a href='https://buy.stripe.com/a'>Buy</a>")
    earlier = ulid.new()
    page.goto(site.url(f"{path}?click_id={earlier}"))
    for ref, status in (("producthunt", 404), ("ana", 204)):
        with page.expect_response("**/click") as answer:
            page.goto(site.url(f"{path}?ref={ref}"))
        assert answer.value.status == status
        page.wait_for_function("document.querySelector('a').href.includes('client_reference_id')")
        (current,) = [c["value"] for c in context.cookies() if c["name"] == "_relo_cid"]
        assert (current == earlier) == (ref == "producthunt")
        assert page.get_attribute("a", "href") == f"https://buy.stripe.com/a?client_reference_id={current}"
    assert [row["click_id"] for row in rows(1, "click")] == [current]


def test_event_belongs_to_the_client_and_the_time_of_its_call(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put(
        path,
        "relo('init', { client_id: 1, consent: 'wait' }); relo('page'); relo('identify', { email: 'a@b.example' });"
        "relo('init', { client_id: 2 }); relo('page');",
    )
    page.goto(site.url(path))
    page.wait_for_function("relo.version")
    page.wait_for_timeout(1500)
    granted = page.evaluate("relo('consent', 'granted'), Date.now()")
    found = rows(3)
    assert sorted((row["client_id"], row["event_name"]) for row in found) == [(1, "identify"), (1, "page"), (2, "page")]
    assert all(row["event_time"].timestamp() * 1000 <= granted - 1400 for row in found)
