"""Partners' links, through a real server: what is recorded, where the visitor goes, and what the browser keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from relo_ingest._fast import ulid
from support.processes import Product, Server, eventually, free_port

REGISTRY = """
[[clients]]
client_id = 7
slug = "links"

[[offers]]
client = "links"
slug = "main"
landing_page = "https://shop.example/start?a=1&click_id=old#top"
append = ["s1", "s2", "fbclid"]
deep_link_hosts = ["*.shop.example"]
cookie_days = 7

[[offers]]
client = "links"
slug = "side"
landing_page = "https://side.example/"
dedup_minutes = 0

[[offers]]
client = "links"
slug = "ended"
landing_page = "https://shop.example/ended"
status = "paused"
fallback_page = "https://shop.example/other-offers"

[[partners]]
ref = "lia"
client = "links"
offers = ["main", "side", "ended"]

[[partners]]
ref = "lou"
client = "links"
offers = ["main"]

[[partners]]
ref = "leo"
client = "links"
offers = ["main", "ended"]
status = "paused"

[[partners]]
ref = "len"
client = "links"
offers = ["main"]
status = "paused"
"""
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Accept": "text/html",
}
PLATFORM_PAGE = "https://platform.example/"


@pytest.fixture(scope="module")
def links(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """The product, with the partners of this file."""
    file = tmp_path_factory.mktemp("links") / "registry.toml"
    file.write_text(REGISTRY)
    applied = product.relo("apply", str(file))
    assert applied.returncode == 0, applied.stderr
    eventually(lambda: product.http.head("/r?ref=lou").status_code == 302, "the partners are known")
    return product


@pytest.fixture(scope="module")
def proxied(links: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An ingest behind a proxy that says the country, with a fallback page for everybody."""
    port = free_port()
    env = links.env | {
        "RELO_INGEST_PORT": str(port),
        "RELO_INGEST_FALLBACK_PAGE": PLATFORM_PAGE,
        "RELO_INGEST_COUNTRY_HEADER": "CF-IPCountry",
        "RELO_INGEST_FORWARDED_HOPS": "1",
        "RELO_INGEST_COOKIE_DOMAIN": "example.com",
    }
    log = Path(tmp_path_factory.mktemp("proxied"), "log")
    running = Server(["relo_ingest", "ingest"], env, port, log, "/health/ready")
    yield running
    assert running.stop() == 0


def get(server: Server, path: str, **headers: str) -> httpx.Response:
    """As a browser that keeps no cookies."""
    server.http.cookies.clear()
    response = server.http.get(path, headers=BROWSER | headers)
    server.http.cookies.clear()
    return response


def id_in(response: httpx.Response) -> str:
    return response.headers["location"].partition("click_id=")[2][:26]


def click(product: Product, click_id: str) -> dict[str, Any]:
    """The row of a click, by column name."""
    sql = "SELECT * EXCEPT properties, toJSONString(properties) AS properties FROM clicks WHERE click_id = {c:String}"
    product.eventually_rows(sql, c=click_id)
    result = product.clickhouse.query(sql, parameters={"c": click_id})
    assert len(result.result_rows) == 1
    return dict(zip(result.column_names, result.result_rows[0], strict=True))


def cookies_of(response: httpx.Response) -> dict[str, str]:
    return dict(c.split("=", 1) for c in response.headers.get_list("set-cookie"))


def test_sub_ids_and_ad_click_ids_are_columns_of_the_click_unchanged(links: Product) -> None:
    said = {f"s{n}": f"Sub {n}/ñ" for n in range(1, 11)}
    said |= {"fbclid": "IwAR0aB-_c", "gclid": "CjwKCAaB", "gbraid": "0AAaA", "wbraid": "CmQKaB", "ttclid": "E.C.P.aB"}
    said |= {"msclkid": "2024-01-01T00:00:00Z"}
    response = get(links, "/r?ref=lia&" + "&".join(f"{k}={quote(v, safe='')}" for k, v in said.items()))
    row = click(links, id_in(response))
    assert {k: row[k] for k in said} == said
    assert (row["client_id"], row["partner_ref"], row["offer"]) == (7, "lia", "main")
    assert (row["is_bot"], row["is_repeat"], row["country"], row["code"]) == (False, False, "", "")


