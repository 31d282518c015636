"""The Grafana dashboard asks for metrics that exist, and shows all that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client import REGISTRY

from relo_ingest import telemetry

DASHBOARD = json.loads(Path(__file__).parent.parent.joinpath("docs", "grafana-dashboard.json").read_text())


def exposed() -> set[str]:
    """Series names of our metrics, as a scrape has them."""
    assert telemetry.REQUESTS
    found = set()
    for family in REGISTRY.collect():
        if family.name.startswith("relo_"):
            suffix = {"counter": "_total", "histogram": "_bucket"}.get(family.type, "")
            found.add(family.name + suffix)
    return found


def test_dashboard_and_metrics_name_the_same_things() -> None:
    expressions = [t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]]
    assert {name for e in expressions for name in re.findall(r"relo_\w+", e)} == exposed()


def test_every_panel_says_what_it_shows() -> None:
    assert all(panel["title"] and panel["description"] for panel in DASHBOARD["panels"])
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
