-- The ledger's lines of a payment, in the order in which they were written.
-- Reads:  ledger_lines
-- Writes: nothing
SELECT entry_id, partner_ref, kind, part, amount, currency, rule, toUnixTimestamp64Milli(hold_until) AS hold_until,
       toUnixTimestamp64Milli(created_at) AS created_at, rate, rule_rate, toJSONString(reason) AS reason
FROM ledger_lines FINAL
WHERE client_id = {client_id:UInt32} AND conversion_key = {key:String}
ORDER BY created_at, part, entry_id
