"""``relo up``: starts, restarts, drains, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from relo_ingest._fast import ulid
from relo_ingest.registry import refresh
from support.processes import Product, Server, environment, eventually, free_port, processes_with, relo
from support.stripe_events import checkout_completed, signed


def child(product: Product, command: str) -> int:
    """The process id of ``relo {command}`` under the product."""
    for pid in processes_with(f"RELO_DATA_DIR={product.data_dir}\0"):
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if arguments[1:4] == ["-m", "relo_ingest", command]:
            return pid
    raise AssertionError(f"no process of relo {command}")


def test_killed_with_9_it_leaves_no_process(tmp_path: Path) -> None:
    product = Product(tmp_path, RELO_INGEST_WORKERS=2)
    marker = f"RELO_DATA_DIR={product.data_dir}\0"
    assert len(processes_with(marker)) >= 6  # itself, the engine, ingest and its two processes, the worker
    product.stop(signal.SIGKILL)
    eventually(lambda: not processes_with(marker), "every process of it is gone")


def test_killed_with_9_it_loses_nothing_and_starts_again(tmp_path: Path) -> None:
    product = Product(tmp_path)
    event_ids = [ulid.new() for _ in range(200)]
    for event_id in event_ids:
        assert product.http.post("/e", json={"client_id": 1, "event_id": event_id}).status_code == 204
    event = checkout_completed()
    assert product.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    product.stop(signal.SIGKILL)
    again = Product(tmp_path)
    count = "SELECT 1 FROM events WHERE event_id IN {ids:Array(String)} HAVING count() = 201"
    again.eventually_rows(count, ids=[*event_ids, event["id"]])
    assert again.stop() == 0


def test_a_crashed_child_starts_again(tmp_path: Path) -> None:
    product = Product(tmp_path)
    for command in ("clickhouse", "worker", "ingest"):
        pid = child(product, command)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda p=pid, c=command: _replaced(product, c, p), f"relo {command} starts again")

    def answers() -> bool:
        try:
            return product.http.get("/health/ready").status_code == 200
        except Exception:
            return False

    eventually(answers, "the ingest answers again")
    event_id = ulid.new()
    assert product.http.post("/e", json={"client_id": 1, "event_id": event_id}).status_code == 204
    product.eventually_rows("SELECT 1 FROM events WHERE event_id = {id:String}", id=event_id)
    assert product.stop() == 0
    assert "killed by SIGKILL" in product.log.read_text()


def _replaced(product: Product, command: str, old: int) -> bool:
    try:
        return child(product, command) != old
    except (AssertionError, OSError):
        return False


def test_stopping_drains_and_ends_every_process(tmp_path: Path) -> None:
    product = Product(tmp_path, RELO_SPOOL_MAX_AGE_MS=60_000)
    event_id = ulid.new()
    assert product.http.post("/e", json={"client_id": 1, "event_id": event_id}).status_code == 204
    marker = f"RELO_DATA_DIR={product.data_dir}\0"
    assert product.stop(signal.SIGINT) == 0
    assert processes_with(marker) == []
    left = list((product.data_dir / "spool").rglob("*.sealed")) + list((product.data_dir / "spool").rglob("*.open"))
    assert left == []
    again = Product(tmp_path)
    assert again.rows("SELECT event_id FROM events WHERE event_id = {id:String}", id=event_id) == [(event_id,)]
    assert again.stop() == 0


def test_a_port_in_use_is_one_line_and_code_1(tmp_path: Path) -> None:
    product = Product(tmp_path / "first")
    env = environment(RELO_DATA_DIR=tmp_path / "second", RELO_INGEST_PORT=product.port)
    for command in ("up", "ingest"):
        done = relo(command, env=env)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert f"port {product.port} on 127.0.0.1 is in use" in done.stderr
    env = environment(
        RELO_DATA_DIR=tmp_path / "third",
        RELO_INGEST_PORT=free_port(),
        RELO_CLICKHOUSE_EMBEDDED_PORT=product.clickhouse_port,
    )
    done = relo("up", env=env)
    assert done.returncode == 1
    assert str(product.clickhouse_port) in done.stderr
    assert "Traceback" not in done.stderr
    assert product.stop() == 0


def test_ingest_starts_from_its_copy_and_keeps_everything_while_clickhouse_is_away(tmp_path: Path) -> None:
    product = Product(tmp_path)
    assert (product.data_dir / refresh.COPY_FILE).exists()
    assert product.stop() == 0
    port = free_port()
    env = product.env | {"RELO_INGEST_PORT": str(port)}
    alone = Server(["relo_ingest", "ingest"], env, port, tmp_path / "alone.log", "/health/ready")
    event, event_id = checkout_completed(), ulid.new()
    assert alone.http.post("/postback/stripe/demo", **signed(event)).status_code == 200
    assert alone.http.post("/e", json={"client_id": 1, "event_id": event_id}).status_code == 204
    assert alone.http.get("/r?ref=ana").status_code == 302
    assert alone.stop() == 0
    again = Product(tmp_path)
    again.eventually_rows(
        "SELECT 1 FROM events WHERE event_id IN {ids:Array(String)} HAVING count() = 2", ids=[event_id, event["id"]]
    )
    assert again.stop() == 0


def test_beyond_the_spool_cap_and_the_quota_requests_are_refused(tmp_path: Path) -> None:
    product = Product(tmp_path)
    assert product.stop() == 0
    port = free_port()
    env = product.env | {
        "RELO_INGEST_PORT": str(port),
        "RELO_SPOOL_SEGMENT_BYTES": str(1 << 20),
        "RELO_SPOOL_CAP_BYTES": str(16 << 20),
        "RELO_QUOTAS_BEACONS_PER_S": "1",
        "RELO_QUOTAS_BURST": "1000",
    }
    alone = Server(["relo_ingest", "ingest"], env, port, tmp_path / "alone.log", "/health/ready")
    beacon = {"client_id": 1, "props": {"filler": "x" * 60_000}}
    accepted = 0
    while (response := alone.http.post("/e", json=beacon)).status_code == 204:
        accepted += 1
        assert accepted < 400, "the cap is never reached"
    assert (response.status_code, response.json()["error"]["code"]) == (503, "spool_full")
    assert int(response.headers["retry-after"]) > 0
    assert alone.http.get("/health/ready").status_code == 503
    assert alone.http.post("/postback/stripe/demo", **signed(checkout_completed())).status_code in (200, 503)
    for _ in range(1000 - accepted):
        response = alone.http.post("/e", json=beacon)
    assert (response.status_code, response.json()["error"]["code"]) in ((503, "spool_full"), (429, "over_quota"))
    while (response := alone.http.post("/e", json=beacon)).status_code == 503:
        pass
    assert (response.status_code, response.json()["error"]["code"]) == (429, "over_quota")
    assert int(response.headers["retry-after"]) > 0
    assert alone.stop() == 0
    again = Product(tmp_path)
    again.eventually_rows(f"SELECT 1 FROM events WHERE length(url) = 0 HAVING count() >= {accepted}")
    assert again.stop() == 0
