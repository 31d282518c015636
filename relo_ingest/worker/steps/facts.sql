-- What is known of the conversions to look at.
-- Reads:  todo, payments
-- Writes: the temporary tables reported, facts
-- Twice:  they are made anew.

CREATE OR REPLACE TEMPORARY TABLE reported ENGINE = Memory AS
SELECT client_id, conversion_key, order_id, if(startsWith(conversion_key, 'lead:'), 'lead', kind) AS kind, event_time,
       revenue, refunded, charged_back, withdrawn, currency, is_test, click_id, upperUTF8(promo_code) AS promo_code, device_id,
       customer_ref, email_hash, tax, shipping, subscription, counts_from, counts_from <= now64(3) AS counts, merged_keys
FROM payments
WHERE conversion_key IN (SELECT conversion_key FROM todo)
  AND (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM todo);

-- payment: see DESIGN §7, "first is what the ledger knows of that customer, never the billing reason".
-- started_at: of the subscription's first money, else of the customer's: renewals are counted from there.
CREATE OR REPLACE TEMPORARY TABLE facts ENGINE = Memory AS
WITH
    if(revenue > 0, (event_time, conversion_key), (toDateTime64('2299-12-31 00:00:00', 3, 'UTC'), '')) AS paid,
    min(paid) OVER (PARTITION BY client_id, subscription) AS subscription_first,
    min(paid) OVER (PARTITION BY client_id, customer_ref) AS customer_first,
    (event_time, conversion_key) AS place,
    subscription != '' AND subscription_first < place AS follows_in_subscription
SELECT client_id, conversion_key, order_id, event_time, toUnixTimestamp64Milli(event_time) AS at_ms,
       event_time + INTERVAL 72 HOUR AS evidence_until, revenue, refunded, charged_back, withdrawn, currency, click_id, promo_code,
       device_id, customer_ref, email_hash, tax, shipping, subscription, merged_keys,
       multiIf(kind = 'lead', 'lead',
               revenue = 0, 'trial',
               kind = 'renewal' AND (follows_in_subscription OR (customer_ref != '' AND customer_first < place)), 'renewal',
               'first') AS payment,
       if(follows_in_subscription, subscription_first.1, customer_first.1) AS started_at
FROM reported
WHERE counts AND NOT is_test;
