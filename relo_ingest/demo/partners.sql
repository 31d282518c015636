-- What came of the story for each partner and currency.
SELECT p.ref AS partner, k.clicks AS clicks, s.payments AS payments, s.currency AS currency,
       toDecimalString(s.revenue, 2) AS revenue, toDecimalString(s.refunded, 2) AS refunded,
       toDecimalString(s.commission, 2) AS commission
FROM partners AS p
LEFT JOIN
(
    SELECT partner_ref, count() AS clicks FROM clicks
    WHERE client_id = {client:UInt32} AND click_id IN {clicks:Array(String)}
    GROUP BY partner_ref
) AS k ON k.partner_ref = p.ref
LEFT JOIN
(
    SELECT a.partner_ref AS partner_ref, a.currency AS currency, count() AS payments, sum(a.revenue) AS revenue,
           sum(a.refunded) AS refunded, sum(c.amount) AS commission
    FROM attributions AS a
    LEFT JOIN commissions AS c ON c.client_id = a.client_id AND c.conversion_key = a.conversion_key
    WHERE a.client_id = {client:UInt32} AND a.conversion_key IN {keys:Array(String)}
    GROUP BY partner_ref, currency
) AS s ON s.partner_ref = p.ref
WHERE p.client_id = {client:UInt32}
ORDER BY partner, currency
