"""What a handler may use: made at start-up, the same for every request of the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from relo_ingest.identity import Identity
from relo_ingest.ingest.click_cookies import ClickCookies
from relo_ingest.ingest.inflight import InFlight
from relo_ingest.ingest.privacy import Redactor
from relo_ingest.ingest.quota import Quota
from relo_ingest.ingest.visitor import Visitors
from relo_ingest.registry.refresh import Registry
from relo_ingest.settings import Settings
from relo_ingest.spool.spool import Spool
from relo_ingest.telemetry import RequestCounts


class Services(msgspec.Struct, frozen=True):
    settings: Settings
    registry: Registry
    spool: Spool
    identity: Identity
    quota: Quota
    redactor: Redactor
    visitors: Visitors
    pick_for_links: Callable[[Iterable[tuple[bytes, bytes]]], tuple[Any, ...]]
    click_cookies: ClickCookies
    in_flight: InFlight
    counts: RequestCounts
