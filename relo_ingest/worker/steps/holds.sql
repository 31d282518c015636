-- What a person should look at before it is paid.
-- Reads:  answers, priced, devices, addresses, the terms, partner_hours, network_clicks, dependencies, attribution_rows,
--         partner_sales, holds
-- Writes: the temporary tables suspects, winners, won, crowded, hours, busy, minutes, bursts, sketched,
--         doubtful, new_holds
-- Twice:  they are made anew.

CREATE OR REPLACE TEMPORARY TABLE suspects ENGINE = Memory AS
SELECT a.client_id AS client_id, a.conversion_key AS conversion_key, a.partner_ref AS partner_ref, a.method AS method,
       a.click_id AS click_id, a.clicked_at AS clicked_at, a.ip AS ip,
       a.event_time AS event_time, a.payment AS payment,
       a.email_hash AS email_hash, t.email_hash AS partner_email, t.devices AS partner_devices, o.self_referral AS self_referral,
       o.fastest_s AS fastest_s, o.clicks_per_network AS clicks_per_network,
       o.conversions_per_click AS conversions_per_click, o.refund_percent AS refund_percent
FROM answers AS a
INNER JOIN (SELECT DISTINCT client_id, conversion_key FROM priced WHERE earned > 0) AS p
    ON p.client_id = a.client_id AND p.conversion_key = a.conversion_key
INNER JOIN partner_terms AS t ON t.client_id = a.client_id AND t.partner_ref = a.partner_ref
INNER JOIN offer_terms AS o ON o.client_id = a.client_id AND o.offer = a.offer
WHERE t.from_ms <= a.at_ms AND a.at_ms < t.until_ms AND o.from_ms <= a.at_ms AND a.at_ms < o.until_ms;

-- What the same clicks have won, but for renewals.
CREATE OR REPLACE TEMPORARY TABLE winners ENGINE = Memory AS
SELECT client_id, conversion_key
FROM dependencies
WHERE id IN (SELECT concat('won ', click_id) FROM suspects WHERE click_id != '')
  AND (client_id, id) IN (SELECT client_id, concat('won ', click_id) FROM suspects WHERE click_id != '')
  AND (client_id, conversion_key) NOT IN (SELECT client_id, conversion_key FROM answers);

CREATE OR REPLACE TEMPORARY TABLE won ENGINE = Memory AS
SELECT client_id, conversion_key, click_id, event_time
FROM answers
WHERE click_id != '' AND payment != 'renewal'
UNION ALL
SELECT client_id, conversion_key, click_id, event_time
FROM attribution_rows FINAL
PREWHERE conversion_key IN (SELECT conversion_key FROM winners)
  AND (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM winners)
WHERE click_id != '' AND payment != 'renewal' AND NOT gone;

-- The clicks of which one more sale may put another on hold.
CREATE OR REPLACE TEMPORARY TABLE crowded ENGINE = Memory AS
SELECT client_id, click_id
FROM won
GROUP BY client_id, click_id
HAVING count() > (SELECT min(s.conversions_per_click) FROM suspects AS s WHERE s.conversions_per_click > 0);

-- Sales whose partner had enough clicks for a burst in the hours around their click: few have, and the rest is cheap.
CREATE OR REPLACE TEMPORARY TABLE hours ENGINE = Memory AS
SELECT client_id, conversion_key, partner_ref, clicks_per_network, toDateTime(toStartOfMinute(clicked_at), 'UTC') AS minute,
       arrayJoin(arrayDistinct([toStartOfHour(minute - 300), toStartOfHour(minute + 300)])) AS hour
FROM suspects
WHERE clicks_per_network > 0 AND click_id != '' AND ip != '';

CREATE OR REPLACE TEMPORARY TABLE busy ENGINE = Memory AS
SELECT client_id, conversion_key
FROM hours AS h
INNER JOIN
(
    SELECT client_id, partner_ref, hour, clicks
    FROM partner_hours
    WHERE hour IN (SELECT hour FROM hours)
      AND (client_id, partner_ref, hour) IN (SELECT client_id, partner_ref, hour FROM hours)
) AS n ON n.client_id = h.client_id AND n.partner_ref = h.partner_ref AND n.hour = h.hour
GROUP BY client_id, conversion_key, clicks_per_network
HAVING sum(n.clicks) > clicks_per_network;

-- Clicks from the click's own address block, from five minutes before it until five minutes after.
CREATE OR REPLACE TEMPORARY TABLE minutes ENGINE = Memory AS
SELECT client_id, conversion_key, partner_ref, ip, toDateTime(toStartOfMinute(clicked_at), 'UTC') + 60 * arrayJoin(range(-5, 6)) AS since
FROM suspects
WHERE (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM busy);

