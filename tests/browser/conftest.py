"""Real Chromium against the whole product: a product for all tests of a worker, a browser for each file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from relo_ingest._fast import ulid
from support.processes import Product, eventually
from support.site import Site

PERSON = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
"""Chromium without a window calls itself a robot."""

CLIENTS = """
[[clients]]
client_id = 2
slug = "frank"
privacy_signals = "ignore"

[[clients]]
client_id = 3
slug = "own-subdomain"
cookie_domain = "shop.localhost"

[[offers]]
client = "own-subdomain"
slug = "own"
landing_page = "http://www.shop.localhost/"

[[partners]]
client = "own-subdomain"
ref = "olga"
offers = ["own"]
"""


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    directory = tmp_path_factory.mktemp("browser")
    running = Product(directory, RELO_SPOOL_MAX_AGE_MS=100, RELO_WORKER_INTERVAL_S=0.2)
    clients = directory / "clients.toml"
    clients.write_text(CLIENTS)
    applied = running.relo("apply", str(clients))
    assert applied.returncode == 0, applied.stdout + applied.stderr
    eventually(lambda: running.http.post("/e", json={"client_id": 3}).is_success, "the new clients are known")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def site(product: Product) -> Iterator[Site]:
    running = Site(product.base_url)
    yield running
    running.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ends with its module: while Playwright runs, nothing else in this process may run an event loop."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: make test installs it"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--host-resolver-rules=MAP *.shop.example 127.0.0.1"],
        )
        yield running
        running.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A new visitor."""
    visitor = browser.new_context(user_agent=PERSON, locale="es-MX", viewport={"width": 1200, "height": 800})
    visitor.set_default_timeout(60_000)
    yield visitor
    visitor.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab; the test fails when an error reaches the page."""
    tab = context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    assert errors == []


@pytest.fixture
def path() -> str:
    """Of a page that is this test's alone."""
    return f"/{ulid.new().lower()}"


@pytest.fixture
def rows(product: Product, path: str) -> Callable[..., list[dict[str, Any]]]:
    """``rows(count)``: what ClickHouse has of this test's pages, by time, once there are at least as many.

    With ``name`` only the events of that name.
    """

    def read(name: str) -> list[dict[str, Any]]:
        sql = (
            "SELECT * EXCEPT properties, toJSONString(properties) AS properties FROM events FINAL "
            "WHERE (position(url, {path:String}) > 0) AND (event_name = {name:String} OR {name:String} = '') "
            "ORDER BY event_time, event_id"
        )
        result = product.clickhouse.query(sql, parameters={"path": path, "name": name})
        found = [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]
        return [row | {"properties": msgspec.json.decode(row["properties"])} for row in found]

    def wait(count: int, name: str = "") -> list[dict[str, Any]]:
        eventually(lambda: len(read(name)) >= count, f"{count} rows of {path} {name}")
        return read(name)

    return wait


@pytest.fixture
def jar(context: BrowserContext) -> Callable[[], dict[str, str]]:
    """The visitor's cookies, by name."""
    return lambda: {cookie["name"]: cookie["value"] for cookie in context.cookies()}
