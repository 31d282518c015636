"""``relo``: one function per command. Errors an operator can mend are one line; 78 for configuration, 1 otherwise."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import re
import sys
from collections.abc import Sequence

from relo_ingest import __version__, lifeline, settings
from relo_ingest.errors import ConfigError, ReloError
from relo_ingest.logs import set_up_logging
from relo_ingest.settings import Settings
from relo_ingest.stripe_tools import arguments as stripe_arguments

PAYMENT_ID = "a conversion key, an order id, or any id of the payment system (pi_…, ch_…, in_…, sub_…)"


def up(configured: Settings, arguments: argparse.Namespace) -> int:
    """run the whole product on this machine"""
    from relo_ingest.supervisor import Supervisor

    async def run() -> int:
        return await Supervisor(configured).run()

    return asyncio.run(run())


def ingest(configured: Settings, arguments: argparse.Namespace) -> int:
    """run the ingest"""
    from relo_ingest.ingest.server import serve

    serve(configured)
    return 0


def worker(configured: Settings, arguments: argparse.Namespace) -> int:
    """run the worker"""
    import signal
    import threading

    from relo_ingest.worker import loop

    if arguments.once:
        loop.run_once(configured)
        return 0
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    loop.run(configured, stop)
    return 0


def recompute(configured: Settings, arguments: argparse.Namespace) -> int:
    """compare the ledger of a client with what its facts say now, and write what is missing"""
    from relo_ingest.clickhouse.client import connected
    from relo_ingest.worker.recompute import client_id_of, recompute

    with connected(configured) as client:
        client_id = client_id_of(client, arguments.client)
        found = 0
        for difference in recompute(client, client_id, arguments.since, dry_run=arguments.dry_run):
            found += 1
            print(difference, flush=True)
    if not found:
        print("no differences")
    elif arguments.dry_run:
        print(f"{found} differences; nothing was written")
    else:
        print(f"{found} differences, written as new lines")
    return 0


def clickhouse(configured: Settings, arguments: argparse.Namespace) -> int:
    """run the embedded ClickHouse engine"""
    from relo_ingest.clickhouse import embedded

    try:
        return embedded.serve(configured.data_path / "clickhouse", port=configured.clickhouse.embedded_port)
    except embedded.DataDirectoryUnusable as error:
        raise ConfigError(str(error)) from None
    except embedded.StartError as error:
        raise ReloError(str(error)) from None


def migrate(configured: Settings, arguments: argparse.Namespace) -> int:
    """bring the schema up to date"""
    from relo_ingest.clickhouse import migrate
    from relo_ingest.clickhouse.client import connected

    with connected(configured) as client:
        todo = migrate.pending(client) if arguments.dry_run else migrate.apply(client)
    for migration in todo:
        print(f"{'would apply' if arguments.dry_run else 'applied'} {migration.number:04}_{migration.name}")
    if not todo:
        print(f"the schema is up to date (version {migrate.SCHEMA_VERSION})")
    return 0


def apply(configured: Settings, arguments: argparse.Namespace) -> int:
    """show what a file changes in the registry, and write it"""
    from relo_ingest.clickhouse.client import connected
    from relo_ingest.registry import apply, model
    from relo_ingest.registry.secrets import keyring

    tree = settings.read_file(arguments.file, {})
    for key in tree:
        if key not in settings.REGISTRY_TABLES and key not in Settings.__struct_fields__:
            raise ConfigError(f"{arguments.file}: {key}: no such table")
    declaration = model.parse({k: v for k, v in tree.items() if k in settings.REGISTRY_TABLES}, arguments.file)
    keys = keyring(configured, create=not arguments.dry_run)
    with connected(configured) as client:
        now = apply.current(client)
        todo = apply.changes(declaration, now, keys)
        for change in todo:
            print("\n".join(change.lines()))
        for note in apply.notes(declaration, now):
            print(note)
        if not todo:
            print("nothing to change")
        elif arguments.dry_run:
            print(f"{len(todo)} entries would be written")
        else:
            print(f"{len(todo)} entries written as version {apply.write(client, todo)}")
    return 0


def link(configured: Settings, arguments: argparse.Namespace) -> int:
    """make a short link for a partner, and list them"""
    from relo_ingest.clickhouse.client import connected
    from relo_ingest.registry import apply, short_links

    base_url = arguments.url.rstrip("/") or f"http://{configured.ingest.host}:{configured.ingest.port}"
    parameters = {name: getattr(arguments, name) for name in SUB_IDS if getattr(arguments, name)}
    with connected(configured) as client:
        now = apply.current(client)
        if arguments.list:
            for found in short_links.listed(now, arguments.ref):
                print(f"{base_url}{short_links.PATH}{found.code}  {found.long()}")
            return 0
        made = short_links.create(now, arguments.ref, arguments.offer, arguments.to, parameters, arguments.code)
        apply.write(client, [made])
    print(f"{base_url}{short_links.PATH}{made.key}")
    return 0


def secret(configured: Settings, arguments: argparse.Namespace) -> int:
    """add, list and retire the signing secrets of webhooks"""
    from relo_ingest.stripe_tools import commands

    return commands.SECRET[arguments.action](configured, arguments)


def stripe(configured: Settings, arguments: argparse.Namespace) -> int:
    """set up, test, replay and reconcile a client's webhook"""
    from relo_ingest.stripe_tools import commands

    return commands.STRIPE[arguments.action](configured, arguments)


