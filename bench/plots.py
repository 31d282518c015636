"""The plots: one SVG per name in PLOTS, of all curves that answers bring for it.

``python -m bench.plots`` draws them again from results.json.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.harness import report
from bench.harness.report import Curve, Results

COLOURS = {"relo": "#0b6e4f", "null on granian": "#8a8f98", "fastapi on uvicorn": "#d1495b"}
OTHERS = ("#0b6e4f", "#edae49", "#30638e", "#6a4c93")
STYLE = {
    "font.size": 11,
    "font.family": "DejaVu Sans",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "relo_ingest",  # the same results make the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e6ea",
    "axes.edgecolor": "#8a8f98",
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
}


class Plot(msgspec.Struct):
    title: str
    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    percentiles: bool = False
    """x is a percentile, drawn so that each further nine takes the same room."""


PLOTS = {
    "connections": Plot(
        "Beacons a second, by connections", "kept-alive connections", "requests/s, one core", log_x=True
    ),
    "latency": Plot(
        "Latency of a beacon at 2,000 a second",
        "percentile of requests",
        "ms, from when the request was due",
        log_y=True,
        percentiles=True,
    ),
    "attribution": Plot("Attribution, by size", "conversions", "seconds", log_x=True, log_y=True),
    "outage": Plot("ClickHouse killed, and started again", "seconds since it was killed", "MB"),
}


def draw(results: Results, directory: Path) -> list[Path]:
    """``{name}.svg`` of each plot that has curves."""
    written = []
    for name, plot in PLOTS.items():
        curves = [curve for answer in results.answers for curve in answer.curves if curve.plot == name]
        if curves:
            written.append(_draw(plot, curves, directory / f"{name}.svg", results.machine["date"][:10]))
    return written


def _draw(plot: Plot, curves: list[Curve], path: Path, date: str) -> Path:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        for index, curve in enumerate(curves):
            colour = COLOURS.get(curve.label, OTHERS[index % len(OTHERS)])
            x = [_nines(p) for p in curve.x] if plot.percentiles else curve.x
            marker = "o" if len(x) < 20 else ""
            axes.plot(x, curve.y, color=colour, marker=marker, markersize=4, linewidth=2, label=curve.label)
            if curve.low:
                axes.fill_between(x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
        _scale(axes, plot, curves)
        axes.legend(frameon=False)
        axes.annotate(f"make bench, {date}", (1, 1.02), xycoords="axes fraction", ha="right", color="#8a8f98", size=9)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def _scale(axes: Axes, plot: Plot, curves: list[Curve]) -> None:
    if plot.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    if plot.log_x:
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({x for curve in curves for x in curve.x}))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if plot.percentiles:
        shown = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)
        axes.set_xticks([_nines(p) for p in shown], ["fastest", *(f"{p:g} %" for p in shown[1:])])


def _nines(percent: float) -> float:
    """0 at 0 %, 1 at 90 %, 2 at 99 %, 3 at 99.9 % …"""
    return -math.log10(1 - percent / 100)


if __name__ == "__main__":
    for drawn in draw(report.read(), report.RESULTS):
        print(drawn)
