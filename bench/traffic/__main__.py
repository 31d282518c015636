"""``make load``: locust for a minute against the running product, headless, and the books at the end.

When nothing is ready at the configured address, a product of its own is started on free ports in a temporary directory.
Arguments go to locust, where they override those below. Exit code 1: an answer was wrong, or the books do not agree.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import urllib3

from bench.harness import machine, servers
from relo_ingest.settings import Settings, load

LOCUSTFILE = Path(__file__).parents[1] / "locustfile.py"
DEFAULTS = ("--headless", "--only-summary", "--users", "60", "--spawn-rate", "30", "--run-time", "60s",
            "--stop-timeout", "15")  # fmt: skip


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    with running_product(load()) as (url, environment):
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url, *DEFAULTS, *arguments]
        return subprocess.run(command, env=environment).returncode


@contextlib.contextmanager
def running_product(settings: Settings) -> Iterator[tuple[str, dict[str, str]]]:
    """Its URL, and the environment in which its settings are found."""
    url = f"http://{settings.ingest.host}:{settings.ingest.port}"
    if _is_ready(url):
        print(f"the load goes to the product at {url}", flush=True)
        yield url, {**os.environ, "PYTHONPATH": str(servers.ROOT)}
        return
    with servers.directory() as where:
        port = servers.free_port()
        values = {
            "RELO_DATA_DIR": where.path / "data",
            "RELO_INGEST_PORT": port,
            "RELO_CLICKHOUSE_EMBEDDED_PORT": servers.free_port(),
            "RELO_INGEST_FORWARDED_HOPS": 1,  # visitors come through a proxy, so each has an address of its own
        }
        where.start("relo", ["-m", "relo_ingest", "up"], set(machine.CORES), port, **values).wait_until("/health/ready")
        print(f"nothing is ready at {url}: the load goes to a product of its own, on port {port}", flush=True)
        yield f"http://127.0.0.1:{port}", servers.clean_environment(**values)


def _is_ready(url: str) -> bool:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return urllib3.request("GET", f"{url}/health/ready", timeout=2.0, retries=False).status == 200
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
