"""The ASGI application: routes, start and stop. Every request ends in exactly one outcome."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable

from relo_ingest import telemetry
from relo_ingest.errors import INTERNAL, METHOD_NOT_ALLOWED, NOT_FOUND, TOO_BUSY, Problem, ReloError, RequestRefused
from relo_ingest.identity import Identity
from relo_ingest.ingest import health, landing, links, pages, pixel, script, stripe
from relo_ingest.ingest.click_cookies import ClickCookies
from relo_ingest.ingest.http import CORS, Headers, Receive, Scope, Send, cors, header, respond, respond_problem
from relo_ingest.ingest.inflight import InFlight
from relo_ingest.ingest.privacy import Redactor
from relo_ingest.ingest.quota import Quota
from relo_ingest.ingest.services import Services
from relo_ingest.ingest.visitor import Visitors
from relo_ingest.outcomes import PREFLIGHT_ANSWERED, REFUSED, Outcome
from relo_ingest.registry.refresh import Registry
from relo_ingest.registry.secrets import keyring
from relo_ingest.registry.short_links import PATH as SHORT_PREFIX
from relo_ingest.settings import Settings
from relo_ingest.spool.spool import Spool
from relo_ingest.telemetry import RequestCounts

log = logging.getLogger(__name__)

Handler = Callable[[Services, Scope, Receive, Send], Awaitable[Outcome]]

STOP_DEADLINE_S = 5.0
"""For the last flush; what it does not reach stays on disk."""
FOLD_EVERY_S = 1.0
GC_THRESHOLD = 20_000
"""Containers made and not freed between two looks for cycles; Python's 700 is passed many times a second under load."""
TICK_S = 0.25
"""Between two looks at slow bodies and quotas."""

ROUTES: dict[str, dict[str, Handler]] = {
    "/e": {"POST": pixel.post_beacon, "GET": pixel.get_beacon},
    "/click": {"POST": landing.post_click},
    "/r.js": {"GET": script.get_script, "HEAD": script.get_script},
    "/r": {"GET": links.get_link, "HEAD": links.head_link},
    "/postback/stripe": {"POST": stripe.post_for_environment},
    "/health/live": {"GET": health.get_live},
    "/health/ready": {"GET": health.get_ready},
    "/metrics": {"GET": health.get_metrics},
    "/pixel/test": {"GET": pages.get_pixel_test, "HEAD": pages.get_pixel_test},
    "/demo": {"GET": pages.get_demo, "HEAD": pages.get_demo},
}
PREFIXES: dict[str, dict[str, Handler]] = {
    "/postback/stripe/": {"POST": stripe.post_for_client},
    SHORT_PREFIX: {"GET": links.get_short_link, "HEAD": links.head_short_link},
}
"""Of paths that end with a name."""
CROSS_ORIGIN = ("/e", "/click", "/r.js")


class App:
    """ASGI 3. One per process; its services live from lifespan start-up to shutdown."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._services: Services | None = None
        self._most_running = settings.ingest.concurrent_requests
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._lifespan(receive, send)
            return
        services = self._services
        assert services is not None
        in_flight = services.in_flight
        in_flight.running += 1
        try:
            if in_flight.running > self._most_running:
                raise RequestRefused(TOO_BUSY)
            methods = ROUTES.get(scope["path"])
            handler = (methods and methods.get(scope["method"])) or _unusual_handler(scope)
            outcome = await handler(services, scope, receive, send)
        except RequestRefused as refused:
            outcome = REFUSED[refused.problem]
            _log_refusal(refused.problem, scope)
            await respond_problem(send, refused.problem, refused.detail, _error_headers(scope, refused.problem))
        except Exception:
            outcome = REFUSED[INTERNAL]
            log.exception("request to %s failed", scope["path"])
            await respond_problem(send, INTERNAL, "", _error_headers(scope, INTERNAL))
        finally:
            in_flight.running -= 1
        services.counts.counts[outcome.index] += 1

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._start()
        except ReloError as error:
            log.error("%s", error)
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        settings = self._settings
        services = Services(
            settings=settings,
            registry=Registry(settings, keyring(settings)),
            spool=Spool(settings),
            identity=Identity(settings),
            quota=Quota(settings.quotas),
            redactor=Redactor(settings.privacy.redact_parameters),
            visitors=Visitors(settings.ingest.forwarded_hops),
            pick_for_links=links.headers_of_links(settings.ingest),
            click_cookies=ClickCookies(settings.ingest.cookie_domain),
            in_flight=InFlight(settings.ingest.body_timeout_s),
            counts=RequestCounts(),
        )
        services.spool.start()
        services.identity.start()
        await services.registry.start()
        self._services = services
        # What lives from here on lives as long as the process: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 50)
        self._tasks = [
            asyncio.create_task(self._fold(services), name="telemetry"),
            asyncio.create_task(self._tick(services), name="tick"),
        ]

    async def _stop(self) -> None:
        services = self._services
        assert services is not None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await services.spool.stop(STOP_DEADLINE_S)
        await services.identity.stop()
        await services.registry.stop()
        services.counts.fold()

    async def _tick(self, services: Services) -> None:
        then = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            services.quota.refill(now - then)
            services.in_flight.sweep(now)
            then = now

    async def _fold(self, services: Services) -> None:
        while True:
            services.counts.fold()
            telemetry.FLUSH_FAILING.set(services.spool.failing_for_s)
            await asyncio.sleep(FOLD_EVERY_S)


def _unusual_handler(scope: Scope) -> Handler:
    """For what is not a path and a method of ROUTES. Raises RequestRefused."""
    path, method = scope["path"], scope["method"]
    methods = ROUTES.get(path) or _methods_by_prefix(path)
    handler = methods.get(method)
    if handler is not None:
        return handler
    if method == "OPTIONS" and path in CROSS_ORIGIN:
        return _preflight
    raise RequestRefused(METHOD_NOT_ALLOWED, f"It takes {', '.join(sorted(methods))}.")


def _methods_by_prefix(path: str) -> dict[str, Handler]:
    for prefix, methods in PREFIXES.items():
        if path.startswith(prefix):
            return methods
    raise RequestRefused(NOT_FOUND)


async def _preflight(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    headers = [
        CORS,
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", header(scope, b"access-control-request-headers") or b"content-type"),
        (b"access-control-max-age", b"86400"),
    ]
    await respond(send, 204, headers)
    return PREFLIGHT_ANSWERED


def _error_headers(scope: Scope, problem: Problem) -> Headers:
    headers = cors(scope) if scope["path"] in CROSS_ORIGIN else []
    if problem is METHOD_NOT_ALLOWED:
        allowed = ROUTES.get(scope["path"]) or _methods_by_prefix(scope["path"])
        headers.append((b"allow", ", ".join(sorted(allowed)).encode()))
    return headers


def _log_refusal(problem: Problem, scope: Scope) -> None:
    if log.isEnabledFor(problem.level):
        log.log(problem.level, "refused: %s %s: %s", scope["method"], scope["path"][:100], problem.code)
