"""Short links: what they may stand for, and that a code stands for one thing."""

from __future__ import annotations

import tomllib
from typing import Any

import msgspec
import pytest
from cryptography.fernet import Fernet

from relo_ingest.registry import apply, model, short_links, snapshot
from relo_ingest.registry.secrets import Keyring
from relo_ingest.registry.short_links import LinkRefused

TOML = """
[[clients]]
client_id = 1
slug = "shop"
[[offers]]
client = "shop"
slug = "main"
landing_page = "https://shop.test/"
[[offers]]
client = "shop"
slug = "side"
landing_page = "https://side.test/"
[[partners]]
ref = "ana"
client = "shop"
offers = ["main", "side"]
"""
KEYS = Keyring(Fernet.generate_key().decode())


def registry() -> dict[tuple[str, str], Any]:
    todo = apply.changes(model.parse(tomllib.loads(TOML), "x"), {}, KEYS)
    return {(c.kind, c.key): c.after for c in todo}


def test_random_codes_are_seven_characters_that_people_do_not_confuse() -> None:
    codes = {short_links.create(registry(), "ana").key for _ in range(200)}
    assert len(codes) == 200
    assert all(len(code) == 7 and not set(code) & set("0OIl") and code.isalnum() for code in codes)


def test_random_code_that_is_taken_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = registry()
    drawn = iter("111111111111112222222")
    monkeypatch.setattr("secrets.choice", lambda _: next(drawn))
    first = short_links.create(now, "ana")
    now[first.kind, first.key] = first.after
    assert (first.key, short_links.create(now, "ana").key) == ("1111111", "2222222")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"ref": "bob"}, "there is no partner bob"),
        ({"ref": ""}, "--ref: "),
        ({"ref": "ana", "offer": "other"}, "ana does not share an offer other; there are main, side"),
        ({"ref": "ana", "to": "https://evil.test/"}, "--to: "),
        ({"ref": "ana", "to": "https://side.test/"}, "--to: "),
        ({"ref": "ana", "code": "a/b"}, "--code: "),
        ({"ref": "ana", "code": "x" * 65}, "--code: "),
        ({"ref": "ana", "code": "-a"}, "--code: "),
    ],
)
def test_what_would_not_lead_where_it_says_is_refused(asked: dict[str, str], told: str) -> None:
    with pytest.raises(LinkRefused, match=told):
        short_links.create(registry(), **asked)


def test_page_of_the_offer_that_is_asked_for_is_allowed() -> None:
    made = short_links.create(registry(), "ana", "side", "https://side.test/p")
    assert made.after["to"] == "https://side.test/p"


def leads_to(now: dict[tuple[str, str], Any], code: str) -> str:
    """The offer that a visitor of the short link comes to."""
    rows = [(kind, key, msgspec.json.encode(body).decode()) for (kind, key), body in now.items()]
    built = snapshot.build(1, rows, KEYS)
    short = built.short_links[code]
    link = built.links[short.ref]
    return link.landings.get(short.offer, link.default).offer


def test_link_leads_to_the_offer_it_was_made_for_when_another_becomes_the_partners_first() -> None:
    now = registry()
    made = short_links.create(now, "ana", code="flyer")
    now[made.kind, made.key] = made.after
    now["partner", "ana"] = now["partner", "ana"] | {"offers": ["side", "main"]}
    assert (made.after["offer"], leads_to(now, "flyer")) == ("main", "main")


def test_link_is_made_for_the_offer_that_the_long_link_leads_to_now() -> None:
    now = registry()
    main = now["offer", "shop/main"]
    now["offer", "shop/main"] = main | {"status": "paused"}
    made = short_links.create(now, "ana", to="https://side.test/p", code="flyer")
    now[made.kind, made.key] = made.after
    now["offer", "shop/main"] = main
    assert (made.after["offer"], leads_to(now, "flyer")) == ("side", "side")


def test_link_leads_to_the_partners_first_offer_while_its_own_is_paused() -> None:
    now = registry()
    made = short_links.create(now, "ana", "side", code="flyer")
    now[made.kind, made.key] = made.after
    side = now["offer", "shop/side"]
    now["offer", "shop/side"] = side | {"status": "paused"}
    assert leads_to(now, "flyer") == "main"
    now["offer", "shop/side"] = side
    assert leads_to(now, "flyer") == "side"


def test_list_shows_the_long_link() -> None:
    now = registry()
    for code in ("b", "a"):
        made = short_links.create(now, "ana", parameters={"s1": "x y"}, code=code)
        now[made.kind, made.key] = made.after
    assert [(s.code, s.long()) for s in short_links.listed(now)] == [
        ("a", "/r?ref=ana&offer=main&s1=x+y"),
        ("b", "/r?ref=ana&offer=main&s1=x+y"),
    ]
    assert list(short_links.listed(now, "bob")) == []
