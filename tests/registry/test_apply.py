"""From a file to versioned rows: what is shown, what is refused, what is written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.fernet import Fernet

from relo_ingest.clickhouse import migrate
from relo_ingest.errors import ConfigError
from relo_ingest.registry import apply, model
from relo_ingest.registry.apply import Change
from relo_ingest.registry.secrets import Keyring, fingerprint

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

KEYS = Keyring(Fernet.generate_key().decode())
SECRET = "whsec_0123456789abcdefWXYZ"
SHOP = """
[[clients]]
client_id = 1
slug = "shop"
name = "Shop"
stripe_secrets = ["whsec_0123456789abcdefWXYZ"]
[[offers]]
client = "shop"
slug = "main"
landing_page = "https://shop.test/"
[[partners]]
ref = "ana"
client = "shop"
offers = ["main"]
[[promo_codes]]
client = "shop"
code = "Ana10"
partner = "ana"
[[commission_rules]]
client = "shop"
name = "ten"
offer = "main"
basis_points = 1000
valid_from = 2025-01-01T00:00:00+02:00
"""
OTHER = """
[[clients]]
client_id = 2
slug = "other"
[[offers]]
client = "other"
slug = "side"
landing_page = "https://other.test/"
"""
Now = dict[tuple[str, str], dict[str, Any]]


def changes(toml: str, now: Now | None = None) -> list[Change]:
    return apply.changes(model.parse(tomllib.loads(toml), "shop.toml"), now or {}, KEYS)


def after(toml: str) -> Now:
    """What is in force when ``toml`` has been applied to nothing."""
    return {(c.kind, c.key): msgspec.json.decode(msgspec.json.encode(c.after)) for c in changes(toml)}


def shown(todo: list[Change]) -> list[str]:
    return [line for change in todo for line in change.lines()]


@pytest.fixture
def client(clickhouse: Any) -> Iterator[Client]:
    """A client of a database of the test's own, with our schema."""
    own = clickhouse.connect(clickhouse.fresh_database())
    migrate.apply(own)
    yield own
    own.close()


def test_new_entries_are_shown_with_a_plus_and_their_fields() -> None:
    lines = shown(changes(SHOP))
    assert [line for line in lines if not line.startswith(" ")] == [
        "+ client shop",
        f"+ stripe_secret shop/{fingerprint(SECRET)}",
        "+ offer shop/main",
        "+ partner ana",
        "+ promo_code shop/ANA10",
        "+ commission_rule shop/ten",
    ]
    assert '    landing_page: "https://shop.test/"' in lines
    assert "    basis_points: 1000" in lines


def test_shown_secret_is_its_last_four_characters() -> None:
    todo = changes(SHOP)
    stored = next(c for c in todo if c.kind == "stripe_secret")
    text = "\n".join(shown(todo))
    assert '    last_four: "…WXYZ"' in text.splitlines()
    for telling in (SECRET, SECRET[6:12], SECRET.removesuffix("WXYZ"), stored.after["token"]):
        assert telling not in text
    assert SECRET not in msgspec.json.encode([c.after for c in todo]).decode()
    assert KEYS.decrypt(stored.after["token"]) == SECRET


def test_changed_field_is_shown_with_both_values_and_nothing_else() -> None:
    edited = SHOP.replace('slug = "main"', 'slug = "main"\nhold_days = 14')
    assert shown(changes(edited, after(SHOP))) == ["~ offer shop/main", "    hold_days: 30 → 14"]


def test_second_apply_has_nothing_to_change() -> None:
    assert changes(SHOP, after(SHOP)) == []


def test_entry_that_the_file_no_longer_names_stays_in_force() -> None:
    assert changes(OTHER, after(SHOP + OTHER)) == []


def test_second_secret_is_added_and_the_first_one_stays() -> None:
    two = SHOP.replace(f'["{SECRET}"]', f'["whsec_next0000", "{SECRET}"]')
    todo = changes(two, after(SHOP))
    assert [(c.kind, c.after["last_four"]) for c in todo] == [("stripe_secret", "…0000")]


