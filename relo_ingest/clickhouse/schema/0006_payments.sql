-- Payments, completely: what was paid, what went back, and which reports are of one payment.
--
-- Reads:  events, for the backfill: an ingest of this version may have run before this migration.
-- Writes: payment_refs, payment_leads, conversion_reports, subscription_starts, payment_reversals, subscription_reports.
-- Twice:  columns and tables are added where they are not, queries and views are replaced, and the backfill writes rows
--         with the identity they have: they replace themselves. A column is there before a view fills it, and a view
--         before its backfill: a row that arrives meanwhile is written by one of the two, or by both.

-- payment_refs: any id of the payment system ↔ what it leads to. A row with a conversion key says that all its ids
-- are of that conversion. A refund or dispute knows a payment intent or a charge, and not yet whose they are: its ids
-- lead to the first of them, from where another row leads on (charge → payment intent → invoice, two steps at most).
ALTER TABLE payment_refs_mv MODIFY QUERY
SELECT DISTINCT client_id, arrayJoin(refs) AS ref, if(conversion_key != '', conversion_key, refs[1]) AS conversion_key
FROM events
WHERE conversion_key != '' OR (event_type IN ('refund', 'chargeback') AND notEmpty(refs));

INSERT INTO payment_refs (client_id, ref, conversion_key)
SELECT DISTINCT client_id, arrayJoin(refs), if(conversion_key != '', conversion_key, refs[1])
FROM events
WHERE conversion_key != '' OR (event_type IN ('refund', 'chargeback') AND notEmpty(refs));

-- payment_leads: the same without ids that lead to themselves, by where they lead: "what belongs to this conversion".
CREATE TABLE IF NOT EXISTS payment_leads
(
    client_id      UInt32,
    conversion_key String,
    ref            String
)
ENGINE = ReplacingMergeTree
ORDER BY (client_id, conversion_key, ref)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS payment_leads_mv TO payment_leads AS
SELECT DISTINCT client_id, if(e.conversion_key != '', e.conversion_key, e.refs[1]) AS conversion_key, arrayJoin(e.refs) AS ref
FROM events AS e
WHERE (e.conversion_key != '' OR (event_type IN ('refund', 'chargeback') AND notEmpty(e.refs))) AND ref != conversion_key;

INSERT INTO payment_leads (client_id, conversion_key, ref)
SELECT client_id, conversion_key, ref FROM payment_refs WHERE ref != conversion_key;

-- conversion_reports: what says that money came in, or that a sale cost nothing.
ALTER TABLE conversion_reports
    ADD COLUMN IF NOT EXISTS amount Decimal(18, 4) COMMENT 'what was paid; a first invoice has it although its revenue is 0'
        AFTER email_hash,
    ADD COLUMN IF NOT EXISTS tax Decimal(18, 4) COMMENT 'of the amount' AFTER amount,
    ADD COLUMN IF NOT EXISTS shipping Decimal(18, 4) COMMENT 'of the amount' AFTER tax,
    ADD COLUMN IF NOT EXISTS subscription String AFTER shipping,
    ADD COLUMN IF NOT EXISTS account String COMMENT 'the connected account (Stripe Connect)' AFTER subscription;

ALTER TABLE conversion_reports_mv MODIFY QUERY
SELECT client_id, conversion_key, event_id, event_name, event_time, order_id, revenue, currency, is_test,
       click_id, promo_code, device_id, customer_ref, email_hash,
       if(event_name = 'subscription_first_invoice', toDecimal64OrZero(toString(properties.amount), 4), revenue) AS amount,
       toDecimal64OrZero(toString(properties.tax), 4) AS tax,
       toDecimal64OrZero(toString(properties.shipping), 4) AS shipping,
       toString(properties.subscription) AS subscription,
       toString(properties.account) AS account
FROM events
WHERE conversion_key != '' AND event_type NOT IN ('refund', 'chargeback') AND event_name != 'invoice_payment_linked';

INSERT INTO conversion_reports
    (client_id, conversion_key, event_id, event_name, event_time, order_id, revenue, currency, is_test, click_id,
     promo_code, device_id, customer_ref, email_hash, amount, tax, shipping, subscription, account)
SELECT client_id, conversion_key, event_id, event_name, event_time, order_id, revenue, currency, is_test, click_id,
       promo_code, device_id, customer_ref, email_hash,
       if(event_name = 'subscription_first_invoice', toDecimal64OrZero(toString(properties.amount), 4), revenue),
       toDecimal64OrZero(toString(properties.tax), 4), toDecimal64OrZero(toString(properties.shipping), 4),
       toString(properties.subscription), toString(properties.account)
