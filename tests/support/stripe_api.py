"""The few calls of Stripe's API that we make, on a loopback port: webhook endpoints, events by pages, its errors."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "sk_test_hunter2hunter2"
LIVE_KEY = "sk_live_hunter2hunter2"


class StripeApi:
    """``events`` are listed newest first; ``refusals`` are (status, headers, error) given to the next requests."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.endpoints: list[dict[str, Any]] = []
        self.secrets: list[str] = []
        self.refusals: list[tuple[int, dict[str, str], dict[str, str]]] = []
        self.requests: list[tuple[str, str, dict[str, list[str]]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def paths(self, method: str) -> list[str]:
        return [path for m, path, _ in self.requests if m == method]

    def answer(self, method: str, path: str, given: dict[str, list[str]], key: str) -> tuple[int, dict[str, str], Any]:
        self.requests.append((method, path, given))
        if self.refusals:
            status, headers, error = self.refusals.pop(0)
            return status, headers, {"error": error}
        if key not in (KEY, LIVE_KEY):
            return 401, {}, {"error": {"type": "invalid_request_error", "message": f"Invalid API Key provided: {key}"}}
        if path == "/v1/webhook_endpoints":
            if method == "POST":
                return 200, {}, self._create(given, livemode=key == LIVE_KEY)
            return 200, {}, _page(path, self.endpoints, given)
        if path.startswith("/v1/webhook_endpoints/") and method == "DELETE":
            gone = path.rpartition("/")[2]
            self.endpoints = [e for e in self.endpoints if e["id"] != gone]
            return 200, {}, {"id": gone, "object": "webhook_endpoint", "deleted": True}
        if path == "/v1/events" and method == "GET":
            types = {v for name, values in given.items() if name.startswith("types[") for v in values}
            since = int(given.get("created[gte]", ["0"])[0])
            found = [e for e in self.events if e["created"] >= since and (not types or e["type"] in types)]
            return 200, {}, _page(path, sorted(found, key=lambda e: -e["created"]), given)
        return 404, {}, {"error": {"type": "invalid_request_error", "message": f"Unrecognized request URL ({path})"}}

    def _create(self, given: dict[str, list[str]], *, livemode: bool) -> dict[str, Any]:
        number = len(self.secrets) + 1
        self.secrets.append(f"whsec_fromstripe{number:08}")
        endpoint = {
            "id": f"we_{number}",
            "object": "webhook_endpoint",
            "url": given["url"][0],
            "enabled_events": [
                v for name, values in given.items() if name.startswith("enabled_events[") for v in values
            ],
            "livemode": livemode,
            "status": "enabled",
        }
        self.endpoints.append(endpoint)
        return endpoint | {"secret": self.secrets[-1]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                given = parse_qs(body if self.command == "POST" else parts.query)
                key = self.headers.get("Authorization", "").removeprefix("Bearer ")
                status, headers, content = api.answer(self.command, parts.path, given, key)
                answer = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Request-Id": "req_1", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_DELETE = _serve

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _page(path: str, found: list[dict[str, Any]], given: dict[str, list[str]]) -> dict[str, Any]:
    start, limit = 0, int(given.get("limit", ["10"])[0])
    if "starting_after" in given:
        start = [e["id"] for e in found].index(given["starting_after"][0]) + 1
    return {"object": "list", "url": path, "data": found[start : start + limit], "has_more": start + limit < len(found)}