def query(configured: Settings, arguments: argparse.Namespace) -> int:
    """print the answer to a query"""
    from relo_ingest.query import print_answer

    print_answer(configured, arguments.sql, arguments.format)
    return 0


def why(configured: Settings, arguments: argparse.Namespace) -> int:
    """tell the story of one payment: who earns what of it, and why"""
    from relo_ingest.clickhouse.client import connected
    from relo_ingest.explain import facts, find, story

    with connected(configured) as client:
        found = find.payments(client, arguments.id, arguments.client)
        if len(found) > 1:
            lines = find.choices(arguments.id, found)
        else:
            lines = story.tell(facts.gather(client, found[0].client_id, found[0].conversion_key), found[0].slug)
        for line in lines:
            print(line)
    return 0


def review(configured: Settings, arguments: argparse.Namespace) -> int:
    """list commissions on hold, approve and reject them"""
    from relo_ingest import review
    from relo_ingest.clickhouse.client import connected

    with connected(configured) as client:
        if arguments.action == "list":
            for line in review.listing(client, arguments.client):
                print(line)
        else:
            what = {"slug": arguments.client, "partner": arguments.partner, "note": arguments.note}
            print(review.decide(client, arguments.id, approve=arguments.action == "approve", **what))
    return 0


def rates(configured: Settings, arguments: argparse.Namespace) -> int:
    """import and list exchange rates"""
    from relo_ingest import rates
    from relo_ingest.clickhouse.client import connected

    given = rates.read(arguments.file, arguments.base) if arguments.action == "import" else {}
    with connected(configured) as client:
        if given:
            print(rates.write(client, given, arguments.base, arguments.file).line())
        else:
            for line in rates.listing(client):
                print(line)
    return 0


def spool(configured: Settings, arguments: argparse.Namespace) -> int:
    """look into the segments and the quarantine"""
    from relo_ingest.spool import inspect

    look = inspect.Inspector(configured)
    if arguments.action == "ls":
        lines = look.segments()
    elif arguments.action == "show":
        lines = look.show(arguments.name, arguments.rows)
    elif arguments.action == "replay":
        lines = look.replay(arguments.name)
    else:
        lines = look.quarantine()
    for line in lines:
        print(line)
    return 0


def doctor(configured: Settings, arguments: argparse.Namespace) -> int:
    """check settings and connections, and say what to do"""
    from relo_ingest.doctor import examine

    return examine(configured)


def demo(configured: Settings, arguments: argparse.Namespace) -> int:
    """send a believable story to the running service"""
    from relo_ingest.demo.report import tell

    tell(configured)
    return 0


def new_key(configured: Settings, arguments: argparse.Namespace) -> int:
    """print a new key for RELO_SECRET_KEY"""
    from cryptography.fernet import Fernet

    print(Fernet.generate_key().decode())
    return 0


COMMANDS = (
    up,
    ingest,
    worker,
    recompute,
    clickhouse,
    migrate,
    apply,
    link,
    secret,
    stripe,
    query,
    why,
    review,
    rates,
    spool,
    doctor,
    demo,
    new_key,
)


def _day(text: str) -> dt.datetime:
    try:
        return dt.datetime.combine(dt.date.fromisoformat(text), dt.time(), dt.UTC)
    except ValueError:
        raise argparse.ArgumentTypeError("expected a date as 2026-01-31") from None


