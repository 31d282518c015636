-- What partners earn: one accrual per attributed conversion.
-- Reads:  commission_todo (see that step), commission_rules, offers
-- Writes: ledger_entries
-- Twice:  entry_id follows from the conversion, so two runs at once write the same entry, which replaces itself.
--
-- The rule in force at the conversion's time applies, the partner's own before the offer's, the youngest first.
-- Rounded half-even to the currency's minor unit.

INSERT INTO ledger_entries (entry_id, client_id, conversion_key, partner_ref, kind, amount, currency, rule, hold_until, reason)
WITH
    priced AS
    (
        SELECT t.client_id AS client_id, t.conversion_key AS conversion_key, t.partner_ref AS partner_ref,
               t.revenue AS revenue, t.currency AS currency, t.event_time AS event_time, t.payment AS payment,
               t.digits AS digits, r.name AS rule, r.basis_points AS basis_points, o.hold_days AS hold_days,
               toDecimal128(t.revenue, 8) * r.basis_points / 10000 AS exact
        FROM commission_todo AS t
        INNER JOIN commission_rules AS r ON r.client_id = t.client_id AND r.offer = t.offer
        INNER JOIN offers AS o ON o.client_id = t.client_id AND o.slug = t.offer
        WHERE r.partner_ref IN ('', t.partner_ref)
          AND has(r.applies_to, t.payment)
          AND r.valid_from <= t.event_time AND t.event_time < r.valid_to
        ORDER BY r.partner_ref != '' DESC, r.valid_from DESC, r.name
        LIMIT 1 BY t.client_id, t.conversion_key
    )
SELECT
    concat('accrual-', lower(hex(SHA256(concat(toString(client_id), ' ', conversion_key))))) AS entry_id,
    client_id,
    conversion_key,
    partner_ref,
    'accrual',
    toDecimal64(multiIf(digits = 0, roundBankers(exact, 0), digits = 3, roundBankers(exact, 3), roundBankers(exact, 2)), 4) AS amount,
    currency,
    rule,
    event_time + toIntervalDay(hold_days),
    toJSONString(map(
        'payment', payment, 'revenue', toString(revenue), 'basis_points', toString(basis_points), 'exact', toString(exact)
    ))
FROM priced
