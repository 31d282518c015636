-- What each partner has earned, and what is missing from the ledger for that.
-- Reads:  ruled, volumes, frozen, lines, answers, rates, reviews
-- Writes: the temporary tables day_rates, said, carried_reviews, rated, computed, rounded, priced, new_lines
-- Twice:  they are made anew.
--
-- All arithmetic is in integers: amounts in 1/10000, rates in 10^-10, so a commission comes out in 10^-18, and is rounded
-- half-even, once, to the minor unit of the entry's currency. {whole} and {thousandths}: currencies with 0 and 3 decimals.

CREATE OR REPLACE TEMPORARY TABLE day_rates ENGINE = Memory AS
SELECT n.code AS currency, n.day AS day, if(r.day + 7 >= n.day, toInt256(toDecimal256(r.rate, 8) * 100000000), toInt256(0)) AS rate
FROM
(
    SELECT DISTINCT arrayJoin([currency, entry_currency, rule_currency]) AS code, day
    FROM ruled
    WHERE currency != entry_currency OR (rule_currency != '' AND rule_currency != entry_currency)
) AS n
ASOF INNER JOIN (SELECT currency, day, any(s.rate) AS rate FROM rates AS s GROUP BY currency, day) AS r
    ON r.currency = n.code AND n.day >= r.day;

-- What a person said last of a payment, under whatever key it had then.
CREATE OR REPLACE TEMPORARY TABLE said ENGINE = Memory AS
SELECT client_id, conversion_key, partner_ref, r.last.1 AS approved, r.last.2 AS codes, r.last.3 AS note, r.last.4 AS reviewed_at,
       r.last.5 AS said_of
FROM
(
    SELECT k.client_id AS client_id, k.conversion_key AS conversion_key, w.partner_ref AS partner_ref,
           argMax((w.approved, w.codes, w.note, w.reviewed_at, w.conversion_key),
                  (w.reviewed_at, w.conversion_key = k.conversion_key, w.conversion_key)) AS last
    FROM
    (
        SELECT client_id, conversion_key, arrayJoin(arrayDistinct(arrayPushFront(merged_keys, conversion_key))) AS former_key
        FROM answers
    ) AS k
    INNER JOIN
    (
        SELECT * FROM reviews FINAL
        WHERE (client_id, conversion_key) IN
              (SELECT client_id, arrayJoin(arrayPushFront(merged_keys, conversion_key)) FROM answers)
    ) AS w ON w.client_id = k.client_id AND w.conversion_key = k.former_key
    GROUP BY client_id, conversion_key, partner_ref
) AS r;

CREATE OR REPLACE TEMPORARY TABLE carried_reviews ENGINE = Memory AS
SELECT client_id, conversion_key, partner_ref, approved, codes, note, reviewed_at
FROM said
WHERE said_of != conversion_key;

-- The step that the month has reached, and the rates.
CREATE OR REPLACE TEMPORARY TABLE rated ENGINE = Memory AS
WITH
    (n, d) -> intDiv(n, d) + toInt256(2 * (n % d) > d OR (2 * (n % d) = d AND intDiv(n, d) % 2 = 1)) AS half_even,
    toInt256(10000000000) AS one
SELECT *,
       arrayLast(t -> t.1 <= if(by_revenue, toUInt64(sold), toUInt64(sales)), tiers) AS tier,
       if(tier.1 > 0, tier.2, basis_points) AS share,
       if(tier.1 > 0, tier.3, fixed) AS amount,
       multiIf(currency = entry_currency, one, first_rate > 0, toInt256(toDecimal256(first_rate, 10) * 10000000000),
               sale_day_rate > 0 AND entry_day_rate > 0, half_even(entry_day_rate * one, sale_day_rate), toInt256(0)) AS rate,
       multiIf(rule_currency IN ('', entry_currency), one,
               first_rule_rate > 0, toInt256(toDecimal256(first_rule_rate, 10) * 10000000000),
               rule_day_rate > 0 AND entry_day_rate > 0, half_even(entry_day_rate * one, rule_day_rate), toInt256(0)) AS rule_rate
