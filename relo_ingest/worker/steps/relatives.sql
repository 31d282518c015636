-- Relatives: what else the same customer or subscription paid for. A payment may make another one a renewal, or give it
-- a partner, or take one from it, and so on from relative to relative: run until there are no more.
-- Reads:  conversion_reports, payment_leads, dependencies
-- Writes: the temporary tables told_under, belonging and todo (client_id, conversion_key)
-- Twice:  meant to be; what is there is not added again.

CREATE OR REPLACE TEMPORARY TABLE told_under ENGINE = Memory AS
SELECT client_id, conversion_key
FROM todo
UNION ALL
SELECT client_id, ref
FROM payment_leads
WHERE conversion_key IN (SELECT conversion_key FROM todo)
  AND (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM todo);

CREATE OR REPLACE TEMPORARY TABLE belonging ENGINE = Memory AS
SELECT DISTINCT client_id, arrayJoin(arrayConcat(
           if(customer_ref != '', [concat('customer ', customer_ref)], []),
           if(subscription != '', [concat('subscription ', subscription)], []))) AS id
FROM conversion_reports
WHERE conversion_key IN (SELECT conversion_key FROM told_under)
  AND (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM told_under);

INSERT INTO todo
SELECT DISTINCT client_id, conversion_key
FROM dependencies
WHERE id IN (SELECT id FROM belonging)
  AND (client_id, id) IN (SELECT client_id, id FROM belonging)
  AND (client_id, conversion_key) NOT IN (SELECT client_id, conversion_key FROM todo);
