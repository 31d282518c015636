"""Who clicks, browses and pays. Every sale is chosen so that its commission can be checked by hand.

The rules are those of ``relo.example.toml``: Ana earns 10 % of every payment, Luis 15 % of first payments.
"""

from __future__ import annotations

import msgspec

SECOND = 1_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR


class Sale(msgspec.Struct, frozen=True):
    """A payment, in minor units. ``click_in`` says where its click id is, if anywhere: metadata, client_reference_id.

    ``refund``: what goes back a day later. ``renews_after_days``: it is a subscription that is paid once more.
    ``earns``: False where no partner is to be found.
    """

    amount: int
    currency: str
    click_in: str = ""
    email: str = ""
    promo_code: str = ""
    live: bool = True
    delivered: int = 1
    refund: int = 0
    renews_after_days: int = 0
    earns: bool = True


class Visitor(msgspec.Struct, frozen=True):
    """Somebody who shops: links opened (partner, ms before the sale), pages seen, a payment perhaps."""

    name: str
    days_ago: int
    clicks: tuple[tuple[str, int], ...]
    pages: tuple[str, ...]
    sale: Sale | None = None
    note: str = ""


STORY = (
    Visitor("Marta", 4, (("ana", 3 * HOUR),), ("page", "view_product", "add_to_cart", "begin_checkout"),
            Sale(100_00, "usd", "metadata", delivered=2), "the webhook comes twice and counts once"),
    Visitor("Jorge", 4, (("luis", 2 * HOUR),), ("page", "view_product", "begin_checkout"),
            Sale(49_90, "usd", "client_reference_id"), "15 % of 49.90 is 7.485: half-even, 7.48"),
    Visitor("Chiara", 3, (("ana", 30 * HOUR),), ("page", "identify", "add_to_cart"),
            Sale(80_00, "eur", email="chiara@example.com"), "no click id on the payment: found by her device"),
    Visitor("Sven", 2, (("ana", 40 * HOUR), ("luis", 5 * HOUR)), ("page", "identify", "view_product", "add_to_cart"),
            Sale(59_00, "eur", email="sven@example.com"), "two partners: the last click wins"),
    Visitor("Paula", 3, (("ana", 6 * HOUR),), ("page", "view_product", "add_to_cart"),
            Sale(40_00, "usd", "metadata", promo_code="LUIS10"), "with Luis's promo code, which goes before the click"),
    Visitor("Ken", 31, (("ana", 2 * HOUR),), ("page", "view_product", "begin_checkout"),
            Sale(29_00, "usd", "metadata", renews_after_days=30), "a subscription: the renewal is Ana's as well"),
    Visitor("Ravi", 1, (("ana", 2 * SECOND),), ("page",),
            Sale(60_00, "usd", "metadata"), "two seconds after the click: on hold until somebody has looked at it"),
    Visitor("Olga", 3, (("luis", 4 * HOUR),), ("page", "view_product", "add_to_cart", "begin_checkout"),
            Sale(70_00, "usd", "metadata", refund=25_00), "25.00 are refunded, and 3.75 of the 10.50 go back"),
    Visitor("Nora", 2, (), ("page", "view_product"), Sale(30_00, "usd", earns=False), "came by herself: nobody earns"),
    Visitor("Test card", 1, (("ana", HOUR),), ("page",),
            Sale(999_00, "usd", "metadata", live=False), "test mode: no sale"),
    Visitor("Ines", 1, (("ana", 2 * HOUR),), ("page", "view_product")),
    Visitor("Tom", 1, (("luis", 2 * HOUR),), ("page", "view_product", "add_to_cart")),
    Visitor("Yuki", 0, (("luis", 6 * HOUR),), ("page", "view_product", "add_to_cart", "begin_checkout"),
            Sale(20_00, "usd", "metadata")),
)  # fmt: skip