FROM ruled
LEFT JOIN volumes USING (client_id, conversion_key)
LEFT JOIN (SELECT currency, day, rate AS sale_day_rate FROM day_rates) AS s USING (currency, day)
LEFT JOIN (SELECT currency AS entry_currency, day, rate AS entry_day_rate FROM day_rates) AS e USING (entry_currency, day)
LEFT JOIN (SELECT currency AS rule_currency, day, rate AS rule_day_rate FROM day_rates) AS x USING (rule_currency, day)
LEFT JOIN (SELECT client_id, conversion_key, partner_ref, code AS currency, entry_currency, day, rate AS first_rate FROM frozen) AS l
    USING (client_id, conversion_key, partner_ref, currency, entry_currency, day)
LEFT JOIN (SELECT client_id, conversion_key, partner_ref, code AS rule_currency, entry_currency, day, rate AS first_rule_rate FROM frozen) AS q
    USING (client_id, conversion_key, partner_ref, rule_currency, entry_currency, day)
LEFT JOIN (SELECT client_id, conversion_key, partner_ref, NOT approved AS rejected FROM said) AS w
    USING (client_id, conversion_key, partner_ref)
WHERE (rate > 0 OR is_fixed) AND rule_rate > 0;

CREATE OR REPLACE TEMPORARY TABLE computed ENGINE = Memory AS
WITH
    (money) -> toInt256(toDecimal256(money, 4) * 10000) AS units,
    if(is_fixed, units(amount) * rule_rate * 10000, units(base) * share * rate) AS unbounded
SELECT *,
       units(revenue) AS revenue_units,
       units(refunded) AS refunded_units,
       multiIf(has({whole:Array(String)}, entry_currency), 0, has({thousandths:Array(String)}, entry_currency), 3, 2) AS digits,
       least(greatest(unbounded, units(minimum) * rule_rate * 10000), units(maximum) * rule_rate * 10000) AS exact
FROM rated;

CREATE OR REPLACE TEMPORARY TABLE rounded ENGINE = Memory AS
WITH (n, d) -> intDiv(n, d) + toInt256(2 * (n % d) > d OR (2 * (n % d) = d AND intDiv(n, d) % 2 = 1)) AS half_even
SELECT *, if(too_late OR rejected, toInt256(0), half_even(exact, toInt256(exp10(18 - digits)))) AS minor
FROM computed;

CREATE OR REPLACE TEMPORARY TABLE priced ENGINE = Memory AS
WITH
    (n, d) -> intDiv(n, d) + toInt256(2 * (n % d) > d OR (2 * (n % d) = d AND intDiv(n, d) % 2 = 1)) AS half_even,
    (n) -> toDecimal64(toDecimal128(n * toInt256(exp10(4 - digits)), 4) / 10000, 4) AS money
SELECT
    client_id, conversion_key, partner_ref, entry_currency AS currency, rule, rule_currency, hold_until, rejected,
    money(minor) AS earned,
    money(multiIf(charged_back > 0 OR (revenue_units > 0 AND refunded_units >= revenue_units), minor,
                  revenue_units = 0, toInt256(0),
                  half_even(minor * refunded_units, revenue_units))) AS given_back,
    rounded.currency AS sale_currency, day AS sale_day,
    toDecimal128(toDecimal256(rounded.rate, 10) / 10000000000, 10) AS rate,
    toDecimal128(toDecimal256(rounded.rule_rate, 10) / 10000000000, 10) AS rule_rate,
    map('payment', payment, 'revenue', concat(toString(revenue), ' ', rounded.currency), 'base', toString(base),
        'basis_points', if(is_fixed, '', toString(share)),
        'fixed', if(is_fixed, concat(toString(amount), ' ', rule_currency), ''),
        'tier', if(tier.1 > 0, concat('after ', toString(tier.1), ' ', if(by_revenue, rounded.currency, 'sales')), ''),
        'exact', toString(toDecimal256(exact, 18) / 1000000000000000000),
        'rate', if(rounded.currency = entry_currency, '', toString(rate)),
        'too_late', if(too_late, 'after the months that renewals count', ''),
        'refunded', toString(refunded), 'charged_back', toString(charged_back)) AS arithmetic
