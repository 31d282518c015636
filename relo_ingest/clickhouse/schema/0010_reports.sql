-- Reports for people: partners, offers, sub ids, funnels, and what other attribution models would say.
--
-- Views only: reads clicks, click_devices, attribution_rows, ledger_lines, holds, reviews and events, writes nothing,
-- and is safe when run again. Rows that were stored twice count once: clicks and devices are counted by id, money is
-- read with FINAL.
--
-- Days are UTC. Clicks and devices stand under the day of the click. Everything that follows from a sale stands under
-- the day of the sale, also when it happened later: its refunds, disputes and commissions.
--
-- Money is a map from currency to amount, so that different currencies are never added: revenue['EUR'] reads one of
-- them, and sumMap(revenue) adds up days. A partner's commission may be in another currency than the sale.

-- daily_facts: what the reports count: a row for each click of a person and device, each attributed conversion, and
-- each commission. payment is '' for clicks and commissions.
CREATE OR REPLACE VIEW daily_facts AS
SELECT k.client_id AS client_id, toDate(k.event_time) AS day, k.partner_ref AS partner_ref, k.offer AS offer,
       k.click_id AS click_id, true AS is_click, k.is_repeat AS is_repeat,
       if(k.device_id != '', k.device_id, d.device_id) AS device_id,
       '' AS payment, '' AS currency, toDecimal64(0, 4) AS revenue, toDecimal64(0, 4) AS refunds,
       toDecimal128(0, 4) AS pending, toDecimal128(0, 4) AS approved, toDecimal128(0, 4) AS reversed
FROM clicks AS k
LEFT JOIN click_devices AS d ON d.client_id = k.client_id AND d.click_id = k.click_id
WHERE NOT k.is_bot
UNION ALL
SELECT client_id, toDate(event_time), partner_ref, offer, click_id, false, false, '', payment, currency, revenue, refunded,
       0, 0, 0
FROM attribution_rows FINAL
WHERE NOT gone AND method != 'none'
UNION ALL
-- A rejected commission was taken back by a line of its own: what the last of them took.
SELECT c.client_id, toDate(a.event_time), c.partner_ref, a.offer, a.click_id, false, false, '', '', c.currency, 0, 0,
       if(c.status = 'pending', c.amount, 0), if(c.status = 'approved', c.amount, 0), r.rejected - c.reversed
FROM commissions AS c
INNER JOIN (SELECT * FROM attribution_rows FINAL) AS a ON a.client_id = c.client_id AND a.conversion_key = c.conversion_key
LEFT JOIN
(
    SELECT l.client_id AS client_id, l.conversion_key AS conversion_key, l.partner_ref AS partner_ref,
           l.currency AS currency, -argMax(l.amount, (l.created_at, l.entry_id)) AS rejected
    FROM (SELECT * FROM ledger_lines FINAL) AS l
    INNER JOIN (SELECT * FROM reviews FINAL) AS v
        ON v.client_id = l.client_id AND v.conversion_key = l.conversion_key AND v.partner_ref = l.partner_ref
    WHERE NOT v.approved AND l.part = 'earned' AND l.kind = 'reversal'
    GROUP BY client_id, conversion_key, partner_ref, currency
) AS r ON r.client_id = c.client_id AND r.conversion_key = c.conversion_key AND r.partner_ref = c.partner_ref
    AND r.currency = c.currency;

-- Three ways to look at the same figures, each with the columns
--   clicks, devices  of people: bots and prefetching browsers are left out
--   repeats          further clicks of the same device on the same link, shortly after: they are no part of clicks
--   sales, renewals  first and further payments; revenue and refunds are of both, refunds with what was charged back
--   commission_…     by its state now: pending (on hold, or waiting for its date), approved, reversed (taken back)
--   epc              earnings per click: commission that is pending or approved, by the clicks of that day
--   conversion_rate  sales by the clicks of that day
CREATE OR REPLACE VIEW partner_daily AS
SELECT client_id, day, partner_ref,
       uniqExactIf(f.click_id, f.is_click AND NOT f.is_repeat) AS clicks, uniqExactIf(f.click_id, f.is_repeat) AS repeats,
       uniqExactIf(f.device_id, f.device_id != '') AS devices,
       countIf(f.payment = 'lead') AS leads, countIf(f.payment = 'trial') AS trials,
       countIf(f.payment = 'first') AS sales, countIf(f.payment = 'renewal') AS renewals,
       sumMapIf(map(f.currency, f.revenue), f.revenue != 0) AS revenue,
       sumMapIf(map(f.currency, f.refunds), f.refunds != 0) AS refunds,
       sumMapIf(map(f.currency, f.pending), f.pending != 0) AS commission_pending,
       sumMapIf(map(f.currency, f.approved), f.approved != 0) AS commission_approved,
       sumMapIf(map(f.currency, f.reversed), f.reversed != 0) AS commission_reversed,
       mapFilter((c, v) -> clicks > 0, mapApply((c, v) -> (c, toDecimal128(v / greatest(clicks, 1), 4)),
           sumMapIf(map(f.currency, f.pending + f.approved), f.pending + f.approved != 0))) AS epc,
       if(clicks = 0, 0, sales / clicks) AS conversion_rate