FROM events
WHERE conversion_key != '' AND event_type NOT IN ('refund', 'chargeback') AND event_name != 'invoice_payment_linked'
SETTINGS max_partitions_per_insert_block = 0;

-- payment_reversals: what says that money went back.
CREATE TABLE IF NOT EXISTS payment_reversals
(
    client_id  UInt32,
    payment    String COMMENT 'the id nearest to the conversion that the report knows: see payment_refs',
    event_id   String,
    event_name LowCardinality(String) COMMENT 'refund, refund_failed, chargeback…',
    event_time DateTime64(3, 'UTC'),
    object     String COMMENT 'the refund or dispute; empty for a report of a whole charge',
    charge     String,
    amount     Decimal(18, 4) COMMENT 'of the refund or dispute; of a charge: all that was refunded of it so far',
    currency   LowCardinality(String),
    status     LowCardinality(String),
    made_at    DateTime64(3, 'UTC') COMMENT 'when the refund was made; its reports come later'
)
ENGINE = ReplacingMergeTree
ORDER BY (client_id, payment, event_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS payment_reversals_mv TO payment_reversals AS
SELECT client_id,
       if(conversion_key != '', conversion_key, refs[1]) AS payment,
       event_id, event_name, event_time,
       if(event_type = 'refund', toString(properties.refund), toString(properties.dispute)) AS object,
       toString(properties.charge) AS charge,
       toDecimal64OrZero(if(object = '', toString(properties.amount_refunded), toString(properties.amount)), 4) AS amount,
       currency,
       toString(properties.status) AS status,
       toDateTime64(least(toUInt64OrZero(toString(properties.created)), 9999999999), 3, 'UTC') AS made_at
FROM events
WHERE event_type IN ('refund', 'chargeback') AND payment != '';

INSERT INTO payment_reversals
    (client_id, payment, event_id, event_name, event_time, object, charge, amount, currency, status, made_at)
SELECT client_id,
       if(conversion_key != '', conversion_key, refs[1]) AS payment,
       event_id, event_name, event_time,
       if(event_type = 'refund', toString(properties.refund), toString(properties.dispute)) AS object,
       toString(properties.charge) AS charge,
       toDecimal64OrZero(if(object = '', toString(properties.amount_refunded), toString(properties.amount)), 4) AS amount,
       currency,
       toString(properties.status) AS status,
       toDateTime64(least(toUInt64OrZero(toString(properties.created)), 9999999999), 3, 'UTC') AS made_at
FROM events
WHERE event_type IN ('refund', 'chargeback') AND payment != '';

-- subscription_starts: when a subscription first paid money, and whether it is known to have started for nothing (a
-- trial, a full discount). The far future stands for "not yet", since the earlier of two rows wins.
CREATE TABLE IF NOT EXISTS subscription_starts
(
    client_id     UInt32,
    subscription  String,
    first_paid_at SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    started_free  SimpleAggregateFunction(max, Bool)
)
ENGINE = AggregatingMergeTree
ORDER BY (client_id, subscription)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS subscription_starts_mv TO subscription_starts AS
SELECT client_id, subscription,
       min(if(amount > 0, event_time, toDateTime64('2299-12-31 00:00:00', 3, 'UTC'))) AS first_paid_at,
       max(amount = 0 AND event_name IN ('purchase', 'subscription_first_invoice')) AS started_free
FROM conversion_reports
WHERE subscription != ''
GROUP BY client_id, subscription;

INSERT INTO subscription_starts (client_id, subscription, first_paid_at, started_free)
SELECT client_id, subscription,
       min(if(amount > 0, event_time, toDateTime64('2299-12-31 00:00:00', 3, 'UTC'))),
       max(amount = 0 AND event_name IN ('purchase', 'subscription_first_invoice'))
FROM conversion_reports
WHERE subscription != ''
GROUP BY client_id, subscription;

-- reversal_totals: what went back, by conversion and currency.
--
-- A report of money back stands under every id that its own leads to: a payment intent's and, once that is linked, its
-- invoice's. Only one of them is a conversion's key in the end, so nothing is asked here about which.
--
-- A refund is told by itself (created, updated, failed: the same refund in each) and by its charge (all of them so far).
-- Both are the same money, so the larger counts, per charge: what the refunds that are known and did not fail add up
-- to; or what the charge said last, less what failed since, plus what was refunded since. With every report at hand
-- the two are equal; where one kind was lost or is not subscribed, the other has it. Whether a refund failed, and when
-- it was made, is looked at over all its reports: the order in which they come does not matter.
--
-- Of a dispute, the last word counts: withdrawn or lost, the money is away; reinstated or won, it is back. An inquiry
-- that is closed moved nothing.
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
                    FROM payment_leads AS l
                    INNER JOIN payment_reversals AS v ON v.client_id = l.client_id AND v.payment = l.ref
                    UNION ALL
                    SELECT l.client_id, l.conversion_key, v.currency, v.object, v.charge, v.event_id, v.event_name,
                           v.event_time, v.amount, v.made_at, v.status
                    FROM payment_leads AS l
                    INNER JOIN
                    (
                        -- DISTINCT keeps the three joins apart: put in order together, they may meet on client_id alone.
                        SELECT DISTINCT w.client_id AS client_id, k.conversion_key AS led, w.currency AS currency, w.object AS object,
                               w.charge AS charge, w.event_id AS event_id, w.event_name AS event_name,
                               w.event_time AS event_time, w.amount AS amount, w.made_at AS made_at, w.status AS status
                        FROM payment_leads AS k
                        INNER JOIN payment_reversals AS w ON w.client_id = k.client_id AND w.payment = k.ref
                    ) AS v ON v.client_id = l.client_id AND v.led = l.ref
                )
            ) AS r
            GROUP BY client_id, conversion_key, currency, object, one_charge
        )
    ) AS o
    GROUP BY client_id, conversion_key, currency, charge
) AS c
GROUP BY client_id, conversion_key, currency;

