-- Another volume of the month for the sales after these: run where rules have steps, before what they are compared with
-- is written.
-- Reads:  todo, changed_answers, rule_terms, attribution_rows
-- Writes: changes
-- Twice:  what is told twice is looked at twice.

INSERT INTO changes
SELECT now64(3), r.client_id, 'payment', r.conversion_key
FROM attribution_rows AS r FINAL
INNER JOIN
(
    SELECT client_id, partner_ref, offer, toStartOfMonth(event_time) AS month, min(c.event_time) AS since
    FROM
    (
        SELECT client_id, partner_ref, offer, event_time FROM changed_answers WHERE partner_ref != ''
        UNION ALL
        SELECT client_id, former_partner_ref, former_offer, former_event_time FROM changed_answers WHERE former_partner_ref != ''
    ) AS c
    WHERE (client_id, offer) IN (SELECT client_id, offer FROM rule_terms WHERE notEmpty(tiers))
    GROUP BY client_id, partner_ref, offer, month
) AS c ON c.client_id = r.client_id AND c.partner_ref = r.partner_ref AND c.offer = r.offer AND c.month = toStartOfMonth(r.event_time)
WHERE r.client_id IN (SELECT client_id FROM rule_terms WHERE notEmpty(tiers))
  AND r.event_time >= c.since AND NOT r.gone
  AND (r.client_id, r.conversion_key) NOT IN (SELECT client_id, conversion_key FROM todo);
