"""What the pixel meets at the ingest: its script, clicks of landing pages, privacy signals, cookies from the server."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import brotli
import minify
import pytest
from httpx import Response

import relo_ingest
from relo_ingest._fast import digest, ulid
from relo_ingest.ingest.pixel_cookies import answer_headers
from relo_ingest.ingest.visitor import Visitors
from support.processes import Product, Server, eventually, free_port
from support.site import SNIPPET

SCRIPT = resources.files("relo_ingest.pixel") / "r.min.js"
MOST_BYTES = 3000


def row_of(product: Product, event_id: str) -> dict[str, Any]:
    sql = (
        "SELECT * EXCEPT properties, toString(properties) AS properties FROM events FINAL WHERE event_id = {id:String}"
    )
    product.eventually_rows(sql, id=event_id)
    found = product.clickhouse.query(sql, parameters={"id": event_id})
    assert len(found.result_rows) == 1
    return dict(zip(found.column_names, found.result_rows[0], strict=True))


def test_script_keeps_to_its_budget() -> None:
    assert len(gzip.compress(SCRIPT.read_bytes(), 9)) <= MOST_BYTES


def test_script_is_made_of_the_source_that_stands_beside_it() -> None:
    minify.config({"js-version": 2017})
    source = (resources.files("relo_ingest.pixel") / "r.js").read_text()
    made = minify.string("text/javascript", source.replace("'0.0.0'", f"'{relo_ingest.__version__}'"))
    assert SCRIPT.read_text() == made, "r.min.js is old: run pip install --editable . again"
    assert f'version="{relo_ingest.__version__}"' in made


def test_script_needs_nothing_newer_than_es2017() -> None:
    """Syntax and methods of later years that are easily written by habit."""
    source = (resources.files("relo_ingest.pixel") / "r.js").read_text()
    code = re.sub(r"//[^\n]*", "", source)
    later = (r"\?\.|\?\?|catch\s*\{|\{\s*\.\.\.|,\s*\.\.\.\w+\s*\}|\.finally\(|\.flat\(|\.flatMap\(|fromEntries|"
             r"replaceAll|matchAll|\.at\(|globalThis|\basync\b(?!:)|\*\*=|\|\|=|&&=|structuredClone|for await|#\w+\s*=")  # fmt: skip
    assert re.findall(later, code) == []


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("br, gzip", "br"),
        ("gzip, deflate", "gzip"),
        ("gzip;q=0.5, br;q=0", "gzip"),
        ("identity", ""),
        ("", ""),
        ("br;q=0.5, gzip;q=1", "gzip"),
        ("gzip;foo=1;q=0", ""),
        ("BR ; Q=0.3 , gzip;q=0.300", "br"),
        ("*", "br"),
        ("*;q=0.5, br;q=0", "gzip"),
        ("identity, gzip;q=0.5", ""),
        ("gzip;q=nan", ""),
        ("br;q=0, gzip;q=0, *;q=0", ""),
    ],
)
def test_script_is_compressed_before_it_is_asked_for(server: Server, accepted: str, coding: str) -> None:
    with server.http.stream("GET", "/r.js", headers={"Accept-Encoding": accepted}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.status_code == 200
    assert answer.headers.get("content-encoding", "") == coding
    assert {"br": brotli.decompress, "gzip": gzip.decompress, "": bytes}[coding](raw) == SCRIPT.read_bytes()
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "max-age=" in answer.headers["cache-control"]
    assert answer.headers["vary"] == "accept-encoding"
    etag = answer.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        again = server.http.get("/r.js", headers={"Accept-Encoding": accepted, "If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert server.http.get("/r.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert server.http.head("/r.js").content == b""


def click(**changes: object) -> dict[str, Any]:
    url = "https://shop.example/?ref=ana&s1=news&token=abc"
    return {"client_id": 1, "click_id": ulid.new(), "did": ulid.new(), "url": url} | changes


def test_click_of_a_landing_page_is_the_row_of_a_partner_link(server: Server, product: Product) -> None:
    sent = click(referrer="https://blog.example/?email=a@b.example")
    for _ in range(2):
        answer = server.http.post("/click", json=sent, headers={"User-Agent": "Browser/1"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    row = row_of(product, sent["click_id"])
    expected = {
        "event_type": "click", "event_name": "click", "channel": "link", "media_source": "link", "partner_ref": "ana",
        "offer": "demo", "click_id": sent["click_id"], "device_id": sent["did"], "ip": "127.0.0.0", "user_agent": "Browser/1",
        "url": "https://shop.example/?ref=ana&s1=news&token=REDACTED", "referrer": "https://blog.example/?email=REDACTED",
        "properties": '{"s1":"news","token":"REDACTED"}', "is_bot": False,
    }  # fmt: skip
    assert {k: row[k] for k in expected} == expected
    seen = "SELECT partner_ref FROM clicks WHERE click_id = {c:String}"
    assert product.eventually_rows(seen, c=sent["click_id"]) == [("ana",)]


def test_offer_of_the_partner_is_meant_and_another_is_the_sites_own_parameter(server: Server, product: Product) -> None:
    theirs = click(url="https://shop.example/?ref=ana&offer=summer")
    ours = click(url="https://shop.example/?ref=ana&offer=demo")
    for sent, properties in ((theirs, '{"offer":"summer"}'), (ours, "{}")):
        assert server.http.post("/click", json=sent).status_code == 204
        row = row_of(product, sent["click_id"])
        assert (row["offer"], row["properties"]) == ("demo", properties)


def test_page_cannot_put_a_click_into_the_past_or_the_future(server: Server, product: Product) -> None:
    now = int(time.time() * 1000)
    for offset_ms, is_believed in ((-60_000, True), (-3_600_000, False), (3_600_000, False)):
        sent = click(click_id=ulid.new_at(now + offset_ms))
        assert server.http.post("/click", json=sent).status_code == 204
        row = row_of(product, sent["click_id"])
        stored_ms = round(row["event_time"].timestamp() * 1000)
        assert stored_ms == (now + offset_ms if is_believed else round(row["received_at"].timestamp() * 1000))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (click(url="https://shop.example/?ref=producthunt"), 404, "unknown_ref"),
        (click(url="https://shop.example/"), 404, "unknown_ref"),
        (click(client_id=999), 404, "unknown_ref"),
        (click(click_id="nonsense"), 400, "invalid_event"),
        (click(url="https://[broken/?ref=ana"), 400, "invalid_event"),
        (click(url="https://shop.example/?ref=ana" + "&a=1" * 200), 400, "invalid_event"),
        ({"client_id": 1}, 400, "invalid_event"),
        ([], 400, "invalid_event"),
        (click(referrer="x" * 20_000), 413, "body_too_large"),
    ],
)  # fmt: skip
def test_click_that_is_none_is_refused(server: Server, body: object, status: int, code: str) -> None:
    answer = server.http.post("/click", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["access-control-allow-origin"] == "*"


def test_click_that_is_no_json_is_refused(server: Server) -> None:
    assert server.http.post("/click", content=b"{").json()["error"]["code"] == "malformed_json"


@pytest.mark.parametrize("header", ["Sec-GPC", "DNT"])
@pytest.mark.parametrize("method", ["POST", "array", "GET"])
def test_privacy_signal_takes_the_person_out_of_the_row(
    server: Server, product: Product, header: str, method: str
) -> None:
    event_id = ulid.new()
    beacon = {
        "client_id": 1, "event": "purchase", "event_id": event_id, "cid": ulid.new(), "did": ulid.new(), "user_id": 7,
        "email_hash": digest.email_hash("ann@example.com"), "url": "https://shop.example/thanks?order=A-1#top",
        "referrer": "https://blog.example/?q=1", "title": "Thanks, Ann", "order_id": "A-1", "value": 9, "currency": "EUR",
        "lang": "es", "screen": "1x1", "shoe_size": 41,
    }  # fmt: skip
    sender = {header: "1", "User-Agent": "Browser/1"}
    if method == "GET":
        assert server.http.get("/e", params=beacon, headers=sender).status_code == 200
    else:
        body = [beacon] if method == "array" else beacon
        assert server.http.post("/e", json=body, headers=sender).status_code == 204
    row = row_of(product, event_id)
    kept = {"event_id", "client_id", "event_time", "received_at", "event_type", "event_name", "channel", "media_source",
            "revenue", "currency", "url", "referrer"}  # fmt: skip
    assert {name for name, value in row.items() if value not in ("", 0, False, "{}", [])} == kept
    assert (row["url"], row["referrer"]) == ("https://shop.example/thanks", "https://blog.example/")


def test_privacy_signal_leaves_a_landing_click_without_a_person(server: Server, product: Product) -> None:
    sent = click()
    assert server.http.post("/click", json=sent, headers={"Sec-GPC": "1"}).status_code == 204
    row = row_of(product, sent["click_id"])
    assert (row["partner_ref"], row["device_id"], row["click_id"], row["ip"]) == ("ana", "", "", "")


def scope(origin: str, host: str, scheme: str = "https") -> dict[str, Any]:
    return {"scheme": scheme, "headers": [(b"origin", origin.encode()), (b"host", host.encode())]}


def test_server_sets_the_cookies_of_its_own_site() -> None:
    ids = ulid.new(), ulid.new()
    found = answer_headers(scope("https://www.shop.example", "relo.shop.example"), Visitors(0), "shop.example", *ids)
    assert found is not None
    assert dict(found[:3]) == {
        b"access-control-allow-origin": b"https://www.shop.example",
        b"access-control-allow-credentials": b"true",
        b"vary": b"origin",
    }
    cookie = f"_relo_cid={ids[0]}; Path=/; Max-Age=5184000; SameSite=Lax; Domain=shop.example; Secure"
    assert found[3] == (b"set-cookie", cookie.encode())
    assert found[4][1].startswith(b"_relo_did=" + ids[1].encode())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://other.example", "relo.shop.example"),
        ("https://www.shop.example", "p.relo.example"),
        ("https://evilshop.example", "relo.shop.example"),
        ("https://shop.example.evil.example", "relo.shop.example"),
        ("null", "relo.shop.example"),
        ("", "relo.shop.example"),
        ("https://[::1", "relo.shop.example"),
        ("https://www.shop.exampl\xe9", "relo.shop.example"),
    ],
)
def test_server_sets_no_cookie_on_another_site(origin: str, host: str) -> None:
    assert answer_headers(scope(origin, host), Visitors(0), "shop.example", ulid.new(), ulid.new()) is None


def test_server_sets_no_cookie_of_what_is_no_id() -> None:
    asked = scope("https://shop.example", "relo.shop.example", "http")
    found = answer_headers(asked, Visitors(0), "shop.example", "x; Domain=evil.example", "")
    assert found is not None
    assert b"set-cookie" not in dict(found)


def test_test_page_runs_nothing_but_its_own_script(server: Server) -> None:
    answer = server.http.get("/pixel/test?client_id=1")
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200
    assert re.search(r"script-src 'self' 'sha256-[\w+/=]{44}';", policy)
    assert "unsafe" not in policy
    assert re.search(r"\son\w+=", answer.text) is None


def test_guide_has_the_snippet_and_tells_every_option() -> None:
    root = Path(__file__).parents[2]
    guide, source = (root / "docs/pixel.md").read_text(), (root / "relo_ingest/pixel/r.js").read_text()
    snippet = SNIPPET % ("https://p.relo.mx", "relo('init', { client_id: 42 }); relo('page');")
    for text in (guide, (root / "README.md").read_text()):
        assert snippet in text
    told = set(
        re.findall(r"^\| `(\w+)` \|", guide[guide.index("## Options") : guide.index("## Stripe")], flags=re.MULTILINE)
    )
    assert told == set(re.findall(r"options\.(\w+)", source))


def test_server_sets_the_cookies_again_that_came_with_the_beacon() -> None:
    asked = scope("https://www.shop.example", "relo.shop.example")
    newer = ulid.new()
    asked["headers"].append((b"cookie", f"x-_relo_cid={ulid.new()}; _relo_cid={newer}; _relo_did=none".encode()))
    device = ulid.new()
    found = answer_headers(asked, Visitors(0), "shop.example", ulid.new(), device)
    assert found is not None
    assert [value.partition(b";")[0].decode() for name, value in found if name == b"set-cookie"] == [
        f"_relo_cid={newer}",
        f"_relo_did={device}",
    ]


def test_server_sets_no_cookie_for_who_asks_for_privacy() -> None:
    asked = scope("https://www.shop.example", "relo.shop.example")
    asked["headers"].append((b"cookie", f"_relo_cid={ulid.new()}".encode()))
    found = answer_headers(asked, Visitors(0), "shop.example", ulid.new(), ulid.new(), is_private=True)
    assert found is not None
    assert {name for name, _ in found} == {b"access-control-allow-origin", b"access-control-allow-credentials", b"vary"}


ORIGIN = {"Origin": "https://www.shop.example"}


@pytest.fixture
def frugal(product: Product, tmp_path: Path) -> Iterator[Server]:
    """Takes one event a second of each client."""
    port = free_port()
    running = Server(
        ["uvicorn", "relo_ingest.ingest.server:create_app", "--factory", "--port", str(port), "--log-level", "warning"],
        product.env | {"RELO_QUOTAS_BEACONS_PER_S": "1", "RELO_QUOTAS_BURST": "1"},
        port,
        tmp_path / "log",
        "/health/ready",
    )
    yield running
    assert running.stop() in (0, -15)


def test_array_of_which_a_part_may_be_taken_later_is_to_be_sent_again(frugal: Server) -> None:
    body = [{"client_id": 1, "currency": "dollars"}, {"client_id": 1}, {"client_id": 999}]

    def refused() -> Response | None:
        answer = frugal.http.post("/e", json=body, headers=ORIGIN)
        return None if answer.status_code == 200 else answer  # while the quota is not used up

    answer = eventually(refused, "all three are refused")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "over_quota")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/e", {"client_id": 999}, 404),
        ("/e", {"client_id": 1, "currency": "dollars"}, 400),
        ("/click", click(click_id="nonsense"), 400),
        ("/click", click(), 204),
    ],
)
def test_answer_can_be_read_by_a_page_that_sent_cookies(server: Server, path: str, body: object, status: int) -> None:
    answer = server.http.post(path, json=body, headers=ORIGIN)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]
    assert (answer.headers["access-control-allow-credentials"], answer.headers["vary"]) == ("true", "origin")


@pytest.mark.parametrize("path", ["/pixel/test", "/demo"])
def test_page_for_people_can_be_asked_for_its_head(server: Server, path: str) -> None:
    head, whole = server.http.head(path), server.http.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
