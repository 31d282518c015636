"""clickhouse-connect, sync and async, with and without compression: what ingest and worker do."""

from __future__ import annotations

import asyncio
import inspect
from datetime import datetime
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

from tests.clickhouse.embedded.conftest import Server, row_binary

ROWS = 100_000
COMPRESSIONS = [False, True, "lz4", "zstd", "gzip", "br"]


class Client:
    """A clickhouse-connect client of either kind, called in the same way."""

    def __init__(self, server: Server, kind: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop() if kind == "async" else None
        options = {"host": "127.0.0.1", "port": server.port, **options}
        if self._loop is None:
            self._client: Any = clickhouse_connect.get_client(**options)
        else:
            self._client = self._loop.run_until_complete(clickhouse_connect.get_async_client(**options))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            if self._loop is not None and inspect.isawaitable(result):
                return self._loop.run_until_complete(result)
            return result

        return call

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self._loop is not None:
            self._loop.close()


@pytest.mark.parametrize("compress", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_client_inserts_reads_and_sees_errors(server: Server, table: str, kind: str, compress: bool | str) -> None:
    with Client(server, kind, compress=compress) as client:
        client.command(f"CREATE TABLE {table} (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
        binary = row_binary(ROWS)
        summary = client.raw_insert(table, ["id", "name"], insert_block=binary, fmt="RowBinary")
        assert summary.written_rows == ROWS
        lines = "".join(f"{ROWS + i}\tname {i}\n" for i in range(ROWS)).encode()
        client.raw_insert(table, ["id", "name"], insert_block=lines, fmt="TabSeparated")
        columns = [list(range(2 * ROWS, 3 * ROWS)), ["native"] * ROWS]
        client.insert(table, columns, column_names=["id", "name"], column_oriented=True)

        counted = client.query(f"SELECT count(), uniqExact(id), sum(id), countIf(name = 'native') FROM {table}")
        assert counted.result_rows == [(3 * ROWS, 3 * ROWS, sum(range(3 * ROWS)), ROWS)]
        found = client.query(
            f"SELECT id, name FROM {table} WHERE id IN {{ids:Array(UInt64)}} OR name = {{name:String}} ORDER BY id",
            parameters={"ids": [5, 2 * ROWS], "name": "name 7"},
        )
        assert found.result_rows == [(5, "x" * 16), (ROWS + 7, "name 7"), (2 * ROWS, "native")]
        assert len(client.query(f"SELECT * FROM {table}").result_rows) == 3 * ROWS
        with pytest.raises(DatabaseError) as caught:
            client.query(f"SELECT nothing FROM {table}")
        assert caught.value.code == 47
        assert "UNKNOWN_IDENTIFIER" in str(caught.value)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_compressed_raw_insert_of_the_callers_own(server: Server, table: str, kind: str) -> None:
    import zstandard

    with Client(server, kind) as client:
        client.command(f"CREATE TABLE {table} (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
        body = zstandard.compress(row_binary(1000)) + zstandard.compress(row_binary(1000, start=1000))
        client.raw_insert(table, ["id", "name"], insert_block=body, fmt="RowBinary", compression="zstd")
        assert client.command(f"SELECT uniqExact(id) FROM {table}") == 2000


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_streams_commands_and_types(server: Server, kind: str) -> None:
    with Client(server, kind) as client:
        assert client.ping()
        assert client.command("SELECT 1") == 1
        assert client.command("SHOW DATABASES LIKE 'default'") == "default"
        row = client.query(
            "SELECT toDateTime(0, 'UTC'), [1, NULL], map('a', 1), '{\"a\": 1}'::JSON, 1.5::Decimal(18, 4)"
        )
        assert str(row.result_rows[0][4]) == "1.5000"
        assert row.result_rows[0][1:4] == ([1, None], {"a": 1}, {"a": 1})
        assert row.result_rows[0][0].replace(tzinfo=None) == datetime(1970, 1, 1)
        assert client.raw_query("SELECT number FROM numbers(3)", fmt="CSV") == b"0\n1\n2\n"


def test_zero_rows_keep_their_columns(server: Server, table: str) -> None:
    with Client(server, "sync") as client:
        client.command(f"CREATE TABLE {table} (id UInt64, at DateTime, name Nullable(String)) ENGINE = Memory")
        for sql in (f"SELECT * FROM {table}", f"SELECT * FROM {table} WHERE id = {{id:UInt8}} -- none\n"):
            empty = client.query(sql, parameters={"id": 1})
            assert empty.column_names == ("id", "at", "name")
            assert [kind.name for kind in empty.column_types] == ["UInt64", "DateTime", "Nullable(String)"]
            assert empty.result_rows == []
        assert client.query("SHOW TABLES LIKE 'no such table'").column_names == ("name",)
    native = server.request("/", f"WITH 1 AS x SELECT id, x FROM {table} FORMAT Native;".encode())
    assert native.body == b"\x02\x00\x02id\x06UInt64\x01x\x05UInt8"
    assert server.run(f"SELECT id FROM {table} FORMAT CSVWithNames") == '"id"'
    assert '"rows": 0' in server.run(f"SELECT id FROM {table} FORMAT JSON")


def test_external_data(server: Server) -> None:
    with Client(server, "sync") as client:
        people = ExternalData(
            file_name="people.csv", fmt="CSV", structure="id UInt8, name String", data=b"1,Ann\n2,Bo\n"
        )
        found = client.query(
            "SELECT name FROM people WHERE id = {id:UInt8}", parameters={"id": 2}, external_data=people
        )
        assert found.result_rows == [("Bo",)]
        again = client.query("SELECT count() FROM people", external_data=people)
        assert again.result_rows == [(2,)]


def test_form_encoded_parameters(server: Server) -> None:
    with Client(server, "sync", form_encode_query_params=True) as client:
        long = "é" * 20_000
        assert client.query("SELECT {s:String} AS s", parameters={"s": long}).result_rows == [(long,)]


def test_settings_of_a_request_end_with_it(server: Server) -> None:
    with Client(server, "sync") as client:  # has a session_id of its own
        sql = "SELECT getSetting('max_block_size')"
        usual = client.command(sql)
        assert client.command(sql, settings={"max_block_size": 1234}) == 1234
        assert client.command(sql) == usual
        client.command("SET max_block_size = 4321")
        assert client.command(sql, settings={"max_block_size": 1234}) == 1234
        assert client.command(sql) == 4321


def test_a_token_inserts_once_into_table_and_view(server: Server, table: str) -> None:
    window = "SETTINGS non_replicated_deduplication_window = 1000"
    with Client(server, "sync") as client:
        client.command(f"CREATE TABLE {table} (id UInt64, name JSON) ENGINE = MergeTree ORDER BY id {window}")
        client.command(f"CREATE TABLE {table}_sum (d UInt8, n UInt64) ENGINE = SummingMergeTree ORDER BY d {window}")
        view = f"SELECT 1 AS d, count() AS n FROM {table}"
        client.command(f"CREATE MATERIALIZED VIEW {table}_mv TO {table}_sum AS {view}")
        body = b"".join(i.to_bytes(8, "little") + b'\x07{"a":1}' for i in range(5000))

        def insert(token: str) -> None:
            client.raw_insert(
                table,
                ["id", "name"],
                insert_block=body,
                fmt="RowBinary",
                settings={
                    "insert_deduplication_token": token,
                    "deduplicate_blocks_in_dependent_materialized_views": 1,
                    "input_format_binary_read_json_as_string": 1,
                    "async_insert": 0,
                    "max_partitions_per_insert_block": 0,
                },
            )

        def stored() -> tuple[int, int]:
            counts = client.query(f"SELECT (SELECT count() FROM {table}), (SELECT sum(n) FROM {table}_sum)")
            return tuple(counts.result_rows[0])

        insert("segment-1")
        insert("segment-1")
        assert stored() == (5000, 5000)
        insert("segment-2")
        assert stored() == (10_000, 10_000)
        insert("segment-1")
        assert stored() == (10_000, 10_000)
