-- What Stripe reported of money that went back from a payment, in order.
-- Reads:  payment_reversals, payment_leads
-- Writes: nothing
WITH
    ids AS
    (
        SELECT {key:String} AS id
        UNION DISTINCT
        SELECT ref FROM payment_leads WHERE client_id = {client_id:UInt32} AND conversion_key = {key:String}
        UNION DISTINCT
        SELECT ref FROM payment_leads
        WHERE client_id = {client_id:UInt32} AND conversion_key IN
        (
            SELECT ref FROM payment_leads WHERE client_id = {client_id:UInt32} AND conversion_key = {key:String}
        )
    )
SELECT DISTINCT event_id, event_name, toUnixTimestamp64Milli(event_time) AS at, object, amount, currency, status
FROM payment_reversals
WHERE client_id = {client_id:UInt32} AND payment IN ids
ORDER BY at, event_id
