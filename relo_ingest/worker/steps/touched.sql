-- Which conversions a slice of the changes touches.
-- Reads:  changes after {after} until {until}, payment_refs, payment_leads, conversion_reports, dependencies,
--         registry_history, attribution_rows
-- Writes: the temporary tables slice, led_once, named and touched (client_id, conversion_key, n: numbered from 0)
-- Twice:  they are made anew.

CREATE OR REPLACE TEMPORARY TABLE slice ENGINE = Memory AS
SELECT DISTINCT client_id, kind, id
FROM changes
WHERE seen_at > {after:DateTime64(3, 'UTC')} AND seen_at <= {until:DateTime64(3, 'UTC')};

-- An id of the payment system leads to another at most twice: charge → payment intent → invoice.
CREATE OR REPLACE TEMPORARY TABLE led_once ENGINE = Memory AS
SELECT DISTINCT client_id, conversion_key
FROM payment_refs
WHERE ref IN (SELECT id FROM slice WHERE kind = 'payment')
  AND (client_id, ref) IN (SELECT client_id, id FROM slice WHERE kind = 'payment');

CREATE OR REPLACE TEMPORARY TABLE named ENGINE = Memory AS
SELECT client_id, id AS conversion_key FROM slice WHERE kind = 'payment'
UNION DISTINCT
SELECT client_id, conversion_key FROM led_once
UNION DISTINCT
SELECT client_id, conversion_key
FROM payment_refs
WHERE ref IN (SELECT conversion_key FROM led_once) AND (client_id, ref) IN (SELECT client_id, conversion_key FROM led_once)
UNION DISTINCT
SELECT client_id, conversion_key
FROM dependencies
WHERE id IN (SELECT id FROM slice WHERE kind = 'evidence')
  AND (client_id, id) IN (SELECT client_id, id FROM slice WHERE kind = 'evidence')
UNION DISTINCT
-- A new rule may be of any time, everything else holds from when it was said.
SELECT a.client_id, a.conversion_key
FROM attribution_rows AS a
INNER JOIN
(
    SELECT s.client_id AS client_id, min(if(h.kind = 'commission_rule', h.from_ms, h.version)) AS since_ms
    FROM slice AS s
    INNER JOIN registry_history AS h ON h.client_id = s.client_id AND toString(h.version) = s.id
    WHERE s.kind = 'client'
    GROUP BY client_id
) AS c ON c.client_id = a.client_id
WHERE a.client_id IN (SELECT client_id FROM slice WHERE kind = 'client')
  AND toUnixTimestamp64Milli(a.event_time) >= c.since_ms;

-- Most of these ids are no keys: a session's, a charge's.
CREATE OR REPLACE TEMPORARY TABLE touched ENGINE = Memory AS
SELECT client_id, conversion_key, rowNumberInAllBlocks() AS n
FROM
(
    SELECT client_id, conversion_key
    FROM conversion_reports
    WHERE conversion_key IN (SELECT conversion_key FROM named)
      AND (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM named)
    UNION DISTINCT
    SELECT client_id, conversion_key
    FROM payment_leads
    WHERE conversion_key IN (SELECT conversion_key FROM named)
      AND (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM named)
);