SUB_IDS = tuple(f"s{n}" for n in range(1, 11))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="relo", description="Affiliate-tracking backbone.")
    found.add_argument("--version", action="version", version=f"relo_ingest {__version__}")
    found.add_argument("--config", help="settings file (default: RELO_CONFIG, else ./relo.toml if it is there)")
    commands = found.add_subparsers(required=True, metavar="command")
    by_name = {}
    for command in COMMANDS:
        name = command.__name__.replace("_", "-")
        by_name[name] = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        by_name[name].set_defaults(command=command)
    by_name["worker"].add_argument("--once", action="store_true", help="one round, then end")
    by_name["recompute"].add_argument("--client", required=True, metavar="SLUG", help="whose ledger")
    by_name["recompute"].add_argument(
        "--from",
        required=True,
        dest="since",
        type=_day,
        metavar="DATE",
        help="payments since then, as 2026-01-31 (UTC)",
    )
    for name in ("migrate", "apply", "recompute"):
        by_name[name].add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    by_name["apply"].add_argument("file", help="TOML file with clients, offers, partners, promo codes, rules")
    by_name["query"].add_argument("sql", help="one statement")
    by_name["query"].add_argument("--format", choices=("table", "csv", "json"), default="table")
    _declare_link(by_name["link"])
    stripe_arguments.declare_secret(by_name["secret"])
    stripe_arguments.declare_stripe(by_name["stripe"])
    by_name["why"].add_argument("id", help=PAYMENT_ID)
    by_name["why"].add_argument("--client", metavar="SLUG", default="", help="of this client only")
    _declare_review(by_name["review"])
    _declare_rates(by_name["rates"])
    actions = by_name["spool"].add_subparsers(required=True, dest="action", metavar="action")
    actions.add_parser("ls", help="segments of all processes, and what became of them")
    actions.add_parser("quarantine", help="rows that ClickHouse refused, and why")
    show = actions.add_parser("show", help="the rows of a segment, or a row of the quarantine, readable")
    show.add_argument("--rows", type=int, default=10, help="how many rows of a segment (default: 10)")
    replay = actions.add_parser("replay", help="send a segment of a dead process, or a row of the quarantine, again")
    for action in (show, replay):
        action.add_argument("name", help="a segment id, or the name of a quarantined row")
    return found


def _declare_link(command: argparse.ArgumentParser) -> None:
    command.add_argument("--ref", default="", help="whose link it is; with --list, whose to show")
    command.add_argument("--offer", default="", help="offer of the partner (default: the first)")
    command.add_argument("--to", default="", metavar="URL", help="page to lead to, on a host that the offer allows")
    command.add_argument("--code", default="", help="the link's name after /c/ (default: seven random characters)")
    for name in SUB_IDS:
        command.add_argument(f"--{name}", default="", help=f"sub id {name[1:]} of its clicks")
    command.add_argument("--url", default="", help=stripe_arguments.DEFAULT_URL)
    command.add_argument("--list", action="store_true", help="show the links that there are")


def _declare_review(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(required=True, dest="action", metavar="action")
    shown = actions.add_parser("list", help="what is on hold, why, and since when")
    approve = actions.add_parser("approve", help="release what is on hold, or take a rejection back")
    reject = actions.add_parser("reject", help="have the commission taken back, on hold or not")
    for action in (shown, approve, reject):
        action.add_argument("--client", metavar="SLUG", default="", help="of this client only")
    for action in (approve, reject):
        action.add_argument("id", help=PAYMENT_ID)
        action.add_argument("--partner", metavar="REF", default="", help="needed where several have something at stake")
        action.add_argument("--note", metavar="TEXT", default="", help="why; kept with the decision")


def _declare_rates(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(required=True, dest="action", metavar="action")
    read = actions.add_parser("import", help="add rates; what is known stays")
    read.add_argument("file", help="CSV with the header date,currency,rate: units of the currency for one of the base")
    read.add_argument("--base", type=_currency, metavar="CURRENCY", default="EUR", help="what the rates are for (EUR)")
    actions.add_parser("list", help="the last rate of each currency")


def _currency(text: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", text):
        raise argparse.ArgumentTypeError("expected three capital letters, such as EUR")
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit code."""
    lifeline.die_with_parent()
    arguments = parser().parse_args(argv)
    if arguments.config:
        os.environ["RELO_CONFIG"] = arguments.config  # server processes read the settings again
    try:
        configured = settings.load()
        set_up_logging(configured.log.level)
        code: int = arguments.command(configured, arguments)
    except ReloError as error:
        print(f"relo: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output went away; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code