def test_click_without_parameters_has_empty_columns(links: Product) -> None:
    row = click(links, id_in(get(links, "/r?ref=lia")))
    assert {row[f"s{n}"] for n in range(1, 11)} | {row["fbclid"], row["msclkid"]} == {""}
    assert row["properties"] == "{}"


def test_landing_page_keeps_its_query_and_fragment_and_gets_what_the_offer_asks_for(
    server: Server, links: Product
) -> None:
    response = get(server, "/r?ref=lia&s2=b%26c&s3=no&fbclid=AbC&s1=a%20%22")
    assert response.status_code == 302
    click_id = id_in(response)
    assert ulid.is_valid(click_id)
    expected = f"https://shop.example/start?a=1&click_id={click_id}&s1=a%20%22&s2=b%26c&fbclid=AbC#top"
    assert response.headers["location"] == expected
    assert response.headers["cache-control"] == "no-store"


def test_nothing_can_be_put_into_the_headers_of_the_answer(links: Product) -> None:
    response = get(links, "/r?ref=lia&s1=%0d%0aset-cookie:%20a=b&s2=%00%ff")
    assert response.headers["location"].endswith("&s1=%0D%0Aset-cookie%3A%20a%3Db&s2=%00%EF%BF%BD#top")
    assert "a" not in cookies_of(response)


def test_cookie_lives_as_long_as_the_offer_says(links: Product) -> None:
    main, side = get(links, "/r?ref=lia"), get(links, "/r?ref=lia&offer=side")
    assert cookies_of(main)["_relo_cid"] == f"{id_in(main)}; Max-Age=604800; Path=/; SameSite=Lax"
    assert cookies_of(side)["_relo_cid"] == f"{id_in(side)}; Max-Age=5184000; Path=/; SameSite=Lax"


def test_cookie_follows_the_proxy_and_the_domain(proxied: Server) -> None:
    secure = get(proxied, "/r?ref=lia", **{"X-Forwarded-Proto": "https"})
    assert cookies_of(secure)["_relo_cid"].endswith("SameSite=Lax; Domain=example.com; Secure")
    assert cookies_of(secure)["_relo_at.lia.main"].endswith("SameSite=Lax; HttpOnly; Secure")
    assert "Secure" not in cookies_of(get(proxied, "/r?ref=lia", **{"X-Forwarded-Proto": "http"}))["_relo_cid"]


def test_country_is_what_the_trusted_header_says(proxied: Server, links: Product) -> None:
    for said, country in (("mx", "MX"), ("XX", ""), ("Mexico", ""), ("<b>", ""), ("T1", "T1")):
        assert click(links, id_in(get(proxied, "/r?ref=lia", **{"CF-IPCountry": said})))["country"] == country


def test_country_of_a_header_that_nobody_trusts_is_not_kept(links: Product) -> None:
    row = click(links, id_in(get(links, "/r?ref=lia&_relo_country=MX&_relo_repeat=true", **{"CF-IPCountry": "MX"})))
    assert (row["country"], row["is_repeat"], row["properties"]) == ("", False, "{}")


def test_deep_link_leads_to_a_host_of_the_offer(links: Product) -> None:
    to = quote("https://www.shop.example/p/1?click_id=mine&s1=theirs&v=2#reviews", safe="")
    response = get(links, f"/r?ref=lia&s1=news&to={to}")
    click_id = id_in(response)
    expected = f"https://www.shop.example/p/1?v=2&click_id={click_id}&s1=news#reviews"
    assert response.headers["location"] == expected
    row = click(links, click_id)
    assert row["url"] == "https://www.shop.example/p/1?click_id=mine&s1=theirs&v=2#reviews"
    assert row["s1"] == "news"
    assert row["properties"] == '{"s1":"news"}'