def test_secret_that_stands_there_twice_is_written_once() -> None:
    twice = SHOP.replace(f'["{SECRET}"]', f'["{SECRET}", "{SECRET}"]')
    assert len([c for c in changes(twice) if c.kind == "stripe_secret"]) == 1


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (OTHER.replace('client = "other"', 'client = "gone"'), "offer gone/side: there is no client gone"),
        (SHOP + '[[partners]]\nref = "bo"\nclient = "gone"\noffers = ["main"]', "partner bo: there is no client gone"),
        (SHOP.replace('offers = ["main"]', 'offers = ["main", "x"]'), "partner ana: there is no offer shop/x"),
        (
            SHOP + OTHER + '[[partners]]\nref = "bo"\nclient = "other"\noffers = ["main"]',
            "partner bo: there is no offer other/main",
        ),
        (SHOP.replace('partner = "ana"', 'partner = "bo"'), "promo_code shop/ANA10: client shop has no partner bo"),
        (
            SHOP + OTHER + '[[promo_codes]]\nclient = "other"\ncode = "X"\npartner = "ana"',
            "promo_code other/X: client other has no partner ana",
        ),
        (SHOP.replace('offer = "main"', 'offer = "x"'), "commission_rule shop/ten: there is no offer shop/x"),
        (
            SHOP.replace("basis_points", 'partner = "bo"\nbasis_points'),
            "commission_rule shop/ten: client shop has no partner bo",
        ),
    ],
)
def test_reference_that_leads_nowhere_is_refused(toml: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changes(toml)
    assert str(caught.value) == message


def test_reference_may_lead_to_what_is_already_in_force() -> None:
    rule = '[[commission_rules]]\nclient = "shop"\nname = "bo"\noffer = "main"\npartner = "ana"\nbasis_points = 1\n'
    assert [c.key for c in changes(rule, after(SHOP))] == ["shop/bo"]


def test_client_id_never_changes() -> None:
    with pytest.raises(ConfigError, match="client shop: client_id is 1 and can never change"):
        changes(SHOP.replace("client_id = 1", "client_id = 9"), after(SHOP))


def test_client_id_of_a_client_in_force_is_taken() -> None:
    with pytest.raises(ConfigError, match="client other: client_id 1 is shop's"):
        changes(OTHER.replace("client_id = 2", "client_id = 1"), after(SHOP))


def test_ref_is_unique_on_the_platform() -> None:
    taken = OTHER + '[[partners]]\nref = "ana"\nclient = "other"\noffers = ["side"]\n'
    with pytest.raises(ConfigError, match="partner ana: the ref is taken by client shop"):
        changes(taken, after(SHOP))


def test_written_entries_are_in_force_and_a_second_apply_changes_nothing(client: Client) -> None:
    version = apply.write(client, changes(SHOP))
    now = apply.current(client)
    assert changes(SHOP, now) == []
    assert len(now) == 6
    assert {row[0] for row in client.query("SELECT DISTINCT version FROM registry").result_rows} == {version}


def test_change_is_a_new_version_and_the_old_one_is_kept(client: Client) -> None:
    first = apply.write(client, changes(SHOP))
    edited = SHOP.replace('slug = "main"', 'slug = "main"\nhold_days = 14')
    second = apply.write(client, changes(edited, apply.current(client)))
    assert second > first
    history = (
        "SELECT version, JSONExtract(body, 'hold_days', 'UInt16') FROM registry WHERE kind = 'offer' ORDER BY version"
    )
    assert [tuple(r) for r in client.query(history).result_rows] == [(first, 30), (second, 14)]
    assert client.command("SELECT hold_days FROM offers") == 14


def test_version_grows_even_when_the_clock_is_behind(client: Client) -> None:
    client.command("INSERT INTO registry (kind, key, version, body) VALUES ('note', 'x', 9000000000000000, '{}')")
    assert apply.write(client, changes(SHOP)) == 9000000000000001


def test_views_show_what_was_declared(client: Client) -> None:
    apply.write(client, changes(SHOP + OTHER))

    def rows(sql: str) -> list[tuple[Any, ...]]:
        return [tuple(r) for r in client.query(sql).result_rows]

    assert rows("SELECT * FROM clients ORDER BY client_id") == [
        (1, "shop", "Shop", "active"),
        (2, "other", "", "active"),
    ]
    assert rows("SELECT * FROM offers WHERE client_id = 1") == [(1, "main", "https://shop.test/", "active", 60, 30)]
    assert rows("SELECT * FROM partners") == [(1, "ana", "", "active")]
    assert rows("SELECT * FROM promo_codes") == [(1, "Ana10", "ana")]
    assert rows("SELECT * EXCEPT (valid_from, valid_to) FROM commission_rules") == [
        (1, "ten", "main", "", ["first", "renewal"], 1000)
    ]
    assert rows("SELECT toString(valid_from), toString(valid_to) FROM commission_rules") == [
        ("2024-12-31 22:00:00.000", "2200-01-01 00:00:00.000")
    ]


def test_no_secret_is_in_the_database(client: Client) -> None:
    apply.write(client, changes(SHOP))
    assert client.command(f"SELECT count() FROM registry WHERE position(body, '{SECRET[6:]}') > 0") == 0
    assert client.command("SELECT count() FROM registry WHERE kind = 'stripe_secret'") == 1