FROM rounded;

CREATE OR REPLACE TEMPORARY TABLE new_lines ENGINE = Memory AS
WITH
    targets AS
    (
        SELECT client_id, conversion_key, partner_ref, currency, 'earned' AS part, toDecimal128(earned, 4) AS amount
        FROM priced
        UNION ALL
        SELECT client_id, conversion_key, partner_ref, currency, 'reversed', -toDecimal128(given_back, 4)
        FROM priced
    ),
    missing AS
    (
        SELECT client_id, conversion_key, partner_ref, currency, part, sum(m.amount) AS amount, sum(m.n) AS n, max(m.hold_until) AS hold_until
        FROM
        (
            SELECT *, 0 AS n, toDateTime64(0, 3, 'UTC') AS hold_until FROM targets
            UNION ALL
            SELECT client_id, conversion_key, partner_ref, currency, part, -toDecimal128(l.amount, 4) AS amount, l.n AS n, hold_until
            FROM lines AS l
        ) AS m
        GROUP BY client_id, conversion_key, partner_ref, currency, part
        HAVING amount != 0
    )
SELECT
    substring(lower(hex(SHA256(concat(toString(m.client_id), ' ', m.conversion_key, ' ', m.partner_ref, ' ', m.currency, ' ', m.part, ' ',
                                      toString(m.n))))), 1, 32) AS entry_id,
    m.client_id AS client_id, m.conversion_key AS conversion_key, m.partner_ref AS partner_ref,
    multiIf(p.partner_ref = '', 'adjustment',
            m.part = 'earned' AND m.n = 0, 'accrual',
            m.part = 'earned' AND m.amount < 0 AND p.rejected, 'reversal',
            m.part = 'earned', 'adjustment',
            m.amount < 0, 'reversal',
            a.withdrawn > 0 AND a.charged_back = 0, 'accrual',
            'adjustment') AS kind,
    toDecimal64(m.amount, 4) AS amount,
    m.currency AS currency, p.rule AS rule,
    if(p.partner_ref = '', m.hold_until, p.hold_until) AS hold_until,
    toJSONString(mapUpdate(
        map('cause', multiIf(
            a.conversion_key = '', 'this is no sale of its own any more: merged with another, or a test',
            p.partner_ref = '' AND a.partner_ref = m.partner_ref AND x.conversion_key != '',
                'by what is known now it is paid in another currency, and an exchange rate is missing',
            p.partner_ref = '' AND a.partner_ref = m.partner_ref, 'no rule pays for this any more',
            p.partner_ref = '', concat('by what is known now the sale is ', if(a.partner_ref = '', 'nobody''s', concat('of ', a.partner_ref))),
            p.rejected AND m.amount < 0, 'rejected in a review',
            m.part = 'earned' AND m.n = 0, concat('commission for a ', a.payment, if(a.payment IN ('first', 'renewal'), ' payment', '')),
            m.part = 'earned', 'by what is known now the commission is another',
            m.amount < 0 AND a.charged_back > 0, 'a dispute withdrew the money',
            m.amount < 0, 'money was refunded',
            a.withdrawn > 0 AND a.charged_back = 0, 'the dispute was won: the money came back',
            'less was refunded than was known')),
        p.arithmetic)) AS reason,
    m.part AS part, p.sale_currency AS sale_currency, p.sale_day AS sale_day, p.rate AS rate, p.rule_currency AS rule_currency,
    p.rule_rate AS rule_rate
FROM missing AS m
LEFT JOIN answers AS a ON a.client_id = m.client_id AND a.conversion_key = m.conversion_key
LEFT JOIN priced AS p ON p.client_id = m.client_id AND p.conversion_key = m.conversion_key AND p.partner_ref = m.partner_ref
    AND p.currency = m.currency
LEFT JOIN (SELECT client_id, conversion_key FROM ruled WHERE (client_id, conversion_key) NOT IN (SELECT client_id, conversion_key FROM rated)) AS x
    ON x.client_id = m.client_id AND x.conversion_key = m.conversion_key;