-- payments: one row per payment, whatever mixture of reports tells of it, in whatever order and however often: min,
-- max, argMin and argMax do not change when a report comes again. Where a sale (a Checkout session, an order) and an
-- invoice report the same payment, the sale's word goes first. Empty values do not win over known ones.
--
-- Reports that came under a payment intent which, as is known by now, paid an invoice, stand under the invoice. Everything
-- is brought together by one GROUP BY instead of joins, so that a condition on client_id and conversion_key reaches the
-- primary keys of the tables below.
--
-- kind: what a sale reports is a purchase. An invoice of a subscription is a renewal, unless it is the first money of one
-- that is known to have started for nothing: what was known when the subscription began decides, not the billing reason.
--
-- counts_from: a first invoice waits ten minutes for the session that may come; then it is the purchase itself. It
-- follows from the reports alone, not from when they came in, so that a replay gives the same answer.
--
-- Money back in another currency than the payment's is not subtracted: it stands in reversal_totals.
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
        FROM payment_leads AS l
        INNER JOIN conversion_reports AS m ON m.client_id = l.client_id AND m.conversion_key = l.ref
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
) AS p
LEFT JOIN
(
    SELECT client_id, subscription, min(b.first_paid_at) AS first_paid_at, max(b.started_free) AS started_free
    FROM subscription_starts AS b
    GROUP BY client_id, subscription
) AS s ON s.client_id = p.client_id AND s.subscription = p.subscription;

-- conversions: the payments that count by now.
CREATE OR REPLACE VIEW conversions AS
SELECT client_id, conversion_key, order_id, kind, event_time, revenue, refunded, currency, is_test, click_id, promo_code,
       device_id, customer_ref, email_hash, charged_back, tax, shipping, subscription, account, counts_from, merged_keys
FROM payments
WHERE counts_from <= now64(3);

