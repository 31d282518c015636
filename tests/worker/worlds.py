"""Worlds by chance: a client with its rules, its visitors, and what they paid, so small that everything meets.

There are few ids, and times come from a short list of moments and from the edges of the windows around them, so that
clicks tie, windows overlap, people share devices and rules change between a click and its sale. A world follows from
its seed alone; the same seed for another client gives the same world under other names.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec

from relo_ingest.registry import model
from worker.oracle.commission import add_months, minor_digits
from worker.oracle.facts import DAY, HOUR, MINUTE, Event, Review, Version, World, milliseconds, moment

MONTH_ENDS = ("2025-01-31T12:00:00", "2025-03-31T10:00:00", "2025-02-28T23:59:59.999", "2025-03-01T00:00:00")
ANCHORS = tuple(milliseconds(dt.datetime.fromisoformat(t + "+00:00")) for t in (*MONTH_ENDS, "2025-04-15T12:00:00"))
"""Around which a world's sales lie. Long ago: nothing waits for its ten minutes any more."""

CURRENCIES = ("USD", "EUR", "JPY", "KWD", "MXN")
SELDOM_QUOTED = "CHF"
AMOUNTS = ("20.00", "19.99", "0.01", "100.00", "33.33", "20.00", "0.15", "98765432.10")
METHODS: tuple[model.Method, ...] = ("promo_code", "click_id", "device", "customer")
GENERAL = {"rule-0": "main", "rule-1": "alt"}
"""Rules that mostly are for every payment of an offer."""
PAYMENTS: tuple[model.PaymentKind, ...] = ("first", "renewal", "lead", "trial")


def _rates() -> dict[str, dict[dt.date, Fraction]]:
    """One table for all worlds. A currency that is seldom quoted is without a rate on some days."""
    chance = random.Random(7)
    first = dt.date(2024, 12, 1)
    days = [first + dt.timedelta(days=3 * n) for n in range(300)]
    of_one = {"EUR": "1", "USD": "1.08", "JPY": "161.3", "KWD": "0.33", "MXN": "18.47"}
    rates = {
        currency: {day: Fraction(about) * chance.randrange(90_000, 110_000) / 100_000 for day in days}
        for currency, about in of_one.items()
    }
    seldom = [first + dt.timedelta(days=11 * n) for n in range(80)]
    rates[SELDOM_QUOTED] = {day: Fraction(chance.randrange(90_000, 99_000), 100_000) for day in seldom}
    return {currency: {day: round(rate, 8) for day, rate in by_day.items()} for currency, by_day in rates.items()}


RATES = _rates()


def make_world(seed: int, client_id: int) -> World:
    return _Maker(random.Random(seed), client_id).world()


