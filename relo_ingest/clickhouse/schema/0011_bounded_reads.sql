-- What the worker reads for a few payments costs by these payments, not by the history.
--
-- Reads:  network_clicks, for the backfill.
-- Writes: partner_hours.
-- Twice:  views are replaced. The backfill adds its counts again: they are upper bounds.

-- reversal_totals and payments as in 0006, with the joins turned round: the right side is what is kept in memory, and a
-- condition on client_id and conversion_key reaches it, so it is small; what is left is read past it by that.
CREATE OR REPLACE VIEW reversal_totals AS
SELECT client_id, conversion_key, currency,
       toDecimal64(sum(c.refunded), 4) AS refunded, sum(c.withdrawn) AS withdrawn, sum(c.reinstated) AS reinstated
FROM
(
    SELECT client_id, conversion_key, currency, charge,
           greatest(
               sumIf(o.amount, o.kind = 'refund' AND NOT o.failed),
               sumIf(o.amount, o.kind = 'charge')
                   + sumIf(o.amount, o.kind = 'refund' AND NOT o.failed AND o.made_at > o.told_at)
                   - sumIf(o.amount, o.kind = 'refund' AND o.failed AND o.made_at <= o.told_at AND o.failed_at >= o.told_at)
           ) AS refunded,
           sumIf(o.amount, o.kind = 'dispute' AND o.withdrawn) AS withdrawn,
           sumIf(o.amount, o.kind = 'dispute' AND o.withdrawn AND NOT o.away) AS reinstated
    FROM
    (
        SELECT *, maxIf(last_at, kind = 'charge') OVER (PARTITION BY client_id, conversion_key, currency, charge) AS told_at
        FROM
        (
            SELECT
                client_id, conversion_key, currency, object,
                multiIf(object = '', 'charge', max(r.event_name IN ('refund', 'refund_failed')), 'refund', 'dispute') AS kind,
                if(object = '', one_charge, max(r.charge)) AS charge,
                if(object = '', argMax(r.amount, (r.event_time, r.amount)), max(r.amount)) AS amount,
                max(r.event_time) AS last_at,
                min(r.made_at) AS made_at,
                max(r.event_name = 'refund_failed') AS failed,
                minIf(r.event_time, r.event_name = 'refund_failed') AS failed_at,
                max(r.away) AS withdrawn,
                argMaxIf(r.away, (r.event_time, r.back, r.event_id), r.away OR r.back) AS away
            FROM
            (
                SELECT client_id, conversion_key, currency, object, if(object = '', charge, '') AS one_charge, charge,
                       event_id, event_name, event_time, amount, made_at,
                       event_name = 'chargeback' OR (event_name = 'chargeback_closed' AND status = 'lost') AS away,
                       event_name = 'chargeback_reversed' OR (event_name = 'chargeback_closed' AND status = 'won') AS back
                FROM
                (
                    SELECT client_id, payment AS conversion_key, currency, object, charge, event_id, event_name, event_time,
                           amount, made_at, status
                    FROM payment_reversals
                    UNION ALL
                    SELECT l.client_id, l.conversion_key, v.currency, v.object, v.charge, v.event_id, v.event_name,
                           v.event_time, v.amount, v.made_at, v.status
                    FROM payment_reversals AS v
                    INNER JOIN payment_leads AS l ON l.client_id = v.client_id AND l.ref = v.payment
                    UNION ALL
                    SELECT l.client_id, l.conversion_key, v.currency, v.object, v.charge, v.event_id, v.event_name,
                           v.event_time, v.amount, v.made_at, v.status
                    FROM payment_reversals AS v
                    INNER JOIN
                    (
                        -- DISTINCT keeps the joins apart: put in order together, they may meet on client_id alone.
                        SELECT DISTINCT k.client_id AS client_id, k.ref AS ref, o.conversion_key AS conversion_key
                        FROM payment_leads AS k
                        INNER JOIN payment_leads AS o ON o.client_id = k.client_id AND o.ref = k.conversion_key
                    ) AS l ON l.client_id = v.client_id AND l.ref = v.payment
                )
            ) AS r
            GROUP BY client_id, conversion_key, currency, object, one_charge
        )
    ) AS o
    GROUP BY client_id, conversion_key, currency, charge
) AS c
GROUP BY client_id, conversion_key, currency;

CREATE OR REPLACE VIEW payments AS
SELECT
    p.client_id AS client_id,
    p.conversion_key AS conversion_key,
    p.order_id AS order_id,
    multiIf(p.by_sale, 'purchase',
            s.started_free AND p.event_time <= s.first_paid_at, 'purchase',
            p.renews OR (NOT p.begins AND s.subscription != '' AND p.event_time > s.first_paid_at), 'renewal',
            'purchase') AS kind,
    p.event_time AS event_time,
    p.revenue AS revenue,
    p.back.2 AS refunded,
    p.currency AS currency,
    p.is_test AS is_test,
    p.click_id AS click_id,
    p.promo_code AS promo_code,
    p.device_id AS device_id,
    p.customer_ref AS customer_ref,
    p.email_hash AS email_hash,
    p.back.3 - p.back.4 AS charged_back,
    p.back.3 AS withdrawn,
    p.back.4 AS reinstated,
    p.tax AS tax,
    p.shipping AS shipping,
    p.subscription AS subscription,
    p.account AS account,
    p.counts_from AS counts_from,
    p.merged_keys AS merged_keys
