"""`relo stripe setup`: the endpoint in Stripe, its secret in force here, and nothing half done."""

from __future__ import annotations

import builtins
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from relo_ingest.errors import ConfigError
from relo_ingest.registry import apply
from relo_ingest.settings import Settings
from relo_ingest.stripe_tools import endpoint
from relo_ingest.stripe_tools.api import Api, StripeRefuses
from relo_ingest.stripe_tools.kinds import SUPPORTED
from support.processes import Product, eventually
from support.stripe_api import KEY, LIVE_KEY, StripeApi
from support.stripe_events import checkout_completed, signed

Relo = Callable[..., Any]
SETUP = ("stripe", "setup", "--client", "setup")
ADDRESS = "https://p.example/postback/stripe/setup"


@pytest.mark.parametrize("url", ["https://p.example", "https://p.example/", ADDRESS, ADDRESS + "/"])
def test_address_is_the_clients_own_however_it_is_given(url: str) -> None:
    assert endpoint.public_address(url, "setup") == ADDRESS


@pytest.mark.parametrize(
    "url",
    ["http://p.example", "p.example", "https://", "https://u:p@h", "https://h?x=1", "https://[::1", ADDRESS + "2",
     "https://p.example/postback/stripe"],
)  # fmt: skip
def test_address_that_stripe_could_not_use_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        endpoint.public_address(url, "setup")


def test_endpoint_is_created_and_its_secret_is_in_force(
    product: Product, relo: Relo, stripe_api: StripeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = relo(*SETUP, "--url", "https://p.example")
    assert (done.code, done.complaint) == (0, "")
    (created,) = stripe_api.endpoints
    assert (created["url"], created["enabled_events"]) == (ADDRESS, list(SUPPORTED))
    (secret,) = stripe_api.secrets
    assert done.out[0] == f"endpoint we_1 created in Stripe's test mode: {ADDRESS}"
    assert f"ending …{secret[-4:]}" in done.out[2]

    def post(*, livemode: bool) -> httpx.Response:
        event = signed(checkout_completed(livemode=livemode), secret.encode())
        return product.http.post("/postback/stripe/setup", **event)

    eventually(lambda: post(livemode=False).status_code == 200, "its secret is in force")
    assert post(livemode=True).status_code == 401, "the key was one of test mode"

    again = relo(*SETUP, "--url", "https://p.example")
    assert (again.code, again.out) == (1, [])
    assert "(we_1, enabled)" in again.complaint
    assert "`relo secret add --client setup --test`" in again.complaint
    assert len(stripe_api.endpoints) == 1

    stripe_api.endpoints[0] |= {"id": "we_other", "url": "https://p.example/other"}
    monkeypatch.setenv("STRIPE_API_KEY", LIVE_KEY)
    assert relo(*SETUP, "--url", "https://p.example").code == 0
    listed = relo("secret", "list", "--client", "setup").out[1:]
    assert sorted(line.split()[3] for line in listed) == ["live", "test"]


def test_endpoint_that_is_there_is_found_on_any_page_and_told_what_it_lacks(
    product: Product, relo: Relo, stripe_api: StripeApi
) -> None:
    others = [{"id": f"we_{n}", "url": f"https://other.example/{n}", "enabled_events": ["*"]} for n in range(150)]
    own = {
        "id": "we_own",
        "url": ADDRESS,
        "enabled_events": list(SUPPORTED[2:]),
        "status": "disabled",
        "livemode": True,
    }
    stripe_api.endpoints = [*others, own]
    complaint = relo(*SETUP, "--url", "https://p.example").complaint
    assert "(we_own, disabled)" in complaint
    assert f"add the events {SUPPORTED[0]}, {SUPPORTED[1]} to it" in complaint
    assert "--live`" in complaint
    own["enabled_events"] = ["*"]
    assert "add the events" not in relo(*SETUP, "--url", "https://p.example").complaint
    assert stripe_api.paths("POST") == []


def test_secret_that_cannot_be_kept_takes_the_endpoint_back(
    product: Product, relo: Relo, stripe_api: StripeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise OSError("disk of hunter2")

    monkeypatch.setattr(apply, "write", fails)
    done = relo(*SETUP, "--url", "https://p.example")
    assert done.code == 1
    assert done.complaint.startswith("the secret could not be stored (OSError), so the endpoint was deleted again")
    assert stripe_api.endpoints == []
    monkeypatch.setattr(Api, "delete_endpoint", lambda *_: (_ for _ in ()).throw(StripeRefuses("no")))
    assert "delete the endpoint we_2 in Stripe's dashboard" in relo(*SETUP, "--url", "https://p.example").complaint


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--client", "gone", "--url", "https://p.example"], "there is no client gone"),
        (["--client", "setup", "--url", "http://p.example"], "--url: expected the public address"),
    ],
)
def test_nothing_is_asked_of_stripe_when_it_could_not_be_kept(
    product: Product, relo: Relo, stripe_api: StripeApi, arguments: list[str], says: str
) -> None:
    assert says in relo("stripe", "setup", *arguments).complaint
    assert stripe_api.requests == []


