-- One payment as it is now, and its attribution.
-- Reads:  payments, payment_leads, attribution_rows
-- Writes: nothing
SELECT p.conversion_key AS conversion_key, p.order_id AS order_id, p.kind AS kind,
       toUnixTimestamp64Milli(p.event_time) AS at, toUnixTimestamp64Milli(p.counts_from) AS counts_from,
       p.revenue AS revenue, p.refunded AS refunded, p.charged_back AS charged_back, p.tax AS tax, p.shipping AS shipping,
       p.currency AS currency, p.is_test AS is_test, p.click_id AS click_id, p.promo_code AS promo_code,
       p.device_id AS device_id, p.customer_ref AS customer_ref, p.email_hash AS email_hash, p.subscription AS subscription,
       p.merged_keys AS merged_keys,
       (SELECT arraySort(groupUniqArray(ref)) FROM payment_leads
        WHERE client_id = {client_id:UInt32} AND conversion_key = {key:String}) AS refs,
       a.method AS method, a.partner_ref AS partner_ref, a.offer AS offer, a.click_id AS winning_click, a.payment AS payment,
       toJSONString(a.reason) AS reason
FROM (SELECT * FROM payments WHERE client_id = {client_id:UInt32} AND conversion_key = {key:String}) AS p
LEFT JOIN
(
    SELECT * FROM attribution_rows FINAL
    WHERE client_id = {client_id:UInt32} AND conversion_key = {key:String} AND NOT gone
) AS a ON a.conversion_key = p.conversion_key
