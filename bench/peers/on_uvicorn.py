"""Any ASGI application on uvicorn, as its documentation recommends it for speed: ``uvicorn[standard]``'s uvloop and
httptools, no access log, one worker per core (https://www.uvicorn.org/deployment/)."""

from __future__ import annotations

import uvicorn


def serve(target: str, port: int) -> None:
    """``target`` is ``module:attribute``."""
    uvicorn.run(target, port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning", backlog=2048)
