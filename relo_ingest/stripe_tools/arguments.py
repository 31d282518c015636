"""The command lines of ``relo secret`` and ``relo stripe``."""

from __future__ import annotations

import argparse
import datetime as dt
import re

from relo_ingest.stripe_tools.kinds import LATEST, SUPPORTED

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
MOMENT = "now, +24h, +7d, or a date and time in ISO 8601 (UTC unless it says otherwise)"
STRIPE_KEEPS = dt.timedelta(days=30)
DEFAULT_URL = "address of the ingest (default: where this machine's settings have it)"


def duration(text: str) -> dt.timedelta:
    """``30d``, ``12h``, ``45m``."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if not found:
        raise argparse.ArgumentTypeError("expected 30d, 12h or 45m")
    return dt.timedelta(**{UNITS[found[2]]: int(found[1])})


def since(text: str) -> dt.timedelta:
    """A duration for which Stripe still has the events."""
    found = duration(text)
    if found > STRIPE_KEEPS:
        raise argparse.ArgumentTypeError("at most 30d: Stripe keeps no older events")
    return found


def moment(text: str) -> dt.datetime:
    """``now``, ``+24h``, or ISO 8601; to the second."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    if text == "now":
        return now
    if text.startswith("+"):
        return now + duration(text[1:])
    try:
        found = dt.datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).astimezone(dt.UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"expected {MOMENT}") from None


def api_version(text: str) -> str:
    if not re.fullmatch(r"20\d\d-\d\d-\d\d(\.[a-z]{1,20})?", text):
        raise argparse.ArgumentTypeError("expected an API version such as 2024-06-20 or 2025-03-31.basil")
    return text


def declare_secret(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(required=True, dest="action", metavar="action")
    add = actions.add_parser("add", help="put a signing secret into force; it is read from stdin, never from arguments")
    add.add_argument("--client", required=True, metavar="SLUG", help="whose endpoint it is of")
    mode = add.add_mutually_exclusive_group()
    for name, what in (("live", "live events only"), ("test", "events of test mode only"), ("both", "the default")):
        mode.add_argument(f"--{name}", dest="mode", action="store_const", const=name, default="both", help=what)
    add.add_argument("--valid-from", type=moment, metavar="T", help=MOMENT)
    add.add_argument("--valid-to", type=moment, metavar="T", help="the secret is in force until before this moment")
    add.add_argument("--from-env", metavar="NAME", help="environment variable that holds the secret, instead of stdin")
    shown = actions.add_parser("list", help="secrets by their last four characters, with mode, validity and status")
    shown.add_argument("--client", metavar="SLUG", default="", help="of this client only")
    retire = actions.add_parser("retire", help="end a secret, now or later")
    retire.add_argument("--client", required=True, metavar="SLUG")
    retire.add_argument("name", metavar="LAST_FOUR_OR_FINGERPRINT", help="as `relo secret list` shows it")
    retire.add_argument("--at", type=moment, default="now", metavar="T", help=f"{MOMENT} (default: now)")


def declare_stripe(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(required=True, dest="action", metavar="action")
    replay = actions.add_parser("replay", help="send events that were exported from Stripe; safe to repeat")
    replay.add_argument("file", help='one JSON object per line, a list, or pages {"data": […]}; - for stdin')
    trigger = actions.add_parser("trigger", help="send a signed, realistic event to the running service")
    what = trigger.add_mutually_exclusive_group(required=True)
    what.add_argument("type", nargs="?", metavar="TYPE", choices=SUPPORTED, help=", ".join(SUPPORTED))
    what.add_argument("--all", action="store_true", help="one customer's whole story, with every type in it")
    mode = trigger.add_mutually_exclusive_group()
    mode.add_argument(
        "--test", dest="live", action="store_false", help="events of test mode: they earn nothing (default)"
    )
    mode.add_argument("--live", dest="live", action="store_true", help="as if it were real money")
    trigger.set_defaults(live=False)
    trigger.add_argument("--api-version", type=api_version, default=LATEST, help=f"shape of the payloads ({LATEST})")
    trigger.add_argument("--click-id", default="", metavar="ID", help="click id that the payment carries")
    for action in (replay, trigger):
        action.add_argument("--client", metavar="SLUG", default="", help="needed where there are several")
        action.add_argument("--url", default="", help=DEFAULT_URL)
    setup = actions.add_parser("setup", help="create the webhook endpoint in Stripe and keep its signing secret")
    setup.add_argument("--client", required=True, metavar="SLUG")
    setup.add_argument("--url", required=True, help="public address of the ingest, https://…")
    reconcile = actions.add_parser("reconcile", help="find events that never arrived, and take them in")
    reconcile.add_argument("--client", required=True, metavar="SLUG")
    reconcile.add_argument(
        "--since", type=since, default="30d", help="how far back: 30d (the default, the most), 12h, 45m"
    )
    reconcile.add_argument("--dry-run", action="store_true", help="only say what is missing")
    reconcile.add_argument("--url", default="", help=DEFAULT_URL)
    for action in (setup, reconcile):
        action.epilog = "The API key is read from STRIPE_API_KEY."
