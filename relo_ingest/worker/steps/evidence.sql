-- The person behind each conversion, and the clicks of that person.
-- Reads:  facts, device_clicks, click_devices, identities, device_emails, click_rows, the terms
-- Writes: the temporary tables devices, addresses, pairs, touches
-- Twice:  they are made anew.
--
-- What was seen until 72 hours after the payment counts. A person is what is near to the payment: its device, devices of
-- its click id and its address; then further addresses of these, and their devices. All of it is bounded, the earliest
-- first: who floods a stranger's address with devices comes too late.

CREATE OR REPLACE TEMPORARY TABLE devices ENGINE = Memory AS
SELECT client_id, conversion_key, device_id, 2 AS closeness, min(found.via) AS via
FROM
(
    SELECT client_id, conversion_key, device_id, (1, 'payment') AS via
    FROM facts
    WHERE device_id != ''
    UNION ALL
    SELECT f.client_id, f.conversion_key, p.device_id, (2, 'browser id')
    FROM facts AS f
    INNER JOIN
    (
        SELECT client_id, click_id, device_id, min(s.first_seen) AS first_seen
        FROM click_devices AS s
        WHERE click_id IN (SELECT click_id FROM facts WHERE click_id != '')
          AND (client_id, click_id) IN (SELECT client_id, click_id FROM facts WHERE click_id != '')
        GROUP BY client_id, click_id, device_id
    ) AS p ON p.client_id = f.client_id AND p.click_id = f.click_id
    WHERE p.first_seen <= f.evidence_until
    ORDER BY p.first_seen, p.device_id
    LIMIT 20 BY f.client_id, f.conversion_key
    UNION ALL
    SELECT f.client_id, f.conversion_key, p.device_id, (3, 'email')
    FROM facts AS f
    INNER JOIN
    (
        SELECT client_id, email_hash, device_id, min(s.first_seen) AS first_seen
        FROM identities AS s
        WHERE email_hash IN (SELECT email_hash FROM facts WHERE email_hash != '')
          AND (client_id, email_hash) IN (SELECT client_id, email_hash FROM facts WHERE email_hash != '')
        GROUP BY client_id, email_hash, device_id
    ) AS p ON p.client_id = f.client_id AND p.email_hash = f.email_hash
    WHERE p.first_seen <= f.evidence_until
    ORDER BY p.first_seen, p.device_id
    LIMIT 20 BY f.client_id, f.conversion_key
) AS found
GROUP BY client_id, conversion_key, device_id;

CREATE OR REPLACE TEMPORARY TABLE addresses ENGINE = Memory AS
SELECT DISTINCT client_id, conversion_key, email_hash
FROM
(
    SELECT d.client_id AS client_id, d.conversion_key AS conversion_key, p.email_hash AS email_hash
    FROM devices AS d
    INNER JOIN facts AS f ON f.client_id = d.client_id AND f.conversion_key = d.conversion_key
    INNER JOIN
    (
        SELECT client_id, device_id, email_hash, min(s.first_seen) AS first_seen
        FROM device_emails AS s
        WHERE device_id IN (SELECT device_id FROM devices)
          AND (client_id, device_id) IN (SELECT client_id, device_id FROM devices)
        GROUP BY client_id, device_id, email_hash
    ) AS p ON p.client_id = d.client_id AND p.device_id = d.device_id
    WHERE p.first_seen <= f.evidence_until
    ORDER BY p.first_seen, p.email_hash
    LIMIT 5 BY d.client_id, d.conversion_key, d.device_id
);