class _Maker:
    def __init__(self, chance: random.Random, client_id: int) -> None:
        self.chance = chance
        self.client_id = client_id
        self.slug = f"w{client_id}"
        self.events: list[Event] = []
        self.keys: list[str] = []
        self._ids = 0

        self.offers = ["main", "alt"]
        self.partners = [f"{name}-{self.slug}" for name in ("ana", "bo", "cy")[: chance.randrange(2, 4)]]
        self.codes = ["SAVE", "DIEZ"]
        self.clicks = [f"K{n}" for n in range(1, chance.randrange(3, 8))]
        self.devices = [f"{'DEVICE':0<25}{n}" for n in range(1, chance.randrange(2, 5))]
        self.addresses = [letter * 64 for letter in "abc"[: chance.randrange(1, 4)]]
        self.customers = ["cus_1", "cus_2"]
        self.subscriptions = ["sub_1", "sub_2"]

        self.theme = chance.choices(("anything", "months", "volume", "crowd"), (62, 15, 14, 9))[0]
        self.anchor = self.any(ANCHORS[:2] if self.theme == "months" else ANCHORS)
        self.money = chance.choices(("one currency", "several", "seldom quoted"), (40, 45, 15))[0]
        currencies = {"one currency": ("USD",), "several": CURRENCIES, "seldom quoted": (SELDOM_QUOTED,)}
        self.currency = self.any(currencies[self.money])
        self.moments = self._moments()

    def any(self, of: Sequence[Any]) -> Any:
        return self.chance.choice(of)

    def perhaps(self, share: float) -> bool:
        return self.chance.random() < share

    def id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}_{self._ids}"

    def world(self) -> World:
        {"anything": self._anything, "months": self._months, "volume": self._volume, "crowd": self._crowd}[self.theme]()
        for click in self.clicks:
            self._click(click)
        for _ in range(self.chance.randrange(2, 9)):
            self._beacon()
        versions = self._registry()
        return World(self.client_id, self.slug, versions, self.events, self._reviews(), RATES)

    # Times

    def _moments(self) -> list[int]:
        """When things are sold: a few moments, some apart by as much as decides something."""
        if self.theme == "volume":
            return [self.anchor, self.anchor + 1, self.anchor + HOUR, add_months(self.anchor, 1)]
        if self.theme == "months":
            later = [add_months(self.anchor, self.any((0, 1, 1, 2))) + DAY for _ in range(4)]
            return [self.anchor, *(day_after + self.any((-1, 0, 0, DAY)) for day_after in later)]
        steps = (0, 0, 1, HOUR, DAY - 1, DAY, DAY + 1, 7 * DAY, 30 * DAY)
        found = [self.anchor + self.any(steps) for _ in range(3)]
        for months in (1, 2):
            if self.perhaps(0.5):
                found.append(add_months(self.anchor, months) + self.any((0, DAY - 1, DAY, DAY + 1)))
        return found

    def _around(self, t: int) -> int:
        """When somebody clicked or was seen: at an edge of something, or at any time before."""
        edge = self.any((0, 1, -1))
        apart: int = self.any((
            -self.any((1, 2, 7, 60)) * DAY + edge,
            5 * MINUTE + edge,
            edge,
            -HOUR,
            -self.chance.randrange(3 * DAY),
            -self.chance.randrange(70 * DAY),
        ))  # fmt: skip
        return t + apart

    # What people did

    def _tell(self, event_type: str, event_name: str, at: int, **fields: Any) -> None:
        event_id = fields.pop("event_id", "") or self.id("evt")
        self.events.append(
            Event(event_id=event_id, event_time=at, event_type=event_type, event_name=event_name, **fields)
        )

    def _click(self, click_id: str) -> None:
        earlier = [e.event_time for e in self.events if e.event_type == "click"]
        at = self.any(earlier) if earlier and self.perhaps(0.3) else self._around(self.any(self.moments))
        strangers = (f"ana-w{self.client_id - 1}", "")
        self._tell(
            "click",
            "click",
            at,
            event_id=click_id,
            click_id=click_id,
            partner_ref=self.any(strangers) if self.perhaps(0.04) else self.any(self.partners),
            offer="gone" if self.perhaps(0.04) else self.any(self.offers),
            device_id=self.any(self.devices) if self.perhaps(0.2) else "",
            is_bot=self.perhaps(0.1),
        )

    def _beacon(self) -> None:
        """A device with the click id of its cookie, an address, or both."""
        at = self._around(self.any(self.moments))
        if self.perhaps(0.15):
            at = self.any(self.moments) + 72 * HOUR + self.any((-1, 0, 1))
        what = self.any(("click", "click", "address", "both"))
        self._tell(
            "page",
            "page",
            at,
            device_id=self.any(self.devices),
            click_id=self.any(self.clicks) if what != "address" else "",
            email_hash=self.any(self.addresses) if what != "click" else "",
            is_bot=self.perhaps(0.1),
        )

    # Themes

    def _anything(self) -> None:
        for _ in range(self.chance.randrange(1, 8)):
            self._sale()

    def _months(self) -> None:
        """A subscription, and its renewals for longer than some rules pay for them."""
        self._start("sub_1", "cus_1", self.anchor, promo_code="SAVE")
        if self.perhaps(0.3):
            self._start("sub_2", "cus_1", self.moments[1])
        for at in self.moments[1:]:
            self._renewal(self.any(("sub_1", "sub_1", "sub_2")), "cus_1", at)

    def _volume(self) -> None:
        """Many sales of one month, most of them of one partner."""
        for _ in range(self.chance.randrange(4, 9)):
            self._one_time(self.any(self.moments), promo_code=self.any(("SAVE", "SAVE", "DIEZ")))
        if self.perhaps(0.5):
            self._lead(self.anchor, promo_code="SAVE")

    def _crowd(self) -> None:
        """More ids than are looked at: nobody makes a stranger's sale theirs, or the worker slow, by claiming many.

        A friend's click leads to a partner if what the crowd hides is looked at, and to nobody otherwise.
        """
        payer, friend, click = self.devices[0], f"{'FRIEND':0<26}", "K99"
        at, hidden = self.anchor - HOUR, self.any(("addresses", "devices", "clicks"))
        evidence = {"device_id": payer}
        self._tell("click", "click", at, event_id=click, click_id=click, partner_ref=self.partners[0], offer="main")
        if hidden == "addresses":
            addresses = [f"{n}" * 64 for n in range(6)]
            for n, address in enumerate(addresses):
                self._tell("page", "page", at + n // 2, device_id=payer, email_hash=address)
            self._tell("page", "page", at, device_id=friend, click_id=click, email_hash=self.any(addresses[4:]))
        elif hidden == "devices":
            evidence = {"email_hash": "d" * 64}
            devices = [f"{'CROWD':0<24}{n:02}" for n in range(22)]
            for n, device in enumerate(devices):
                self._tell("page", "page", at + n // 2, device_id=device, **evidence)
            self._tell("page", "page", at, device_id=self.any(devices[19:21]), click_id=click)
        else:
            self._tell("page", "page", at, device_id=payer, click_id=click)
            for n in range(self.any((199, 200))):
                self._tell("page", "page", at + n // 100, device_id=payer, click_id=f"NOBODY{n:03}")
        nothing = dict.fromkeys(("click_id", "promo_code", "email_hash", "device_id", "customer_ref"), "")
        self._one_time(self.anchor, **nothing | evidence)

    # What people paid

    def _sale(self) -> None:
        at = self.any(self.moments)
        told = self.any((self._one_time, self._one_time, self._late_link, self._subscription, self._subscription))
        self.any((told, told, told, told, self._lead))(at)

    def _evidence(self) -> dict[str, Any]:
        code = self.any(("SAVE", "save", "Diez", "NONE"))
        return {
            "click_id": self.any(self.clicks) if self.perhaps(0.5) else "",
            "promo_code": code if self.perhaps(0.3) else "",
            "email_hash": self.any(self.addresses) if self.perhaps(0.6) else "",
            "device_id": self.any(self.devices) if self.perhaps(0.4) else "",
            "customer_ref": self.any(self.customers) if self.perhaps(0.6) else "",
        }

    def _amount(self) -> Decimal:
        digits = minor_digits(self.currency)
        return round(Decimal(self.any(AMOUNTS)), digits) if digits else Decimal(self.any((1, 20, 3333, 1999)))

    def _money(self, amount: Decimal) -> dict[str, Any]:
        """Properties of a report of money."""
        of_it: dict[str, Any] = {}
        if self.perhaps(0.4):
            of_it["tax"] = _text(self.any((amount / 4, Decimal("3.45"), amount)))
        if self.perhaps(0.2):
            of_it["shipping"] = _text(self.any((Decimal("4.9"), Decimal("0.01"))))
        return of_it

    def _soon(self, at: int) -> int:
        """Another report of the same payment. Not past midnight: the rate of a payment is that of its day."""
        day_ends = (at // DAY + 1) * DAY - 1
        later: int = self.any((0, 0, 1, 3 * MINUTE))
        return min(at + later, day_ends)

    def _one_time(self, at: int, **evidence: str) -> None:
        session, intent = self.id("cs"), self.id("pi")
        amount = Decimal(0) if self.perhaps(0.12) else self._amount()
        key = intent if amount else session
        self._tell(
            "purchase",
            "purchase",
            at,
            order_id=session,
            conversion_key=key,
            refs=(key,) if key == session else (intent, session),
            revenue=amount,
            currency=self.currency,
            is_test=self.perhaps(0.08),
            properties={"mode": "payment", **self._money(amount)},
            **self._evidence() | evidence,
        )
        self._later(key, intent, at, amount)

    def _late_link(self, at: int) -> None:
        """A session that does not know its invoice: until something says so, they are two payments."""
        session, intent, invoice, amount = self.id("cs"), self.id("pi"), self.id("in"), self._amount()
        self._tell(
            "purchase",
            "purchase",
            self._soon(at),
            order_id=session,
            conversion_key=intent,
            refs=(intent, session),
            revenue=amount,
            currency=self.currency,
            properties={"mode": "payment", **self._money(amount)},
            **self._evidence(),
        )
        name = self.any(("invoice_payment", "invoice_payment", "subscription_renewal"))
        subscription = self.any(self.subscriptions) if self.perhaps(0.3) else ""
        self._invoice(name, invoice, self._soon(at), amount, subscription, customer="")
        self._link(invoice, intent, at)
        self._later(invoice, intent, at, amount)
        self.keys.append(intent)

    def _subscription(self, at: int) -> None:
        """From its start on, or a part of it."""
        subscription = self.any(self.subscriptions)
        customer = self.any(self.customers) if self.perhaps(0.7) else ""
        if self.perhaps(0.75):
            self._start(subscription, customer, at)
        later = [m for m in self.moments if m >= at] or [at]
        for _ in range(self.chance.randrange(3)):
            self._renewal(subscription, customer, self.any(later))

    def _start(self, subscription: str, customer: str, at: int, **evidence: str) -> None:
        """Through Checkout, or with a first invoice alone; perhaps a trial."""
        session, invoice, intent = self.id("cs"), self.id("in"), self.id("pi")
        amount = Decimal(0) if self.perhaps(0.3) else self._amount()
        if self.perhaps(0.7):
            self._tell(
                "purchase",
                "purchase",
                at,
                order_id=session,
                conversion_key=invoice,
                refs=(invoice, session),
                revenue=amount,
                currency=self.currency,
                properties={"mode": "subscription", "subscription": subscription, **self._money(amount)},
                **self._evidence() | {"customer_ref": customer} | evidence,
            )
        if amount and self.perhaps(0.1):
            amount *= 2  # the session's word goes first
        self._invoice("subscription_first_invoice", invoice, self._soon(at), amount, subscription, customer)
        self._link(invoice, intent, at)
        self._later(invoice, intent, at, amount)

    def _renewal(self, subscription: str, customer: str, at: int) -> None:
        invoice, intent, amount = self.id("in"), self.id("pi"), self._amount()
        name = self.any(("subscription_renewal", "subscription_renewal", "subscription_renewal", "invoice_payment"))
        self._invoice(name, invoice, at, amount, subscription, customer)
        self._link(invoice, intent, at)
        self._later(invoice, intent, at, amount)

    def _invoice(self, name: str, invoice: str, at: int, amount: Decimal, subscription: str, customer: str) -> None:
        first = name == "subscription_first_invoice"
        properties = self._money(amount)
        if subscription:
            properties["subscription"] = subscription
        if first:
            properties["amount"] = _text(amount)
        evidence = self._evidence() if self.perhaps(0.3) else {}
        self._tell(
            "custom",
            name,
            at,
            order_id=invoice,
            conversion_key=invoice,
            refs=(invoice,),
            revenue=Decimal(0) if first else amount,
            currency=self.currency,
            is_test=self.perhaps(0.04),
            properties=properties,
            **evidence | {"customer_ref": customer},
        )

    def _link(self, invoice: str, intent: str, at: int) -> None:
        if self.perhaps(0.9):
            refs = invoice, intent, self.id("inpay")
            self._tell("custom", "invoice_payment_linked", at, order_id=invoice, conversion_key=invoice, refs=refs)

    def _lead(self, at: int, **evidence: str) -> None:
        """From the pixel; what its page says it is worth is no revenue."""
        key = f"lead:{self.id('form')}"
        self._tell(
            "lead",
            "lead",
            at,
            conversion_key=key,
            order_id=key.removeprefix("lead:"),
            revenue=self._amount(),
            currency=self.currency,
            is_bot=self.perhaps(0.1),
            **self._evidence() | evidence,
        )
        self.keys.append(key)

    # What went back

    def _later(self, key: str, intent: str, at: int, amount: Decimal) -> None:
        self.keys.append(key)
        what = self.chance.random()
        if amount and what < 0.3:
            self._refunds(intent, at, amount)
        elif amount and what < 0.45:
            self._dispute(intent, at, amount)

    def _refunds(self, intent: str, at: int, amount: Decimal) -> None:
        charge, by_charge, all_of_it = self.id("ch"), self.perhaps(0.4), Decimal(0)
        for n in range(self.chance.randrange(1, 4)):
            part = round(amount / self.any((1, 2, 3, 7)), minor_digits(self.currency))
            part = min(part, amount - all_of_it)
            if not part:
                return
            all_of_it += part
            refund, told_at = self.id("re"), at + (n + 1) * DAY
            properties: dict[str, Any] = {"charge": charge, "amount_refunded": _text(all_of_it)}
            if not by_charge:
                properties = {"refund": refund, "amount": _text(part), "status": "succeeded"}
                properties["created"] = told_at // 1000
            refs = (intent, charge) if by_charge else (intent, charge, refund)
            content = {"order_id": intent, "refs": refs, "currency": self.currency}
            self._tell("refund", "refund", told_at, revenue=-part, properties=properties, **content)
            if not by_charge and self.perhaps(0.2):
                properties = properties | {"status": "failed"}
                self._tell("refund", "refund_failed", told_at + DAY, properties=properties, **content)

    def _dispute(self, intent: str, at: int, amount: Decimal) -> None:
        half = round(amount / 2, minor_digits(self.currency))
        dispute, part = self.id("dp"), self.any((amount, amount, half or amount))
        happened = self.any((
            ("chargeback",),
            ("chargeback", "chargeback_reversed"),
            ("chargeback", "closed won"),
            ("chargeback", "closed lost"),
            ("closed lost",),
        ))  # fmt: skip
        for n, what in enumerate(("chargeback_opened", *happened)):
            name, _, status = what.partition(" ")
            self._tell(
                "chargeback",
                "chargeback_closed" if status else name,
                at + (n + 1) * self.any((0, DAY, DAY)),
                order_id=intent,
                refs=(intent, dispute),
                currency=self.currency,
                properties={"dispute": dispute, "amount": _text(part), "status": status},
            )

    # Rules

    def _registry(self) -> list[Version]:
        entries: list[model.Entry] = [self._offer(slug) for slug in self.offers]
        entries += [self._partner(ref) for ref in self.partners]
        entries += [self._promo_code(code) for code in self.codes]
        entries += [self._rule(f"rule-{n}") for n in range(self.chance.randrange(3, 8))]
        known = self.anchor + self.any((-90 * DAY, 0, DAY))
        versions = {(entry.kind, entry.key, known): entry for entry in entries}
        for _ in range(self.chance.randrange(4)):
            partners = [entry for entry in entries if isinstance(entry, model.Partner)]
            changed = self.any(partners if self.perhaps(0.3) else entries)
            entry, since = self._changed(changed), max(self._turn(), known + 1)
            versions[entry.kind, entry.key, since] = entry
        return [Version(since, entry) for (_, _, since), entry in sorted(versions.items(), key=lambda v: v[0][2])]

    def _turn(self) -> int:
        """A time when a rule changes: with a sale, just before or after one, or between a click and its sale."""
        edge = self.any((0, 1, -1, -HOUR))
        return int(self.any(self.moments)) + int(edge)

    def _changed(self, entry: model.Entry) -> model.Entry:
        if isinstance(entry, model.Offer):
            return self._offer(entry.slug)
        if isinstance(entry, model.Partner):
            status = "paused" if self.perhaps(0.4) else "active"
            return msgspec.structs.replace(self._partner(entry.ref), status=status)
        if isinstance(entry, model.PromoCode):
            return self._promo_code(entry.code)
        assert isinstance(entry, model.CommissionRule)
        return self._rule(entry.name)

    def _offer(self, slug: str) -> model.Offer:
        if self.theme == "crowd":
            return model.Offer(client=self.slug, slug=slug, landing_page="https://x.test/")
        methods = METHODS
        if self.perhaps(0.5):
            methods = tuple(self.chance.sample(METHODS, self.chance.randrange(2, 5)))
        return model.Offer(
            client=self.slug,
            slug=slug,
            landing_page="https://x.test/",
            status=self.any(("active", "active", "paused")),
            click_window_days=self.any((1, 2, 7, 60, 60)),
            device_window_days=self.any((None, None, 1, 7, 90)),
            customer_window_days=self.any((None, None, 1, 7, 30)),
            methods=methods,
            model=self.any(("last_click", "last_click", "first_click")),
            hold_days=self.any((0, 30)),
        )

    def _partner(self, ref: str) -> model.Partner:
        currency = self.any(CURRENCIES) if self.perhaps(0.5) else ""
        return model.Partner(
            ref=ref,
            client=self.slug,
            offers=tuple(self.chance.sample(self.offers, 2)),
            status="paused" if self.perhaps(0.1) else "active",
            currency={"one currency": "", "several": currency, "seldom quoted": "EUR"}[self.money],
        )

    def _promo_code(self, code: str) -> model.PromoCode:
        partner, offer = self.any(self.partners), self.any(("", *self.offers))
        return model.PromoCode(client=self.slug, code=self.any((code, code.lower())), partner=partner, offer=offer)

    def _rule(self, name: str) -> model.CommissionRule:
        fixed = self.perhaps(0.35) and self.money != "seldom quoted"
        applies_to = tuple(self.chance.sample(PAYMENTS if fixed else PAYMENTS[:2], self.chance.randrange(1, 3)))
        offer = self.any(self.offers)
        if name in GENERAL and self.perhaps(0.8):
            applies_to, offer = PAYMENTS[:2], GENERAL[name]
        bounds = {}
        if self.money != "seldom quoted":
            bounds["minimum"] = self.any((None, None, None, "0.75", "2"))
            bounds["maximum"] = self.any((None, None, None, "2", "3.5"))
        currency = self.any(CURRENCIES) if self.money == "several" else "USD"
        by_revenue = self.perhaps(0.4)
        steps = (self.any((1, 15, 20)), self.any((40, 120))) if by_revenue else (1, self.any((2, 3)))
        tiered = self.perhaps(0.8 if self.theme == "volume" else 0.3)
        tiers = tuple(model.Tier(after=after, **self._share(fixed)) for after in steps if tiered)
        begins = moment(self._turn() - self.any((0, DAY))) if self.perhaps(0.35) else model.BEGINNING
        ends = moment(self._turn() + self.any((0, DAY))) if self.perhaps(0.25) else model.END
        return model.CommissionRule(
            client=self.slug,
            name=name,
            offer=offer,
            partner=self.any(self.partners) if self.perhaps(0.2) else "",
            applies_to=applies_to,
            **self._share(fixed),
            **bounds,
            currency=currency if fixed or any(bounds.values()) else "",
            basis=self.any(("gross", "gross", "net_of_tax_and_shipping")),
            renewal_months=self.any((0, 1, 1, 2) if self.theme == "months" else (None, None, 0, 1, 2)),
            tier_by="revenue" if by_revenue else "sales",
            tiers=tiers,
            valid_from=begins,
            valid_to=max(ends, begins + dt.timedelta(milliseconds=1)),
        )

    def _share(self, fixed: bool) -> dict[str, Any]:
        if fixed:
            return {"fixed": self.any(("1.25", "0.005", "2.5", "10"))}
        return {"basis_points": self.any((1000, 2500, 333, 10_000, 1, 0))}

    def _reviews(self) -> list[Review]:
        """Some of several words on one sale, the last of which counts."""
        if not self.keys or self.perhaps(0.6):
            return []
        key, partner, at = self.any(self.keys), self.any(self.partners), self.anchor + 90 * DAY
        return [Review(at + n, key, partner, self.perhaps(0.5)) for n in range(self.any((1, 1, 2)))]


def _text(amount: Decimal) -> str:
    """As rows.py writes amounts: no exponent, no zeros at the end, at most four decimals."""
    return format(round(amount, 4).normalize() + 0, "f")
