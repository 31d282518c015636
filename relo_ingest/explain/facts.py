"""Everything that is known of one payment: a .sql file for each question, a Struct for each answer.

Times are Unix ms. Amounts are in whole units of their currency.
"""

from __future__ import annotations

from decimal import Decimal
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from relo_ingest.errors import ReloError
from relo_ingest.explain.words import DAY_MS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client as ClickHouseClient

EVIDENCE_COMES_WITHIN_MS = 3 * DAY_MS
"""What was seen later than this after a payment says nothing about it."""

Answer = TypeVar("Answer", bound=msgspec.Struct)
Reason = dict[str, Any]


class Unknown(ReloError):
    """There is no such client or payment."""


class Payment(msgspec.Struct, frozen=True):
    """One payment and its attribution. ``method`` is "" while the worker has not looked at it."""

    conversion_key: str
    order_id: str
    kind: str
    at: int
    counts_from: int
    revenue: Decimal
    refunded: Decimal
    charged_back: Decimal
    tax: Decimal
    shipping: Decimal
    currency: str
    is_test: bool
    click_id: str
    promo_code: str
    device_id: str
    customer_ref: str
    email_hash: str
    subscription: str
    merged_keys: list[str]
    refs: list[str]
    method: str
    partner_ref: str
    offer: str
    winning_click: str
    payment: str
    reason: str


class Device(msgspec.Struct, frozen=True):
    """``known_by``: payment, click, email; or connected alone."""

    device_id: str
    known_by: list[str]

    @property
    def is_connected(self) -> bool:
        return self.known_by == ["connected"]


class Click(msgspec.Struct, frozen=True):
    """A click that might earn; ``objection`` says why not: unknown, partner, offer, later, window, method."""

    click_id: str
    closeness: int
    method: str
    partner_ref: str
    offer: str
    clicked_at: int
    window_days: int
    methods: list[str]
    first_click: bool
    objection: str

    @property
    def strength(self) -> tuple[int, int, int, str]:
        """The greatest of the clicks that count is the payment's: as worker/steps/own.sql has it."""
        return -self.methods.index(self.method), self.closeness, self.clicked_at, self.click_id


class Relative(msgspec.Struct, frozen=True):
    """An earlier payment of the same subscription or customer.

    ``own_partner``: whose it is by its own evidence. ``brings``: by this one the customer is remembered. ``objection``
    says why its partner may not earn again: not first, partner, offer, method, window.
    """

    conversion_key: str
    at: int
    revenue: Decimal
    currency: str
    partner_ref: str
    method: str
    own_partner: str
    offer: str
    of_subscription: bool
    window_days: int
    brings: bool
    objection: str


class PromoCode(msgspec.Struct, frozen=True):
    """Whose the code was; ``objection`` says why it may not earn: partner, offer, method."""

    partner_ref: str
    offer: str
    objection: str


class Rule(msgspec.Struct, frozen=True):
    rule: str
    partner_ref: str
    basis_points: int
    is_fixed: bool
    fixed: Decimal
    minimum: Decimal
    maximum: Decimal
    currency: str
    net: bool
    renewal_months: int
    applies: bool


class Price(msgspec.Struct, frozen=True):
    """What the arithmetic of a rule works with; ``paid_in`` is the currency of the partner's commission.

    Rates are units for one of the base, 0 where none is known. ``step``: of the month, as in the rule's tiers: after
    how much, basis points, fixed amount; after 0 where none was reached.
    """

    paid_in: str
    sale_rate: Decimal
    entry_rate: Decimal
    rule_rate: Decimal
    step: tuple[int, int, Decimal]
    by_revenue: bool
    too_late: bool


class Reversal(msgspec.Struct, frozen=True):
    """One report of money that went back, or came back."""

    event_id: str
    event_name: str
    at: int
    object: str
    amount: Decimal
    currency: str
    status: str


class Line(msgspec.Struct, frozen=True):
    entry_id: str
    partner_ref: str
    kind: str
    part: str
    amount: Decimal
    currency: str
    rule: str
    hold_until: int
    created_at: int
    rate: Decimal
    rule_rate: Decimal
    reason: str

    def told(self) -> Reason:
        """What the worker wrote beside the line; keys may be missing."""
        return decoded(self.reason)


class Commission(msgspec.Struct, frozen=True):
    partner_ref: str
    currency: str
    earned: Decimal
    reversed: Decimal
    amount: Decimal
    hold_until: int
    status: str


class Decision(msgspec.Struct, frozen=True):
    """Something that put a commission on hold, or, with ``is_review``, what an operator said."""

    partner_ref: str
    code: str
    evidence: str
    at: int
    is_review: bool
    approved: bool
    note: str
    codes: list[str]


