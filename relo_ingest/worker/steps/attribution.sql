-- Whose each conversion is, and why.
-- Reads:  facts, touches, pairs, made_clicks, the terms, attribution_rows
-- Writes: the temporary tables own, firsts, bests, remembered, bringers, answers, changed_answers
-- Twice:  they are made anew.
--
-- own is the best answer of a conversion by itself; answers has what its customer's earlier payments add to that.
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

-- earlier_key: the first payment of the subscription, else of the customer, that has an answer of its own.
CREATE OR REPLACE TEMPORARY TABLE remembered ENGINE = Memory AS
WITH
    (event_time, conversion_key) AS place,
    if(best.1 != '', place, (toDateTime64('2299-12-31 00:00:00', 3, 'UTC'), '')) AS answered,
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

CREATE OR REPLACE TEMPORARY TABLE answers ENGINE = Memory AS
SELECT r.client_id AS client_id, r.conversion_key AS conversion_key, r.order_id AS order_id, r.event_time AS event_time,
       r.at_ms AS at_ms, r.revenue AS revenue, r.refunded AS refunded, r.charged_back AS charged_back,
       r.withdrawn AS withdrawn, r.currency AS currency, r.tax AS tax, r.shipping AS shipping, r.payment AS payment,
       r.started_at AS started_at, r.email_hash AS email_hash, r.promo_code AS promo_code, r.earlier_key AS earlier_key,
       r.merged_keys AS merged_keys,
       b.partner_ref != '' AND (r.payment = 'renewal' OR r.best.1 = '' OR b.rank < r.best.9) AS by_customer,
       multiIf(by_customer, 'customer', r.best.1 != '', r.best.1, 'none') AS method,
       if(by_customer, b.partner_ref, r.best.2) AS partner_ref,
       if(by_customer, b.offer, r.best.3) AS offer,
       if(by_customer, '', r.best.4) AS click_id,
       if(by_customer, '', r.best.5) AS device_id,
       r.best.6 AS via,
       r.best.7 AS clicked_at,
       if(by_customer, '', r.best.8) AS ip,
       s.touches AS touches,
       arraySort(arrayConcat(
           s.seen,
           if(r.best.1 = 'promo_code', [concat('promo_code ', r.promo_code, ' ', r.best.2)], []),
           if(b.partner_ref != '', [concat('customer ', r.earlier_key, ' ', b.partner_ref)], [])
       )) AS candidates
FROM remembered AS r
LEFT JOIN bringers AS b ON b.client_id = r.client_id AND b.conversion_key = r.conversion_key
LEFT JOIN
(
    SELECT client_id, conversion_key,
           arraySort(groupArray((t.clicked_at, t.click_id, t.partner_ref, t.offer, t.method))) AS touches,
           arrayMap(x -> concat(x.5, ' ', x.2, ' ', x.3), arraySlice(arrayReverseSort(touches), 1, 20)) AS seen
    FROM touches AS t
    GROUP BY client_id, conversion_key
) AS s ON s.client_id = r.client_id AND s.conversion_key = r.conversion_key
WHERE r.is_asked;

CREATE OR REPLACE TEMPORARY TABLE known_answers ENGINE = Memory AS
SELECT client_id, conversion_key, order_id, partner_ref, offer, click_id, method, payment, event_time, revenue, refunded, currency,
       touches, gone, attributed_at
FROM attribution_rows FINAL
WHERE (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM todo WHERE hop < 2);

CREATE OR REPLACE TEMPORARY TABLE changed_answers ENGINE = Memory AS
SELECT a.client_id AS client_id, a.conversion_key AS conversion_key, a.order_id AS order_id, a.partner_ref AS partner_ref,
       a.offer AS offer, a.click_id AS click_id, a.method AS method,
       toJSONString(map(
           'evidence', multiIf(
               a.method = 'promo_code', concat('the promotion code ', a.promo_code, ' is the partner''s'),
               a.method = 'click_id', 'the payment names the click',
               a.method = 'device', concat('the click was seen on a device known by ', a.via),
               a.method = 'customer', concat('the partner brought the customer with ', a.earlier_key),
               'no click of an active partner within the window'),
           'clicked_at', if(a.click_id = '', '', concat(formatDateTime(a.clicked_at, '%F %T'), ' UTC')),
           'device_id', a.device_id,
           'candidates', arrayStringConcat(a.candidates, ', ')
       )) AS reason,
       a.payment AS payment, a.event_time AS event_time, a.revenue AS revenue,
       if(a.charged_back > 0, a.revenue, a.refunded) AS refunded, a.currency AS currency, a.touches AS touches, false AS gone,
       k.partner_ref AS former_partner_ref, k.offer AS former_offer, k.event_time AS former_event_time,
       greatest(now64(3), k.attributed_at + INTERVAL 1 MILLISECOND) AS attributed_at
FROM answers AS a
LEFT JOIN known_answers AS k ON k.client_id = a.client_id AND k.conversion_key = a.conversion_key
WHERE k.method = '' OR k.gone
   OR (k.order_id, k.partner_ref, k.offer, k.click_id, k.method, k.payment, k.event_time, k.revenue, k.currency)
      != (a.order_id, a.partner_ref, a.offer, a.click_id, a.method, a.payment, a.event_time, a.revenue, a.currency)
   OR k.refunded != if(a.charged_back > 0, a.revenue, a.refunded)
   OR k.touches != a.touches;

-- What is no conversion of its own any more.
INSERT INTO changed_answers
SELECT client_id, conversion_key, order_id, '', '', '', 'none', '{}', payment, event_time, 0, 0, currency, [], true,
       partner_ref, offer, event_time, greatest(now64(3), attributed_at + INTERVAL 1 MILLISECOND)
FROM known_answers
WHERE NOT gone AND (client_id, conversion_key) NOT IN (SELECT client_id, conversion_key FROM answers);
