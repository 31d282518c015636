-- Earlier payments of the same subscription or the same customer, whose they are, and whether that still earns.
-- Reads:  conversion_reports, attribution_rows, partner_history, offer_history
-- Writes: nothing
--
-- own is whose a payment is by its own evidence, '' for nobody's: also where the customer's partner went before that.
-- brings is the one payment by which worker/steps/customer.sql remembers the customer: the first that is somebody's by an
-- answer of its own, of the same subscription, else of the customer. objection is '' for that one when it counts, and where there is no
-- answer.
WITH
    row_number() OVER (PARTITION BY own_partner != '' AND method != 'customer' ORDER BY of_subscription DESC, at, conversion_key)
        AS place,
    family AS
    (
        SELECT conversion_key, max(r.subscription = {subscription:String} AND r.subscription != '') AS of_subscription
        FROM conversion_reports AS r
        WHERE client_id = {client_id:UInt32} AND NOT is_test
          AND ((subscription = {subscription:String} AND subscription != '')
               OR (customer_ref = {customer_ref:String} AND customer_ref != ''))
        GROUP BY conversion_key
    )
SELECT a.conversion_key AS conversion_key, toUnixTimestamp64Milli(a.event_time) AS at, a.revenue AS revenue,
       a.currency AS currency, a.partner_ref AS partner_ref, a.method AS method, a.own.1 AS own_partner, a.own.2 AS offer,
       f.of_subscription AS of_subscription, o.customer_window_days AS window_days,
       own_partner != '' AND method != 'customer' AND place = 1 AS brings,
       multiIf(own_partner = '', '',
               NOT brings, 'not first',
               NOT p.active, 'partner',
               o.offer = '', 'offer',
               NOT has(o.methods, 'customer'), 'method',
               window_days != 65535 AND at + window_days * 86400000 < {at:Int64}, 'window', '') AS objection
FROM
(
    SELECT *,
           arrayReverseSort(t -> (t.5 = 'click_id', t.1, t.2), touches)[1] AS last_touch,
           if(method = 'customer', (last_touch.3, last_touch.4), (partner_ref, offer)) AS own
    FROM attribution_rows FINAL
    WHERE client_id = {client_id:UInt32} AND conversion_key IN (SELECT conversion_key FROM family) AND NOT gone
) AS a
INNER JOIN family AS f ON f.conversion_key = a.conversion_key
LEFT JOIN
(
    SELECT * FROM partner_history
    WHERE client_id = {client_id:UInt32} AND from_ms <= {at:Int64} AND {at:Int64} < until_ms
) AS p ON p.partner_ref = a.own.1
LEFT JOIN
(
    SELECT * FROM offer_history
    WHERE client_id = {client_id:UInt32} AND from_ms <= {at:Int64} AND {at:Int64} < until_ms
) AS o ON o.offer = a.own.2
WHERE (at, a.conversion_key) < ({at:Int64}, {key:String})
ORDER BY at, conversion_key
