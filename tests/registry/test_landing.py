"""Where a link may lead: each trick of an open redirect by its name."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relo_ingest.registry.landing import Landing, OfferTerms, split_at_click_id


def landing(page: str = "https://shop.example/start?a=1#top", *hosts: str) -> Landing:
    return OfferTerms("shop", "main", page, "active", deep_link_hosts=hosts).landing("ana")


ALLOWED = landing("https://shop.example/", "blog.example", "book.example", "*.shop.example", "test.example:8443")

TRICKS = {
    "another host": "https://evil.example/",
    "a script": "javascript:alert(1)",
    "a script that looks like a host": "javascript://shop.example/%0aalert(1)",
    "a script in mixed case": "JaVaScRiPt:alert(1)",
    "a data address": "data:text/html,<script>alert(1)</script>",
    "a file": "file:///etc/passwd",
    "another scheme": "ftp://shop.example/",
    "http, where the landing page is https": "http://shop.example/",
    "no scheme": "shop.example/",
    "two slashes": "//shop.example/",
    "two slashes and another host": "//evil.example/",
    "three slashes": "///evil.example/",
    "a scheme and three slashes": "https:///evil.example/",
    "a scheme and one slash": "https:/evil.example/",
    "a scheme and no slash": "https:evil.example",
    "a path": "/start",
    "a user": "https://shop.example@evil.example/",
    "a user of the right host": "https://me@shop.example/",
    "a user and a password": "https://shop.example:pw@evil.example/",
    "an encoded at sign": "https://shop.example%40evil.example/",
    "a backslash for a slash": "https:\\\\evil.example\\",
    "a backslash after the host": "https://shop.example\\@evil.example/",
    "a backslash before another host": "https://evil.example\\.shop.example/",
    "a slash and a backslash": "/\\evil.example",
    "a tab in the scheme": "java\tscript:alert(1)",
    "a tab in the host": "https://shop.example\t.evil.example/",
    "a newline in the host": "https://shop.example\n.evil.example/",
    "a new header": "https://shop.example/\r\nset-cookie: a=b",
    "a space in front": " https://shop.example/",
    "a space behind the host": "https://shop.example .evil.example/",
    "a control character": "\x01https://shop.example/",
    "a NUL": "https://shop.example\0.evil.example/",
    "a delete": "https://shop.example\x7f/",
    "a no-break space": "https://shop.example\xa0/",
    "a sign that reverses text": "https://shop.example/\u202egpj.exe",
    "a byte order mark": "\ufeffhttps://shop.example/",
    "a Cyrillic letter": "https://sh\u043ep.example/",
    "an xn-- host that looks the same": "https://xn--shp-hed.example/",
    "a long s in the scheme": "http\u017f://shop.example/",
    "a long s in the host": "https://\u017fhop.example/",
    "a Kelvin sign in the host": "https://boo\u212a.example/",
    "a long s in a subdomain": "https://\u017f.shop.example/",
    "a Kelvin sign in a subdomain": "https://\u212a.shop.example/",
    "an I with a dot in a subdomain": "https://\u0130.shop.example/",
    "an i without a dot in a subdomain": "https://\u0131.shop.example/",
    "a wide full stop": "https://shop\u3002example/",
    "wide letters": "https://\uff53\uff48\uff4f\uff50.example/",
    "a fraction slash": "https://shop.example\u2044.evil.example/",
    "an encoded full stop": "https://shop%2eexample/",
    "an encoded slash": "https://shop.example%2f.evil.example/",
    "an address that is encoded twice": "https%3A%2F%2Fshop.example%2F",
    "a full stop behind the host": "https://shop.example./",
    "a full stop before the host": "https://.shop.example/",
    "an empty label": "https://evil..shop.example/",
    "another port": "https://shop.example:8443/",
    "the port of http": "https://shop.example:80/",
    "an empty port": "https://shop.example:/",
    "a port that is no number": "https://shop.example:443a/",
    "a port of an allowed domain's subdomain": "https://a.shop.example:8443/",
    "a host that ends alike": "https://notshop.example/",
    "a host that begins alike": "https://shop.example.evil.example/",
    "a subdomain of a host without a wildcard": "https://a.blog.example/",
    "a host without the port it is allowed with": "https://test.example/",
    "an address of numbers": "https://127.0.0.1/",
    "an address as one number": "https://2130706433/",
    "an IPv6 address": "https://[::1]/",
    "a bracket": "https://[shop.example]/",
    "a wildcard": "https://*.shop.example/",
    "the right host in the query": "https://evil.example/?https://shop.example/",
    "the right host in the fragment": "https://evil.example#shop.example",
    "the right host in the query, without a path": "https://evil.example?.shop.example/",
    "a fragment before the host": "https://evil.example#@shop.example/",
    "nothing": "",
    "only a scheme": "https://",
    "too long": "https://shop.example/" + "a" * 2048,
}


@pytest.mark.parametrize("trick", TRICKS)
def test_target_that_is_not_allowed_is_not_used(trick: str) -> None:
    assert ALLOWED.target(TRICKS[trick]) == ""


@pytest.mark.parametrize(
    ("to", "address"),
    [
        ("https://shop.example/", "https://shop.example/"),
        ("https://shop.example", "https://shop.example"),
        ("HTTPS://Shop.Example/Path?Q=A#F", "https://shop.example/Path?Q=A#F"),
        ("https://shop.example:443/", "https://shop.example/"),
        ("https://blog.example?a=1", "https://blog.example?a=1"),
        ("https://a.shop.example/", "https://a.shop.example/"),
        ("https://a.b.shop.example/", "https://a.b.shop.example/"),
        ("https://test.example:8443/x", "https://test.example:8443/x"),
        ("https://shop.example/ñ?q=ü", "https://shop.example/%C3%B1?q=%C3%BC"),
        ("https://shop.example/a%20b?u=https://evil.example", "https://shop.example/a%20b?u=https://evil.example"),
        ('https://shop.example/"<>', "https://shop.example/%22%3C%3E"),
    ],
)
def test_target_on_an_allowed_host_is_used(to: str, address: str) -> None:
    assert ALLOWED.target(to) == address


def test_own_host_alone_is_allowed_by_default() -> None:
    assert landing().target("https://shop.example/b") == "https://shop.example/b"
    assert landing().target("https://a.shop.example/b") == ""


def test_landing_page_in_http_with_a_port_may_lead_to_itself() -> None:
    own = landing("http://127.0.0.1:4080/demo")
    assert own.target("http://127.0.0.1:4080/other") == "http://127.0.0.1:4080/other"
    assert own.target("http://127.0.0.1/other") == ""


def test_landing_page_with_letters_beyond_ascii_is_sent_as_browsers_take_it() -> None:
    own = landing("https://mañana.example/café?año=1")
    assert own.before == "https://xn--maana-pta.example/caf%C3%A9?a%C3%B1o=1&click_id="
    assert own.target("https://xn--maana-pta.example/b") == "https://xn--maana-pta.example/b"
    assert own.target("https://mañana.example/b") == ""


@pytest.mark.parametrize(
    "page",
    [
        "http\u017f://shop.example/",
        "https://\u0130.example/",
        "https://boo\u212a.example/",
        "https://\u017fhop.example/",
        "https://mañana.example:8443/ñ",
        "https://" + "ñ" * 300 + ".example/",
        "https://shop.example/\u0130?\u212a#\u017f",
    ],
)
def test_no_landing_page_makes_a_header_that_is_not_ascii(page: str) -> None:
    own = landing(page)
    assert (own.address + own.before + own.after).isascii()


@given(
    st.lists(
        st.sampled_from(
            [
                *"aé:/\\@?#.%\t\n []*-\u3002\uff0f\u017f\u212a\u0130\u0131",
                "https://",
                "http\u017f://",
                "http:",
                "//",
                "shop.example",
                "evil.example",
                "%2f",
                ":443",
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_whatever_is_asked_for_the_host_is_an_allowed_one(to: str) -> None:
    address = ALLOWED.target(to)
    if address:
        assert address.isascii()
        assert address.isprintable()
        parts = urlsplit(address)
        assert parts.scheme == "https"
        assert parts.netloc in ("shop.example", "blog.example", "book.example", "test.example:8443") or (
            parts.netloc.endswith(".shop.example") and parts.netloc.count("@") == parts.netloc.count(":") == 0
        )


@pytest.mark.parametrize(
    ("address", "before", "after"),
    [
        ("https://s.test", "https://s.test?click_id=", ""),
        ("https://s.test/", "https://s.test/?click_id=", ""),
        ("https://s.test/?a=1&b=%20#f?g", "https://s.test/?a=1&b=%20&click_id=", "#f?g"),
        ("https://s.test/?click_id=old&a=1", "https://s.test/?a=1&click_id=", ""),
        ("https://s.test/?a=1&click%5Fid=old&click_id", "https://s.test/?a=1&click_id=", ""),
        ("https://s.test/?", "https://s.test/?click_id=", ""),
        ("https://s.test/#", "https://s.test/?click_id=", "#"),
        ("https://s.test/?click_idx=1", "https://s.test/?click_idx=1&click_id=", ""),
    ],
)
def test_click_id_is_appended_and_the_rest_is_kept(address: str, before: str, after: str) -> None:
    assert split_at_click_id(address) == (before, after)
