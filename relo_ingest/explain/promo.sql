-- Whose a promo code was at the time of the payment, and whether it may earn; no row when it was nobody's.
-- Reads:  promo_code_history, partner_history, offer_history
-- Writes: nothing
SELECT c.partner_ref AS partner_ref, if(c.offer != '', c.offer, p.first_offer) AS offer,
       multiIf(NOT p.active, 'partner', o.offer = '', 'offer', NOT has(o.methods, 'promo_code'), 'method', '') AS objection
FROM
(
    SELECT * FROM promo_code_history
    WHERE client_id = {client_id:UInt32} AND code = upperUTF8({code:String}) AND code != ''
      AND from_ms <= {at:Int64} AND {at:Int64} < until_ms
) AS c
LEFT JOIN
(
    SELECT * FROM partner_history
    WHERE client_id = {client_id:UInt32} AND from_ms <= {at:Int64} AND {at:Int64} < until_ms
) AS p ON p.partner_ref = c.partner_ref
LEFT JOIN
(
    SELECT * FROM offer_history
    WHERE client_id = {client_id:UInt32} AND from_ms <= {at:Int64} AND {at:Int64} < until_ms
) AS o ON o.offer = if(c.offer != '', c.offer, p.first_offer)
