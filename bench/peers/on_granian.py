"""Any ASGI application on granian, with the settings of ``relo_ingest.ingest.server``: only the application differs.

They are written out again here: change both together; how its threads are scheduled is the same function.
``backpressure`` lies above every number of connections used.
"""

from __future__ import annotations

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings

from relo_ingest.ingest.server import give_way_seldom


def serve(target: str, port: int) -> None:
    """``target`` is ``module:attribute``."""
    give_way_seldom()
    Granian(
        target,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        workers=1,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=10_000),
        websockets=False,
        backlog=2048,
        backpressure=4096,
        log_enabled=False,
    ).serve()
