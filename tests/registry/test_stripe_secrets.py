"""Signing secrets: which hold when and for what, how one is rolled, and that no place tells one."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cryptography.fernet import Fernet

from relo_ingest.clickhouse import migrate
from relo_ingest.registry import apply, model, snapshot, stripe_secrets
from relo_ingest.registry.apply import Change
from relo_ingest.registry.secrets import Keyring, fingerprint
from relo_ingest.registry.snapshot import Client
from relo_ingest.registry.stripe_secrets import NoSuchClient, NoSuchSecret, SecretRefused

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

KEYS = Keyring(Fernet.generate_key().decode())
OLD, NEW = "whsec_0123456789abcdefWXYZ", "whsec_next0123456789abABCD"
SHOP = '[[clients]]\nclient_id = 1\nslug = "shop"\n'
WITH_OLD = f'{SHOP}stripe_secrets = ["{OLD}"]\n'
NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
Now = dict[tuple[str, str], dict[str, Any]]


def in_force(toml: str = SHOP) -> Now:
    return after({}, apply.changes(model.parse(tomllib.loads(toml), "shop.toml"), {}, KEYS))


def after(now: Now, todo: list[Change]) -> Now:
    """The registry when these changes were written."""
    return now | {(c.kind, c.key): msgspec.json.decode(msgspec.json.encode(c.after)) for c in todo}


def client(now: Now, at: dt.datetime = NOW, environment_secret: str = "") -> Client:
    """The client in a snapshot that was built at that time."""
    rows = [(kind, key, msgspec.json.encode(body).decode()) for (kind, key), body in now.items()]
    return snapshot.build(1, rows, KEYS, environment_secret, int(at.timestamp())).clients[1]


def at(moment: dt.datetime) -> int:
    return int(moment.timestamp())


def test_added_secret_is_in_force_at_once_for_both_modes() -> None:
    shop = client(after(in_force(), stripe_secrets.add(in_force(), KEYS, "shop", OLD)))
    for livemode in (None, True, False):
        assert shop.secrets_at(at(NOW), livemode) == (OLD.encode(),)


def test_secret_of_before_modes_and_validity_holds_always_and_for_both() -> None:
    old = {"client_id": 1, "client": "shop", "token": KEYS.encrypt(OLD), "last_four": "…WXYZ"}
    shop = client(in_force() | {("stripe_secret", f"shop/{fingerprint(OLD)}"): old})
    assert shop == Client(1, "shop", (OLD.encode(),))
    assert shop.secrets_at(0, True) == shop.secrets_at(2**32, False) == (OLD.encode(),)


@pytest.mark.parametrize(("mode", "live", "test"), [("live", 1, 0), ("test", 0, 1), ("both", 1, 1)])
def test_mode_decides_for_which_events_a_secret_holds(mode: Any, live: int, test: int) -> None:
    shop = client(after(in_force(), stripe_secrets.add(in_force(), KEYS, "shop", OLD, mode)))
    assert len(shop.secrets_at(at(NOW), livemode=True)) == live
    assert len(shop.secrets_at(at(NOW), livemode=False)) == test
    assert len(shop.secrets_at(at(NOW))) == 1


def test_validity_holds_to_the_second_in_one_and_the_same_snapshot() -> None:
    now = after(in_force(), stripe_secrets.add(in_force(), KEYS, "shop", OLD, "both", NOW, NOW + HOUR))
    shop = client(now, NOW - HOUR)
    assert shop.stripe_secrets == (OLD.encode(),)
    second = dt.timedelta(seconds=1)
    moments = (NOW - second, NOW, NOW + HOUR - second, NOW + HOUR)
    assert [len(shop.secrets_at(at(m))) for m in moments] == [0, 1, 1, 0]


def test_ended_secret_is_not_even_decrypted_any_more() -> None:
    now = after(in_force(), stripe_secrets.add(in_force(), KEYS, "shop", OLD, "both", NOW - HOUR, NOW))
    assert client(now, NOW).stripe_secrets == ()


def test_a_roll_keeps_two_for_a_while() -> None:
    now = in_force(WITH_OLD)
    now = after(now, stripe_secrets.add(now, KEYS, "shop", NEW))
    now = after(now, stripe_secrets.retire(now, "shop", "WXYZ", NOW + HOUR))
    shop = client(now)
    assert set(shop.secrets_at(at(NOW))) == {OLD.encode(), NEW.encode()}
    assert shop.secrets_at(at(NOW + HOUR)) == (NEW.encode(),)


def test_second_add_of_the_same_changes_nothing() -> None:
    now = after(in_force(), stripe_secrets.add(in_force(), KEYS, "shop", OLD, "live"))
    assert stripe_secrets.add(now, KEYS, "shop", OLD, "live") == []
    assert [c.after["mode"] for c in stripe_secrets.add(now, KEYS, "shop", OLD, "test")] == ["test"]


def test_secret_whose_key_was_lost_can_be_added_again() -> None:
    now = after(in_force(), stripe_secrets.add(in_force(), Keyring(Fernet.generate_key().decode()), "shop", OLD))
    assert client(now).stripe_secrets == ()
    assert client(after(now, stripe_secrets.add(now, KEYS, "shop", OLD))).stripe_secrets == (OLD.encode(),)


@pytest.mark.parametrize("name", ["WXYZ", "…WXYZ", fingerprint(OLD)])
def test_secret_is_retired_by_its_last_four_or_its_fingerprint(name: str) -> None:
    now = in_force(WITH_OLD)
    todo = stripe_secrets.retire(now, "shop", name, NOW)
    assert [c.after["status"] for c in todo] == ["retired"]
    now = after(now, todo)
    assert client(now).stripe_secrets == ()
    assert stripe_secrets.retire(now, "shop", name, NOW) == []


def test_retiring_never_makes_a_secret_last_longer() -> None:
    now = after(in_force(), stripe_secrets.add(in_force(), KEYS, "shop", OLD, "both", NOW - HOUR, NOW))
    now = after(now, stripe_secrets.retire(now, "shop", "WXYZ", NOW + HOUR))
    assert client(now).stripe_secrets == ()
    assert stripe_secrets.retire(now, "shop", "WXYZ", NOW + 2 * HOUR) == []


def test_of_two_secrets_that_end_alike_the_one_in_force_is_meant_else_the_fingerprint_decides() -> None:
    now = in_force(WITH_OLD)
    other = "whsec_otherWXYZ"
    now = after(now, stripe_secrets.add(now, KEYS, "shop", other))
    with pytest.raises(NoSuchSecret, match="name the fingerprint of one") as caught:
        stripe_secrets.retire(now, "shop", "WXYZ", NOW)
    assert fingerprint(other) in str(caught.value)
    now = after(now, stripe_secrets.retire(now, "shop", fingerprint(other), NOW))
    assert stripe_secrets.retire(now, "shop", "WXYZ", NOW)[0].key == f"shop/{fingerprint(OLD)}"


def test_secret_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(NoSuchSecret, match="no secret ending 0000; it has …WXYZ"):
        stripe_secrets.retire(in_force(WITH_OLD), "shop", "0000", NOW)
    with pytest.raises(NoSuchSecret, match="it has none"):
        stripe_secrets.retire(in_force(), "shop", "0000", NOW)


def test_whole_secret_given_as_a_name_is_not_repeated() -> None:
    with pytest.raises(NoSuchSecret) as caught:
        stripe_secrets.retire(in_force(), "shop", NEW, NOW)
    assert NEW not in str(caught.value)


def test_client_that_is_not_there_is_named_with_those_that_are() -> None:
    for call in (
        lambda: stripe_secrets.add(in_force(), KEYS, "gone", OLD),
        lambda: stripe_secrets.retire(in_force(), "gone", "WXYZ", NOW),
        lambda: stripe_secrets.listed(in_force(), "gone"),
    ):
        with pytest.raises(NoSuchClient, match="there is no client gone; the registry has shop"):
            call()


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("sk_live_hunter2", "this is an API key"),
        ("rk_test_hunter2", "this is an API key"),
        ("hunter2", "begins with whsec_"),
        ("whsec_", "begins with whsec_"),
        ("whsec_hunter2 x", "one line"),
        ("whsec_hunter2\nwhsec_x", "one line"),
        ("whsec_hunter2é", "begins with whsec_"),
    ],
)
def test_what_is_no_signing_secret_is_refused_and_not_repeated(secret: str, says: str) -> None:
    with pytest.raises(SecretRefused, match=says) as caught:
        stripe_secrets.add(in_force(), KEYS, "shop", secret)
    assert "hunter2" not in str(caught.value)


def test_validity_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(SecretRefused, match="later"):
        stripe_secrets.add(in_force(), KEYS, "shop", OLD, "both", NOW, NOW)


def test_retired_secret_is_not_brought_back_by_a_file_but_by_its_owner() -> None:
    now = in_force(WITH_OLD)
    now = after(now, stripe_secrets.retire(now, "shop", "WXYZ", NOW))
    declared = model.parse(tomllib.loads(WITH_OLD), "shop.toml")
    assert apply.changes(declared, now, KEYS) == []
    (note,) = apply.notes(declared, now)
    assert "the secret ending …WXYZ was retired" in note
    assert OLD not in note
    now = after(now, stripe_secrets.add(now, KEYS, "shop", OLD))
    assert list(apply.notes(declared, now)) == []
    assert client(now).secrets_at(at(NOW)) == (OLD.encode(),)


def test_file_leaves_mode_and_validity_alone() -> None:
    now = after(in_force(), stripe_secrets.add(in_force(), KEYS, "shop", OLD, "live", NOW))
    declared = model.parse(tomllib.loads(WITH_OLD), "shop.toml")
    assert apply.changes(declared, now, KEYS) == []
    assert list(apply.notes(declared, now)) == []


def test_secret_of_the_environment_holds_whatever_the_registry_says() -> None:
    now = after(in_force(), stripe_secrets.add(in_force(), KEYS, "shop", OLD, "live", NOW, NOW + HOUR))
    shop = client(now, NOW, environment_secret=OLD)
    assert shop.secrets_at(at(NOW - HOUR), livemode=False) == (OLD.encode(),)


def test_list_shows_state_and_never_a_secret() -> None:
    now = in_force(WITH_OLD)
    for number, (start, end) in enumerate([(NOW + HOUR, model.END), (model.BEGINNING, NOW)]):
        now = after(now, stripe_secrets.add(now, KEYS, "shop", f"whsec_listed{number:04}", "test", start, end))
    now = after(now, stripe_secrets.add(now, KEYS, "shop", NEW))
    now = after(now, stripe_secrets.retire(now, "shop", "ABCD", NOW + HOUR))
    states = {s.secret.last_four: s.state(NOW) for s in stripe_secrets.listed(now)}
    assert states == {"…WXYZ": "in force", "…0000": "not yet", "…0001": "expired", "…ABCD": "ending"}
    now = after(now, stripe_secrets.retire(now, "shop", "ABCD", NOW))
    lines = [s.line(NOW) for s in stripe_secrets.listed(now, "shop")]
    assert any("…ABCD" in line and "both" in line and line.endswith("retired") for line in lines)
    for telling in (OLD[:-4], NEW[:-4], "whsec_", now["stripe_secret", f"shop/{fingerprint(OLD)}"]["token"]):
        assert telling not in "\n".join(lines)


def test_modes_without_a_secret_are_known() -> None:
    assert list(stripe_secrets.gaps(in_force(), "shop", NOW)) == ["live", "test"]
    now = after(in_force(), stripe_secrets.add(in_force(), KEYS, "shop", OLD, "live"))
    assert list(stripe_secrets.gaps(now, "shop", NOW)) == ["test"]
    assert list(stripe_secrets.gaps(in_force(WITH_OLD), "shop", NOW)) == []


@pytest.fixture
def clickhouse_client(clickhouse: Any) -> Iterator[ClickHouseClient]:
    own = clickhouse.connect(clickhouse.fresh_database())
    migrate.apply(own)
    yield own
    own.close()


def test_written_secrets_come_back_as_they_were(clickhouse_client: ClickHouseClient) -> None:
    apply.write(clickhouse_client, apply.changes(model.parse(tomllib.loads(SHOP), "x"), {}, KEYS))
    now = apply.current(clickhouse_client)
    apply.write(clickhouse_client, stripe_secrets.add(now, KEYS, "shop", OLD, "test", NOW, NOW + HOUR))
    now = apply.current(clickhouse_client)
    assert stripe_secrets.add(now, KEYS, "shop", OLD, "test", NOW, NOW + HOUR) == []
    apply.write(clickhouse_client, stripe_secrets.retire(now, "shop", "WXYZ", NOW))
    (listed,) = stripe_secrets.listed(apply.current(clickhouse_client))
    assert (listed.secret.mode, listed.secret.valid_to, listed.secret.status) == ("test", NOW, "retired")
    assert clickhouse_client.command("SELECT count() FROM registry WHERE position(body, 'whsec_') > 0") == 0
