-- Who brought the customer: what earlier payments add to the answers of a conversion by itself.
-- Reads:  facts, bests, lost, the terms
-- Writes: the temporary tables remembered, bringers, lost
-- Twice:  meant to be: an answer of its own that lost to the customer's partner brought nobody, and is left out the next
--         time. Run until nothing changes, which it does: whether one is lost depends on earlier payments only.

-- earlier_key: the first payment of the subscription, else of the customer, that has an answer of its own.
CREATE OR REPLACE TEMPORARY TABLE remembered ENGINE = Memory AS
WITH
    (event_time, conversion_key) AS place,
    best.1 != '' AND (client_id, conversion_key) NOT IN (SELECT client_id, conversion_key FROM lost) AS brings,
    if(brings, place, (toDateTime64('2299-12-31 00:00:00', 3, 'UTC'), '')) AS answered,
    min(answered) OVER (PARTITION BY client_id, subscription) AS in_subscription,
    min(answered) OVER (PARTITION BY client_id, customer_ref) AS of_customer
SELECT *,
       multiIf(subscription != '' AND in_subscription < place, in_subscription.2,
               customer_ref != '' AND of_customer < place, of_customer.2, '') AS earlier_key
FROM facts
LEFT JOIN bests USING (client_id, conversion_key);

CREATE OR REPLACE TEMPORARY TABLE bringers ENGINE = Memory AS
SELECT r.client_id AS client_id, r.conversion_key AS conversion_key, b.best.2 AS partner_ref, b.best.3 AS offer,
       indexOf(o.methods, 'customer') AS rank
FROM remembered AS r
INNER JOIN remembered AS b ON b.client_id = r.client_id AND b.conversion_key = r.earlier_key
INNER JOIN partner_terms AS t ON t.client_id = b.client_id AND t.partner_ref = b.best.2
INNER JOIN offer_terms AS o ON o.client_id = b.client_id AND o.offer = b.best.3
WHERE r.earlier_key != ''
  AND t.from_ms <= r.at_ms AND r.at_ms < t.until_ms AND t.active
  AND o.from_ms <= r.at_ms AND r.at_ms < o.until_ms AND rank > 0
  AND (o.customer_window_days = 65535 OR r.event_time <= b.event_time + toIntervalDay(o.customer_window_days));

CREATE OR REPLACE TEMPORARY TABLE lost ENGINE = Memory AS
SELECT r.client_id AS client_id, r.conversion_key AS conversion_key
FROM remembered AS r
INNER JOIN bringers AS b ON b.client_id = r.client_id AND b.conversion_key = r.conversion_key
WHERE r.best.1 != '' AND (r.payment = 'renewal' OR b.rank < r.best.9);