FROM daily_facts AS f
GROUP BY client_id, day, partner_ref;

CREATE OR REPLACE VIEW offer_daily AS
SELECT client_id, day, offer,
       uniqExactIf(f.click_id, f.is_click AND NOT f.is_repeat) AS clicks, uniqExactIf(f.click_id, f.is_repeat) AS repeats,
       uniqExactIf(f.device_id, f.device_id != '') AS devices,
       countIf(f.payment = 'lead') AS leads, countIf(f.payment = 'trial') AS trials,
       countIf(f.payment = 'first') AS sales, countIf(f.payment = 'renewal') AS renewals,
       sumMapIf(map(f.currency, f.revenue), f.revenue != 0) AS revenue,
       sumMapIf(map(f.currency, f.refunds), f.refunds != 0) AS refunds,
       sumMapIf(map(f.currency, f.pending), f.pending != 0) AS commission_pending,
       sumMapIf(map(f.currency, f.approved), f.approved != 0) AS commission_approved,
       sumMapIf(map(f.currency, f.reversed), f.reversed != 0) AS commission_reversed,
       mapFilter((c, v) -> clicks > 0, mapApply((c, v) -> (c, toDecimal128(v / greatest(clicks, 1), 4)),
           sumMapIf(map(f.currency, f.pending + f.approved), f.pending + f.approved != 0))) AS epc,
       if(clicks = 0, 0, sales / clicks) AS conversion_rate
FROM daily_facts AS f
GROUP BY client_id, day, offer;

-- sub_id_daily: by offer, partner and each sub id that a click had: a sale belongs to those of the click that won it. A
-- click with s1 and s2 stands under both, so choose one sub_id before adding anything up.
CREATE OR REPLACE VIEW sub_id_daily AS
SELECT client_id, day, offer, partner_ref, sub_id, value,
       uniqExactIf(f.click_id, f.is_click AND NOT f.is_repeat) AS clicks, uniqExactIf(f.click_id, f.is_repeat) AS repeats,
       uniqExactIf(f.device_id, f.device_id != '') AS devices,
       countIf(f.payment = 'lead') AS leads, countIf(f.payment = 'trial') AS trials,
       countIf(f.payment = 'first') AS sales, countIf(f.payment = 'renewal') AS renewals,
       sumMapIf(map(f.currency, f.revenue), f.revenue != 0) AS revenue,
       sumMapIf(map(f.currency, f.refunds), f.refunds != 0) AS refunds,
       sumMapIf(map(f.currency, f.pending), f.pending != 0) AS commission_pending,
       sumMapIf(map(f.currency, f.approved), f.approved != 0) AS commission_approved,
       sumMapIf(map(f.currency, f.reversed), f.reversed != 0) AS commission_reversed,
       mapFilter((c, v) -> clicks > 0, mapApply((c, v) -> (c, toDecimal128(v / greatest(clicks, 1), 4)),
           sumMapIf(map(f.currency, f.pending + f.approved), f.pending + f.approved != 0))) AS epc,
       if(clicks = 0, 0, sales / clicks) AS conversion_rate
FROM
(
    SELECT a.*, s.sub.1 AS sub_id, s.sub.2 AS value
    FROM daily_facts AS a
    INNER JOIN
    (
        SELECT client_id, click_id, arrayJoin(arrayFilter(s -> s.2 != '', [
            ('s1', s1), ('s2', s2), ('s3', s3), ('s4', s4), ('s5', s5),
            ('s6', s6), ('s7', s7), ('s8', s8), ('s9', s9), ('s10', s10)])) AS sub
        FROM clicks
    ) AS s ON s.client_id = a.client_id AND s.click_id = a.click_id
) AS f
GROUP BY client_id, day, offer, partner_ref, sub_id, value;