CREATE OR REPLACE TEMPORARY TABLE bursts ENGINE = Memory AS
SELECT m.client_id AS client_id, m.conversion_key AS conversion_key, uniqCombinedMerge(n.clicks) AS clicks
FROM minutes AS m
INNER JOIN
(
    SELECT client_id, partner_ref, ip, since, clicks
    FROM network_clicks
    WHERE ip IN (SELECT ip FROM minutes)
      AND (client_id, partner_ref, ip, since) IN (SELECT client_id, partner_ref, ip, since FROM minutes)
) AS n ON n.client_id = m.client_id AND n.partner_ref = m.partner_ref AND n.ip = m.ip AND n.since = m.since
GROUP BY client_id, conversion_key;

-- Partners much of whose sales was refunded at some time, by sketches; whether it still is, their answers say.
CREATE OR REPLACE TEMPORARY TABLE sketched ENGINE = Memory AS
SELECT client_id, partner_ref
FROM
(
    SELECT client_id, partner_ref, uniqCombinedMerge(d.sales) AS sales, uniqCombinedMerge(d.refunded) AS refunded
    FROM partner_sales AS d
    WHERE (client_id, partner_ref) IN (SELECT client_id, partner_ref FROM suspects WHERE refund_percent > 0)
      AND day >= today() - 90
    GROUP BY client_id, partner_ref
)
WHERE sales >= 15 AND refunded * 100 > sales * (SELECT min(s.refund_percent) FROM suspects AS s WHERE s.refund_percent > 0) * 0.8;

CREATE OR REPLACE TEMPORARY TABLE doubtful ENGINE = Memory AS
SELECT client_id, partner_ref, count() AS sales, countIf(a.refunded > 0) AS refunded
FROM attribution_rows AS a FINAL
WHERE client_id IN (SELECT client_id FROM sketched) AND (client_id, partner_ref) IN (SELECT client_id, partner_ref FROM sketched)
  AND NOT gone AND payment IN ('first', 'renewal') AND toDate(event_time) >= today() - 90
GROUP BY client_id, partner_ref;

CREATE OR REPLACE TEMPORARY TABLE new_holds ENGINE = Memory AS
SELECT client_id, conversion_key, partner_ref, code, any(f.evidence) AS evidence
FROM
(
    SELECT client_id, conversion_key, partner_ref, 'self_referral' AS code, 'the customer''s address is the partner''s' AS evidence
    FROM suspects
    WHERE self_referral AND partner_email != '' AND email_hash = partner_email
    UNION ALL
    SELECT s.client_id, s.conversion_key, s.partner_ref, 'self_referral', 'the customer''s device is known by the partner''s address'
    FROM suspects AS s
    INNER JOIN addresses AS d ON d.client_id = s.client_id AND d.conversion_key = s.conversion_key
    WHERE s.self_referral AND s.partner_email != '' AND d.email_hash = s.partner_email
    UNION ALL
    SELECT s.client_id, s.conversion_key, s.partner_ref, 'self_referral', 'the customer''s device is the partner''s'
    FROM suspects AS s
    INNER JOIN devices AS d ON d.client_id = s.client_id AND d.conversion_key = s.conversion_key
    WHERE s.self_referral AND d.closeness = 2 AND has(s.partner_devices, d.device_id)
    UNION ALL
    SELECT client_id, conversion_key, partner_ref, 'fast_conversion',
           concat(toString(abs(dateDiff('millisecond', clicked_at, event_time)) / 1000), ' s ',
                  if(event_time < clicked_at, 'before', 'after'), ' the click')
    FROM suspects
    WHERE fastest_s > 0 AND method IN ('click_id', 'device') AND dateDiff('millisecond', clicked_at, event_time) < fastest_s * 1000
    UNION ALL
    SELECT s.client_id, s.conversion_key, s.partner_ref, 'click_burst',
           concat(toString(n.clicks), ' clicks from one address block in ten minutes')
    FROM suspects AS s
    INNER JOIN bursts AS n ON n.client_id = s.client_id AND n.conversion_key = s.conversion_key
    WHERE n.clicks > s.clicks_per_network
    UNION ALL
    SELECT s.client_id, s.conversion_key, s.partner_ref, 'conversions_per_click', concat('conversion ', toString(w.place), ' of one click')
    FROM suspects AS s
    INNER JOIN
    (
        SELECT client_id, conversion_key, row_number() OVER (PARTITION BY client_id, click_id ORDER BY event_time, conversion_key) AS place
        FROM won
    ) AS w ON w.client_id = s.client_id AND w.conversion_key = s.conversion_key
    WHERE s.conversions_per_click > 0 AND w.place > s.conversions_per_click
    UNION ALL
    SELECT s.client_id, s.conversion_key, s.partner_ref, 'refund_rate',
           concat(toString(n.refunded), ' of ', toString(n.sales), ' sales of 90 days were refunded')
    FROM suspects AS s
    INNER JOIN doubtful AS n ON n.client_id = s.client_id AND n.partner_ref = s.partner_ref
    WHERE s.refund_percent > 0 AND n.sales >= 20 AND n.refunded * 100 > n.sales * s.refund_percent
) AS f
WHERE (client_id, conversion_key, partner_ref, code) NOT IN
(
    SELECT client_id, conversion_key, partner_ref, code FROM holds
    WHERE (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM todo)
)
GROUP BY client_id, conversion_key, partner_ref, code;
