"""A site that has the pixel: pages that a test makes up, on a loopback port, under any ``*.localhost`` name."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SNIPPET = """<script>(function(r,e,l,o){r.relo=r.relo||function(){(r.relo.q=r.relo.q||[]).push(arguments)};o=e.createElement('script');o.async=1;o.src=l;e.head.appendChild(o);})(window,document,'%s/r.js');
%s</script>"""
"""As the guide has it; the address of the ingest, and the calls."""


class Site:
    """``put`` a page, and find it under ``url``. Names below localhost lead to this machine, and are secure contexts."""

    def __init__(self, ingest_url: str) -> None:
        self.ingest_url = ingest_url
        self._pages: dict[str, tuple[bytes, dict[str, str]]] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = site._pages.get(self.path.partition("?")[0])
                body, headers = found or (b"", {})
                self.send_response(200 if found else 404)
                for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def snippet(self, calls: str) -> str:
        return SNIPPET % (self.ingest_url, calls)

    def put(self, path: str, calls: str, body: str = "", headers: dict[str, str] | None = None) -> None:
        """A page with the pixel at the head of it, and ``calls`` after the snippet."""
        page = f"<!doctype html><html><head><title>Shop</title>{self.snippet(calls)}</head><body>{body}</body></html>"
        self.put_text(path, page, headers)

    def put_text(self, path: str, text: str, headers: dict[str, str] | None = None) -> None:
        self._pages[path] = (text.encode(), headers or {})

    def url(self, path: str, host: str = "www.shop.localhost") -> str:
        return f"http://{host}:{self.port}{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
