"""Moments and durations on the command line, and what is refused there."""

from __future__ import annotations

import argparse
import datetime as dt

import pytest

from relo_ingest import cli
from relo_ingest.stripe_tools import arguments

UTC = dt.UTC


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01", dt.datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T12:30", dt.datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        ("2026-03-01T12:30:00Z", dt.datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        ("2026-03-01T12:30:00.9+02:00", dt.datetime(2026, 3, 1, 10, 30, tzinfo=UTC)),
    ],
)
def test_moment_is_utc_unless_it_says_otherwise(text: str, moment: dt.datetime) -> None:
    assert arguments.moment(text) == moment


def test_moment_may_be_relative() -> None:
    now = arguments.moment("now")
    assert dt.timedelta(hours=24) <= arguments.moment("+24h") - now <= dt.timedelta(hours=25)


@pytest.mark.parametrize("text", ["", "soon", "24h", "+", "+0d", "+1y", "2026-13-01", "0001-01-01T00:00+02:00"])
def test_moment_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.moment(text)


@pytest.mark.parametrize("text", ["30d", "720h", "45m"])
def test_stripe_keeps_events_of_thirty_days(text: str) -> None:
    assert dt.timedelta() < arguments.since(text) <= dt.timedelta(days=30)


@pytest.mark.parametrize("text", ["31d", "721h", "30", "d", "-1d", "1w"])
def test_longer_or_unreadable_durations_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.since(text)


@pytest.mark.parametrize("text", ["2024-06-20", "2025-03-31.basil"])
def test_api_versions_are_taken(text: str) -> None:
    assert arguments.api_version(text) == text


@pytest.mark.parametrize(
    "line",
    [
        "secret add --client shop whsec_hunter2",
        "secret add",
        "secret add --client shop --live --test",
        "secret retire --client shop",
        "stripe trigger",
        "stripe trigger payout.paid",
        "stripe trigger invoice.paid --all",
        "stripe trigger invoice.paid --api-version latest",
        "stripe setup --client shop",
        "stripe reconcile --client shop --since 1y",
    ],
)
def test_wrong_command_lines_are_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parser().parse_args(line.split())
    assert ended.value.code == 2
    assert "usage: relo" in capsys.readouterr().err
