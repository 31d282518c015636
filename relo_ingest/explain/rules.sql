-- The commission rules of an offer at the time of a payment, the one that applies first.
-- Reads:  commission_rule_history
-- Writes: nothing
WITH fromUnixTimestamp64Milli({at:Int64}, 'UTC') AS sold_at
SELECT rule, partner_ref, basis_points, is_fixed, fixed, minimum, maximum, currency, net, renewal_months,
       has(applies_to, {payment:String}) AND valid_from <= sold_at AND sold_at < valid_to
           AND partner_ref IN ('', {partner:String}) AS applies
FROM commission_rule_history
WHERE client_id = {client_id:UInt32} AND offer = {offer:String} AND from_ms <= {at:Int64} AND {at:Int64} < until_ms
ORDER BY applies DESC, partner_ref != '' DESC, valid_from DESC, rule
