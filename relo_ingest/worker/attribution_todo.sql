-- Conversions that have no partner yet: what the step after this one looks at.
-- Reads:  conversions, attribution_rows
-- Writes: the temporary table attribution_todo of this session
-- Twice:  it is made anew.
--
-- A conversion without a partner is looked at again for 72 hours: clicks and identities may come late.
-- A table rather than a subquery, because ClickHouse computes a subquery again wherever it is named.

CREATE OR REPLACE TEMPORARY TABLE attribution_todo ENGINE = Memory AS
WITH known AS
(
    SELECT client_id, conversion_key, argMax(method, attributed_at) AS method
    FROM attribution_rows
    GROUP BY client_id, conversion_key
)
SELECT c.client_id AS client_id, c.conversion_key AS conversion_key, c.order_id AS order_id,
       c.event_time AS event_time, c.click_id AS click_id, c.device_id AS device_id,
       c.email_hash AS email_hash, k.method AS known_method
FROM conversions AS c
LEFT JOIN known AS k ON k.client_id = c.client_id AND k.conversion_key = c.conversion_key
WHERE NOT c.is_test
  AND (k.method = '' OR (k.method = 'none' AND c.event_time > now64(3) - INTERVAL 72 HOUR))
