-- Whose each conversion is, and why.
-- Reads:  remembered, bringers, lost, touches, attribution_rows
-- Writes: the temporary tables answers, known_answers, changed_answers
-- Twice:  they are made anew.

CREATE OR REPLACE TEMPORARY TABLE answers ENGINE = Memory AS
SELECT r.client_id AS client_id, r.conversion_key AS conversion_key, r.order_id AS order_id, r.event_time AS event_time,
       r.at_ms AS at_ms, r.revenue AS revenue, r.refunded AS refunded, r.charged_back AS charged_back,
       r.withdrawn AS withdrawn, r.currency AS currency, r.tax AS tax, r.shipping AS shipping, r.payment AS payment,
       r.started_at AS started_at, r.email_hash AS email_hash, r.promo_code AS promo_code, r.earlier_key AS earlier_key,
       r.merged_keys AS merged_keys,
       b.partner_ref != '' AND (r.best.1 = '' OR (r.client_id, r.conversion_key) IN (SELECT client_id, conversion_key FROM lost))
           AS by_customer,
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
) AS s ON s.client_id = r.client_id AND s.conversion_key = r.conversion_key;

CREATE OR REPLACE TEMPORARY TABLE known_answers ENGINE = Memory AS
SELECT client_id, conversion_key, order_id, partner_ref, offer, click_id, method, payment, event_time, revenue, refunded, currency,
       touches, gone, attributed_at
FROM attribution_rows FINAL
PREWHERE conversion_key IN (SELECT conversion_key FROM todo)
  AND (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM todo);

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