@pytest.mark.parametrize(
    ("key", "says"), [("", "is not set"), ("whsec_hunter2", "expected a secret"), ("sk_ a", "sk_")]
)
def test_key_that_is_none_is_one_line_and_78(
    product: Product, relo: Relo, stripe_api: StripeApi, monkeypatch: pytest.MonkeyPatch, key: str, says: str
) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", key)
    done = relo(*SETUP, "--url", "https://p.example")
    assert done.code == 78
    assert says in done.complaint
    assert "hunter2" not in done.complaint


def test_base_that_is_none_is_one_line_and_78(relo: Relo, product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", KEY)
    monkeypatch.setenv("STRIPE_API_BASE", "hunter2")
    done = relo(*SETUP, "--url", "https://p.example")
    assert (done.code, done.complaint) == (78, "STRIPE_API_BASE: expected http(s)://host[:port]")


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (
            (403, {}, {"type": "invalid_request_error", "message": f"{KEY} may not"}),
            "may not list the webhook endpoints",
        ),
        ((400, {}, {"type": "invalid_request_error", "message": f"Bad: {KEY}"}), "Bad: sk_…"),
        ((404, {}, {"type": "invalid_request_error", "message": "gone"}), "did not list the webhook endpoints: gone"),
    ],
)
def test_stripes_refusals_are_one_line_without_the_key(
    product: Product, relo: Relo, stripe_api: StripeApi, refusal: Any, says: str
) -> None:
    stripe_api.refusals = [refusal]
    done = relo(*SETUP, "--url", "https://p.example")
    assert done.code == 1
    assert says in done.complaint
    assert "hunter2" not in done.complaint


def test_wrong_key_is_one_line_without_the_key(
    product: Product, relo: Relo, stripe_api: StripeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_wronghunter2")
    done = relo(*SETUP, "--url", "https://p.example")
    assert (done.code, done.complaint) == (
        1,
        "Stripe refuses the key in STRIPE_API_KEY: it is wrong, expired or revoked",
    )


def test_rate_limit_is_waited_for_and_then_told(stripe_api: StripeApi) -> None:
    limited = (429, {"Retry-After": "7"}, {"type": "invalid_request_error", "message": "Too many"})
    waits: list[float] = []
    stripe_api.refusals = [limited, (429, {}, limited[2])]
    assert list(Api(waits.append).endpoints()) == []
    assert waits == [7.0, 1.0]
    stripe_api.refusals = [limited] * 20
    with pytest.raises(StripeRefuses, match="limits the rate"):
        list(Api(waits.append).endpoints())


def test_stripe_that_is_away_is_one_line(
    stripe_api: StripeApi, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("STRIPE_API_BASE", f"http://127.0.0.1:{free_port}")
    with pytest.raises(StripeRefuses, match="does not answer"):
        list(Api(lambda _: None).endpoints())


def test_missing_library_is_one_line_and_78(
    product: Product, relo: Relo, monkeypatch: pytest.MonkeyPatch, stripe_api: StripeApi
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "stripe":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    done = relo(*SETUP, "--url", "https://p.example")
    assert done.code == 78
    assert "pip install 'relo_ingest[stripe]'" in done.complaint


def test_no_log_level_tells_the_new_secret(product: Product, stripe_api: StripeApi, configured: Settings) -> None:
    stripe_api.secrets = ["whsec_used"] * 40  # so that this one's number is its own
    env = product.env | {
        "RELO_LOG_LEVEL": "debug", "STRIPE_LOG": "debug", "STRIPE_API_KEY": KEY, "STRIPE_API_BASE": stripe_api.url,
    }  # fmt: skip
    command = [sys.executable, "-m", "relo_ingest", "stripe", "setup", "--client", "lost", "--url", "https://p.example"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    for telling in (stripe_api.secrets[-1], "hunter2"):
        assert telling not in done.stdout + done.stderr
    assert logging.getLogger("stripe").level in (logging.NOTSET, logging.WARNING)
