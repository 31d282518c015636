"""A process's snapshot: seen within five seconds, and from the copy on disk while ClickHouse is away."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet

from relo_ingest.clickhouse import migrate
from relo_ingest.registry import apply, model
from relo_ingest.registry.refresh import COPY_FILE, Registry
from relo_ingest.registry.secrets import Keyring
from relo_ingest.registry.snapshot import EMPTY, Snapshot
from relo_ingest.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SettingsFor = Callable[..., Settings]
KEYS = Keyring(Fernet.generate_key().decode())
SECRET = "whsec_0123456789abcdef"
SHOP = f"""
[[clients]]
client_id = 1
slug = "shop"
stripe_secrets = ["{SECRET}"]
[[offers]]
client = "shop"
slug = "main"
landing_page = "https://shop.test/"
[[partners]]
ref = "ana"
client = "shop"
offers = ["main"]
"""


class Database:
    def __init__(self, engine: Any) -> None:
        self.url: str = engine.fresh_database()
        self.client: Client = engine.connect(self.url)

    def apply(self, toml: str) -> int:
        declaration = model.parse(tomllib.loads(toml), "shop.toml")
        return apply.write(self.client, apply.changes(declaration, apply.current(self.client), KEYS))


@pytest.fixture
def database(clickhouse: Any) -> Iterator[Database]:
    own = Database(clickhouse)
    migrate.apply(own.client)
    yield own
    own.client.close()


def seen_at_start(settings: Settings) -> tuple[Snapshot, int | None]:
    async def start_and_stop() -> tuple[Snapshot, int | None]:
        registry = Registry(settings, KEYS)
        await registry.start()
        await registry.stop()
        return registry.snapshot, registry.schema_version

    return asyncio.run(start_and_stop())


def test_start_loads_what_is_in_force(database: Database, settings_for: SettingsFor) -> None:
    version = database.apply(SHOP)
    snapshot, schema = seen_at_start(settings_for(clickhouse=database.url, stripe_webhook_secret="whsec_env"))
    assert (snapshot.version, schema) == (version, migrate.SCHEMA_VERSION)
    assert set(snapshot.clients[1].stripe_secrets) == {b"whsec_env", SECRET.encode()}
    assert {k: v.page for k, v in snapshot.links["ana"].landings.items()} == {"main": "https://shop.test/"}


def test_change_is_seen_without_a_restart(database: Database, settings_for: SettingsFor) -> None:
    settings = settings_for(clickhouse=database.url)
    database.apply(SHOP)

    async def see() -> None:
        registry = Registry(settings, KEYS)
        await registry.start()
        assert "ana" in registry.snapshot.links
        version = database.apply(SHOP.replace('ref = "ana"', 'ref = "ana"\nstatus = "paused"'))
        async with asyncio.timeout(60):
            while registry.snapshot.version != version:
                await asyncio.sleep(0.02)
        assert "ana" not in registry.snapshot.links
        await registry.stop()

    asyncio.run(see())


def test_start_without_clickhouse_uses_the_last_good_copy(
    database: Database, settings_for: SettingsFor, free_port: int
) -> None:
    database.apply(SHOP)
    seen, _ = seen_at_start(settings_for(clickhouse=database.url))
    away = settings_for(clickhouse=f"http://127.0.0.1:{free_port}/default")
    snapshot, schema = seen_at_start(away)
    assert snapshot == seen
    assert snapshot.clients[1].stripe_secrets == (SECRET.encode(),)
    assert schema is None


def test_copy_on_disk_holds_no_plaintext_secret(database: Database, settings_for: SettingsFor) -> None:
    database.apply(SHOP)
    settings = settings_for(clickhouse=database.url, stripe_webhook_secret="whsec_env")
    seen_at_start(settings)
    copy = (settings.data_path / COPY_FILE).read_text()
    assert "shop.test" in copy
    assert SECRET not in copy
    assert "whsec" not in copy
    assert [p.name for p in settings.data_path.iterdir()] == [COPY_FILE], "no draft is left"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"version": 1}',
        b'{"version": 1, "rows": [["client", "shop", "{}"]]}',
        b'{"version": 1, "rows": [["client", "shop", "not json"]]}',
    ],
)
def test_damaged_copy_does_not_stop_the_start(settings_for: SettingsFor, free_port: int, content: bytes) -> None:
    settings = settings_for(clickhouse=f"http://127.0.0.1:{free_port}/default")
    (settings.data_path / COPY_FILE).write_bytes(content)
    assert seen_at_start(settings) == (EMPTY, None)


def test_damaged_copy_is_replaced_by_what_is_in_force(database: Database, settings_for: SettingsFor) -> None:
    settings = settings_for(clickhouse=database.url)
    (settings.data_path / COPY_FILE).write_bytes(b'{"version": 1, "rows": [["client", "shop", "{}"]]}')
    version = database.apply(SHOP)
    assert seen_at_start(settings)[0].version == version
    assert str(version) in (settings.data_path / COPY_FILE).read_text()


def test_first_start_without_clickhouse_or_copy_is_empty(settings_for: SettingsFor, free_port: int) -> None:
    assert seen_at_start(settings_for(clickhouse=f"http://127.0.0.1:{free_port}/default")) == (EMPTY, None)


def test_database_without_our_schema_leaves_the_last_good_copy_in_force(
    database: Database, clickhouse: Any, settings_for: SettingsFor
) -> None:
    version = database.apply(SHOP)
    seen_at_start(settings_for(clickhouse=database.url))
    snapshot, schema = seen_at_start(settings_for(clickhouse=clickhouse.fresh_database()))
    assert (snapshot.version, schema) == (version, None)


def test_old_schema_is_noticed(database: Database, settings_for: SettingsFor) -> None:
    database.client.command(f"DELETE FROM schema_migrations WHERE number = {migrate.SCHEMA_VERSION}")

    async def is_old() -> bool:
        registry = Registry(settings_for(clickhouse=database.url), KEYS)
        await registry.start()
        await registry.stop()
        return registry.schema_is_old

    assert asyncio.run(is_old())
