-- What the lines of a payment come to.
-- Reads:  commissions
-- Writes: nothing
SELECT partner_ref, currency, earned, reversed, amount, toUnixTimestamp64Milli(hold_until) AS hold_until, status
FROM commissions
WHERE client_id = {client_id:UInt32} AND conversion_key = {key:String}
ORDER BY partner_ref, currency
