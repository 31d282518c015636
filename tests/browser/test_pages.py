"""Page views: single-page apps, pages that are prerendered, content security policies, tag managers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from relo_ingest._fast import digest, ulid
from support.site import Site

Rows = Callable[..., list[dict[str, Any]]]
GUIDE = (Path(__file__).parents[2] / "docs/pixel.md").read_text()
SCRIPT = resources.files("relo_ingest.pixel") / "r.min.js"
AUTO = "relo('init', { client_id: 1, auto: true });"


def test_single_page_app_counts_each_page_once(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put(path, AUTO + "relo('page');")
    page.goto(site.url(path), referer="https://blog.example/")
    rows(1)
    for step in (
        f"history.pushState({{}}, '', '{path}/a'); document.title = 'A'",
        f"history.pushState({{}}, '', '{path}/a')",
        f"history.replaceState({{}}, '', '{path}/b'); document.title = 'B'",
        "location.hash = 'part'",
        "history.back()",
        f"history.pushState({{}}, '', '{path}/c'); history.pushState({{}}, '', '{path}/d')",
        "relo('event', 'last')",
    ):
        page.evaluate(step)
        page.wait_for_timeout(150)
    rows(1, "last")
    found = rows(6, "page")
    tails = [row["url"].partition(path)[2] for row in found]
    assert sorted(tails) == ["", "/a", "/b", "/b#part", "/c", "/d"]
    by_tail = dict(zip(tails, found, strict=True))
    assert [by_tail[t]["title"] for t in ("", "/a", "/b")] == ["Shop", "A", "B"]
    assert by_tail[""]["referrer"] == "https://blog.example/"
    assert by_tail["/a"]["referrer"] == site.url(path)
    assert by_tail["/b"]["referrer"] == site.url(path + "/a")


def test_auto_counts_the_first_page_by_itself(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put(path, AUTO)
    page.goto(site.url(path))
    assert len(rows(1, "page")) == 1


def test_history_of_the_page_works_as_before(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put(path, AUTO)
    page.goto(site.url(path))
    rows(1)
    assert page.evaluate(f"history.pushState({{ a: 1 }}, '', '{path}/a') === undefined && history.state.a") == 1
    assert (
        page.evaluate("try { history.pushState({}, '', 'https://other.example/'); } catch (e) { e.name }")
        == "SecurityError"
    )


def test_prerendered_page_counts_when_it_is_shown(site: Site, path: str, rows: Rows, tmp_path: Path) -> None:
    """In a browser that nobody drives: whatever drives one through its debugger keeps it from prerendering."""
    site.put(path + "/next", "relo('init', { client_id: 1 }); relo('page', { early: document.prerendering });")
    rules = f'{{"prerender": [{{"source": "list", "urls": ["{path}/next"], "eagerness": "immediate"}}]}}'
    body = f"""<script type='speculationrules'>{rules}</script><script>
      setTimeout(function () {{ relo('event', 'leaving'); location.href = '{path}/next'; }}, 2000);</script>"""
    site.put(path, "relo('init', { client_id: 1 });", body)
    options = ["--headless=new", "--no-sandbox", f"--user-data-dir={tmp_path}", "--user-agent=Browser/1"]
    browser = subprocess.Popen(
        ["chromium", *options, site.url(path)], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        leaving, shown = rows(2)
    finally:
        os.killpg(browser.pid, signal.SIGTERM)
        browser.wait(20)
    assert (leaving["event_name"], shown["event_name"]) == ("leaving", "page")
    assert (shown["url"], shown["properties"]) == (site.url(path + "/next"), {"early": True})
    assert shown["event_time"] >= leaving["event_time"]


def test_strict_content_security_policy(page: Page, site: Site, path: str, rows: Rows) -> None:
    violations: list[str] = []
    page.on("console", lambda m: violations.append(m.text) if "Content Security Policy" in m.text else None)
    policy = f"default-src 'none'; script-src 'nonce-abc' {site.ingest_url}; connect-src {site.ingest_url}"
    html = f"<!doctype html><html><head><title>Shop</title>{site.snippet(AUTO)}</head><body></body></html>"
    site.put_text(path, html.replace("<script>", "<script nonce='abc'>"), {"Content-Security-Policy": policy})
    page.goto(site.url(path))
    assert len(rows(1)) == 1
    assert violations == []


def test_tag_manager_that_inserts_the_snippet_later(page: Page, site: Site, path: str, rows: Rows) -> None:
    site.put_text(path, "<!doctype html><title>Shop</title>")
    page.goto(site.url(path))
    code = (
        site.snippet("relo('init', { client_id: '1' }); relo('page');")
        .removeprefix("<script>")
        .removesuffix("</script>")
    )
    page.evaluate(
        "code => { const s = document.createElement('script'); s.text = code; document.body.append(s); }", code
    )
    assert [row["event_name"] for row in rows(1)] == ["page"]


def test_script_in_the_head_before_any_body(page: Page, site: Site, path: str, rows: Rows) -> None:
    head = f"<script>relo = {{ q: [['init', {{ client_id: 1 }}], ['page']] }}</script><script src='{site.ingest_url}/r.js'></script>"
    site.put_text(path, f"<!doctype html><html><head>{head}<title>Late</title></head><body></body></html>")
    page.goto(site.url(path))
    assert len(rows(1)) == 1


def test_function_that_a_page_took_before_the_script_came_works_on(
    page: Page, site: Site, path: str, rows: Rows
) -> None:
    site.put(path, "window.early = relo; relo('init', { client_id: 1 });")
    page.goto(site.url(path))
    page.wait_for_function("relo.version")
    page.evaluate("early('event', 'by_the_stub')")
    assert [row["event_name"] for row in rows(1)] == ["by_the_stub"]


def test_script_that_stands_in_the_page_itself_names_its_endpoint(
    page: Page, site: Site, path: str, rows: Rows
) -> None:
    """In a frame without an address of its own, and as a module, which has no currentScript."""
    script = SCRIPT.read_text().replace("</", "<\\/")
    calls = f"relo = {{ q: [['init', {{ client_id: 1, endpoint: '{site.ingest_url}' }}], ['page', {{}}, '{site.url(path)}']] }};"
    module = f"<script>{calls}</script><script type=module>{script}</script>"
    frame = f"<script>{calls}{script}</script>".replace("&", "&amp;").replace('"', "&quot;")
    site.put_text(path, f'<!doctype html><title>Shop</title>{module}<iframe srcdoc="{frame}"></iframe>')
    page.goto(site.url(path))
    assert len(rows(2, "page")) == 2


def test_elements_for_react_work_in_a_document_that_nothing_is_added_to(
    page: Page, site: Site, path: str, rows: Rows
) -> None:
    queue = re.findall(r"const QUEUE = `(.*?)`;", GUIDE, re.DOTALL)
    assert len(queue) == 2
    assert queue[0] == queue[1]
    head = f"<script>{queue[0].replace('42', '1')}</script><script async src='{site.ingest_url}/r.js'></script>"
    site.put_text(path, f"<!doctype html><html><head>{head}<title>Shop</title></head><body></body></html>")
    page.goto(site.url(path))
    assert [row["event_name"] for row in rows(1)] == ["page"]
    assert page.evaluate("[...document.head.children].map(element => element.localName)") == [
        "script",
        "script",
        "title",
    ]


def test_call_before_the_tag_manager_has_run_waits_for_init(page: Page, site: Site, path: str, rows: Rows) -> None:
    (stub,) = re.findall(r"<script>window\.relo=.*?</script>", GUIDE)
    calls = "relo('init', { client_id: 1 }); relo('page');"
    head = f"{stub}<script>relo('event', 'early')</script>{site.snippet(calls)}"
    site.put_text(path, f"<!doctype html><html><head>{head}<title>Shop</title></head><body></body></html>")
    page.goto(site.url(path))
    assert {(row["client_id"], row["event_name"]) for row in rows(2)} == {(1, "early"), (1, "page")}


def test_custom_pixel_for_shopify_reports_the_order_with_the_ids(page: Page, site: Site, path: str, rows: Rows) -> None:
    """Shopify is played by the page: what it gives a custom pixel, in a frame that has no origin."""
    (code,) = re.findall(r"```js\n(async function sha256.*?)```", GUIDE, re.DOTALL)
    code = code.replace("https://p.relo.mx", site.ingest_url).replace("client_id: 42", "client_id: 1")
    click_id = ulid.new()
    shopify = f"""
      const browser = {{ cookie: {{ get: async name => name == '_relo_cid' ? '{click_id}' : null }} }};
      const analytics = {{ subscribe(name, callback) {{ window[name] = callback; }} }};"""
    site.put_text(
        path, f"<!doctype html><script>{shopify}{code}</script>", {"Content-Security-Policy": "sandbox allow-scripts"}
    )
    page.goto(site.url(path))
    page.evaluate(
        """href => window.checkout_completed({ context: { document: { location: { href } } }, data: { checkout: {
          order: { id: 'S-1' }, totalPrice: { amount: 12.5 }, currencyCode: 'MXN', email: ' Ann@Example.com' } } })""",
        site.url(path),
    )
    (row,) = rows(1)
    assert (row["event_type"], row["click_id"], row["device_id"]) == ("purchase", click_id, "")
    assert (row["order_id"], row["revenue"], row["currency"]) == ("S-1", Decimal("12.5"), "MXN")
    assert row["email_hash"] == digest.email_hash("ann@example.com")
