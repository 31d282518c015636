"""What `relo apply` takes, and how it says where a file is wrong."""

from __future__ import annotations

import datetime as dt
import tomllib
from importlib import resources

import pytest

from relo_ingest.errors import ConfigError
from relo_ingest.registry import model
from relo_ingest.registry.model import Declaration

CLIENT = '[[clients]]\nclient_id = 1\nslug = "shop"\n'
OFFER = '[[offers]]\nclient = "shop"\nslug = "main"\nlanding_page = "https://shop.test/"\n'
PARTNER = '[[partners]]\nref = "ana"\nclient = "shop"\noffers = ["main"]\n'
RULE = '[[commission_rules]]\nclient = "shop"\nname = "ten"\noffer = "main"\nbasis_points = 1000\n'
CODE = '[[promo_codes]]\nclient = "shop"\ncode = "Ana10"\npartner = "ana"\n'


def parse(toml: str) -> Declaration:
    return model.parse(tomllib.loads(toml), "shop.toml")


def refusal(toml: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(toml)
    message = str(caught.value)
    assert message.startswith("shop.toml: ")
    assert "\n" not in message
    return message


def test_example_file_parses_and_has_every_kind() -> None:
    text = (resources.files("relo_ingest") / "relo.example.toml").read_text(encoding="utf-8")
    found = model.parse(tomllib.loads(text), "relo.example.toml")
    assert {e.kind for e in found.entries()} == {"client", "offer", "partner", "promo_code", "commission_rule"}


def test_entries_have_keys_that_are_unique_within_their_kind() -> None:
    found = parse(CLIENT + OFFER + PARTNER + CODE + RULE)
    assert [(e.kind, e.key) for e in found.entries()] == [
        ("client", "shop"),
        ("offer", "shop/main"),
        ("partner", "ana"),
        ("promo_code", "shop/ANA10"),
        ("commission_rule", "shop/ten"),
    ]


def test_what_is_left_out_has_the_documented_default() -> None:
    found = parse(CLIENT + OFFER + RULE)
    rule = found.commission_rules[0]
    assert (found.offers[0].click_window_days, found.offers[0].hold_days) == (60, 30)
    assert (rule.partner, rule.applies_to) == ("", ("first", "renewal"))
    assert rule.valid_from < dt.datetime(2000, 1, 1, tzinfo=dt.UTC) < rule.valid_to


@pytest.mark.parametrize(
    ("toml", "where", "what"),
    [
        (CLIENT + "nope = 1", "clients[0]", "unknown field nope"),
        (CLIENT + OFFER + "window = 1", "offers[0]", "unknown field window"),
        (CLIENT + PARTNER + PARTNER.replace("ana", "bo") + "x = 1", "partners[1]", "unknown field x"),
        ("[[shops]]\nslug = 'x'", "", "unknown field shops"),
        ('[[clients]]\nslug = "shop"', "clients[0]", "missing required field client_id"),
        (CLIENT.replace("= 1", "= 0"), "clients[0].client_id", ">= 1"),
        (CLIENT.replace("= 1", "= 4294967296"), "clients[0].client_id", "<= 4294967295"),
        (CLIENT.replace("= 1", '= "1"'), "clients[0].client_id", "Expected int, got str"),
        (CLIENT.replace('"shop"', '"my shop"'), "clients[0].slug", "matching regex"),
        (CLIENT.replace('"shop"', '"shop\\n"'), "clients[0].slug", "matching regex"),
        (CLIENT.replace('"shop"', '"a/b"'), "clients[0].slug", "matching regex"),
        (CLIENT + 'status = "gone"', "clients[0].status", "gone"),
        (CLIENT + 'stripe_secrets = ["sk_live_1"]', "clients[0].stripe_secrets[0]", "whsec_"),
        (CLIENT + 'stripe_secrets = ["whsec_1\\n"]', "clients[0].stripe_secrets[0]", "whsec_"),
        (OFFER + "click_window_days = 0", "offers[0].click_window_days", ">= 1"),
        (OFFER + "hold_days = 1.5", "offers[0].hold_days", "Expected int, got float"),
        (PARTNER.replace('["main"]', "[]"), "partners[0].offers", "length >= 1"),
        (CODE.replace("Ana10", ""), "promo_codes[0].code", "length >= 1"),
        (RULE.replace("1000", "10001"), "commission_rules[0].basis_points", "<= 10000"),
        (RULE.replace("1000", "12.5"), "commission_rules[0].basis_points", "Expected int | null, got float"),
        (RULE + 'applies_to = ["always"]', "commission_rules[0].applies_to[0]", "always"),
        (RULE + 'valid_from = "soon"', "commission_rules[0].valid_from", "RFC3339"),
    ],
)
def test_wrong_field_is_refused_with_its_path_and_what_was_expected(toml: str, where: str, what: str) -> None:
    message = refusal(toml)
    assert message.endswith(f" at {where}" if where else what)
    assert what in message
    assert "$" not in message.replace("]$", "")


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ('fallback_page = "//x.test"', "fallback_page: expected http(s)://host/"),
        ('deep_link_hosts = ["https://x.test"]', "deep_link_hosts: expected hosts"),
        ('deep_link_hosts = ["*"]', "deep_link_hosts: expected hosts"),
        ('deep_link_hosts = ["*.test"]', "deep_link_hosts: expected hosts"),
        ('deep_link_hosts = ["X.test"]', "deep_link_hosts: expected hosts"),
        ('deep_link_hosts = ["x.test/"]', "deep_link_hosts: expected hosts"),
        ('append = ["lang"]', "append: the landing page has a parameter of this name"),
        ('append = ["click_id"]', "offers[0].append[0]"),
        ('append = ["a=b"]', "offers[0].append[0]"),
        ("cookie_days = 0", "offers[0].cookie_days"),
        ("dedup_minutes = -1", "offers[0].dedup_minutes"),
    ],
)
def test_link_field_of_an_offer_that_would_do_harm_is_refused(field: str, told: str) -> None:
    offer = OFFER.replace("https://shop.test/", "https://shop.test/?lang=es")
    assert told in refusal(f"{CLIENT}{offer}{field}\n")


@pytest.mark.parametrize(
    "page",
    ["", "shop.test", "ftp://shop.test/", "https:///path", "javascript:x", "https://[::1", "http\u017f://shop.test/"],
)
def test_landing_page_must_be_an_address_of_the_web(page: str) -> None:
    message = refusal(CLIENT + OFFER.replace("https://shop.test/", page))
    assert "offer shop/main: landing_page: expected http(s)://host/" in message


@pytest.mark.parametrize(
    ("toml", "what"),
    [
        (CLIENT + CLIENT.replace("= 1", "= 2"), "client shop stands there twice"),
        (PARTNER + PARTNER.replace('"shop"', '"other"'), "partner ana stands there twice"),
        (CODE + CODE.replace("Ana10", "ANA10"), "promo_code shop/ANA10 stands there twice"),
        (CLIENT + CLIENT.replace("shop", "other"), "client_id 1 belongs to both shop and other"),
    ],
)
def test_two_entries_of_one_identity_are_refused(toml: str, what: str) -> None:
    assert refusal(toml).endswith(what)


def test_the_refusal_of_a_secret_does_not_show_it() -> None:
    assert "hunter2" not in refusal(CLIENT + 'stripe_secrets = ["sk_hunter2"]')


def test_what_may_be_left_out_may_also_be_empty() -> None:
    toml = RULE + 'partner = ""\ncurrency = ""'
    assert model.parse(tomllib.loads(toml), "shop.toml").commission_rules[0].partner == ""
