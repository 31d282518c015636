"""`relo secret` and the running ingest: what is added is in force, for its mode and its time, and is never told."""

from __future__ import annotations

import datetime as dt
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from relo_ingest.clickhouse.client import connected
from relo_ingest.registry import apply, stripe_secrets
from relo_ingest.registry.secrets import keyring
from relo_ingest.settings import Settings
from support.processes import Product, eventually
from support.stripe_events import checkout_completed, signed

Relo = Callable[..., Any]
TEST_SECRET, LIVE_SECRET = "whsec_testtesttestTTTT", "whsec_livelivelivelLLL"


def post(product: Product, slug: str, secret: str, *, livemode: bool) -> httpx.Response:
    return product.http.post(
        f"/postback/stripe/{slug}", **signed(checkout_completed(livemode=livemode), secret.encode())
    )


def test_secret_of_one_mode_vouches_for_events_of_that_mode_only(product: Product, relo: Relo) -> None:
    for secret, mode in ((TEST_SECRET, "--test"), (LIVE_SECRET, "--live")):
        assert relo("secret", "add", "--client", "modes", mode, stdin=secret + "\n").code == 0
    for secret, livemode in ((TEST_SECRET, False), (LIVE_SECRET, True)):
        eventually(
            lambda: post(product, "modes", secret, livemode=livemode).status_code == 200, "the secret is in force"
        )
        answer = post(product, "modes", secret, livemode=not livemode)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "bad_signature"
        assert f"It is a secret of {'live' if livemode else 'test'} mode." in answer.text


def test_validity_begins_and_ends_without_a_restart_or_a_change(product: Product, configured: Settings) -> None:
    dated, always = "whsec_datesdatesDDDD", "whsec_alwaysalwaysAAAA"
    start = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=12)
    end = start + dt.timedelta(seconds=8)
    keys = keyring(configured)
    with connected(configured) as client:
        now = apply.current(client)
        todo = stripe_secrets.add(now, keys, "dates", dated, "test", start, end)
        written = apply.write(client, todo + stripe_secrets.add(now, keys, "dates", always, "test"))
    # Both come in one version: when one is seen, the other is.
    eventually(lambda: post(product, "dates", always, livemode=False).status_code == 200, "the version is in force")
    verdicts: list[tuple[int, int, int]] = []

    def ended() -> bool:
        before = int(time.time())
        status = post(product, "dates", dated, livemode=False).status_code
        verdicts.append((before, status, int(time.time())))
        return before > end.timestamp()

    eventually(ended, "the end of the validity")
    with connected(configured) as client:
        assert int(str(client.command("SELECT max(version) FROM registry"))) == written, "nothing else was written"
    for before, status, after in verdicts:
        if start.timestamp() <= before and after < end.timestamp():
            assert status == 200, (before, after)
        elif after < start.timestamp() or before >= end.timestamp():
            assert status == 401, (before, after)
    assert {status for _, status, _ in verdicts} == {200, 401}


def test_a_roll_loses_no_event(product: Product, relo: Relo) -> None:
    old, new = "whsec_rollroll0000AAAA", "whsec_rollroll0000BBBB"
    assert relo("secret", "add", "--client", "cli", stdin=old).code == 0
    eventually(lambda: post(product, "cli", old, livemode=True).status_code == 200, "the old one is in force")
    assert relo("secret", "add", "--client", "cli", stdin=new).code == 0
    eventually(lambda: post(product, "cli", new, livemode=True).status_code == 200, "the new one is in force")
    assert post(product, "cli", old, livemode=True).status_code == 200
    later = relo("secret", "retire", "--client", "cli", "AAAA", "--at", "+24h")
    assert later.code == 0
    assert not any("401" in line for line in later.out)
    assert any(line.endswith("ending") and "…AAAA" in line for line in relo("secret", "list", "--client", "cli").out)
    assert relo("secret", "retire", "--client", "cli", "AAAA").code == 0
    eventually(lambda: post(product, "cli", old, livemode=True).status_code == 401, "the old one has ended")
    assert post(product, "cli", new, livemode=True).status_code == 200
    assert relo("secret", "retire", "--client", "cli", "AAAA").out == ["nothing to change"]
    last = relo("secret", "retire", "--client", "cli", "BBBB").out
    assert [line for line in last if line.startswith("!")] == [
        f"! client cli then has no secret for {mode} events: their webhooks will be answered 401"
        for mode in ("live", "test")
    ]


def test_secret_comes_from_a_process_and_stands_in_no_output_and_no_argument(product: Product) -> None:
    secret = "whsec_processprocessPPPP"
    command = [sys.executable, "-m", "relo_ingest", "secret"]
    env = product.env | {"RELO_LOG_LEVEL": "debug"}
    added = subprocess.run(
        [*command, "add", "--client", "bare"], env=env, input=secret, capture_output=True, text=True, timeout=150
    )
    assert added.returncode == 0, added.stderr
    again = subprocess.run(
        [*command, "add", "--client", "bare", "--from-env", "WEBHOOK_SECRET"],
        env=env | {"WEBHOOK_SECRET": secret},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert (again.returncode, again.stdout) == (0, "nothing to change\n")
    listed = subprocess.run([*command, "list"], env=env, capture_output=True, text=True, timeout=150)
    assert "…PPPP" in listed.stdout
    for text in (added.stdout, added.stderr, again.stderr, listed.stdout, listed.stderr, product.log.read_text()):
        assert secret[:-4] not in text


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (["--client", "bare"], "", "no secret on stdin"),
        (["--client", "bare"], "sk_live_hunter2", "this is an API key"),
        (["--client", "bare", "--from-env", "GONE"], "whsec_hunter2", "the environment has no GONE"),
        (["--client", "gone"], "whsec_hunter2", "there is no client gone"),
        (["--client", "bare", "--valid-from", "+2h", "--valid-to", "+1h"], "whsec_hunter2", "later"),
    ],
)
def test_what_cannot_be_added_is_one_line_and_1(relo: Relo, arguments: list[str], stdin: str, says: str) -> None:
    done = relo("secret", "add", *arguments, stdin=stdin)
    assert (done.code, done.out) == (1, [])
    assert says in done.complaint
    assert "hunter2" not in done.complaint


def test_apply_reports_a_retired_secret_and_leaves_it_so(product: Product, relo: Relo, tmp_path: Any) -> None:
    toml = tmp_path / "again.toml"
    toml.write_text('[[clients]]\nclient_id = 12\nslug = "bare"\nstripe_secrets = ["whsec_again0123456789ZZZZ"]\n')
    assert relo("apply", str(toml)).code == 0
    assert relo("secret", "retire", "--client", "bare", "ZZZZ").code == 0
    for dry in ([], ["--dry-run"]):
        done = relo("apply", str(toml), *dry)
        assert done.code == 0
        assert [line[:60] for line in done.out] == [
            "! client bare: the secret ending …ZZZZ was retired and stays",
            "nothing to change",
        ]
        assert "whsec_again" not in "\n".join(done.out)
    assert any(line.endswith("retired") and "…ZZZZ" in line for line in relo("secret", "list").out)


def test_debug_log_of_a_command_tells_no_secret(relo: Relo, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert relo("secret", "add", "--client", "bare", "--test", stdin="whsec_debugdebugGGGG").code == 0
    assert "whsec_debug" not in caplog.text
