-- Keep what was found. The order matters for a worker that is killed here: what it still has to look at is noted before
-- what it compares with, and the cursor moves after all of it.
-- Reads:  facts, pairs, made_clicks, devices, addresses, changed_answers, won, crowded, carried_reviews,
--         new_holds, new_lines
-- Writes: changes, dependencies, reviews, attribution_rows, holds, ledger_lines
-- Twice:  rows carry their identity. Lines of the ledger carry their place: see ledger_lines.

-- An appointment with what does not count yet: a first invoice that waits for its Checkout session.
INSERT INTO changes
SELECT counts_from, client_id, 'payment', conversion_key
FROM reported
WHERE NOT counts AND NOT is_test;

-- Clicks that are known cannot change: only the one that the payment names, and those still to come, are noted.
INSERT INTO dependencies
SELECT DISTINCT client_id, id, conversion_key
FROM
(
    SELECT client_id, arrayJoin(arrayConcat(
               if(email_hash != '', [email_hash], []), if(click_id != '', [click_id], []),
               if(customer_ref != '', [concat('customer ', customer_ref)], []),
               if(subscription != '', [concat('subscription ', subscription)], []),
               if(promo_code != '', [concat('promo ', promo_code)], []))) AS id, conversion_key
    FROM facts
    UNION ALL
    SELECT client_id, device_id, conversion_key FROM devices
    UNION ALL
    SELECT client_id, email_hash, conversion_key FROM addresses
    UNION ALL
    SELECT client_id, click_id, conversion_key
    FROM pairs
    WHERE (client_id, click_id) NOT IN (SELECT client_id, click_id FROM made_clicks)
    UNION ALL
    SELECT client_id, concat('won ', click_id), conversion_key FROM answers WHERE click_id != '' AND payment != 'renewal'
);

-- Another place in the row of what one click has won, for the sales after these.
INSERT INTO changes
SELECT now64(3), w.client_id, 'payment', w.conversion_key
FROM won AS w
INNER JOIN
(
    SELECT client_id, click_id, min((c.event_time, c.conversion_key)) AS since
    FROM changed_answers AS c
    WHERE (client_id, click_id) IN (SELECT client_id, click_id FROM crowded)
    GROUP BY client_id, click_id
) AS c ON c.client_id = w.client_id AND c.click_id = w.click_id
WHERE (w.event_time, w.conversion_key) > c.since
  AND (w.client_id, w.conversion_key) NOT IN (SELECT client_id, conversion_key FROM todo);

-- What a person said of a payment holds for it under the key that it has now.
INSERT INTO reviews (client_id, conversion_key, partner_ref, approved, codes, note, reviewed_at)
SELECT client_id, conversion_key, partner_ref, approved, codes, note, reviewed_at FROM carried_reviews;

INSERT INTO attribution_rows (client_id, conversion_key, order_id, partner_ref, offer, click_id, method, reason, payment, event_time,
                              revenue, refunded, currency, touches, gone, attributed_at)
SELECT client_id, conversion_key, order_id, partner_ref, offer, click_id, method, reason, payment, event_time, revenue, refunded,
       currency, touches, gone, attributed_at
FROM changed_answers;

INSERT INTO holds (client_id, conversion_key, partner_ref, code, evidence)
SELECT client_id, conversion_key, partner_ref, code, evidence FROM new_holds;

INSERT INTO ledger_lines (entry_id, client_id, conversion_key, partner_ref, kind, amount, currency, rule, hold_until, reason, part,
                          sale_currency, sale_day, rate, rule_currency, rule_rate)
SELECT entry_id, client_id, conversion_key, partner_ref, kind, amount, currency, rule, hold_until, reason, part,
       sale_currency, sale_day, rate, rule_currency, rule_rate
FROM new_lines;
