-- Which payments an id may mean: a conversion key, an order, any id of the payment system, a subscription, a customer.
-- Reads:  conversion_reports, payment_refs, attribution_rows, clients
-- Writes: nothing
--
-- client_id 0 stands for every client. A key that leads on (a session whose invoice came, a charge) is followed as
-- payments does: two steps at most.
WITH
    named AS
    (
        SELECT client_id, conversion_key FROM conversion_reports
        WHERE (client_id = {client_id:UInt32} OR {client_id:UInt32} = 0)
          AND (conversion_key = {id:String} OR order_id = {id:String}
               OR subscription = {id:String} OR customer_ref = {id:String})
        UNION DISTINCT
        SELECT client_id, conversion_key FROM payment_refs
        WHERE (client_id = {client_id:UInt32} OR {client_id:UInt32} = 0) AND ref = {id:String}
    ),
    once AS
    (
        SELECT n.client_id AS client_id, if(r.conversion_key = '', n.conversion_key, r.conversion_key) AS conversion_key
        FROM named AS n
        LEFT JOIN (SELECT * FROM payment_refs WHERE (client_id, ref) IN named AND ref != conversion_key) AS r
            ON r.client_id = n.client_id AND r.ref = n.conversion_key
    ),
    twice AS
    (
        SELECT n.client_id AS client_id, if(r.conversion_key = '', n.conversion_key, r.conversion_key) AS conversion_key
        FROM once AS n
        LEFT JOIN (SELECT * FROM payment_refs WHERE (client_id, ref) IN once AND ref != conversion_key) AS r
            ON r.client_id = n.client_id AND r.ref = n.conversion_key
    )
SELECT f.client_id AS client_id, s.slug AS slug, f.conversion_key AS conversion_key,
       toUnixTimestamp64Milli(r.event_time) AS at, r.amount AS amount, r.currency AS currency, r.seen AS is_paid,
       a.partner_ref AS partner_ref, a.method AS method
FROM (SELECT DISTINCT client_id, conversion_key FROM twice) AS f
LEFT JOIN clients AS s ON s.client_id = f.client_id
LEFT JOIN
(
    SELECT client_id, conversion_key, min(c.event_time) AS event_time, max(c.amount) AS amount,
           max(c.currency) AS currency, true AS seen
    FROM conversion_reports AS c
    WHERE (client_id, conversion_key) IN twice
    GROUP BY client_id, conversion_key
) AS r ON r.client_id = f.client_id AND r.conversion_key = f.conversion_key
LEFT JOIN (SELECT * FROM attribution_rows FINAL WHERE (client_id, conversion_key) IN twice AND NOT gone) AS a
    ON a.client_id = f.client_id AND a.conversion_key = f.conversion_key
ORDER BY at, client_id, conversion_key
