"""The interface as curl and other tools use it: where the query may stand, formats, headers, errors."""

from __future__ import annotations

import gzip
import json
import subprocess

import pytest

from tests.clickhouse.embedded.conftest import Server, row_binary


def curl(server: Server, *arguments: str, path: str = "/", data: bytes | None = None) -> str:
    command = ["curl", "-sS", f"http://127.0.0.1:{server.port}{path}", *arguments]
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=30).stdout.decode()


def test_ping_and_root_are_ok(server: Server) -> None:
    for path in ("/ping", "/", "/replicas_status"):
        answer = server.request(path)
        assert (answer.status, answer.body) == (200, b"Ok.\n")
    assert server.request("/nowhere").status == 404


def test_curl_variants(server: Server, table: str) -> None:
    assert curl(server, path="/?query=SELECT%201") == "1\n"
    assert curl(server, "-d", "SELECT 1 + 1") == "2\n"  # application/x-www-form-urlencoded
    assert curl(server, "--data-binary", "@-", data=b"SELECT 2") == "2\n"
    assert curl(server, "-d", "+ 3", path="/?query=SELECT%201") == "4\n"
    assert curl(server, "-G", "--data-urlencode", "query=SELECT 'a b' AS x FORMAT JSONEachRow") == '{"x":"a b"}\n'
    assert curl(server, "-T", "-", path="/?query=SELECT%20", data=b"7") == "7\n"  # PUT, chunked
    assert curl(server, "-F", "query=SELECT {p:UInt8}", "-F", "param_p=9") == "9\n"
    curl(server, "-d", f"CREATE TABLE {table} (id UInt8, s String) ENGINE = Memory")
    assert curl(server, "-d", f"INSERT INTO {table} VALUES (1, 'a'), (2, 'it''s; (')") == ""
    curl(
        server,
        "--data-binary",
        "@-",
        path=f"/?query=INSERT%20INTO%20{table}%20FORMAT%20CSV",
        data=b"3,c\n4,d\n",
    )
    curl(server, "--data-binary", "@-", data=f'INSERT INTO {table} FORMAT JSONEachRow\n{{"id":5}}'.encode())
    assert curl(server, "-d", f"SELECT arraySort(groupArray(id)), max(s) FROM {table}") == "[1,2,3,4,5]\tit\\'s; (\n"
    compressed = curl(server, "--compressed", "-d", "SELECT 1", path="/?enable_http_compression=1")
    assert compressed == "1\n"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("FORMAT RowBinary", b"\x01\x01a\x02\x01b"),
        ("FORMAT RowBinary", b"\n\x01\n\r\x01\n"),
        ("FORMAT RowBinaryWithNamesAndTypes", b"\x02\x02id\x01s\x05UInt8\x06String\x01\x01a\x02\x01b"),
        ("FORMAT Native", b"\x02\x02\x02id\x05UInt8\x01\x02\x01s\x06String\x01a\x01b"),
        ("FORMAT JSONEachRow", b'{"id":1,"s":"a"}\n{"id":2,"s":"b"}'),
        ("FORMAT CSV", b"1,a\n2,b\n"),
        ("FORMAT TabSeparated", b"1\ta\n2\tb\n"),
        ("FORMAT CSV SETTINGS format_csv_delimiter = ';', max_threads=1", b"1;a\n2;b\n"),
        ("SETTINGS format_csv_delimiter = ';' FORMAT CSV", b"1;a\n2;b\n"),
        ("/* FORMAT x */ format Values", b"(1,'a'),(1+1,lower('B'))"),
        ("VALUES", b"(1,'FORMAT CSV'), (2, ')')"),
        ("SELECT id, upper(s) FROM input('id UInt8, s String') FORMAT CSV", b"1,a\n2,b\n"),
    ],
)
@pytest.mark.parametrize("place", ["url", "body"])
def test_insert_formats(server: Server, table: str, head: str, body: bytes, place: str) -> None:
    server.run(f"CREATE TABLE {table} (id UInt8, s String) ENGINE = Memory")
    statement = f"INSERT INTO {table} (id, `s`) {head}"
    if place == "url":
        answer = server.request("/", body, query=statement)
    else:
        answer = server.request("/", statement.encode() + b"\n" + body)
    assert answer.status == 200, answer.text
    assert json.loads(answer.headers["x-clickhouse-summary"])["written_rows"] == "2"
    assert server.run(f"SELECT count() FROM {table}") == "2"


def test_parquet_goes_out_and_in(server: Server, table: str) -> None:
    server.run(f"CREATE TABLE {table} (number UInt64) ENGINE = Memory")
    parquet = server.request("/", b"SELECT number FROM numbers(1000)", default_format="Parquet")
    assert parquet.headers["x-clickhouse-format"] == "Parquet"
    server.request("/", parquet.body, query=f"INSERT INTO {table} FORMAT Parquet")
    assert server.run(f"SELECT sum(number) FROM {table}") == "499500"


