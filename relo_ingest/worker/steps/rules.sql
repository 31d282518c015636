-- Which rule pays for each sale, and what the ledger has of it.
-- Reads:  todo, answers, the terms, ledger_lines
-- Writes: the temporary tables entries, lines, frozen, ruled, and volumes, empty
-- Twice:  they are made anew.

CREATE OR REPLACE TEMPORARY TABLE entries ENGINE = Memory AS
SELECT entry_id, client_id, conversion_key, partner_ref, currency, part, amount, sale_currency, sale_day, rate, rule_currency,
       rule_rate, hold_until, created_at
FROM ledger_lines FINAL
PREWHERE conversion_key IN (SELECT conversion_key FROM todo)
  AND (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM todo);

CREATE OR REPLACE TEMPORARY TABLE lines ENGINE = Memory AS
SELECT client_id, conversion_key, partner_ref, currency, part, sum(e.amount) AS amount, count() AS n,
       max(e.hold_until) AS hold_until
FROM entries AS e
GROUP BY client_id, conversion_key, partner_ref, currency, part;

-- A rate that a line was written with stays, for the same two currencies and the same day of the sale.
CREATE OR REPLACE TEMPORARY TABLE frozen ENGINE = Memory AS
SELECT client_id, conversion_key, partner_ref, code, currency AS entry_currency, day, argMin(f.rate, (f.created_at, f.entry_id)) AS rate
FROM
(
    SELECT client_id, conversion_key, partner_ref, sale_currency AS code, currency, sale_day AS day, rate, created_at, entry_id FROM entries
    UNION ALL
    SELECT client_id, conversion_key, partner_ref, rule_currency, currency, sale_day, rule_rate, created_at, entry_id FROM entries
) AS f
WHERE f.rate > 0 AND code != ''
GROUP BY client_id, conversion_key, partner_ref, code, entry_currency, day;

CREATE OR REPLACE TEMPORARY TABLE ruled ENGINE = Memory AS
SELECT a.client_id AS client_id, a.conversion_key AS conversion_key, a.partner_ref AS partner_ref, a.offer AS offer,
       a.event_time AS event_time, toDate(a.event_time) AS day, a.revenue AS revenue, a.refunded AS refunded,
       a.charged_back AS charged_back, a.currency AS currency, a.payment AS payment,
       if(r.net, greatest(a.revenue - a.tax - a.shipping, 0), a.revenue) AS base,
       r.rule AS rule, r.is_fixed AS is_fixed, r.basis_points AS basis_points, r.fixed AS fixed, r.minimum AS minimum,
       r.maximum AS maximum, r.currency AS rule_currency, r.tiers AS tiers, r.by_revenue AS by_revenue,
       a.payment = 'renewal' AND a.event_time >= addMonths(a.started_at, r.renewal_months) + INTERVAL 1 DAY AS too_late,
       multiIf(t.currency != '', t.currency, r.is_fixed, r.currency, a.currency) AS entry_currency,
       a.event_time + toIntervalDay(o.hold_days) AS hold_until
FROM answers AS a
INNER JOIN rule_terms AS r ON r.client_id = a.client_id AND r.offer = a.offer
INNER JOIN partner_terms AS t ON t.client_id = a.client_id AND t.partner_ref = a.partner_ref
INNER JOIN offer_terms AS o ON o.client_id = a.client_id AND o.offer = a.offer
WHERE a.method != 'none'
  AND r.from_ms <= a.at_ms AND a.at_ms < r.until_ms AND r.valid_from <= a.event_time AND a.event_time < r.valid_to
  AND t.from_ms <= a.at_ms AND a.at_ms < t.until_ms
  AND o.from_ms <= a.at_ms AND a.at_ms < o.until_ms
  AND r.partner_ref IN ('', a.partner_ref) AND has(r.applies_to, a.payment)
ORDER BY r.partner_ref != '' DESC, r.valid_from DESC, r.rule
LIMIT 1 BY a.client_id, a.conversion_key;

CREATE OR REPLACE TEMPORARY TABLE volumes (client_id UInt32, conversion_key String, sales UInt64, sold Decimal(38, 4)) ENGINE = Memory;
