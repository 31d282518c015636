"""``/health/*`` and ``/metrics``."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST

from relo_ingest import telemetry
from relo_ingest.clickhouse.migrate import SCHEMA_VERSION
from relo_ingest.ingest.http import NO_STORE, Receive, Scope, Send, respond, respond_json
from relo_ingest.ingest.services import Services
from relo_ingest.outcomes import HEALTH_ANSWERED, HEALTH_UNREADY, Outcome


async def get_live(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    await respond_json(send, 200, {"status": "alive"})
    return HEALTH_ANSWERED


async def get_ready(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    """200 when requests can be stored and understood; 503 with the reasons. ClickHouse being away is no reason:
    what comes in is kept."""
    reasons = []
    if not services.registry.snapshot.version:
        reasons.append("the registry has not been loaded yet: is ClickHouse up, and was `relo apply` run?")
    if services.registry.schema_is_old:
        reasons.append(
            f"the schema is at version {services.registry.schema_version}, this code needs {SCHEMA_VERSION}: "
            "run `relo migrate`"
        )
    if services.spool.is_full:
        reasons.append("the spool is full: is ClickHouse up?")
    if reasons:
        await respond_json(send, 503, {"status": "unready", "reasons": reasons})
        return HEALTH_UNREADY
    await respond_json(send, 200, {"status": "ready"})
    return HEALTH_ANSWERED


async def get_metrics(services: Services, scope: Scope, receive: Receive, send: Send) -> Outcome:
    services.counts.fold()
    await respond(send, 200, [(b"content-type", CONTENT_TYPE_LATEST.encode()), NO_STORE], telemetry.exposition())
    return HEALTH_ANSWERED