@pytest.mark.parametrize(
    ("to", "noted"),
    [
        ("https://evil.example/x", "https://evil.example/x"),
        ("//evil.example", "//evil.example"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("https://sh\u043ep.example", "https://sh\u043ep.example"),
        # What looks like somebody's address is not written, here as anywhere.
        ("https://shop.example@evil.example/", "https://REDACTED/"),
        ("https://shop.example\\@evil.example", "https://REDACTED"),
        ("https://shop.example%2f@evil.example", "https://REDACTED"),
        ("https://evil.example/" + "x" * 3000, "https://evil.example/" + "x" * 479),
    ],
)
def test_deep_link_to_a_stranger_leads_to_the_landing_page_and_is_noted(links: Product, to: str, noted: str) -> None:
    response = get(links, f"/r?ref=lia&to={quote(to, safe='')}")
    assert response.headers["location"].startswith("https://shop.example/start?a=1&click_id=")
    sql = "SELECT toString(properties._relo_refused_to), url FROM clicks WHERE click_id = {c:String}"
    found = links.eventually_rows(sql, c=id_in(response))
    assert found == [(noted, "https://shop.example/start?a=1&click_id=old#top")]


@pytest.mark.parametrize(
    "to", ["http\u017f://shop.example/", "https://\u0130.shop.example/", "https://\u212a.shop.example/"]
)
def test_letter_that_another_alphabet_folds_to_ours_leads_to_the_landing_page(links: Product, to: str) -> None:
    path = f"/r?ref=lia&to={quote(to, safe='')}"
    for response in (get(links, path), links.http.head(path, headers=BROWSER)):
        assert response.status_code == 302
        assert response.headers["location"].startswith("https://shop.example/start?a=1&click_id=")


def test_unknown_or_paused_offer_leads_to_the_partners_first(links: Product) -> None:
    for offer in ("nothing", "ended", "", "%00"):
        response = get(links, f"/r?ref=lia&offer={offer}")
        assert response.headers["location"].startswith("https://shop.example/start")
    assert get(links, "/r?ref=lia&offer=side").headers["location"].startswith("https://side.example/")


def test_paused_partner_leads_to_the_fallback_page_of_the_offer(links: Product, proxied: Server) -> None:
    for server in (links, proxied):
        for offer in ("ended", "main", ""):
            response = get(server, f"/r?ref=leo&offer={offer}")
            assert (response.status_code, response.headers["location"]) == (302, "https://shop.example/other-offers")
            assert "set-cookie" not in response.headers


def test_unknown_ref_leads_to_the_fallback_page_of_the_platform(proxied: Server) -> None:
    for path in ("/r?ref=nobody", "/r", "/r?ref=len", "/r?ref=%00%ff", "/r?&&=&%", "/c/nothing", "/c/"):
        response = get(proxied, path)
        assert (response.status_code, response.headers["location"]) == (302, PLATFORM_PAGE)
        assert proxied.http.head(path).headers["location"] == PLATFORM_PAGE


def test_without_a_fallback_page_a_person_reads_a_page_and_a_program_the_error(server: Server, links: Product) -> None:
    for path in ("/r?ref=nobody", "/r?ref=len", "/c/nothing"):
        person = get(server, path)
        assert person.status_code == 404
        assert person.headers["content-type"].startswith("text/html")
        assert "leads nowhere" in person.text
        program = get(server, path, Accept="*/*")
        assert (program.status_code, program.json()["error"]["code"]) == (404, "unknown_ref")


def test_head_shows_where_the_link_leads_and_records_nothing(server: Server, links: Product) -> None:
    marker = ulid.new()
    to = quote("https://www.shop.example/p", safe="")
    for path, location in (
        (f"/r?ref=lia&s1={marker}", "https://shop.example/start?a=1&click_id=old#top"),
        (f"/r?ref=lia&s1={marker}&to={to}", "https://www.shop.example/p"),
    ):
        response = server.http.head(path, headers=BROWSER)
        assert (response.status_code, response.headers["location"]) == (302, location)
        assert "set-cookie" not in response.headers
    assert click(links, id_in(get(server, "/r?ref=lia")))
    assert links.rows("SELECT count() FROM clicks WHERE s1 = {m:String}", m=marker) == [(0,)]


def test_prefetched_link_is_no_click_of_a_person_and_does_not_hide_the_one_that_follows(links: Product) -> None:
    prefetched = get(links, "/r?ref=lia", **{"Sec-Purpose": "prefetch"})
    row = click(links, id_in(prefetched))
    assert (row["is_bot"], row["bot_reason"]) == (True, "prefetch")
    assert list(cookies_of(prefetched)) == [], "a page that makes its visitors prefetch links leaves nothing with them"
    clicked = get(links, "/r?ref=lia", Cookie=f"_relo_cid={id_in(prefetched)}")
    assert click(links, id_in(clicked))["is_repeat"] is False


def test_second_click_on_the_same_link_is_kept_and_marked(server: Server, links: Product) -> None:
    first = get(server, "/r?ref=lia&s1=a")
    cookie = cookies_of(first)["_relo_at.lia.main"]
    assert cookie == f"{id_in(first)}; Max-Age=1800; Path=/; SameSite=Lax; HttpOnly"
    jar = f"_relo_cid={id_in(first)}; _relo_at.lia.main={id_in(first)}"
    again = get(server, "/r?ref=lia&s1=b", Cookie=jar)
    assert id_in(again) != id_in(first)
    assert list(cookies_of(again)) == ["_relo_cid"], "the window goes on from the click that counted"
    another_partner = get(server, "/r?ref=lou", Cookie=jar)
    another_offer = get(server, "/r?ref=lia&offer=side", Cookie=jar)
    assert [click(links, id_in(r))["is_repeat"] for r in (first, again, another_partner, another_offer)] == [
        False, True, False, False,
    ]  # fmt: skip


def test_click_after_the_window_counts_again(links: Product) -> None:
    now = int(time.time() * 1000)
    ages = {29: True, 31: False, -5: False}
    for minutes, repeat in ages.items():
        jar = f"_relo_at.lia.main={ulid.new_at(now - minutes * 60_000)}"
        assert click(links, id_in(get(links, "/r?ref=lia", Cookie=jar)))["is_repeat"] is repeat


def test_offer_without_a_window_marks_no_repeat(links: Product) -> None:
    first = get(links, "/r?ref=lia&offer=side")
    assert list(cookies_of(first)) == ["_relo_cid"]
    again = get(links, "/r?ref=lia&offer=side", Cookie=f"_relo_at.lia.side={id_in(first)}")
    assert click(links, id_in(again))["is_repeat"] is False


@pytest.mark.parametrize("value", ["", "x", "8" * 26, "%00", "\xff" * 26, ";;;==", "a" * 5000])
def test_cookie_that_was_tampered_with_does_no_harm(links: Product, value: str) -> None:
    jar = f"_relo_at.lia.main={value}; _relo_did={value}"
    links.http.cookies.clear()
    response = links.http.get("/r?ref=lia", headers=[(b"cookie", jar.encode("latin-1")), (b"user-agent", b"Browser/1")])
    row = click(links, id_in(response))
    assert (row["is_repeat"], row["device_id"]) == (False, "")


def test_short_link_leads_where_the_long_one_does(server: Server, links: Product) -> None:
    made = links.relo("link", "--ref", "lia", "--s1", "flyer", "--s2", "print", "--url", "https://p.example/")
    assert made.returncode == 0, made.stderr
    base, _, code = made.stdout.strip().rpartition("/")
    assert base == "https://p.example/c"
    assert len(code) == 7
    eventually(lambda: server.http.head(f"/c/{code}").status_code == 302, "the code is known")
    response = get(server, f"/c/{code}?s2=mine&fbclid=AbC&ref=lou&offer=side&to=https%3A%2F%2Fwww.shop.example%2F")
    expected = f"https://shop.example/start?a=1&click_id={id_in(response)}&s1=flyer&s2=mine&fbclid=AbC#top"
    assert response.headers["location"] == expected
    assert server.http.head(f"/c/{code}").headers["location"] == "https://shop.example/start?a=1&click_id=old#top"
    row = click(links, id_in(response))
    assert (row["code"], row["partner_ref"], row["offer"]) == (code, "lia", "main")
    assert (row["s1"], row["s2"], row["fbclid"]) == ("flyer", "mine", "AbC")


def test_short_link_with_a_code_of_its_own_stays_what_it_was(links: Product) -> None:
    to = "https://www.shop.example/p?v=2"
    made = links.relo("link", "--ref", "lou", "--offer", "main", "--to", to, "--code", "summer-24")
    assert (made.returncode, made.stdout) == (0, f"{links.base_url}/c/summer-24\n")
    taken = links.relo("link", "--ref", "lia", "--code", "summer-24")
    assert (taken.returncode, taken.stdout) == (1, "")
    assert "summer-24 is taken" in taken.stderr
    eventually(lambda: links.http.head("/c/summer-24").status_code == 302, "the code is known")
    assert links.http.head("/c/summer-24").headers["location"] == to
    listed = links.relo("link", "--list", "--ref", "lou")
    assert listed.stdout == (
        f"{links.base_url}/c/summer-24  /r?ref=lou&offer=main&to=https%3A%2F%2Fwww.shop.example%2Fp%3Fv%3D2\n"
    )
    rows = links.rows("SELECT client_id, partner_ref, offer, target FROM short_links WHERE code = 'summer-24'")
    assert rows == [(7, "lou", "main", to)]


def test_method_that_a_short_link_does_not_take_is_refused(links: Product) -> None:
    response = links.http.post("/c/summer-24")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


def test_lead_of_a_page_is_a_conversion_by_the_best_name_it_has(links: Product) -> None:
    device, address = ulid.new(), "A" * 64
    cases: list[tuple[dict[str, Any], str]] = [
        ({"order_id": "L-1", "email_hash": address, "user_id": 5, "did": device}, "lead:L-1"),
        ({"email_hash": address, "user_id": 5, "did": device}, f"lead:{'a' * 64}"),
        ({"user_id": 5, "did": device}, "lead:5"),
        ({"did": device}, f"lead:{device}"),
    ]
    for fields, key in cases:
        event_id = ulid.new()
        beacon = {"client_id": 7, "event": "lead", "event_id": event_id, "value": 9, "currency": "USD", **fields}
        assert links.http.post("/e", json=beacon).status_code == 204
        sql = "SELECT event_type, conversion_key FROM events WHERE event_id = {e:String}"
        assert links.eventually_rows(sql, e=event_id) == [("lead", key)]
    anonymous, address_as_user = ulid.new(), ulid.new()
    assert links.http.post("/e", json={"client_id": 7, "event": "lead", "event_id": anonymous}).status_code == 204
    named = {"client_id": 7, "event": "lead", "event_id": address_as_user, "user_id": "Ann@example.com"}
    assert links.http.post("/e", json=named).status_code == 204
    sql = "SELECT conversion_key FROM events WHERE event_id = {e:String}"
    assert links.eventually_rows(sql, e=anonymous) == [(f"lead:{anonymous}",)]
    ((key,),) = links.eventually_rows(sql, e=address_as_user)
    assert "@" not in key
    assert len(key) == len("lead:") + 64


def test_what_is_no_lead_is_no_conversion(links: Product) -> None:
    event_id = ulid.new()
    beacon = {"client_id": 7, "event": "purchase", "event_id": event_id, "order_id": "A-1", "user_id": 5}
    assert links.http.post("/e", json=beacon).status_code == 204
    sql = "SELECT conversion_key FROM events WHERE event_id = {e:String}"
    assert links.eventually_rows(sql, e=event_id) == [("",)]
