"""What granian's settings must do for us: connections that send nothing, or not enough, are closed."""

from __future__ import annotations

import selectors
import socket

from relo_ingest.ingest.server import HEADER_TIMEOUT_S
from support.processes import Product

HALF_A_HEAD = b"POST /e HTTP/1.1\r\nHost: x\r\n"
WHOLE_REQUEST = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def test_idle_connections_and_slow_headers_are_closed(product: Product) -> None:
    with selectors.DefaultSelector() as selector:
        for first in (b"", HALF_A_HEAD, WHOLE_REQUEST):
            connection = socket.create_connection(("127.0.0.1", product.port), 10)
            connection.sendall(first)
            selector.register(connection, selectors.EVENT_READ, first)
        left = 3
        while left:
            ready = selector.select(HEADER_TIMEOUT_S * 3)
            assert ready, f"{left} connections are still open"
            for key, _ in ready:
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                if not connection.recv(65536):
                    selector.unregister(connection)
                    connection.close()
                    left -= 1
