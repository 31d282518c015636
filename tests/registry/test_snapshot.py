"""The registry as the ingest reads it: only what is active, and a bad secret takes nothing else away."""

from __future__ import annotations

import logging
import tomllib
from typing import Any

import msgspec
import pytest
from cryptography.fernet import Fernet

from relo_ingest.registry import apply, model, snapshot
from relo_ingest.registry.secrets import Keyring
from relo_ingest.registry.snapshot import Client, Link, Snapshot

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()
TOML = """
[[clients]]
client_id = 1
slug = "shop"
stripe_secrets = ["whsec_shop"]
[[clients]]
client_id = 2
slug = "other"
stripe_secrets = ["whsec_other"]
[[offers]]
client = "shop"
slug = "main"
landing_page = "https://shop.test/"
[[offers]]
client = "shop"
slug = "side"
landing_page = "https://shop.test/side"
[[offers]]
client = "other"
slug = "main"
landing_page = "https://other.test/"
[[partners]]
ref = "ana"
client = "shop"
offers = ["side", "main"]
[[partners]]
ref = "bo"
client = "other"
offers = ["main"]
"""


def rows(toml: str = TOML, key: str = OLD) -> list[snapshot.Row]:
    todo = apply.changes(model.parse(tomllib.loads(toml), "x.toml"), {}, Keyring(key))
    return [(c.kind, c.key, msgspec.json.encode(c.after).decode()) for c in todo]


def build(toml: str = TOML, **options: Any) -> Snapshot:
    return snapshot.build(7, rows(toml), Keyring(OLD), **options)


def paused(slug: str) -> str:
    """TOML, with the entry of this slug or ref paused."""
    return TOML.replace(f'"{slug}"\n', f'"{slug}"\nstatus = "paused"\n', 1)


def pages(link: Link) -> list[tuple[str, str]]:
    return [(slug, landing.page) for slug, landing in link.landings.items()]


def test_what_is_active_is_found_by_id_slug_and_ref() -> None:
    found = build()
    assert found.version == 7
    assert found.clients[1] == found.slugs["shop"] == Client(1, "shop", (b"whsec_shop",))
    bo = found.links["bo"]
    assert (bo.client_id, bo.ref, pages(bo)) == (2, "bo", [("main", "https://other.test/")])


def test_first_offer_of_a_partner_is_the_default() -> None:
    ana = build().links["ana"]
    assert pages(ana) == [("side", "https://shop.test/side"), ("main", "https://shop.test/")]
    assert ana.default.offer == "side"


def test_paused_client_is_absent_with_its_partners_and_secrets() -> None:
    found = build(paused("shop"))
    assert set(found.clients) == {2}
    assert set(found.slugs) == {"other"}
    assert set(found.links) == {"bo"}
    assert "whsec_shop" not in repr(found)


def test_paused_offer_is_absent_and_the_next_one_is_the_default() -> None:
    ana = build(paused("side")).links["ana"]
    assert list(ana.landings) == [ana.default.offer] == ["main"]


def test_partner_whose_offers_are_all_paused_is_absent() -> None:
    # Pausing "main" of the other client: the third offer of the file.
    toml = TOML.replace('"https://other.test/"', '"https://other.test/"\nstatus = "paused"')
    assert set(build(toml).links) == {"ana"}


def test_paused_partner_is_absent() -> None:
    assert set(build(paused("ana")).links) == {"bo"}


def test_offers_of_a_paused_partner_lead_to_their_fallback_pages() -> None:
    toml = paused("ana").replace(
        '"https://shop.test/side"', '"https://shop.test/side"\nfallback_page = "https://f.test/ñ"'
    )
    found = build(toml)
    assert found.fallbacks == {"ana": {"side": "https://f.test/%C3%B1"}}


def test_offer_of_before_links_had_terms_has_their_defaults() -> None:
    body = '{"client":"shop","client_id":1,"landing_page":"https://shop.test/","slug":"main","status":"active"}'
    before = [(kind, key, body if key == "shop/main" else b) for kind, key, b in rows()]
    found = snapshot.build(7, before, Keyring(OLD)).links["ana"].landings["main"]
    assert (found.append, found.dedup_ms, found.cookie_life) == ((), 1_800_000, b"; Max-Age=5184000")


def test_wrong_key_costs_the_secret_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        found = snapshot.build(7, rows(), Keyring(NEW))
    assert found.clients == {1: Client(1, "shop"), 2: Client(2, "other")}
    assert set(found.links) == {"ana", "bo"}
    assert "secret ending …shop of client 1" in caplog.text
    assert "whsec" not in caplog.text


def test_secrets_of_two_keys_open_with_a_list_and_one_by_one() -> None:
    first = [r for r in rows(key=OLD) if not r[1].startswith("other")]
    second = [r for r in rows(key=NEW) if r[1].startswith("other")]
    both = snapshot.build(1, first + second, Keyring(f"{NEW},{OLD}"))
    assert [c.stripe_secrets for c in both.clients.values()] == [(b"whsec_shop",), (b"whsec_other",)]
    only_new = snapshot.build(1, first + second, Keyring(NEW))
    assert [c.stripe_secrets for c in only_new.clients.values()] == [(), (b"whsec_other",)]


def test_secret_of_the_environment_joins_client_1() -> None:
    found = build(environment_secret="whsec_env")
    assert set(found.clients[1].stripe_secrets) == {b"whsec_env", b"whsec_shop"}
    assert found.clients[2].stripe_secrets == (b"whsec_other",)


def test_secret_of_the_environment_that_is_also_stored_is_there_once() -> None:
    assert build(environment_secret="whsec_shop").clients[1].stripe_secrets == (b"whsec_shop",)


def test_secret_of_the_environment_makes_no_client() -> None:
    assert snapshot.build(1, [], Keyring(OLD), "whsec_env") == Snapshot(1, {}, {}, {})
    assert set(build(paused("shop"), environment_secret="whsec_env").clients) == {2}


def test_snapshot_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        build().version = 8  # type: ignore[misc]
