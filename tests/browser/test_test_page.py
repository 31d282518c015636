"""``/pixel/test``: each step of the guide, passed or failed, with what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

import relo_ingest
from support.processes import Product
from support.site import Site


def result(page: Page) -> dict[str, tuple[str, str]]:
    """Each step's state and note, by its name, when all are done."""
    page.wait_for_selector("#verdict.passed, #verdict.failed")
    steps = page.query_selector_all("#steps li")
    return {
        step.query_selector(".name").inner_text(): (  # type: ignore[union-attr]
            str(step.get_attribute("class")),
            step.query_selector(".note").inner_text(),  # type: ignore[union-attr]
        )
        for step in steps
    }


def photograph(page: Page, name: str) -> None:
    """For people to look at, where RELO_SCREENSHOTS names a directory."""
    directory = os.environ.get("RELO_SCREENSHOTS")
    if directory:
        Path(directory).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


def states(page: Page) -> list[str]:
    return [state for state, _ in result(page).values()]


def test_all_steps_pass(page: Page, product: Product) -> None:
    answer = page.goto(product.base_url + "/pixel/test?client_id=1")
    assert answer is not None
    assert "unsafe-inline" not in answer.headers["content-security-policy"]
    assert states(page) == ["passed"] * 5
    assert "All 5 steps passed" in page.inner_text("#verdict")
    assert f"'{product.base_url}/r.js'" in page.inner_text("#snippet")
    assert "client_id: 1 " in page.inner_text("#snippet")
    photograph(page, "passed")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    photograph(page, "passed-phone")


@pytest.mark.parametrize("query", ["", "?client_id=", "?client_id=<b>x</b>", "?client_id=-1", "?client_id=4294967296"])
def test_address_without_a_client_says_what_to_do(page: Page, product: Product, query: str) -> None:
    page.goto(product.base_url + "/pixel/test" + query)
    assert states(page) == ["failed"] + ["skipped"] * 4
    assert "/pixel/test?client_id=42" in result(page)["The address names a client"][1]
    assert page.query_selector("b") is None


def test_unknown_client(page: Page, product: Product) -> None:
    page.goto(product.base_url + "/pixel/test?client_id=4040")
    found = result(page)
    assert [state for state, _ in found.values()] == ["passed", "passed", "passed", "failed", "passed"]
    assert "no active client 4040" in found["An event is accepted"][1]
    photograph(page, "unknown-client")
    page.set_viewport_size({"width": 360, "height": 740})
    photograph(page, "unknown-client-phone")


def test_blocked_script(page: Page, product: Product) -> None:
    page.route("**/r.js", lambda route: route.abort())
    page.goto(product.base_url + "/pixel/test?client_id=1")
    found = result(page)
    assert [state for state, _ in found.values()] == ["passed", "failed", "skipped", "skipped", "skipped"]
    assert "ad blocker" in found["The script arrives"][1]
    photograph(page, "blocked")


def test_blocked_beacons(page: Page, product: Product) -> None:
    page.route("**/e", lambda route: route.abort())
    page.goto(product.base_url + "/pixel/test?client_id=1")
    assert states(page) == ["passed", "passed", "passed", "failed", "passed"]


def test_browser_that_asks_not_to_be_tracked(browser: Browser, product: Product) -> None:
    visitor = browser.new_context(color_scheme="dark", extra_http_headers={"Sec-GPC": "1"})
    visitor.add_init_script("Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', { get: () => true })")
    page = visitor.new_page()
    page.goto(product.base_url + "/pixel/test?client_id=1")
    found = result(page)
    assert found["An event is accepted"][0] == "passed"
    assert found["The cookie _relo_cid holds an id"][0] == "failed"
    assert "Global Privacy Control" in found["The cookie _relo_cid holds an id"][1]
    photograph(page, "private-dark")
    visitor.close()


def test_lines_of_the_test_page_work_on_an_empty_page_elsewhere(
    page: Page, product: Product, site: Site, path: str
) -> None:
    page.goto(product.base_url + "/pixel/test?client_id=1")
    snippet, in_console = page.inner_text("#snippet"), page.inner_text("#console")
    site.put_text(path, f"<!doctype html><html><head>{snippet}</head><body></body></html>")
    table: list[object] = []
    page.on("console", lambda m: table.extend(arg.json_value() for arg in m.args) if m.type == "table" else None)
    with page.expect_response("**/e"):
        page.goto(site.url(path))
    page.evaluate(in_console)
    page.wait_for_timeout(100)
    ((found),) = table
    assert found["relo is a function"] == f"function {relo_ingest.__version__}"  # type: ignore[index]
    assert f"{product.base_url}/r.js" in found["requests to r.js and e"]  # type: ignore[index]
    assert f"{product.base_url}/e 204" in found["requests to r.js and e"]  # type: ignore[index]
    assert found["cookie _relo_cid"].startswith("_relo_cid=01")  # type: ignore[index]


def test_lines_to_copy_hold_no_text_of_the_address(page: Page, product: Product) -> None:
    page.goto(product.base_url + "/pixel/test?client_id=42%20}),alert(1),({x:1")
    assert states(page)[0] == "failed"
    assert "init', { client_id: … });" in page.inner_text("#snippet")
    assert "alert" not in page.inner_text("body")