class Facts(msgspec.Struct, frozen=True):
    payment: Payment
    devices: list[Device]
    clicks: list[Click]
    promo: PromoCode | None
    relatives: list[Relative]
    rules: list[Rule]
    price: Price | None
    """Of ``rule``, where the ledger does not tell the arithmetic."""
    reversals: list[Reversal]
    lines: list[Line]
    commissions: list[Commission]
    decisions: list[Decision]

    @property
    def counting(self) -> list[Click]:
        return [c for c in self.clicks if not c.objection]

    @property
    def winner(self) -> Click | None:
        """The click that earns; None also where what the worker saw is not there any more."""
        return next((c for c in self.counting if c.click_id == self.payment.winning_click), None)

    @property
    def decider(self) -> Click | None:
        """The strongest click on the winner's offer: the winner itself, unless the offer pays the first one."""
        won = self.winner
        if won is None or not won.first_click:
            return won
        return max((c for c in self.counting if c.offer == won.offer), key=lambda c: c.strength)

    @property
    def rule(self) -> Rule | None:
        """The one that pays for this."""
        return next((r for r in self.rules if r.applies), None)

    @property
    def computed(self) -> Line | None:
        """The line that tells how what is earned was computed; None when nothing is, by what was written last."""
        mine = [n for n in self.lines if n.partner_ref == self.payment.partner_ref]
        last = max((n.created_at for n in mine), default=0)
        return next((n for n in reversed(mine) if n.created_at == last and "exact" in n.told()), None)

    @property
    def is_rejected(self) -> bool:
        """By the last review of the commission of the partner who earns."""
        said = [d for d in self.decisions if d.is_review and d.partner_ref == self.payment.partner_ref]
        return bool(said) and not said[-1].approved

    @property
    def started_at(self) -> int:
        """When the first money came, of the subscription, else of the customer: renewals are counted from there."""
        paid = [r for r in self.relatives if r.revenue > 0]
        first = next((r for r in paid if r.of_subscription), next(iter(paid), None))
        return first.at if first else self.payment.at

    @property
    def bringer(self) -> Relative | None:
        """The earlier payment by which the customer is remembered, whether that still earns or not."""
        return next((r for r in self.relatives if r.brings), None)


def ask(clickhouse: ClickHouseClient, name: str, answer: type[Answer], parameters: dict[str, Any]) -> list[Answer]:
    """The rows of ``{name}.sql``."""
    sql = (resources.files("relo_ingest.explain") / f"{name}.sql").read_text(encoding="utf-8")
    return [answer(**row) for row in clickhouse.query(sql, parameters=parameters).named_results()]


def gather(clickhouse: ClickHouseClient, client_id: int, key: str) -> Facts:
    """Raises Unknown when there is no such payment."""
    one = {"client_id": client_id, "key": key}
    payment = next(iter(ask(clickhouse, "payment", Payment, one)), None)
    if payment is None:
        raise Unknown(f"{key} was reported, and is no payment of its own")
    at = one | {"at": payment.at, "until": payment.at + EVIDENCE_COMES_WITHIN_MS}
    carried = {"device_id": payment.device_id, "click_id": payment.click_id, "email_hash": payment.email_hash}
    devices = ask(clickhouse, "devices", Device, at | carried)
    reached = {
        "devices": [d.device_id for d in devices],
        "direct": [d.device_id for d in devices if not d.is_connected],
    }
    family = {"subscription": payment.subscription, "customer_ref": payment.customer_ref}
    rule = {"offer": payment.offer, "partner": payment.partner_ref, "payment": payment.payment}
    facts = Facts(
        payment=payment,
        devices=devices,
        clicks=ask(clickhouse, "clicks", Click, at | carried | reached),
        promo=next(iter(ask(clickhouse, "promo", PromoCode, at | {"code": payment.promo_code})), None),
        relatives=ask(clickhouse, "relatives", Relative, at | family),
        rules=ask(clickhouse, "rules", Rule, at | rule) if payment.offer else [],
        price=None,
        reversals=ask(clickhouse, "reversals", Reversal, one),
        lines=ask(clickhouse, "lines", Line, one),
        commissions=ask(clickhouse, "commissions", Commission, one),
        decisions=ask(clickhouse, "holds", Decision, one | {"merged": payment.merged_keys}),
    )
    if facts.rule is None or facts.computed is not None:
        return facts
    terms = rule | {"rule": facts.rule.rule, "currency": payment.currency, "started_at": facts.started_at}
    (price,) = ask(clickhouse, "price", Price, at | terms)
    return msgspec.structs.replace(facts, price=price)


def decoded(reason: str) -> Reason:
    """A JSON object, or {} where there is none."""
    found = msgspec.json.decode(reason) if reason else {}
    return found if isinstance(found, dict) else {}
