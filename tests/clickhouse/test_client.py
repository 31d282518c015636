"""How connections fail: in one line that names the right reason."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import OperationalError

from relo_ingest.clickhouse.client import (
    ClickHouseUnavailable,
    StatementRefused,
    connect,
    connect_async,
    connected,
    unavailable,
)
from relo_ingest.settings import ClickHouse, Settings

SettingsFor = Callable[..., Settings]


def refusal(settings: Settings) -> str:
    with pytest.raises(ClickHouseUnavailable) as caught:
        connect(settings)
    with pytest.raises(ClickHouseUnavailable):
        asyncio.run(_connect_and_close(settings))
    message = str(caught.value)
    assert "\n" not in message
    return message


async def _connect_and_close(settings: Settings) -> None:
    await (await connect_async(settings)).close()


def test_nothing_listens(settings_for: SettingsFor, free_port: int) -> None:
    message = refusal(settings_for(clickhouse=f"http://relo:hunter2@127.0.0.1:{free_port}/default"))
    assert message == f"ClickHouse at 127.0.0.1:{free_port}/default does not answer; check RELO_CLICKHOUSE_URL"


def test_port_that_looks_like_an_error_code_is_no_wrong_password(settings_for: SettingsFor) -> None:
    settings = settings_for(clickhouse="http://127.0.0.1:5160/default")
    error = OperationalError("Error HTTPConnectionPool(host='127.0.0.1', port=5160): Connection refused")
    assert "does not answer" in str(unavailable(settings, error))


def test_server_that_hangs_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/default"
        settings = Settings(clickhouse=ClickHouse(url=url, timeout_s=1.0))
        with pytest.raises(ClickHouseUnavailable):
            connect(settings)


def test_wrong_password_is_named_and_not_shown(clickhouse: Any, settings_for: SettingsFor) -> None:
    message = refusal(settings_for(clickhouse=f"http://relo:hunter2@127.0.0.1:{clickhouse.port}/default"))
    assert "refuses the user or password; check RELO_CLICKHOUSE_URL" in message
    assert "hunter2" not in message


def test_unknown_database_is_named(clickhouse: Any, settings_for: SettingsFor) -> None:
    message = refusal(settings_for(clickhouse=f"http://127.0.0.1:{clickhouse.port}/nowhere"))
    assert "Database nowhere does not exist" in message


def test_refused_statement_becomes_one_line_of_ours(clickhouse: Any, settings_for: SettingsFor) -> None:
    refused = pytest.raises(StatementRefused, match="Unknown expression identifier `nope`")
    with refused as caught, connected(settings_for(clickhouse=clickhouse)) as client:
        client.command("SELECT nope")
    assert "\n" not in str(caught.value)


def test_missing_table_says_what_to_run(clickhouse: Any, settings_for: SettingsFor) -> None:
    refused = pytest.raises(StatementRefused, match="run `relo migrate`")
    with refused, connected(settings_for(clickhouse=clickhouse)) as client:
        client.command("SELECT count() FROM registry")
