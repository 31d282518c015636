"""Payment links and forms get the click id."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from relo_ingest._fast import ulid
from support.site import Site

Jar = Callable[[], dict[str, str]]
INIT = "relo('init', { client_id: 1 });"


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("https://buy.stripe.com/a", "https://buy.stripe.com/a?client_reference_id=ID"),
        ("https://buy.stripe.com/a?x=1%20+#top", "https://buy.stripe.com/a?x=1%20+&client_reference_id=ID#top"),
        (
            "https://checkout.stripe.com/c/pay/cs_1#a?b",
            "https://checkout.stripe.com/c/pay/cs_1?client_reference_id=ID#a?b",
        ),
        ("https://buy.stripe.com/a?client_reference_id=own", "https://buy.stripe.com/a?client_reference_id=own"),
        ("https://example.com/?to=https://buy.stripe.com/a", "https://example.com/?to=https://buy.stripe.com/a"),
        ("https://buy.stripe.com.evil.example/a", "https://buy.stripe.com.evil.example/a"),
    ],
)
def test_link_gets_the_id_when_it_has_none(
    page: Page, jar: Jar, site: Site, path: str, href: str, expected: str
) -> None:
    site.put(path, INIT, f"<a id=link href='{href}'>Buy</a><a id=last href='https://buy.stripe.com/last'>Buy</a>")
    page.goto(site.url(path))
    page.wait_for_function("document.getElementById('last').href.includes('client_reference_id')")
    assert page.get_attribute("#link", "href") == expected.replace("ID", jar()["_relo_cid"])


def test_forms_buttons_and_inputs_get_the_id(page: Page, jar: Jar, site: Site, path: str) -> None:
    body = """
      <form id=a action='https://buy.stripe.com/a'><button>Buy</button></form>
      <form id=b action='/own'><button formaction='https://buy.stripe.com/b'>Buy</button>
        <input type=hidden name=relo_click_id></form>
      <form id=c action='https://buy.stripe.com/c'><input type=hidden name=client_reference_id value=own></form>
      <form id=d action='/own'><input type=hidden name=relo_click_id value=own></form>
      <stripe-buy-button buy-button-id=b1></stripe-buy-button>"""
    site.put(path, INIT, body)
    page.goto(site.url(path))
    page.wait_for_function("document.querySelector('stripe-buy-button').getAttribute('client-reference-id')")
    found = page.evaluate("[...document.forms].map(form => [...new FormData(form)])")
    click_id = jar()["_relo_cid"]
    assert found == [
        [["client_reference_id", click_id]],
        [["relo_click_id", click_id], ["client_reference_id", click_id]],
        [["client_reference_id", "own"]],
        [["relo_click_id", "own"]],
    ]


def test_later_click_is_in_the_links_of_its_own_landing_page(page: Page, jar: Jar, site: Site, path: str) -> None:
    site.put(path, INIT + "relo('page');", "<a href='https://buy.stripe.com/a'>Buy</a>")
    page.goto(site.url(path))
    page.wait_for_function("document.querySelector('a').href.includes('client_reference_id')")
    before = jar()["_relo_cid"]
    page.goto(site.url(path + "?ref=luis"))
    page.wait_for_function("document.querySelector('a').href.includes('client_reference_id')")
    assert jar()["_relo_cid"] != before
    assert page.get_attribute("a", "href") == f"https://buy.stripe.com/a?client_reference_id={jar()['_relo_cid']}"


def test_ten_thousand_links_added_over_time_are_done_in_parts(page: Page, jar: Jar, site: Site, path: str) -> None:
    site.put(path, INIT)
    page.goto(site.url(path))
    page.evaluate(
        """async () => {
          let inThisTask = 0;
          window.mostInOneTask = 0;
          const search = Object.getOwnPropertyDescriptor(HTMLAnchorElement.prototype, 'search');
          const counted = { ...search, set(value) {
            if (value.includes('client_reference_id') && !inThisTask++) queueMicrotask(() => { inThisTask = 0; });
            window.mostInOneTask = Math.max(window.mostInOneTask, inThisTask);
            search.set.call(this, value);
          } };
          Object.defineProperty(HTMLAnchorElement.prototype, 'search', counted);
          for (let round = 0; round < 50; round++) {
            const part = document.createElement('div');
            for (let i = 0; i < 200; i++) {
              const link = document.createElement('a');
              link.href = i % 2 ? 'https://buy.stripe.com/' + round + i : '/page/' + i;
              part.append(link);
            }
            document.body.append(part);
            await new Promise(resolve => setTimeout(resolve, 1));
          }
        }"""
    )
    stamped = f"document.querySelectorAll('a[href$=\"client_reference_id={jar()['_relo_cid']}\"]').length"
    page.wait_for_function(f"{stamped} == 5000")
    assert page.evaluate("document.querySelectorAll('a[href^=\"/page/\"]').length") == 5000
    assert 1 <= page.evaluate("window.mostInOneTask") <= 200


def test_link_that_is_made_and_clicked_at_once(page: Page, jar: Jar, site: Site, path: str) -> None:
    site.put(path, INIT)
    page.goto(site.url(path))
    href = page.evaluate(
        """() => {
          const link = document.createElement('a');
          link.href = 'https://buy.stripe.com/now';
          link.onclick = event => event.preventDefault();
          document.body.append(link);
          link.click();
          return link.href;
        }"""
    )
    assert href == f"https://buy.stripe.com/now?client_reference_id={jar()['_relo_cid']}"


def test_odd_element_keeps_nothing_else_from_its_id(page: Page, jar: Jar, site: Site, path: str) -> None:
    body = """
      <button formaction='https://buy.stripe.com/a'>Without a form</button>
      <form id=a action='https://buy.stripe.com/b'><input name=form></form>
      <form id=b action='https://buy.stripe.com/c'><input name=elements></form>
      <stripe-buy-button></stripe-buy-button><form id=c action=/own><input type=hidden name=relo_click_id></form>"""
    site.put(path, INIT, body)
    page.goto(site.url(path))
    page.wait_for_function("document.querySelector('[name=relo_click_id]').value")
    click_id = jar()["_relo_cid"]
    assert page.get_attribute("stripe-buy-button", "client-reference-id") == click_id
    assert page.evaluate("[...new FormData(document.getElementById('b'))]") == [
        ["elements", ""],
        ["client_reference_id", click_id],
    ]
    before = page.evaluate("document.querySelectorAll('input').length")
    page.wait_for_timeout(1500)  # several looks later
    assert page.evaluate("document.querySelectorAll('input').length") == before


def test_what_has_an_earlier_id_from_us_gets_that_of_a_click_adopted_later(
    page: Page, jar: Jar, site: Site, path: str
) -> None:
    body = """<a href='https://buy.stripe.com/a#top'>Buy</a><a href='?click_id=EARLIER'>Own</a>
      <form action='https://buy.stripe.com/b'></form><stripe-buy-button></stripe-buy-button>
      <input type=hidden name=relo_click_id><input type=hidden name=relo_click_id value=own>"""
    earlier = ulid.new()
    site.put(path, INIT, body.replace("EARLIER", earlier))
    page.goto(site.url(f"{path}?click_id={earlier}"))
    page.wait_for_function("document.querySelector('stripe-buy-button').getAttribute('client-reference-id')")
    page.route("**/click", lambda route: route.fulfill(status=503, headers={"Access-Control-Allow-Origin": "*"}))
    page.goto(site.url(path + "?ref=luis"))
    written = "document.querySelector('stripe-buy-button').getAttribute('client-reference-id')"
    page.wait_for_function(f"{written} == '{earlier}'")
    page.unroute("**/click")
    page.wait_for_function(f"{written} != '{earlier}'")
    click_id = jar()["_relo_cid"]
    assert page.evaluate("[...document.links].map(link => link.getAttribute('href'))") == [
        f"https://buy.stripe.com/a?client_reference_id={click_id}#top",
        f"?click_id={earlier}",
    ]
    assert page.evaluate("[...document.querySelectorAll('input')].map(input => input.value)") == [
        click_id,
        click_id,
        "own",
    ]