def test_insert_select_and_tables_with_odd_names(server: Server, table: str) -> None:
    server.run(f"CREATE DATABASE {table}")
    server.run(f"CREATE TABLE {table}.values (format UInt8) ENGINE = Memory")
    server.run(f"INSERT INTO {table}.values (format) VALUES (1)")
    server.run(f"INSERT INTO {table}.values SELECT 2 AS format")
    server.run("INSERT INTO values SELECT {n:UInt8}", database=table, param_n=3)
    server.run("INSERT INTO {t:Identifier} VALUES ({n:UInt8})", database=table, param_n=4, param_t="values")
    assert server.run(f"SELECT format AS f FROM {table}.values ORDER BY format") == "1\n2\n3\n4"
    assert server.request("/", b"SELECT count() FROM values", headers={"X-ClickHouse-Database": table}).text == "4\n"


def test_headers_tell_about_the_query(server: Server) -> None:
    answer = server.request("/", b"SELECT number FROM numbers(5)", query_id="mine", default_format="CSV")
    assert answer.headers["x-clickhouse-query-id"] == "mine"
    assert answer.headers["x-clickhouse-format"] == "CSV"
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["x-clickhouse-timezone"]
    assert answer.headers["x-clickhouse-server-display-name"]
    summary = json.loads(answer.headers["x-clickhouse-summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("5", "5")
    asked = server.request("/", b"SELECT 1 AS x", headers={"X-ClickHouse-Format": "JSONCompactColumns"})
    assert json.loads(asked.body) == [[1]]


@pytest.mark.parametrize(
    ("sql", "code", "status", "name"),
    [
        ("SELECT nope", 47, 404, "UNKNOWN_IDENTIFIER"),
        ("SELEC 1", 62, 400, "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 62, 400, "SYNTAX_ERROR"),
        ("", 62, 400, "SYNTAX_ERROR"),
        ("SELECT * FROM no_such_table", 60, 404, "UNKNOWN_TABLE"),
        ("SELECT * FROM nodb.t", 81, 404, "UNKNOWN_DATABASE"),
        ("INSERT INTO no_such_table VALUES (1)", 60, 404, "UNKNOWN_TABLE"),
        ("SELECT 1 FORMAT Nope", 73, 404, "UNKNOWN_FORMAT"),
        ("SELECT toUInt8('x')", 6, 400, "CANNOT_PARSE_TEXT"),
        ("SELECT 1 SETTINGS no_such_setting = 1", 115, 404, "UNKNOWN_SETTING"),
        ("SELECT throwIf(1)", 395, 500, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        (
            "SELECT sleep(3), sleepEachRow(1) FROM numbers(9) SETTINGS max_execution_time = 1",
            159,
            408,
            "TIMEOUT_EXCEEDED",
        ),
        ("SELECT 1 INTO OUTFILE '/tmp/relo-must-not-exist'", 358, 500, "INTO_OUTFILE_NOT_ALLOWED"),
        ("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 78, 404, "UNKNOWN_TYPE_OF_QUERY"),
        ("SELECT {p:UInt8}", 456, 500, "UNKNOWN_QUERY_PARAMETER"),
    ],
)
def test_errors_have_clickhouses_code_status_and_text(
    server: Server, sql: str, code: int, status: int, name: str
) -> None:
    answer = server.request("/", sql.encode())
    assert (answer.code, answer.status) == (code, status), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert f". ({name}) (version 26." in answer.text
    assert answer.text.count("DB::Exception") == 1


def test_settings_cannot_inject(server: Server) -> None:
    unknown = server.request("/", b"SELECT 1", no_such_setting="1")
    assert (unknown.code, unknown.status) == (115, 404)
    injected = server.request("/", b"SELECT 1", **{"max_threads = 1, readonly": "1"})
    assert (injected.code, injected.status) == (115, 404)
    value = "', max_block_size = '7"
    assert server.run("SELECT getSetting('log_comment'), getSetting('max_block_size') != 7", log_comment=value) == (
        "\\', max_block_size = \\'7\t1"
    )
    assert server.request("/", b"SELECT 1", max_threads="many").status == 400
    assert server.request("/", b"SELECT 1", database="no`db").code == 81


def test_get_does_not_modify(server: Server, table: str) -> None:
    for session in ({}, {"session_id": table}):
        denied = server.request("/", query=f"CREATE TABLE {table} (x UInt8) ENGINE = Memory", **session)
        assert (denied.code, denied.status) == (164, 500)
        assert server.request("/", query="SELECT 1", max_threads=1, **session).text == "1\n"
        assert server.run(f"EXISTS TABLE {table}", **session) == "0"
    server.run(f"CREATE TABLE {table} (x UInt8) ENGINE = Memory", session_id=table)
    assert server.request("/", query=f"INSERT INTO {table} VALUES (1)").code == 164
    assert server.request("/", query=f"INSERT INTO {table} VALUES (1)", session_id=table).code == 164
    assert server.request("/", f"INSERT INTO {table} VALUES (1)".encode(), readonly=1).code == 164
    assert server.run(f"SELECT count() FROM {table}") == "0"
    assert server.request("/", method="HEAD", query="SELECT 1").body == b""


def test_sessions(server: Server, table: str) -> None:
    server.run("CREATE TEMPORARY TABLE mine (x UInt8)", session_id=table)
    server.run("INSERT INTO mine VALUES (1), (2)", session_id=table)
    assert server.run("SELECT sum(x) FROM mine", session_id=table, session_check=1) == "3"
    assert server.request("/", b"SELECT sum(x) FROM mine").code == 60
    server.run("SET max_block_size = 99", session_id=table)
    server.run("USE system", session_id=table)
    state = "SELECT currentDatabase(), getSetting('max_block_size')"
    assert server.run(state, session_id=table) == "system\t99"
    assert server.run(state, session_id=table, database="default", max_block_size=5) == "default\t5"
    assert server.run(state, session_id=table, close_session=1) == "system\t99"
    assert server.request("/", b"SELECT 1", session_id=table, session_check=1).code == 372
    assert server.request("/", b"SELECT 1", session_id=table, session_timeout="x").code == 374
    assert server.request("/", b"SELECT 1", session_id=table, session_timeout="9999").code == 374
    bad = server.request("/", b"SELECT 1", session_id=table, no_such_setting=1)
    assert bad.code == 115
    assert server.run("SELECT 1", session_id=table) == "1"


def test_request_bodies_in_every_coding(server: Server, table: str) -> None:
    server.run(f"CREATE TABLE {table} (id UInt64, name String) ENGINE = Memory")
    whole = gzip.compress(f"INSERT INTO {table} FORMAT RowBinary\n".encode() + row_binary(10_000))
    assert server.request("/", whole, headers={"Content-Encoding": "gzip"}).status == 200
    cut = server.request("/", whole[:-20], headers={"Content-Encoding": "gzip"})
    assert cut.code == 271
    assert server.request("/", b"not gzip", headers={"Content-Encoding": "gzip"}).code == 271
    assert server.request("/", b"x", headers={"Content-Encoding": "rot13"}).status == 501
    assert server.run(f"SELECT count() FROM {table}") == "10000"


def test_large_results_stream_and_compress(server: Server) -> None:
    sql = b"SELECT number, toString(number) FROM numbers(2000000)"
    plain = server.request("/", sql)
    assert plain.headers["transfer-encoding"] == "chunked"
    assert plain.body.count(b"\n") == 2_000_000
    packed = server.request("/", sql, enable_http_compression=1, headers={"Accept-Encoding": "gzip;q=1, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    waited = server.request("/", sql, wait_end_of_query=1)
    assert waited.body == plain.body
    assert json.loads(waited.headers["x-clickhouse-summary"])["result_rows"] == "2000000"


def test_error_in_mid_stream_breaks_off(server: Server) -> None:
    sql = "SELECT throwIf(number = 9000000), repeat('x', 20) FROM numbers(10000000) SETTINGS max_threads = 1"
    command = ["curl", "-s", f"http://127.0.0.1:{server.port}/", "-d", sql, "-o", "-"]
    broken = subprocess.run(command, capture_output=True, timeout=30)
    assert broken.returncode == 18  # CURLE_PARTIAL_FILE
    assert b"__exception__" in broken.stdout[-2000:]
    assert b"Code: 395. DB::Exception" in broken.stdout[-2000:]
    waited = server.request("/", sql.encode(), wait_end_of_query=1)
    assert (waited.status, waited.code) == (500, 395)


def test_unsupported_parts_say_so(server: Server) -> None:
    assert server.request("/", b"SELECT 1", compress=1).status == 501
    assert server.request("/", b"SELECT 1", client_protocol_version=54460).status == 501


def test_other_web_pages_cannot_ask(server: Server) -> None:
    assert server.request("/", b"SELECT 1", headers={"Origin": "https://evil.example"}).status == 403
    assert server.request("/", query="SELECT 1", headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert server.request("/", b"SELECT 1", headers=own).status == 200


def test_statement_limit(server: Server) -> None:
    long = server.request("/", b"SELECT 1 /*" + b"x" * (65 << 20) + b"*/")
    assert (long.code, long.status) == (229, 413)