FROM
(
    SELECT client_id, subscription, min(b.first_paid_at) AS first_paid_at, max(b.started_free) AS started_free
    FROM subscription_starts AS b
    GROUP BY client_id, subscription
) AS s
RIGHT JOIN
(
    SELECT
        client_id,
        conversion_key,
        argMinIf(r.order_id, r.place, r.order_id != '') AS order_id,
        max(r.role = 'sale') AS by_sale,
        max(r.event_name = 'subscription_renewal') AS renews,
        max(r.event_name = 'subscription_first_invoice') AS begins,
        minIf(r.event_time, r.role IN ('sale', 'invoice')) AS event_time,
        if(by_sale, maxIf(r.amount, r.role = 'sale'), maxIf(r.amount, r.role = 'invoice')) AS revenue,
        argMinIf(r.currency, r.place, r.currency != '' AND r.role IN ('sale', 'invoice')) AS currency,
        max(r.is_test) AS is_test,
        argMinIf(r.click_id, r.place, r.click_id != '') AS click_id,
        argMinIf(r.promo_code, r.place, r.promo_code != '') AS promo_code,
        argMinIf(r.device_id, r.place, r.device_id != '') AS device_id,
        argMinIf(r.customer_ref, r.place, r.customer_ref != '') AS customer_ref,
        argMinIf(r.email_hash, r.place, r.email_hash != '') AS email_hash,
        toDecimal128(max(r.tax), 4) AS tax,
        toDecimal128(max(r.shipping), 4) AS shipping,
        argMinIf(r.subscription, r.place, r.subscription != '') AS subscription,
        max(r.account) AS account,
        if(countIf(r.role IN ('sale', 'invoice') AND r.event_name != 'subscription_first_invoice') > 0,
           toDateTime64(0, 3, 'UTC'), event_time + INTERVAL 10 MINUTE) AS counts_from,
        arraySort(groupUniqArrayIf(r.reported_as, r.reported_as != '')) AS merged_keys,
        arrayFirst(b -> b.1 = currency, groupArrayIf((r.currency, r.amount, r.withdrawn, r.reinstated), r.role = 'back')) AS back
    FROM
    (
        SELECT client_id, conversion_key, '' AS reported_as,
               if(event_name IN ('subscription_renewal', 'subscription_first_invoice', 'invoice_payment'), 'invoice', 'sale')
                   AS role,
               (role != 'sale', event_time, event_id) AS place,
               event_name, event_time, order_id, amount, currency, is_test, click_id, promo_code, device_id,
               customer_ref, email_hash, tax, shipping, subscription, account,
               toDecimal128(0, 4) AS withdrawn, toDecimal128(0, 4) AS reinstated
        FROM conversion_reports
        UNION ALL
        SELECT l.client_id, l.conversion_key, m.conversion_key,
               if(m.event_name IN ('subscription_renewal', 'subscription_first_invoice', 'invoice_payment'), 'invoice', 'sale')
                   AS role,
               (role != 'sale', m.event_time, m.event_id),
               m.event_name, m.event_time, m.order_id, m.amount, m.currency, m.is_test, m.click_id, m.promo_code,
               m.device_id, m.customer_ref, m.email_hash, m.tax, m.shipping, m.subscription, m.account,
               toDecimal128(0, 4), toDecimal128(0, 4)
        FROM conversion_reports AS m
        INNER JOIN payment_leads AS l ON l.client_id = m.client_id AND l.ref = m.conversion_key
        UNION ALL
        SELECT client_id, conversion_key, '', 'back', (true, toDateTime64(0, 3, 'UTC'), ''), '', toDateTime64(0, 3, 'UTC'),
               '', refunded, currency, false, '', '', '', '', '', 0, 0, '', '', withdrawn, reinstated
        FROM reversal_totals
        UNION ALL
        SELECT client_id, ref, '', 'leads on', (true, toDateTime64(0, 3, 'UTC'), ''), '', toDateTime64(0, 3, 'UTC'),
               '', 0, '', false, '', '', '', '', '', 0, 0, '', '', 0, 0
        FROM payment_refs
        WHERE ref != conversion_key
    ) AS r
    GROUP BY client_id, conversion_key
    HAVING max(r.role IN ('sale', 'invoice')) AND NOT max(r.role = 'leads on')
) AS p ON p.client_id = s.client_id AND p.subscription = s.subscription;

-- partner_hours: no more clicks of people on a partner's links than this in an hour; a click that came twice counts twice.
-- Who has few in an hour has no burst in it.
CREATE TABLE IF NOT EXISTS partner_hours
(
    client_id   UInt32,
    partner_ref String,
    hour        DateTime('UTC'),
    clicks      SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY (client_id, partner_ref, hour)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS partner_hours_mv TO partner_hours AS
SELECT client_id, partner_ref, toStartOfHour(event_time) AS hour, count() AS clicks
FROM events
WHERE event_type = 'click' AND ip != '' AND NOT is_bot
GROUP BY client_id, partner_ref, hour;

INSERT INTO partner_hours (client_id, partner_ref, hour, clicks)
SELECT client_id, partner_ref, toStartOfHour(since) AS hour, sum(finalizeAggregation(n.clicks))
FROM network_clicks AS n
GROUP BY client_id, partner_ref, hour;
