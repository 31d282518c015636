"""The facts of one payment as sentences, a function for each part. What was looked for and not found is told too."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from relo_ingest.explain import price
from relo_ingest.explain.facts import Click, Facts, Reason, Relative, decoded
from relo_ingest.explain.words import day, listed, money, percent, plain, short, signed, span, when
from relo_ingest.money import minor_digits

PAYMENTS = {
    "first": "a first payment",
    "renewal": "a renewal",
    "trial": "a sale that cost nothing (a trial, or a full discount)",
    "lead": "a lead",
}
KNOWN_BY = {
    "payment": "named by the payment",
    "click": "seen with its click",
    "email": "seen with its e-mail hash",
    "connected": "connected: it shares an address with one of those",
}
CLOSENESS = {3: "named by the payment", 2: "seen on a device of the payment", 1: "seen on a connected device"}
REVERSALS = {
    "refund": "a refund was reported",
    "refund_failed": "a refund failed: the money stays",
    "chargeback_opened": "a dispute was opened",
    "chargeback": "a dispute withdrew the money",
    "chargeback_reversed": "the disputed money came back",
    "chargeback_closed": "the dispute was closed",
}
SHOWN = 20
"""Devices and clicks that are told one by one."""
NOT_KNOWN_THEN = "by what the worker knew when it looked."


def tell(facts: Facts, slug: str) -> Iterator[str]:
    """The whole story, in order; parts are indented under their title."""
    yield f"{facts.payment.conversion_key}, client {slug}"
    for title, part in (
        ("What was paid", paid),
        ("What it carried", carried),
        ("What was found", found),
        ("Who earns", winner),
        ("What is earned", earned),
        ("What went back", went_back),
        ("Holds and reviews", reviewed),
        ("The ledger", ledger),
        ("When it is due", due),
    ):
        lines = list(part(facts))
        if lines:
            yield ""
            yield title
            yield from (f"  {line}" for line in lines)


def paid(facts: Facts) -> Iterator[str]:
    p = facts.payment
    kind = PAYMENTS.get(p.payment or ("renewal" if p.kind == "renewal" else ""), "a payment")
    yield f"{money(p.revenue, p.currency)} on {when(p.at)}: {kind}."
    if p.tax or p.shipping:
        yield f"Of that {money(p.tax, p.currency)} are tax and {money(p.shipping, p.currency)} shipping."
    if p.is_test:
        yield "It was made in test mode: it earns nothing."
    if p.counts_from > p.at:
        yield f"Only its invoice is known: it counts from {when(p.counts_from)}, unless a session for it comes first."


def carried(facts: Facts) -> Iterator[str]:
    p = facts.payment
    for what, value in (
        ("order", p.order_id),
        ("customer", p.customer_ref),
        ("subscription", p.subscription),
        ("click id", p.click_id),
        ("promo code", p.promo_code),
        ("device", p.device_id),
        ("e-mail hash", short(p.email_hash)),
        ("other ids", listed([r for r in p.refs if r != p.order_id])),
    ):
        if value:
            yield f"{what}: {value}"


def found(facts: Facts) -> Iterator[str]:
    p = facts.payment
    if p.is_test:
        return
    yield from _promo(facts)
    for d in facts.devices[:SHOWN]:
        how = [text for name, text in KNOWN_BY.items() if name in d.known_by]
        yield f"Device {d.device_id}: {listed(how)}."
    if len(facts.devices) > SHOWN:
        yield f"And {len(facts.devices) - SHOWN} more devices."
    shown = _shown(facts)
    if len(facts.clicks) > len(shown):
        yield f"{len(facts.clicks)} clicks; the last of them:"
    for click in shown:
        if click.objection == "unknown":
            yield f"The click {click.click_id} that it names is not one of this client's."
            continue
        before = span(p.at - click.clicked_at) + (" before" if p.at >= click.clicked_at else " after")
        yield (f"Click {click.click_id} on {click.partner_ref}'s link, {when(click.clicked_at)}, {before}; "
               f"{CLOSENESS[click.closeness]}. {_objection(click)}")  # fmt: skip
    for r in facts.relatives:
        of = "subscription" if r.of_subscription else "customer"
        whose = f"{r.partner_ref}'s, by {r.method}" if r.partner_ref else "nobody's"
        if r.own_partner not in ("", r.partner_ref):
            whose += f", and {r.own_partner}'s by what it carried itself"
        which = f"{money(r.revenue, r.currency)} on {when(r.at)} ({r.conversion_key})"
        yield f"Earlier payment of the same {of}: {which}, {whose}.{_forgotten(r, facts.bringer)}"
    yield from _not_found(facts)


def _shown(facts: Facts) -> list[Click]:
    """The clicks that are told: the last ones, and the winner."""
    won = facts.payment.winning_click
    return [c for n, c in enumerate(facts.clicks, SHOWN - len(facts.clicks)) if n >= 0 or c.click_id == won]


def _promo(facts: Facts) -> Iterator[str]:
    code, promo = facts.payment.promo_code, facts.promo
    if not code:
        return
    if promo is None:
        yield f"The promo code {code} is no partner's."
        return
    counts = {
        "partner": f"It does not count: {promo.partner_ref} was not active then.",
        "offer": f"It does not count: there was no offer {promo.offer} then.",
        "method": f"It does not count: the offer {promo.offer} takes no codes.",
        "": "It counts.",
    }[promo.objection]
    yield f"The promo code {code} is {promo.partner_ref}'s. {counts}"


def _forgotten(relative: Relative, bringer: Relative | None) -> str:
    if relative.objection == "not first" and bringer is not None:
        first = "goes before it, being of the same subscription" if _is_nearer(bringer, relative) else "came before it"
        return f" It does not count: {bringer.conversion_key} {first}."
    return {
        "partner": f" It does not count: {relative.own_partner} was not active any more.",
        "offer": f" It does not count: there was no offer {relative.offer} any more.",
        "method": f" It does not count: the offer {relative.offer} remembers no customers.",
        "window": f" It does not count: customers are remembered for {relative.window_days} days.",
    }.get(relative.objection, "")


def _is_nearer(one: Relative, other: Relative) -> bool:
    return one.of_subscription and not other.of_subscription


def _objection(click: Click) -> str:
    return {
        "partner": f"It does not count: {click.partner_ref} was not active then.",
        "offer": f"It does not count: there was no offer {click.offer} then.",
        "later": "It does not count: it came after the payment.",
        "window": f"It does not count: the window is {click.window_days} days.",
        "method": f"It does not count: the offer {click.offer} takes no {click.method}.",
        "": "It counts.",
    }[click.objection]


def _not_found(facts: Facts) -> Iterator[str]:
    p = facts.payment
    missing = [
        what
        for what, there in (
            ("a promo code", p.promo_code),
            ("a click id", p.click_id),
            ("a device", facts.devices),
            ("a click", facts.clicks),
            ("an earlier payment of the same customer", facts.relatives),
        )
        if not there
    ]
    if missing:
        yield f"Looked for, and not found: {listed(missing)}."


def winner(facts: Facts) -> Iterator[str]:
    p = facts.payment
    if p.is_test:
        return
    if not p.method:
        yield "Nobody yet: the worker has not looked at this payment."
        return
    if p.method == "none":
        yield "Nobody: nothing that was found counts. What was seen within 72 hours after the payment still may."
        return
    yield f"{p.partner_ref} on the offer {p.offer}, by {p.method}: {_why_it_won(facts)}"
    yield from _losers(facts)


def _why_it_won(facts: Facts) -> str:
    p = facts.payment
    if p.method == "promo_code":
        return f"the code {p.promo_code} was used."
    if p.method == "customer":
        by = facts.bringer
        if by is None or by.own_partner != p.partner_ref:  # the tables have moved on: what the worker wrote then
            return f"{decoded(p.reason).get('evidence', 'the partner brought the customer')}."
        return f"{p.partner_ref} brought the customer with the payment {by.conversion_key} of {day(by.at)}."
    won = facts.winner
    if won is None:  # the tables have moved on: what the worker wrote then
        return f"{decoded(p.reason).get('evidence', 'the click counts')} ({p.winning_click})."
    named = f"click {won.click_id} of {when(won.clicked_at)}"
    if won.closeness == 3 and not won.first_click:
        return f"the payment names the {named}."
    how = CLOSENESS[won.closeness]
    others = [c for c in facts.counting if c is not won]
    if not others:
        return f"{named} is the only one that counts, {how}."
    if won.first_click:
        return f"{named} is the first one that counts on the offer {won.offer}, {how}."
    if all(_place(c) < _place(won) for c in others):
        return f"{named} is the last one that counts, {how}."
    return f"{named} goes before later ones, {how}."


def _place(click: Click) -> tuple[int, str]:
    return click.clicked_at, click.click_id


def _losers(facts: Facts) -> Iterator[str]:
    p = facts.payment
    if facts.promo and not facts.promo.objection and p.method != "promo_code":
        yield f"{facts.promo.partner_ref} lost with the promo code {p.promo_code}: {_weaker('promo_code', facts)}"
    for c in _shown(facts):
        if not c.objection and c.click_id != p.winning_click:
            yield f"{c.partner_ref} lost with the click {c.click_id}: {_why_it_lost(c, facts)}"
    by = facts.bringer
    if by and not by.objection and by.own_partner != p.partner_ref and p.method != "customer":
        yield f"{by.own_partner} lost with the earlier payment {by.conversion_key}: {_weaker('customer', facts)}"


def _why_it_lost(click: Click, facts: Facts) -> str:
    won, decider = facts.winner, facts.decider
    if won is None or decider is None:
        return _weaker(click.method, facts) if not facts.payment.winning_click else NOT_KNOWN_THEN
    if not won.first_click or (won.offer != click.offer and decider is won):
        return _why_it_is_weaker(click, won)
    if won.offer != click.offer:
        why = _why_it_is_weaker(click, decider)
        return f"the offer {won.offer} goes before {click.offer} with its click {decider.click_id}: {why}"
    if _place(click) < _place(won):
        return NOT_KNOWN_THEN
    if click.clicked_at == won.clicked_at:
        return "of two clicks at the same moment, the smaller id is the first."
    return "the offer pays the first click, and it came later."


def _why_it_is_weaker(click: Click, than: Click) -> str:
    """Why one of two clicks that count goes before the other, their models aside."""
    if click.strength > than.strength:
        return NOT_KNOWN_THEN
    if click.method != than.method:
        return f"{than.method} goes before {click.method} here."
    if click.strength[0] != than.strength[0]:
        return f"{than.method} comes earlier among the methods of the offer {than.offer}."
    if click.closeness != than.closeness:
        return f"it was {CLOSENESS[click.closeness]}, and {than.click_id} {CLOSENESS[than.closeness]}."
    if click.clicked_at == than.clicked_at:
        return "of two clicks at the same moment, the larger id wins."
    return "it came earlier, and the last click wins."


def _weaker(method: str, facts: Facts) -> str:
    """Why a method lost against the one that won."""
    if facts.payment.method == "customer" and facts.payment.payment == "renewal":
        return "a renewal belongs to whoever brought the customer."
    # Against a code it is not the first click of an offer that stands, but its strongest.
    won = facts.decider.method if facts.decider and method == "promo_code" else facts.payment.method
    return f"{won} goes before {method} here."


def earned(facts: Facts) -> Iterator[str]:
    p = facts.payment
    if p.method in ("", "none") or p.is_test:
        return
    if facts.computed is None:
        yield from _why_nothing_is_earned(facts)
        return
    computed = price.of_line(facts.computed)
    yield from _arithmetic(facts, computed)
    if computed.told.get("too_late"):
        yield f"It is paid no more: {computed.told['too_late']}."
    if facts.is_rejected:
        yield "It was rejected in a review, and is not paid."


def _why_nothing_is_earned(facts: Facts) -> Iterator[str]:
    p, rule = facts.payment, facts.rule
    if rule is None or facts.price is None:
        kind = PAYMENTS.get(p.payment, p.payment)
        yield f"Nothing: no commission rule of the offer {p.offer} pays {p.partner_ref} for {kind} of that time."
        return
    if facts.is_rejected:
        yield f"Nothing: the rule {rule.rule} applies, and the commission was rejected in a review."
        return
    if facts.price.too_late:
        first = f"the first payment, that of {day(facts.started_at)}"
        months = f"{rule.renewal_months} month{'' if rule.renewal_months == 1 else 's'}"
        yield f"Nothing: the rule {rule.rule} pays renewals for {months} after {first}."
        return
    computed = price.of_payment(p, rule, facts.price)
    if computed is None:
        yield f"Nothing yet: the rule {rule.rule} applies, and an exchange rate of that day or the 7 before is missing."
        return
    yield from _arithmetic(facts, computed)
    exact = _number(computed.told, "exact") or Decimal(0)
    rounds_to_nothing = not round(exact, minor_digits(computed.currency))
    yield "So nothing is earned." if rounds_to_nothing else "Nothing yet: the worker has still to write it."


def _arithmetic(facts: Facts, computed: price.Arithmetic) -> Iterator[str]:
    """From what was paid to the amount that is earned."""
    p, told = facts.payment, computed.told
    rule = next((r for r in facts.rules if r.rule == computed.rule), None)
    alone = f", which is for {rule.partner_ref} alone," if rule and rule.partner_ref else ""
    yield f"The rule {computed.rule}{alone} was in force on {day(p.at)}."
    if told.get("tier"):
        yield f"The month's step {told['tier']} was reached before this sale."
    base, fixed, exact = _number(told, "base"), _number(told, "fixed"), _number(told, "exact")
    if base is None:
        base = p.revenue
    if rule and rule.net:
        off = f"{money(p.tax, p.currency)} tax and {money(p.shipping, p.currency)} shipping"
        yield f"It pays on {money(p.revenue, p.currency)} less {off}: {money(base, p.currency)}."
    if fixed is not None:
        currency = str(told["fixed"]).partition(" ")[2] or computed.currency
        factor, amount, sentence = computed.rule_rate, fixed, f"It pays a fixed {money(fixed, currency)}"
    else:
        share = _number(told, "basis_points") or Decimal(0)
        currency, factor, amount = p.currency, computed.rate, base * share / 10_000
        sentence = f"{percent(share)} of {money(base, currency)} is exactly {money(amount, currency)}"
    if currency != computed.currency:
        amount *= factor
        sentence += f"; at the day's rate of {plain(factor)} that is {money(amount, computed.currency)}"
    yield f"{sentence}."
    if exact is None:
        exact = amount
    if exact != amount:
        bound = "minimum" if exact > amount else "maximum"
        of = f" of {money(getattr(rule, bound), rule.currency)}" if rule else ""
        yield f"The rule's {bound}{of} makes it {money(exact, computed.currency)}."
    digits = minor_digits(computed.currency)
    rounded = round(exact, digits)
    if rounded != exact:
        yield f"Rounded half-even to {digits} decimals: {money(rounded, computed.currency)}."


def _number(told: Reason, name: str) -> Decimal | None:
    """The amount of a reason, with or without its currency; None where there is none."""
    try:
        return Decimal(str(told.get(name, "")).partition(" ")[0])
    except InvalidOperation:
        return None


def went_back(facts: Facts) -> Iterator[str]:
    p = facts.payment
    for r in facts.reversals:
        status = f" ({r.status})" if r.status else ""
        amount = f", {money(r.amount, r.currency)}" if r.amount else ""
        named = f", {r.object}" if r.object else ""
        yield f"{when(r.at)}: {REVERSALS.get(r.event_name, r.event_name)}{named}{amount}{status}."
    if p.refunded:
        yield f"Refunded so far: {money(p.refunded, p.currency)} of {money(p.revenue, p.currency)}."
    for c in facts.commissions:
        if c.earned and 0 < p.refunded < p.revenue and not p.charged_back:
            exact = c.earned * p.refunded / p.revenue
            share = (
                f"{money(c.earned, c.currency)} × {plain(p.refunded)} / {plain(p.revenue)} = {plain(round(exact, 6))}"
            )
            taken = money(round(exact, minor_digits(c.currency)), c.currency)
            yield f"Of the commission goes back: {share}, rounded half-even {taken}."
    if p.charged_back:
        yield f"Withdrawn by a dispute: {money(p.charged_back, p.currency)}. While it is, nothing is earned."
    elif any(r.event_name == "chargeback" for r in facts.reversals):
        yield "What disputes withdrew has come back."


def reviewed(facts: Facts) -> Iterator[str]:
    for d in facts.decisions:
        if not d.is_review:
            yield f"{when(d.at)}: on hold for {d.code} ({d.partner_ref}): {d.evidence}"
            continue
        what = "approved" if d.approved else "rejected"
        of = f", having seen {listed(d.codes)}" if d.codes else ""
        yield f"{when(d.at)}: {what} for {d.partner_ref}{of}{f': {d.note}' if d.note else ''}."


def ledger(facts: Facts) -> Iterator[str]:
    for line in facts.lines:
        cause = line.told().get("cause")
        because = f": {cause}" if cause else ""
        yield f"{when(line.created_at)}  {line.partner_ref}  {line.kind}  {signed(line.amount, line.currency)}{because}"
    if len(facts.lines) > 1:
        sums = [f"{c.partner_ref} {money(c.amount, c.currency)}" for c in facts.commissions]
        yield f"Together: {listed(sums)}."


def due(facts: Facts) -> Iterator[str]:
    open_for = {d.partner_ref: d for d in facts.decisions if not d.is_review}
    for c in facts.commissions:
        amount = f"{c.partner_ref}: {money(c.amount, c.currency)}"
        if c.amount == 0:
            yield f"{amount}. Nothing is left."
        elif c.status == "approved":
            yield f"{amount}, approved since {day(c.hold_until)}."
        elif c.partner_ref in open_for and _is_open(facts, c.partner_ref):
            yield f"{amount}, on hold until it is reviewed (`relo review`), and not before {day(c.hold_until)}."
        else:
            yield f"{amount}, pending until {day(c.hold_until)}."


def _is_open(facts: Facts, partner: str) -> bool:
    seen = {code for d in facts.decisions if d.is_review and d.partner_ref == partner for code in d.codes}
    return any(not d.is_review and d.partner_ref == partner and d.code not in seen for d in facts.decisions)
