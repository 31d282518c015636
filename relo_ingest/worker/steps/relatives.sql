-- Relatives: what else the same customer or subscription paid for. A payment may make another one a renewal, or give it
-- a partner. Run for {hop} 1, these are looked at as well; and for 2, theirs are only needed for their answers.
-- Reads:  conversion_reports, payment_leads, dependencies
-- Writes: the temporary table todo (client_id, conversion_key, hop)
-- Twice:  what is there is not added again.

INSERT INTO todo
SELECT DISTINCT client_id, conversion_key, {hop:UInt8}
FROM dependencies
WHERE (client_id, id) IN
(
    SELECT client_id, arrayJoin([concat('customer ', customer_ref), concat('subscription ', subscription)])
    FROM conversion_reports
    WHERE (client_id, conversion_key) IN
    (
        SELECT client_id, conversion_key FROM todo
        UNION ALL
        SELECT client_id, ref FROM payment_leads WHERE (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM todo)
    )
)
AND (client_id, conversion_key) NOT IN (SELECT client_id, conversion_key FROM todo);