-- funnel_steps: what a device did on the way to a payment. The same step may stand there twice.
CREATE OR REPLACE VIEW funnel_steps AS
SELECT client_id, event_time, device_id, toString(event_name) AS step
FROM events
WHERE device_id != '' AND NOT is_bot AND NOT is_test
  AND event_name IN ('page', 'view_product', 'add_to_cart', 'begin_checkout', 'purchase')
UNION ALL
SELECT c.client_id, c.event_time, d.device_id, 'purchase'
FROM conversion_reports AS c
INNER JOIN click_devices AS d ON d.client_id = c.client_id AND d.click_id = c.click_id
WHERE c.event_name = 'purchase' AND c.device_id = '' AND c.click_id != '' AND NOT c.is_test
UNION ALL
SELECT c.client_id, c.event_time, i.device_id, 'purchase'
FROM conversion_reports AS c
INNER JOIN identities AS i ON i.client_id = c.client_id AND i.email_hash = c.email_hash
WHERE c.event_name = 'purchase' AND c.device_id = '' AND c.email_hash != '' AND NOT c.is_test;

-- funnel_daily: of the devices that saw a page that day, how many went on, in this order and within 24 hours of it: to
-- a product, the cart, the checkout, a payment. A payment is its own device's; where it names none, it is that of each
-- device that was seen with its click or its e-mail hash. Bots and test payments are left out.
CREATE OR REPLACE VIEW funnel_daily AS
SELECT client_id, day,
       countIf(level >= 1) AS page, countIf(level >= 2) AS view_product, countIf(level >= 3) AS add_to_cart,
       countIf(level >= 4) AS begin_checkout, countIf(level >= 5) AS purchase
FROM
(
    SELECT client_id, day, device_id,
           windowFunnel(86400000)(
               toUInt64(greatest(0, toUnixTimestamp64Milli(s.event_time))),
               s.step = 'page' AND s.is_first_day, s.step = 'view_product', s.step = 'add_to_cart',
               s.step = 'begin_checkout', s.step = 'purchase'
           ) AS level
    FROM
    (
        -- What happened on a day is the start of that day's funnel, and may be a later step of the day before.
        SELECT client_id, toDate(event_time) AS day, true AS is_first_day, device_id, step, event_time FROM funnel_steps
        UNION ALL
        SELECT client_id, toDate(event_time) - 1, false, device_id, step, event_time FROM funnel_steps WHERE step != 'page'
    ) AS s
    GROUP BY client_id, day, device_id
)
GROUP BY client_id, day
HAVING page > 0;

-- attribution_models: the share of each click in a conversion under other models than the one that moves money. The
-- shares of one conversion add up to 1 in each column; touches are the clicks within the windows, whatever won.
--   last_click, first_click   all to one end
--   linear                    the same to each
--   position_based            40 % to the first, 40 % to the last, 20 % to those between; of two, half each
--   time_decay                half as much for each 7 days before the sale
CREATE OR REPLACE VIEW attribution_models AS
SELECT client_id, conversion_key, order_id, toDate(event_time) AS day, payment, revenue, currency,
       tupleElement(touch, 'click_id') AS click_id, tupleElement(touch, 'clicked_at') AS clicked_at,
       tupleElement(touch, 'partner_ref') AS partner_ref, tupleElement(touch, 'offer') AS offer,
       tupleElement(touch, 'method') AS method, position, touches,
       toFloat64(position = touches) AS last_click,
       toFloat64(position = 1) AS first_click,
       1 / touches AS linear,
       multiIf(touches = 1, 1., touches = 2, 0.5, position IN (1, touches), 0.4, 0.2 / (touches - 2)) AS position_based,
       weight / weights AS time_decay
FROM
(
    SELECT client_id, conversion_key, order_id, event_time, payment, revenue, currency, length(path) AS touches,
           arraySort(t -> (t.1, t.2), a.touches) AS path,
           arrayMap(t -> exp2(dateDiff('second', a.event_time, t.1) / 604800), path) AS decay,
           arraySum(decay) AS weights
    FROM (SELECT * FROM attribution_rows FINAL) AS a
    WHERE NOT gone
) AS p
ARRAY JOIN path AS touch, decay AS weight, arrayEnumerate(path) AS position;
