"""From clicks to commissions: how fast are they worked out, how does that grow, and how soon is one in the ledger?

Why: a platform moves its history in at once, then wants each sale in the ledger while its partner still looks; and a
year later this must not take longer.
How: a history of 2 million clicks, 10 million page views and 200,000 payments (times the size) is written into an
embedded engine, and a worker settles all of it from an empty ledger; memory is that of the engine, which does the
work. The worker reads everything once more when it has settled, a minute or two later: that is timed by itself. With
that in place, 1,000 payments at a time are added and settled. Then the whole product is started, and signed webhooks
come at 100 a second: from the answer to the line in the ledger, looked for every 50 ms.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import threading
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import clickhouse_connect
import msgspec

from bench.harness import history, machine, servers
from bench.harness.events import SECRET
from bench.harness.openloop import percentile
from bench.harness.report import MET, NOT_MET, Answer, Curve
from bench.harness.watch import Watch
from relo_ingest._fast import signature, ulid
from relo_ingest.clickhouse import migrate
from relo_ingest.worker import changes
from relo_ingest.worker.loop import Worker

SIZES, FULL_SIZES = (0.1, 1.0), (0.1, 1.0, 2.0)
BATCH = 1_000
BATCHES = 5
MOST_S, MOST_GB, MOST_BATCH_S = 60, 4, 2
RATE, SECONDS, FULL_SECONDS = 100, 10, 60
LOOK_EVERY_S = 0.05
PATIENCE_S = 60


def answers(full: bool) -> Iterator[Answer]:
    whole = Curve("attribution", "from an empty ledger", [], [])
    added = Curve("attribution", f"{BATCH:,} more payments", [], [])
    for size in FULL_SIZES if full else SIZES:
        with servers.directory() as where:
            settled_s, again_s, memory_gb, lines, batches = _settle(where, size)
        payments = int(history.PAYMENTS * size)
        whole.x.append(payments)
        whole.y.append(settled_s)
        added.x.append(payments)
        added.y.append(median(batches))
        is_target = size == 1.0
        yield Answer(
            question=f"attribution of {payments:,} payments from an empty ledger",
            measured=f"{settled_s:.1f} s, {memory_gb:.1f} GB, {lines:,} lines",
            target=f"< {MOST_S} s, < {MOST_GB} GB" if is_target else "",
            ratio=f"{payments / settled_s:,.0f} payments/s",
            verdict=(MET if settled_s < MOST_S and memory_gb < MOST_GB else NOT_MET) if is_target else "no target",
            headline="Commissions of 200,000 payments worked out from nothing" if is_target else "",
            remark=f"looked at once more, after a minute or two, when nothing differs: {again_s:.1f} s",
        )
        yield Answer(
            question=f"{BATCH:,} more, with {payments:,} in place",
            measured=f"{median(batches):.2f} s ({min(batches):.2f}–{max(batches):.2f})",
            target=f"< {MOST_BATCH_S} s" if is_target else "",
            verdict=(MET if median(batches) < MOST_BATCH_S else NOT_MET) if is_target else "no target",
            curves=[whole, added] if size == max(FULL_SIZES if full else SIZES) else [],
        )
    yield _latency(FULL_SECONDS if full else SECONDS)


def _settle(where: servers.Directory, size: float) -> tuple[float, float, float, int, list[float]]:
    """Seconds for all, and for all of it again; the engine's highest memory in GB; lines; seconds for each batch."""
    port = servers.free_port()
    arguments = ["-m", "relo_ingest", "clickhouse"]
    env: dict[str, Any] = {"RELO_DATA_DIR": where.path / "data", "RELO_CLICKHOUSE_EMBEDDED_PORT": port}
    engine = where.start("engine", arguments, set(machine.CORES), port, **env).wait_until("/ping")
    client = _client(port)
    migrate.apply(client)
    history.register(client)
    Worker(client).round()  # what the registry brings
    history.load(client, size)
    with Watch(lambda: machine.largest_rss(engine.pid)[0] / 1e9) as memory:
        started = time.perf_counter()
        worker = Worker(client)
        worker.round()
        settled_s = time.perf_counter() - started
        again_s = _look_again(worker)
    lines = int(str(client.command("SELECT count() FROM ledger_lines")))
    batches = []
    for n in range(BATCHES):
        history.pay(client, BATCH, f"more{n}x")
        started = time.perf_counter()
        worker.round()
        batches.append(time.perf_counter() - started)
    after = int(str(client.command("SELECT count() FROM ledger_lines")))
    if not lines < after:
        raise RuntimeError("the batches brought no lines: nothing was measured")
    return settled_s, again_s, max(memory.values), lines, batches


