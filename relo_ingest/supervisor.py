"""``relo up``: the whole product on one machine. Starts what is not configured elsewhere, watches it, drains it.

Children log to ``{data_dir}/logs``; what people need to know is printed here, one calm line per process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import IO

import clickhouse_connect.driver.exceptions
import msgspec
import urllib3

from relo_ingest import lifeline
from relo_ingest.clickhouse import migrate
from relo_ingest.clickhouse.client import connect, first_line
from relo_ingest.errors import ConfigError, ReloError
from relo_ingest.preflight import check_address, check_data_directory
from relo_ingest.registry import apply, model
from relo_ingest.registry.secrets import keyring
from relo_ingest.settings import Settings

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
FIRST_RESTART_S, LONGEST_RESTART_S = 0.5, 30.0
CALM_AFTER_S = 30.0
"""A child that lived this long starts again without delay."""
LOG_BYTES = 20 << 20
"""At a start, a longer log moves to ``.1``."""
EX_CONFIG = ConfigError.exit_code


def say(name: str, text: str) -> None:
    print(f"  {name:<11} {text}", flush=True)


class Child(msgspec.Struct):
    """One process of ours: ``arguments`` of ``relo``, and how to know that it is up."""

    name: str
    arguments: list[str]
    where: str
    ready: Callable[[], bool]
    log: Path
    process: asyncio.subprocess.Process | None = None
    started_at: float = 0.0


class ChildFailed(ReloError):
    """A child ended before it was up."""


class Supervisor:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._logs = settings.data_path / "logs"
        self._stopping = asyncio.Event()
        self._children: list[Child] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._fatal: ReloError | None = None

    async def run(self) -> int:
        """Until SIGTERM or SIGINT; the exit code. Raises ReloError when the product cannot start."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stopping.set)
        settings = self._settings
        check_data_directory(settings)
        check_address(settings.ingest.host, settings.ingest.port, "RELO_INGEST_PORT")
        if settings.embedded:
            check_address("127.0.0.1", settings.clickhouse.embedded_port, "RELO_CLICKHOUSE_EMBEDDED_PORT")
        self._logs.mkdir(exist_ok=True)
        keyring(settings, create=True)
        lifeline.mark_parent(os.environ)
        print(f"relo_ingest, data in {settings.data_path.resolve()}", flush=True)
        try:
            await self._start_all()
            if not self._stopping.is_set():
                print(
                    f"ready: {self._base_url} (demo shop at /demo; `relo demo` sends a story; Ctrl-C stops)", flush=True
                )
            await self._stopping.wait()
        finally:
            await self._stop_all()
        if self._fatal is not None:
            raise self._fatal
        return 0

    @property
    def _base_url(self) -> str:
        host = self._settings.ingest.host
        return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{self._settings.ingest.port}"  # noqa: S104

    async def _start_all(self) -> None:
        settings = self._settings
        if settings.embedded:
            port = settings.clickhouse.embedded_port
            await self._start(
                "clickhouse", ["clickhouse"], f"http://127.0.0.1:{port} (embedded)", f"http://127.0.0.1:{port}/ping"
            )
        else:
            say("clickhouse", f"{settings.clickhouse_dsn.rpartition('@')[2]} (yours)")
        if self._stopping.is_set():
            return
        await self._unless_stopping(asyncio.to_thread(self._prepare_database))
        await self._start(
            "ingest",
            ["ingest"],
            f"{self._base_url} ({settings.ingest.workers} workers)",
            f"{self._base_url}/health/ready",
        )
        await self._start("worker", ["worker"], f"attribution every {settings.worker.interval_s:g} s", "")

    async def _unless_stopping(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if task.done():
            task.result()

    def _prepare_database(self) -> None:
        """Migrations, and the example registry when there is none at all."""
        client = connect(self._settings)
        try:
            done = migrate.apply(client)
            say("schema", f"version {migrate.SCHEMA_VERSION}" + (f" ({len(done)} migrations applied)" if done else ""))
            if not apply.current(client):
                example = resources.files("relo_ingest") / "relo.example.toml"
                import tomllib

                declaration = model.parse(tomllib.loads(example.read_text()), "relo.example.toml")
                todo = apply.changes(declaration, {}, keyring(self._settings))
                apply.write(client, todo)
                say("registry", f"was empty: applied {example.name} ({len(todo)} entries); change it with `relo apply`")
        except clickhouse_connect.driver.exceptions.ClickHouseError as error:
            raise ReloError(f"the database could not be prepared: {first_line(error)}") from None
        finally:
            client.close()

    async def _start(self, name: str, arguments: list[str], where: str, url: str) -> None:
        if self._stopping.is_set():
            return
        child = Child(
            name, arguments, where, (lambda: _answers(url)) if url else (lambda: True), self._logs / f"{name}.log"
        )
        self._children.append(child)
        await self._spawn(child)
        await self._wait_until_up(child)
        self._watchers.append(asyncio.create_task(self._watch(child), name=f"watch-{name}"))
        if not self._stopping.is_set():
            say(name, f"{where}, log {child.log}")

    async def _spawn(self, child: Child) -> None:
        with _open_log(child.log) as log:
            child.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "relo_ingest",
                *child.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal goes to the whole group; children are to be drained in order, by us.
                start_new_session=True,
            )
        child.started_at = time.monotonic()

    async def _wait_until_up(self, child: Child) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while not self._stopping.is_set():
            assert child.process is not None
            if child.process.returncode is not None:
                raise _failure(child)
            if await asyncio.to_thread(child.ready):
                return
            if time.monotonic() > until:
                raise ChildFailed(f"{child.name} did not come up in {START_TIMEOUT_S:.0f} s; see {child.log}")
            await asyncio.sleep(0.1)

    async def _watch(self, child: Child) -> None:
        """Start it again when it ends, after a pause that grows while it keeps ending."""
        pause = FIRST_RESTART_S
        while True:
            assert child.process is not None
            code = await child.process.wait()
            if self._stopping.is_set():
                return
            if code == EX_CONFIG:
                self._fatal = _failure(child)
                self._stopping.set()
                return
            if time.monotonic() - child.started_at > CALM_AFTER_S:
                pause = FIRST_RESTART_S
            say(child.name, f"ended ({_ended(code)}), starts again in {pause:g} s, log {child.log}")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_RESTART_S)
            if self._stopping.is_set():
                return
            await self._spawn(child)

    async def _stop_all(self) -> None:
        """In the order of the path: nothing new comes in, then what came in goes through."""
        self._stopping.set()
        by_name = {c.name: c for c in self._children}
        for name in ("ingest", "worker", "clickhouse"):
            child = by_name.get(name)
            if child is None or child.process is None or child.process.returncode is not None:
                continue
            child.process.terminate()
            try:
                await asyncio.wait_for(child.process.wait(), STOP_TIMEOUT_S)
                say(name, "stopped")
            except TimeoutError:
                child.process.kill()
                await child.process.wait()
                say(name, f"did not stop in {STOP_TIMEOUT_S:.0f} s: killed; nothing acknowledged is lost")
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)


def _answers(url: str) -> bool:
    try:
        return urllib3.request("GET", url, timeout=1.0, retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _open_log(path: Path) -> IO[bytes]:
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _failure(child: Child) -> ReloError:
    """What a child said last, as our own error, with its exit code's meaning."""
    assert child.process is not None
    lines = child.log.read_text(errors="replace").strip().splitlines()
    said = lines[-1].removeprefix("relo: ") if lines else _ended(child.process.returncode or 0)
    try:
        said = msgspec.json.decode(said, type=dict)["message"]
    except (msgspec.MsgspecError, KeyError):
        pass
    kind = ConfigError if child.process.returncode == EX_CONFIG else ChildFailed
    return kind(f"{child.name}: {said}")
