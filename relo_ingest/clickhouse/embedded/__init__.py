"""The ClickHouse engine in this process (chDB), behind ClickHouse's own HTTP interface.

The path of a request, file by file:

1. `server.py`       ASGI on granian: ping, limits, answers and errors; `serve` is the process around it
2. `request.py`      who asks, settings, parameters; the body as it arrives, statement apart from data
3. `compression.py`  HTTP codings both ways; `statements.py` finds where the statement ends
4. `spool.py`        the body waits here until it is whole: half an insert must never reach the engine
5. `sessions.py`     the connection: the session's own, or a fresh one
6. `query.py`        settings applied, statement run in a thread, result read piece by piece
7. `engine.py`       chDB, one process per data directory

`errors.py` knows what each ClickHouse error means in HTTP. What chDB cannot do is told in `server.py`.
"""

from .errors import AddressInUse, DataDirectoryInUse, DataDirectoryUnusable, EngineMissing, StartError
from .server import serve

__all__ = [
    "AddressInUse",
    "DataDirectoryInUse",
    "DataDirectoryUnusable",
    "EngineMissing",
    "StartError",
    "serve",
]
