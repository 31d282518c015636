"""`relo`, as an operator meets it: real processes, their exit codes, and no stack of Python in any."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet

from relo_ingest import __version__
from relo_ingest.cli import COMMANDS
from relo_ingest.clickhouse import migrate
from support.rows import CLIENT_ID, LONG_AGO, event, insert, line

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SECRET = "whsec_0123456789abcdefWXYZ"
SHOP = f"""
[[clients]]
client_id = 1
slug = "shop"
stripe_secrets = ["{SECRET}"]
[[offers]]
client = "shop"
slug = "main"
landing_page = "https://shop.test/"
"""
KEY = Fernet.generate_key().decode()


class Finished:
    def __init__(self, answer: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = answer.returncode, answer.stdout, answer.stderr
        assert "Traceback" not in self.out + self.err, self.err

    @property
    def complaint(self) -> str:
        """The one line on stderr."""
        assert self.err.startswith("relo: ")
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("relo: ").rstrip("\n")


Relo = Callable[..., Finished]


@pytest.fixture
def relo(tmp_path: Path, environment: dict[str, str]) -> Relo:
    """Run ``python -m relo_ingest`` in an empty directory; keywords are settings: ``ingest_port=1``."""

    def run(*arguments: str, **given: object) -> Finished:
        env = environment | {f"RELO_{name}".upper(): str(value) for name, value in given.items()}
        command = [sys.executable, "-m", "relo_ingest", *arguments]
        return Finished(subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=150))

    return run


@pytest.fixture
def away(free_port: int) -> str:
    """URL of a ClickHouse that is not there."""
    return f"http://relo:hunter2@127.0.0.1:{free_port}/default"


@pytest.fixture
def database(clickhouse: Any) -> str:
    """URL of an empty database."""
    url: str = clickhouse.fresh_database()
    return url


@pytest.fixture
def client(clickhouse: Any, database: str) -> Iterator[Client]:
    own = clickhouse.connect(database)
    yield own
    own.close()


@pytest.fixture(scope="module")
def migrated(clickhouse: Any) -> str:
    """URL of a database at our schema, for tests that only read."""
    url: str = clickhouse.fresh_database()
    own = clickhouse.connect(url)
    migrate.apply(own)
    own.close()
    return url


def tables(client: Client) -> list[str]:
    return [r[0] for r in client.query("SHOW TABLES").result_rows]


# What is said before anything is done


def test_version_is_the_packages(relo: Relo) -> None:
    assert relo("--version").out == f"relo_ingest {__version__}\n"


def test_help_names_every_command(relo: Relo) -> None:
    text = relo("--help").out
    for command in COMMANDS:
        assert command.__name__.replace("_", "-") in text
        assert (command.__doc__ or "?") in " ".join(text.split())


def test_unknown_command_is_a_mistake_of_the_command_line(relo: Relo) -> None:
    assert relo("nope").code == 2
    assert relo().code == 2


def test_new_key_is_a_new_fernet_key_each_time(relo: Relo) -> None:
    one, other = relo("new-key").out.strip(), relo("new-key").out.strip()
    assert one != other
    Fernet(one)


# Configuration: 78


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"nope": 1}, "RELO_NOPE"),
        ({"ingest_port": "http"}, "ingest.port"),
        ({"log_level": "loud"}, "log.level"),
        ({"clickhouse_url": "ftp://relo:hunter2@h"}, "clickhouse.url"),
        ({"clickhouse_url": "http://[::1"}, "clickhouse.url"),
        ({"redis_url": "localhost"}, "redis.url"),
        ({"config": "gone.toml"}, "gone.toml"),
    ],
)
@pytest.mark.parametrize("command", ["doctor", "ingest"])
def test_wrong_environment_is_one_line_and_78(relo: Relo, command: str, given: dict[str, Any], names: str) -> None:
    found = relo(command, **given)
    assert (found.code, found.out) == (78, "")
    assert names in found.complaint
    assert "hunter2" not in found.complaint


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"[ingest]\nprot = 1", "ingest.prot: no such setting"),
        (b'[ingest]\nport = "4080"', "ingest.port: expected int, got str"),
        (b"[ingest", "is not valid TOML"),
        (b'data_dir = "\xe9"', "is not UTF-8"),
    ],
)
def test_wrong_file_is_one_line_and_78(relo: Relo, tmp_path: Path, content: bytes, names: str) -> None:
    (tmp_path / "relo.toml").write_bytes(content)
    found = relo("doctor")
    assert (found.code, found.out) == (78, "")
    assert names in found.complaint


def test_file_given_by_argument_is_read(relo: Relo, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[ingest]\nport = 0")
    assert "ingest.port" in relo("--config", "mine.toml", "doctor").complaint


@pytest.mark.parametrize("command", [["ingest"], ["up"], ["clickhouse"], ["apply", "shop.toml"], ["worker"]])
def test_data_directory_that_cannot_be_used_is_one_line_and_78(relo: Relo, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "shop.toml").write_text(SHOP)
    found = relo(*command, data_dir="file/below")
    assert found.code == 78
    assert "file/below" in found.complaint


@pytest.mark.parametrize("command", [["ingest"], ["up"], ["clickhouse"], ["apply", "shop.toml"], ["worker"]])
def test_data_directory_that_may_not_be_written_is_one_line_and_78(
    relo: Relo, tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "shop.toml").write_text(SHOP)
    forbidden = tmp_path / "theirs" if os.getuid() else Path("/sys")  # where not even root makes a directory
    if os.getuid():
        forbidden.mkdir(mode=0o500)
    found = relo(*command, data_dir=forbidden / "relo-test")
    assert found.code == 78
    assert str(forbidden / "relo-test") in found.complaint


def test_key_that_is_none_is_one_line_and_78(relo: Relo, tmp_path: Path, migrated: str) -> None:
    (tmp_path / "shop.toml").write_text(SHOP)
    found = relo("apply", "shop.toml", clickhouse_url=migrated, secret_key="hunter2")
    assert found.code == 78
    assert "RELO_SECRET_KEY: expected Fernet keys" in found.complaint
    assert "hunter2" not in found.complaint


@pytest.mark.parametrize(
    ("toml", "names"),
    [
        ("[[client]]\nclient_id = 1", "client: no such table"),
        (SHOP + "hold = 1", "unknown field hold at offers[0]"),
        (SHOP.replace("client_id = 1", "client_id = -1"), "clients[0].client_id"),
        (SHOP.replace('client = "shop"', 'client = "gone"'), "there is no client gone"),
    ],
)
def test_wrong_registry_file_is_one_line_and_78(
    relo: Relo, tmp_path: Path, migrated: str, toml: str, names: str
) -> None:
    (tmp_path / "shop.toml").write_text(toml)
    found = relo("apply", "shop.toml", clickhouse_url=migrated, secret_key=KEY)
    assert (found.code, found.out) == (78, "")
    assert names in found.complaint


# What is not there, or taken: 1


@pytest.mark.parametrize(
    "command",
    [
        ["migrate"],
        ["apply", "shop.toml", "--dry-run"],
        ["query", "SELECT 1"],
        ["worker", "--once"],
        ["demo"],
        ["secret", "list"],
        ["stripe", "trigger", "invoice.paid"],
    ],
)
def test_clickhouse_that_is_away_is_one_line_and_1(relo: Relo, tmp_path: Path, away: str, command: list[str]) -> None:
    (tmp_path / "shop.toml").write_text(SHOP)
    found = relo(*command, clickhouse_url=away, secret_key=KEY)
    assert (found.code, found.out) == (1, "")
    assert "hunter2" not in found.complaint
    if command != ["demo"]:
        assert "does not answer; check RELO_CLICKHOUSE_URL" in found.complaint


def test_embedded_clickhouse_that_is_away_says_how_to_start_it(relo: Relo, free_port: int) -> None:
    assert "start it with `relo up`" in relo("query", "SELECT 1", clickhouse_embedded_port=free_port).complaint


def test_wrong_password_is_one_line_and_1(relo: Relo, clickhouse: Any) -> None:
    found = relo("query", "SELECT 1", clickhouse_url=f"http://relo:hunter2@127.0.0.1:{clickhouse.port}/default")
    assert found.code == 1
    assert "refuses the user or password" in found.complaint
    assert "hunter2" not in found.complaint


@pytest.mark.parametrize(
    ("command", "port"),
    [("ingest", "ingest_port"), ("up", "ingest_port"), ("clickhouse", "clickhouse_embedded_port")],
)
def test_port_in_use_is_one_line_and_1(relo: Relo, command: str, port: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        found = relo(command, **{port: number})
    assert found.code == 1
    assert str(number) in found.complaint


def test_commands_before_the_schema_is_there_say_what_to_run(relo: Relo, tmp_path: Path, database: str) -> None:
    (tmp_path / "shop.toml").write_text(SHOP)
    for command in (["apply", "shop.toml"], ["worker", "--once"]):
        found = relo(*command, clickhouse_url=database, secret_key=KEY)
        assert found.code == 1
        assert "run `relo migrate`" in found.complaint


# query


def test_query_prints_a_table(relo: Relo, migrated: str) -> None:
    found = relo("query", "SELECT 1 AS one, 'zwei' AS two;", clickhouse_url=migrated)
    assert (found.code, found.err) == (0, "")
    assert found.out.splitlines() == ["┌─one─┬─two──┐", "│   1 │ zwei │", "└─────┴──────┘"]


def test_query_prints_csv(relo: Relo, migrated: str) -> None:
    found = relo("query", "SELECT 1 AS one, 'zwei, \"drei\"' AS two", "--format", "csv", clickhouse_url=migrated)
    assert list(csv.reader(io.StringIO(found.out))) == [["one", "two"], ["1", 'zwei, "drei"']]


def test_query_prints_json(relo: Relo, migrated: str) -> None:
    found = relo("query", "SELECT 1 AS one, 'é' AS two", "--format", "json", clickhouse_url=migrated)
    assert json.loads(found.out)["data"] == [{"one": 1, "two": "é"}]


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT nope FROM events", "Unknown expression identifier `nope`"),
        ("SELEC 1", "Syntax error"),
        ("SELECT * FROM gone", "gone"),
        ("SELECT throwIf(number = 70000, 'at the very end') FROM numbers(70001)", "at the very end"),
    ],
)
def test_wrong_query_is_clickhouses_own_line_and_1(relo: Relo, migrated: str, sql: str, says: str) -> None:
    found = relo("query", sql, "--format", "csv", clickhouse_url=migrated)
    assert found.code == 1
    assert says in found.complaint


def test_reader_that_goes_away_is_no_error_to_shout_about(
    tmp_path: Path, environment: dict[str, str], migrated: str
) -> None:
    command = f"{sys.executable} -m relo_ingest query 'SELECT number FROM numbers(1000000)' --format csv | head -1"
    env = environment | {"RELO_CLICKHOUSE_URL": migrated}
    answer = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (answer.stdout, answer.stderr) == ('"number"\n', "")


# migrate, apply, worker


def test_migrate_shows_does_and_has_nothing_left_to_do(relo: Relo, database: str, client: Client) -> None:
    names = [f"{m.number:04}_{m.name}" for m in migrate.shipped()]
    shown = relo("migrate", "--dry-run", clickhouse_url=database)
    assert (shown.code, shown.out.splitlines()) == (0, [f"would apply {n}" for n in names])
    assert tables(client) == []
    done = relo("migrate", clickhouse_url=database)
    assert (done.code, done.out.splitlines()) == (0, [f"applied {n}" for n in names])
    again = relo("migrate", clickhouse_url=database)
    assert (again.code, again.out) == (0, f"the schema is up to date (version {migrate.SCHEMA_VERSION})\n")


def test_schema_of_other_files_is_one_line_and_1(relo: Relo, database: str, client: Client) -> None:
    client.command(migrate.CREATE_RECORD)
    client.insert("schema_migrations", [(1, "events", "other")], column_names=["number", "name", "checksum"])
    found = relo("migrate", clickhouse_url=database)
    assert found.code == 1
    assert "migration 0001_events was applied with other contents" in found.complaint
    assert tables(client) == ["schema_migrations"]


def test_apply_shows_writes_and_has_nothing_to_change(
    relo: Relo, tmp_path: Path, database: str, client: Client
) -> None:
    migrate.apply(client)
    (tmp_path / "shop.toml").write_text('data_dir = "elsewhere"\n' + SHOP)
    shown = relo("apply", "shop.toml", "--dry-run", clickhouse_url=database, secret_key=KEY)
    assert shown.code == 0
    assert shown.out.splitlines()[-1] == "3 entries would be written"
    assert "+ offer shop/main" in shown.out
    assert "…WXYZ" in shown.out
    assert SECRET not in shown.out
    assert client.command("SELECT count() FROM registry") == 0
    done = relo("apply", "shop.toml", clickhouse_url=database, secret_key=KEY)
    version = client.command("SELECT max(version) FROM registry")
    assert done.out.splitlines()[-1] == f"3 entries written as version {version}"
    assert done.out.splitlines()[:-1] == shown.out.splitlines()[:-1]
    again = relo("apply", "shop.toml", clickhouse_url=database, secret_key=KEY)
    assert (again.code, again.out) == (0, "nothing to change\n")


def test_worker_once_does_one_round(relo: Relo, database: str, client: Client) -> None:
    migrate.apply(client)
    client.command(
        "INSERT INTO events (event_id, client_id, event_time, conversion_key) VALUES ('e', 1, now64(3), 'pi')"
    )
    found = relo("worker", "--once", clickhouse_url=database)
    assert (found.code, found.out, found.err) == (0, "", "")
    assert client.query("SELECT conversion_key, method FROM attributions").result_rows == [("pi", "none")]


def test_worker_survives_clickhouse_being_away_and_ends_when_told(
    tmp_path: Path, environment: dict[str, str], away: str
) -> None:
    env = environment | {"RELO_CLICKHOUSE_URL": away, "RELO_WORKER_INTERVAL_S": "0.05"}
    worker = subprocess.Popen(
        [sys.executable, "-m", "relo_ingest", "worker"], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    )
    assert worker.stderr is not None
    line = json.loads(worker.stderr.readline())
    assert "round failed" in line["message"]
    assert "hunter2" not in line["message"]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    worker.stderr.close()


# doctor

SMALL = {"spool_cap_bytes": 16 << 20, "spool_segment_bytes": 8 << 20}


def findings(found: Finished) -> dict[str, tuple[str, str]]:
    """(verdict, text) by check."""
    assert found.err == ""
    return {line[6:21].rstrip(): (line[:4].rstrip(), line[22:]) for line in found.out.splitlines()}


def test_doctor_finds_all_well(relo: Relo, migrated: str, redis_server: Any, free_port: int) -> None:
    found = relo(
        "doctor", clickhouse_url=migrated, redis_url=redis_server.url, secret_key=KEY, ingest_port=free_port, **SMALL
    )
    told = findings(found)
    assert found.code == 0
    assert {verdict for verdict, _ in told.values()} == {"ok"}
    assert f"schema {migrate.SCHEMA_VERSION}" in told["clickhouse"][1]
    assert told["redis"][1] == "answers"
    assert told["secret key"][1] == "from RELO_SECRET_KEY"
    assert told["address"][1].endswith("is free")


def test_doctor_of_a_fresh_installation_knows_what_will_come(relo: Relo, free_port: int) -> None:
    told = findings(relo("doctor", clickhouse_embedded_port=free_port, **SMALL))
    assert told["secret key"] == ("ok", "will be generated by the first `relo up`")
    assert told["redis"][0] == "ok"
    assert told["clickhouse"][0] == "FAIL"
    assert "start it with `relo up`" in told["clickhouse"][1]


def test_doctor_names_everything_that_is_wrong_and_goes_on(relo: Relo, away: str, free_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = relo(
            "doctor",
            clickhouse_url=away,
            redis_url=f"redis://:hunter2@127.0.0.1:{free_port}/0",
            ingest_port=taken.getsockname()[1],
            spool_cap_bytes=1 << 60,
        )
    told = findings(found)
    assert {name for name, (verdict, _) in told.items() if verdict == "FAIL"} == {
        "data directory",
        "secret key",
        "clickhouse",
        "redis",
    }
    assert found.code == 78, "the worst of them: no key is a matter of configuration"
    assert "spool.cap_bytes" in told["data directory"][1]
    assert "relo new-key" in told["secret key"][1]
    assert "does not answer" in told["clickhouse"][1]
    assert "RELO_REDIS_URL" in told["redis"][1]
    assert "is in use" in told["address"][1]
    assert "hunter2" not in found.out


def test_doctor_says_when_migrations_are_pending(relo: Relo, database: str) -> None:
    found = relo("doctor", clickhouse_url=database, secret_key=KEY, **SMALL)
    assert found.code == 1
    assert findings(found)["clickhouse"] == (
        "FAIL",
        f"{migrate.SCHEMA_VERSION} migrations are pending: run `relo migrate`",
    )


def test_doctor_finds_a_data_directory_that_cannot_be_used(relo: Relo, tmp_path: Path, migrated: str) -> None:
    (tmp_path / "file").touch()
    found = relo("doctor", clickhouse_url=migrated, secret_key=KEY, data_dir="file/below", **SMALL)
    assert found.code == 78
    assert findings(found)["data directory"][0] == "FAIL"


# why, review, rates


@pytest.fixture(scope="module")
def sold(clickhouse: Any) -> str:
    """URL of a database with two payments of one customer, one of them held."""
    url: str = clickhouse.fresh_database()
    own = clickhouse.connect(url)
    migrate.apply(own)
    paid = {"event_type": "purchase", "event_name": "purchase", "revenue": "100", "currency": "USD", "properties": {}}
    for key in ("pi_1", "pi_2"):
        insert(own, "events", event(key, LONG_AGO, conversion_key=key, customer_ref="cus", **paid))
    insert(own, "ledger_lines", line("1", "pi_1", "ana", "10"))
    held = {
        "client_id": CLIENT_ID,
        "conversion_key": "pi_1",
        "partner_ref": "ana",
        "code": "click_burst",
        "evidence": "x",
    }
    insert(own, "holds", held)
    body = json.dumps({"client_id": CLIENT_ID, "slug": "shop"})
    insert(own, "registry", {"kind": "client", "key": "shop", "version": 1, "body": body})
    own.close()
    return url


def test_why_tells_a_story_or_lists_the_payments(relo: Relo, sold: str) -> None:
    told = relo("why", "pi_2", "--client", "shop", clickhouse_url=sold)
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("pi_2, client shop\n\nWhat was paid\n  100.00 USD on 2026-01-01 00:00:00 UTC")
    listed = relo("why", "cus", clickhouse_url=sold)
    assert listed.out.splitlines()[0] == "cus is known by 2 payments; ask for one of them:"
    assert [n.split()[-1] for n in listed.out.splitlines()[1:]] == ["pi_1", "pi_2"]
    unknown = relo("why", "pi_3", clickhouse_url=sold)
    assert unknown.code == 1
    assert unknown.complaint.startswith("no payment of any client is known by pi_3;")


def test_review_lists_and_decides(relo: Relo, sold: str) -> None:
    assert relo("review", "list", clickhouse_url=sold).out.startswith("pi_1  shop  ana  10.00 USD  on hold for ")
    several = relo("review", "approve", "cus", clickhouse_url=sold)
    assert (several.code, several.complaint) == (1, "cus is known by 2 payments; `relo why cus` lists them")
    done = relo("review", "approve", "pi_1", "--partner", "ana", "--note", "fine", clickhouse_url=sold)
    assert (done.code, done.out) == (0, "approved: 10.00 USD of ana on pi_1; it was on hold for click_burst\n")
    assert relo("review", "list", clickhouse_url=sold).out == "nothing is on hold\n"
    again = relo("review", "approve", "pi_1", clickhouse_url=sold)
    assert (again.code, again.complaint) == (1, "pi_1: nothing is on hold")


def test_rates_are_imported_or_refused_by_line(relo: Relo, tmp_path: Path, sold: str) -> None:
    (tmp_path / "rates.csv").write_text("date,currency,rate\n2026-03-10,USD,1.0832\n")
    done = relo("rates", "import", "rates.csv", clickhouse_url=sold)
    assert (done.code, done.err) == (0, "")
    assert done.out == "2 rates imported; the worker computes the commissions that waited for them\n"
    assert relo("rates", "list", clickhouse_url=sold).out.splitlines()[1].split()[:4] == [
        "USD",
        "1.0832",
        "on",
        "2026-03-10,",
    ]
    (tmp_path / "rates.csv").write_text("date,currency,rate\n2026-03-11,USD,1\n2026-03-10,USD,x\n")
    refused = relo("rates", "import", "rates.csv", clickhouse_url=sold)
    assert refused.code == 1
    assert refused.complaint.startswith("rates.csv: line 3: rate: expected a number above 0")
    assert relo("rates", "import", "rates.csv", "--base", "euro", clickhouse_url=sold).code == 2