INSERT INTO devices
SELECT DISTINCT client_id, conversion_key, device_id, 1, (4, 'another address of the same person')
FROM
(
    SELECT a.client_id AS client_id, a.conversion_key AS conversion_key, p.device_id AS device_id
    FROM addresses AS a
    INNER JOIN facts AS f ON f.client_id = a.client_id AND f.conversion_key = a.conversion_key
    INNER JOIN
    (
        SELECT client_id, email_hash, device_id, min(s.first_seen) AS first_seen
        FROM identities AS s
        WHERE email_hash IN (SELECT email_hash FROM addresses)
          AND (client_id, email_hash) IN (SELECT client_id, email_hash FROM addresses)
        GROUP BY client_id, email_hash, device_id
    ) AS p ON p.client_id = a.client_id AND p.email_hash = a.email_hash
    WHERE p.first_seen <= f.evidence_until
    ORDER BY p.first_seen, p.device_id
    LIMIT 20 BY a.client_id, a.conversion_key, a.email_hash
)
WHERE (client_id, conversion_key, device_id) NOT IN (SELECT client_id, conversion_key, device_id FROM devices);

-- Every click id that was seen on these devices, whether it is a click or a browser's own.
CREATE OR REPLACE TEMPORARY TABLE pairs ENGINE = Memory AS
SELECT client_id, conversion_key, click_id, max((p.closeness, p.device_id, p.via)) AS nearest
FROM
(
    SELECT client_id, conversion_key, click_id, 3 AS closeness, '' AS device_id, (0, '') AS via
    FROM facts
    WHERE click_id != ''
    UNION ALL
    SELECT d.client_id, d.conversion_key, s.click_id, d.closeness, d.device_id, d.via
    FROM devices AS d
    INNER JOIN facts AS f ON f.client_id = d.client_id AND f.conversion_key = d.conversion_key
    INNER JOIN
    (
        SELECT client_id, device_id, click_id, min(c.first_seen) AS first_seen
        FROM device_clicks AS c
        WHERE device_id IN (SELECT device_id FROM devices)
          AND (client_id, device_id) IN (SELECT client_id, device_id FROM devices)
        GROUP BY client_id, device_id, click_id
    ) AS s ON s.client_id = d.client_id AND s.device_id = d.device_id
    WHERE s.first_seen <= f.evidence_until
    ORDER BY s.first_seen DESC, s.click_id DESC
    LIMIT 200 BY d.client_id, d.conversion_key, d.device_id
) AS p
GROUP BY client_id, conversion_key, click_id;

CREATE OR REPLACE TEMPORARY TABLE made_clicks ENGINE = Memory AS
SELECT client_id, click_id, c.first.1 AS clicked_at, c.first.2 AS partner_ref, c.first.3 AS offer, c.first.4 AS ip
FROM
(
    SELECT client_id, click_id, argMax((r.event_time, r.partner_ref, r.offer, r.ip), r.precedence) AS first
    FROM click_rows AS r
    WHERE click_id IN (SELECT click_id FROM pairs)
      AND (client_id, click_id) IN (SELECT client_id, click_id FROM pairs)
    GROUP BY client_id, click_id
) AS c;

CREATE OR REPLACE TEMPORARY TABLE touches ENGINE = Memory AS
SELECT f.client_id AS client_id, f.conversion_key AS conversion_key, k.click_id AS click_id, k.clicked_at AS clicked_at,
       k.partner_ref AS partner_ref, k.offer AS offer, k.ip AS ip,
       p.nearest.1 AS closeness, p.nearest.2 AS device_id, p.nearest.3.2 AS via,
       if(closeness = 3, 'click_id', 'device') AS method, indexOf(o.methods, method) AS rank, o.first_click AS first_click
FROM pairs AS p
INNER JOIN facts AS f ON f.client_id = p.client_id AND f.conversion_key = p.conversion_key
INNER JOIN made_clicks AS k ON k.client_id = p.client_id AND k.click_id = p.click_id
INNER JOIN partner_terms AS t ON t.client_id = k.client_id AND t.partner_ref = k.partner_ref
INNER JOIN offer_terms AS o ON o.client_id = k.client_id AND o.offer = k.offer
WHERE t.from_ms <= f.at_ms AND f.at_ms < t.until_ms AND t.active
  AND o.from_ms <= f.at_ms AND f.at_ms < o.until_ms AND rank > 0
  AND k.clicked_at <= f.event_time + INTERVAL 5 MINUTE
  AND k.clicked_at >= f.event_time - toIntervalDay(if(closeness = 3, o.click_window_days, o.device_window_days));
