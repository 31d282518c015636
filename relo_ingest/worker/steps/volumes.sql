-- What the partner had sold in the month before each sale: run where rules have steps.
-- Reads:  todo, ruled, answers, attribution_rows
-- Writes: the temporary table volumes
-- Twice:  it is made anew.

CREATE OR REPLACE TEMPORARY TABLE volumes ENGINE = Memory AS
WITH months AS
(
    SELECT DISTINCT client_id, partner_ref, offer, toStartOfMonth(event_time) AS month FROM ruled WHERE notEmpty(tiers)
)
SELECT client_id, conversion_key, sales, sold
FROM
(
    SELECT client_id, conversion_key, counted,
           sum(m.counted) OVER (PARTITION BY client_id, partner_ref, offer, month ORDER BY event_time, conversion_key
                                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS sales,
           sum(m.revenue * m.counted) OVER (PARTITION BY client_id, partner_ref, offer, month, currency
                                            ORDER BY event_time, conversion_key
                                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS sold
    FROM
    (
        SELECT client_id, conversion_key, partner_ref, offer, toStartOfMonth(event_time) AS month, event_time, revenue, currency,
               toUInt8(payment IN ('first', 'renewal')) AS counted
        FROM attribution_rows FINAL
        WHERE client_id IN (SELECT client_id FROM months)
          AND (client_id, partner_ref, offer, toStartOfMonth(event_time)) IN (SELECT client_id, partner_ref, offer, month FROM months)
          AND NOT gone
          AND (client_id, conversion_key) NOT IN (SELECT client_id, conversion_key FROM todo)
        UNION ALL
        SELECT client_id, conversion_key, partner_ref, offer, toStartOfMonth(event_time), event_time, revenue, currency,
               toUInt8(payment IN ('first', 'renewal'))
        FROM answers
        WHERE (client_id, partner_ref, offer, toStartOfMonth(event_time)) IN (SELECT client_id, partner_ref, offer, month FROM months)
    ) AS m
)
WHERE (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM ruled WHERE notEmpty(tiers));