-- subscription_reports: what Stripe says of subscriptions; the last word is the state.
CREATE TABLE IF NOT EXISTS subscription_reports
(
    client_id      UInt32,
    subscription   String,
    event_id       String,
    event_name     LowCardinality(String),
    event_time     DateTime64(3, 'UTC'),
    customer_ref   String,
    status         LowCardinality(String),
    change         LowCardinality(String) COMMENT 'upgrade, downgrade, pause, resume, cancel_scheduled, other',
    plan           String,
    product        String,
    interval       LowCardinality(String),
    interval_count UInt32,
    quantity       UInt64,
    amount         Decimal(18, 4) COMMENT 'of one interval',
    currency       LowCardinality(String),
    started_at     DateTime64(3, 'UTC'),
    ended_at       DateTime64(3, 'UTC') COMMENT '1970 while it goes on',
    cancel_at      DateTime64(3, 'UTC') COMMENT '1970 when no end is planned',
    cancel_reason  LowCardinality(String),
    paused         Bool,
    is_test        Bool,
    click_id       String,
    promo_code     String
)
ENGINE = ReplacingMergeTree
ORDER BY (client_id, subscription, event_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS subscription_reports_mv TO subscription_reports AS
SELECT client_id, order_id AS subscription, event_id, event_name, event_time, customer_ref,
       toString(properties.status) AS status,
       toString(properties.change) AS change,
       toString(properties.plan) AS plan,
       toString(properties.product) AS product,
       toString(properties.interval) AS interval,
       toUInt32OrZero(toString(properties.interval_count)) AS interval_count,
       toUInt64OrZero(toString(properties.quantity)) AS quantity,
       toDecimal64OrZero(toString(properties.amount), 4) AS amount,
       currency,
       toDateTime64(least(toUInt64OrZero(toString(properties.started)), 9999999999), 3, 'UTC') AS started_at,
       multiIf(event_name != 'subscription_cancelled', toDateTime64(0, 3, 'UTC'),
               toString(properties.ended_at) = '', event_time,
               toDateTime64(least(toUInt64OrZero(toString(properties.ended_at)), 9999999999), 3, 'UTC')) AS ended_at,
       toDateTime64(least(toUInt64OrZero(toString(properties.cancel_at)), 9999999999), 3, 'UTC') AS cancel_at,
       toString(properties.cancel_reason) AS cancel_reason,
       toString(properties.paused) = 'true' AS paused,
       is_test, click_id, promo_code
FROM events
WHERE media_source = 'stripe' AND event_name IN ('subscription_created', 'subscription_updated', 'subscription_cancelled');

INSERT INTO subscription_reports
    (client_id, subscription, event_id, event_name, event_time, customer_ref, status, change, plan, product, interval,
     interval_count, quantity, amount, currency, started_at, ended_at, cancel_at, cancel_reason, paused, is_test, click_id,
     promo_code)
SELECT client_id, order_id AS subscription, event_id, event_name, event_time, customer_ref,
       toString(properties.status) AS status,
       toString(properties.change) AS change,
       toString(properties.plan) AS plan,
       toString(properties.product) AS product,
       toString(properties.interval) AS interval,
       toUInt32OrZero(toString(properties.interval_count)) AS interval_count,
       toUInt64OrZero(toString(properties.quantity)) AS quantity,
       toDecimal64OrZero(toString(properties.amount), 4) AS amount,
       currency,
       toDateTime64(least(toUInt64OrZero(toString(properties.started)), 9999999999), 3, 'UTC') AS started_at,
       multiIf(event_name != 'subscription_cancelled', toDateTime64(0, 3, 'UTC'),
               toString(properties.ended_at) = '', event_time,
               toDateTime64(least(toUInt64OrZero(toString(properties.ended_at)), 9999999999), 3, 'UTC')) AS ended_at,
       toDateTime64(least(toUInt64OrZero(toString(properties.cancel_at)), 9999999999), 3, 'UTC') AS cancel_at,
       toString(properties.cancel_reason) AS cancel_reason,
       toString(properties.paused) = 'true' AS paused,
       is_test, click_id, promo_code
FROM events
WHERE media_source = 'stripe' AND event_name IN ('subscription_created', 'subscription_updated', 'subscription_cancelled');

-- subscriptions: one row per subscription as it is now. Of reports in the same second, a creation is before an update,
-- and that before the end.
CREATE OR REPLACE VIEW subscriptions AS
SELECT
    s.client_id AS client_id,
    s.subscription AS subscription,
    s.last.1 AS customer_ref,
    s.last.2 AS status,
    s.last.3 AS plan,
    s.last.4 AS product,
    s.last.5 AS interval,
    s.last.6 AS interval_count,
    s.last.7 AS quantity,
    s.last.8 AS amount,
    s.last.9 AS currency,
    s.last.10 AS cancel_at,
    s.last.11 AS cancel_reason,
    s.last.12 AS paused,
    s.started_at AS started_at,
    s.ended_at AS ended_at,
    s.is_test AS is_test,
    s.click_id AS click_id,
    s.promo_code AS promo_code,
    s.updated_at AS updated_at,
    status IN ('active', 'trialing', 'past_due') AND ended_at = toDateTime64(0, 3, 'UTC') AS is_active,
    s.was_active AS was_active
FROM
(
    SELECT
        client_id,
        subscription,
        argMax(
            (r.customer_ref, r.status, r.plan, r.product, r.interval, r.interval_count, r.quantity, r.amount, r.currency,
             r.cancel_at, r.cancel_reason, r.paused),
            (r.event_time, indexOf(['subscription_created', 'subscription_updated', 'subscription_cancelled'], r.event_name),
             r.event_id)
        ) AS last,
        min(r.started_at) AS started_at,
        max(r.ended_at) AS ended_at,
        max(r.is_test) AS is_test,
        max(r.click_id) AS click_id,
        max(r.promo_code) AS promo_code,
        max(r.event_time) AS updated_at,
        max(r.status IN ('active', 'trialing', 'past_due', 'paused', 'unpaid')) AS was_active
    FROM subscription_reports AS r
    GROUP BY client_id, subscription
) AS s;

-- subscription_partners: whose a subscription is: the partner of its first attributed payment, else of its customer's.
CREATE OR REPLACE VIEW subscription_partners AS
WITH
    attributed AS
    (
        SELECT p.client_id AS client_id, p.subscription AS subscription, p.customer_ref AS customer_ref,
               p.event_time AS event_time, p.conversion_key AS conversion_key, a.partner_ref AS partner_ref
        FROM attributions AS a
        INNER JOIN payments AS p ON p.client_id = a.client_id AND p.conversion_key = a.conversion_key
        WHERE a.partner_ref != ''
    )
SELECT s.client_id AS client_id, s.subscription AS subscription,
       if(b.partner_ref != '', b.partner_ref, c.partner_ref) AS partner_ref
FROM subscriptions AS s
LEFT JOIN
(
    SELECT client_id, subscription, argMin(t.partner_ref, (t.event_time, t.conversion_key)) AS partner_ref
    FROM attributed AS t
    WHERE t.subscription != ''
    GROUP BY client_id, subscription
) AS b ON b.client_id = s.client_id AND b.subscription = s.subscription
LEFT JOIN
(
    SELECT client_id, customer_ref, argMin(t.partner_ref, (t.event_time, t.conversion_key)) AS partner_ref
    FROM attributed AS t
    WHERE t.customer_ref != ''
    GROUP BY client_id, customer_ref
) AS c ON c.client_id = s.client_id AND c.customer_ref = s.customer_ref;

CREATE OR REPLACE VIEW active_subscriptions AS
SELECT s.client_id AS client_id, p.partner_ref AS partner_ref, s.subscription AS subscription,
       s.customer_ref AS customer_ref, s.status AS status, s.plan AS plan, s.interval AS interval,
       s.interval_count AS interval_count, s.quantity AS quantity, s.amount AS amount, s.currency AS currency,
       s.paused AS paused, s.cancel_at AS cancel_at, s.started_at AS started_at
FROM subscriptions AS s
LEFT JOIN subscription_partners AS p ON p.client_id = s.client_id AND p.subscription = s.subscription
WHERE s.is_active AND NOT s.is_test;

-- churn_monthly: of the subscriptions that a month began with, how many ended in it. One that never became active
-- (its first payment failed) was none; partner_ref is empty for those that no partner brought.
CREATE OR REPLACE VIEW churn_monthly AS
SELECT client_id, partner_ref, month,
       countIf(x.started_at < toDateTime(x.month, 'UTC')) AS active_at_start,
       countIf(toStartOfMonth(x.started_at) = x.month) AS started,
       countIf(x.ended AND toStartOfMonth(x.ended_at) = x.month) AS ended,
       countIf(x.ended AND toStartOfMonth(x.ended_at) = x.month AND x.started_at < toDateTime(x.month, 'UTC')) AS churned,
       if(active_at_start = 0, 0, churned / active_at_start) AS churn
FROM
(
    SELECT s.client_id AS client_id, p.partner_ref AS partner_ref, s.started_at AS started_at, s.ended_at AS ended_at,
           s.ended_at > toDateTime64(0, 3, 'UTC') AS ended,
           if(ended, greatest(s.ended_at, s.started_at), now64(3, 'UTC')) AS until,
           arrayJoin(arrayMap(
               n -> addMonths(toStartOfMonth(s.started_at), n),
               range(toUInt32(greatest(0, dateDiff('month', s.started_at, until))) + 1)
           )) AS month
    FROM subscriptions AS s
    LEFT JOIN subscription_partners AS p ON p.client_id = s.client_id AND p.subscription = s.subscription
    WHERE s.was_active AND NOT s.is_test
) AS x
GROUP BY client_id, partner_ref, month;
