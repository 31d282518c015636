"""The process: users, concurrency, lost clients, kill -9, SIGTERM, one owner per directory, memory."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.clickhouse.embedded.conftest import ROOT, Server, free_port, row_binary

SLOW = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"


def running(server: Server, text: str) -> int:
    others = "query NOT LIKE '%system.processes%'"
    return int(server.run(f"SELECT count() FROM system.processes WHERE query LIKE '%{text}%' AND {others}"))


def wait_for(condition: Callable[[], bool], seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_password_in_every_place(start: Callable[..., Server]) -> None:
    server = start("--user", "relo", "--password", "pässword")
    assert server.request("/ping").status == 200
    basic = "Basic " + b64encode("relo:pässword".encode()).decode()
    for headers, params in (
        ({"X-ClickHouse-User": "relo", "X-ClickHouse-Key": "pässword".encode().decode("latin-1")}, {}),
        ({"Authorization": basic}, {}),
        ({}, {"user": "relo", "password": "pässword"}),
    ):
        answer = server.request("/", b"SELECT 1", headers=headers, **params)
        assert (answer.status, answer.body) == (200, b"1\n"), answer.text
    wrong: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {}),
        ({}, {"user": "relo"}),
        ({}, {"user": "relo", "password": "wrong"}),
        ({}, {"user": "default", "password": "pässword"}),
        ({"Authorization": "Basic " + b64encode(b"relo:x").decode()}, {}),
        ({"Authorization": "Basic !"}, {}),
        ({"Authorization": "Bearer token"}, {}),
        ({"Authorization": basic}, {"user": "relo", "password": "pässword"}),
    ]
    for headers, params in wrong:
        answer = server.request("/", b"SELECT 1", headers=headers, **params)
        assert (answer.status, answer.code) == (403, 516), answer.text
        assert "AUTHENTICATION_FAILED" in answer.text
        assert "pässword" not in answer.text


def test_reads_finish_while_an_insert_runs(server: Server, table: str) -> None:
    server.run(f"CREATE TABLE {table} (id UInt64, slow UInt8 MATERIALIZED sleepEachRow(0.5)) ENGINE = Memory")
    insert = f"INSERT INTO {table} (id) VALUES (1), (2), (3), (4)"
    with ThreadPoolExecutor(1) as pool:
        inserting = pool.submit(server.run, insert)
        wait_for(lambda: running(server, f"INSERT INTO {table}") == 1)
        assert server.run("SELECT 1") == "1"
        assert not inserting.done()
        inserting.result()
    assert server.run(f"SELECT count() FROM {table}") == "4"


def test_a_session_does_one_thing_at_a_time(server: Server, table: str) -> None:
    sql = f"SELECT sleepEachRow(0.5), '{table}' FROM numbers(4) SETTINGS max_block_size = 1"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.run, sql, session_id=table)
        wait_for(lambda: running(server, table) == 1)
        second = server.request("/", b"SELECT 1", session_id=table)
        assert not first.done()
        assert second.code == 373
        first.result()
    assert server.run("SELECT 1", session_id=table) == "1"


def test_too_many_queries_are_refused(start: Callable[..., Server]) -> None:
    server = start()
    with ThreadPoolExecutor(40) as pool:
        sql = b"SELECT sleepEachRow(0.5) FROM numbers(6) SETTINGS max_block_size = 1, max_threads = 1"
        answers = [future.result() for future in [pool.submit(server.request, "/", sql) for _ in range(40)]]
    refused = [answer for answer in answers if answer.status != 200]
    assert len(refused) == 8
    assert {answer.code for answer in refused} == {202}
    assert server.run("SELECT 1") == "1"


def test_half_a_body_is_not_inserted(server: Server, table: str) -> None:
    server.run(f"CREATE TABLE {table} (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    rows = row_binary(1_000_000)  # whole rows, and enough of them that a block would have been written
    head = f"POST /?query=INSERT+INTO+{table}+FORMAT+RowBinary HTTP/1.1\r\nHost: localhost\r\n"
    for framing, sent in (
        (f"Content-Length: {2 * len(rows)}\r\n\r\n", rows),
        ("Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (len(rows), rows)),
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall((head + framing).encode() + sent)
    time.sleep(0.3)
    wait_for(lambda: running(server, table) == 0)
    assert server.run(f"SELECT count() FROM {table}") == "0"
    assert server.request("/", rows, query=f"INSERT INTO {table} FORMAT RowBinary").status == 200
    assert server.run(f"SELECT count() FROM {table}") == "1000000"


def test_a_lost_reader_ends_its_query(server: Server, table: str) -> None:
    for sql in (SLOW, "SELECT number FROM numbers(1000000000000)"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("POST", "/", f"{sql} SETTINGS max_execution_time = 60 -- {table}".encode())
        wait_for(lambda: running(server, table) == 1)
        connection.close()
        wait_for(lambda: running(server, table) == 0)


def test_kill_9_keeps_what_was_answered(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start()
    server.run("CREATE TABLE t (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    acknowledged = 0
    killer = threading.Timer(0.7, server.process.kill)
    killer.start()
    try:
        while True:
            rows = row_binary(500, start=500 * acknowledged)
            answer = server.request("/", rows, query="INSERT INTO t FORMAT RowBinary")
            assert answer.status == 200
            acknowledged += 1
    except (OSError, http.client.HTTPException):
        pass
    server.process.wait()
    assert acknowledged > 0
    again = start(port=server.port)
    stored = int(again.run("SELECT count() FROM t"))
    assert stored in (500 * acknowledged, 500 * (acknowledged + 1))  # the one under way may be there
    known = 500 * acknowledged
    assert again.run(f"SELECT uniqExact(id) FROM t WHERE id < {known}") == str(known)


def test_second_process_is_refused_and_says_why(start: Callable[..., Server]) -> None:
    server = start()
    second = start(ready=False)
    output = second.process.communicate(timeout=150)[0].decode()
    assert second.process.returncode == 1
    assert f"in use by process {server.process.pid};" in output
    assert output.count("\n") == 1
    assert server.run("SELECT 1") == "1"


def test_unusable_address_or_directory_say_why(start: Callable[..., Server], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        refused = start(ready=False, port=port)
        output = refused.process.communicate(timeout=150)[0].decode()
    assert refused.process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in output
    assert output.count("\n") == 1
    (tmp_path / "file").write_text("")
    unusable = start(ready=False, data_dir=tmp_path / "file" / "data")
    output = unusable.process.communicate(timeout=150)[0].decode()
    assert unusable.process.returncode == 1
    assert "data directory" in output
    assert output.count("\n") == 1


def test_missing_engine_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['chdb'] = None\n"
        "from pathlib import Path; from relo_ingest.clickhouse.embedded import serve, EngineMissing\n"
        f"try: serve(Path({str(tmp_path)!r}), port={free_port()})\n"
        "except EngineMissing as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=30)
    assert b"pip install 'relo_ingest[embedded]'" in done.stdout


def test_sigterm_closes_cleanly(start: Callable[..., Server]) -> None:
    server = start()
    server.run("CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id")
    with ThreadPoolExecutor(2) as pool:
        short = pool.submit(server.request, "/", b"SELECT sleepEachRow(0.5), 'short' FROM numbers(2)")
        wait_for(lambda: running(server, "short") == 1)
        assert server.stop(signal.SIGTERM) == 0
        assert short.result().status == 200
    again = start(port=server.port)
    assert again.run("SELECT count() FROM t") == "0"
    assert again.stop(signal.SIGINT) == 0


def test_sigterm_cancels_what_runs_too_long(start: Callable[..., Server]) -> None:
    server = start()
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(server.request, "/", SLOW.encode())
        wait_for(lambda: running(server, "sipHash64") == 1)
        assert server.stop() == 0
        assert long.exception() is not None or long.result().code == 394


def test_a_large_insert_takes_bounded_memory(start: Callable[..., Server]) -> None:
    server = start()
    server.run("CREATE TABLE t (id UInt64, name String) ENGINE = MergeTree ORDER BY id")
    piece = row_binary(80_000, width=120)  # 10 MB
    pieces = 62
    server.request("/", piece, query="INSERT INTO t FORMAT RowBinary")
    server.run("TRUNCATE TABLE t")
    before, peak, stop = server.rss(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            peak[0] = max(peak[0], server.rss())

    watcher = threading.Thread(target=watch)
    watcher.start()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=150)
    connection.request(
        "POST", "/?query=INSERT+INTO+t+FORMAT+RowBinary", (piece for _ in range(pieces)), encode_chunked=True
    )
    answer = connection.getresponse()
    body = answer.read()
    stop.set()
    watcher.join()
    assert answer.status == 200, body
    assert len(piece) * pieces > 600_000_000
    assert server.run("SELECT count() FROM t") == str(80_000 * pieces)
    assert peak[0] - before < 400_000_000, f"grew by {(peak[0] - before) / 1e6:.0f} MB"


def test_idle_costs_no_cpu(start: Callable[..., Server]) -> None:
    server = start()
    server.run("SELECT 1", session_id="idle")

    def ticks() -> int:
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    time.sleep(0.5)
    before = ticks()
    time.sleep(1.5)
    assert ticks() - before <= 5  # of 150: 1/100 s each