def _look_again(worker: Worker) -> float:
    """Seconds for what the worker does with everything a minute or two later: now, so that it is not in a batch."""
    after, every = changes.SETTLED_AFTER, changes.AGAIN_EVERY
    changes.SETTLED_AFTER = changes.AGAIN_EVERY = dt.timedelta(0)
    started = time.perf_counter()
    worker.round()
    changes.SETTLED_AFTER, changes.AGAIN_EVERY = after, every
    return time.perf_counter() - started


def _latency(seconds: int) -> Answer:
    with servers.directory() as where:
        product = servers.Product(where)
        where.start("worker", ["-m", "relo_ingest", "worker"], machine.ENGINE, 0, **product.environment)
        answered: dict[str, float] = {}
        seen: dict[str, float] = {}
        over = threading.Event()
        looking = threading.Thread(target=_look, args=(product.clickhouse.port, seen, over))
        looking.start()
        try:
            _send(product.ingest.port, RATE * seconds, answered)
            until = time.monotonic() + PATIENCE_S
            while len(seen) < len(answered) and time.monotonic() < until:
                time.sleep(LOOK_EVERY_S)
        finally:
            over.set()
            looking.join()
    took = sorted(seen[key] - at for key, at in answered.items() if key in seen)
    missing = len(answered) - len(took)
    return Answer(
        question=f"from a webhook's 200 to the ledger, {RATE} payments/s",
        measured=f"p50 {percentile(took, 50):.2f} s, p99 {percentile(took, 99):.2f} s",
        verdict="errors" if missing else "no target",
        remark=f"{len(answered):,} payments, {missing} without a line; a segment is flushed after 1 s, "
        "and the worker rests 1 s between rounds",
        headline=f"From a webhook's 200 to the commission's line, {RATE} payments a second",
        figures={"seconds": took},
    )


def _send(port: int, payments: int, answered: dict[str, float]) -> None:
    """A click, then payments that name it, one after the other at RATE; when each was answered, by its key."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/r?ref=ana")
        answer = connection.getresponse()
        answer.read()
        click_id = str(answer.headers["location"]).rpartition("click_id=")[2]
        started = time.perf_counter()
        for n in range(payments):
            time.sleep(max(0.0, started + n / RATE - time.perf_counter()))
            key, body = _payment(click_id)
            headers = {"stripe-signature": signature.sign(body, SECRET, int(time.time()))}
            connection.request("POST", "/postback/stripe/demo", body, headers)
            status = connection.getresponse()
            status.read()
            if status.status == 200:
                answered[key] = time.perf_counter()


def _payment(click_id: str) -> tuple[str, bytes]:
    unique = ulid.new()
    key = f"pi_{unique}"
    session = {
        "id": f"cs_{unique}", "object": "checkout.session", "mode": "payment", "payment_status": "paid",
        "amount_total": 2000, "currency": "usd", "payment_intent": key, "customer": f"cus_{unique}",
        "metadata": {"relo_click_id": click_id},
    }  # fmt: skip
    event = {
        "id": f"evt_{unique}", "object": "event", "api_version": "2025-03-31.basil", "created": int(time.time()),
        "livemode": True, "type": "checkout.session.completed", "data": {"object": session},
    }  # fmt: skip
    return key, msgspec.json.encode(event)


def _look(port: int, seen: dict[str, float], over: threading.Event) -> None:
    client = _client(port)
    sql = "SELECT conversion_key FROM ledger_lines WHERE created_at > now64(3) - INTERVAL 15 SECOND"
    while not over.wait(LOOK_EVERY_S):
        rows = client.query(sql).result_rows
        now = time.perf_counter()
        for (key,) in rows:
            seen.setdefault(key, now)


def _client(port: int) -> Any:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=port, send_receive_timeout=600, autogenerate_session_id=False, compress=False
    )
