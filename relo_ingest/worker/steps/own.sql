-- The best answer of each conversion by itself.
-- Reads:  facts, touches, the terms
-- Writes: the temporary tables own, firsts, bests, and lost, empty
-- Twice:  they are made anew.
--
-- A method's rank is its place in the list of the candidate's own offer; at the same rank of two offers, a promo code goes
-- before a click, and that before a click of a device.

CREATE OR REPLACE TEMPORARY TABLE own ENGINE = Memory AS
WITH
    promoted AS
    (
        SELECT f.client_id AS client_id, f.conversion_key AS conversion_key, c.partner_ref AS partner_ref,
               if(c.offer != '', c.offer, t.first_offer) AS offer
        FROM facts AS f
        INNER JOIN promo_code_terms AS c ON c.client_id = f.client_id AND c.code = f.promo_code
        INNER JOIN partner_terms AS t ON t.client_id = c.client_id AND t.partner_ref = c.partner_ref
        WHERE f.promo_code != ''
          AND c.from_ms <= f.at_ms AND f.at_ms < c.until_ms
          AND t.from_ms <= f.at_ms AND f.at_ms < t.until_ms AND t.active
    )
SELECT client_id, conversion_key,
       argMax((c.method, c.partner_ref, c.offer, c.click_id, c.device_id, c.via, c.clicked_at, c.ip, c.rank, c.first_click),
              (-toInt16(c.rank), c.closeness, c.clicked_at, c.click_id)) AS best
FROM
(
    SELECT p.client_id AS client_id, p.conversion_key AS conversion_key, 'promo_code' AS method, p.partner_ref AS partner_ref,
           p.offer AS offer, '' AS click_id, '' AS device_id, '' AS via, toDateTime64(0, 3, 'UTC') AS clicked_at, '' AS ip,
           indexOf(o.methods, 'promo_code') AS rank, false AS first_click, 4 AS closeness
    FROM promoted AS p
    INNER JOIN facts AS f ON f.client_id = p.client_id AND f.conversion_key = p.conversion_key
    INNER JOIN offer_terms AS o ON o.client_id = p.client_id AND o.offer = p.offer
    WHERE o.from_ms <= f.at_ms AND f.at_ms < o.until_ms AND rank > 0
    UNION ALL
    SELECT client_id, conversion_key, method, partner_ref, offer, click_id, device_id, via, clicked_at, ip, rank, first_click,
           closeness
    FROM touches
) AS c
GROUP BY client_id, conversion_key;

-- First click: the earliest on the offer whose last click would have won.
CREATE OR REPLACE TEMPORARY TABLE firsts ENGINE = Memory AS
SELECT w.client_id AS client_id, w.conversion_key AS conversion_key,
       argMin((t.method, t.partner_ref, t.offer, t.click_id, t.device_id, t.via, t.clicked_at, t.ip, t.rank, t.first_click),
              (t.clicked_at, t.click_id)) AS best
FROM own AS w
INNER JOIN touches AS t ON t.client_id = w.client_id AND t.conversion_key = w.conversion_key AND t.offer = w.best.3
WHERE w.best.10
GROUP BY w.client_id, w.conversion_key;

CREATE OR REPLACE TEMPORARY TABLE bests ENGINE = Memory AS
SELECT client_id, conversion_key, best FROM firsts
UNION ALL
SELECT client_id, conversion_key, best FROM own WHERE (client_id, conversion_key) NOT IN (SELECT client_id, conversion_key FROM firsts);

CREATE OR REPLACE TEMPORARY TABLE lost (client_id UInt32, conversion_key String) ENGINE = Memory;
