-- What the worker works with: what has changed, what each answer rests on, and answers that may be corrected.
--
-- Reads:  events, conversion_reports, device_clicks, identities and ledger_entries, for the backfill.
-- Writes: click_rows, changes, click_devices, device_emails, ledger_lines.
-- Twice:  as in 0006: tables are made where they are not, views are replaced, backfilled rows replace themselves.

-- registry_history: each version of each entry, and when it was in force (Unix ms, until is exclusive). The first
-- version also holds for the time before it: who sets up a client means the sales that it had already.
CREATE OR REPLACE VIEW registry_history AS
SELECT kind, key, version, body,
       JSONExtract(body, 'client_id', 'UInt32') AS client_id,
       if(row_number() OVER (PARTITION BY kind, key ORDER BY version) = 1, 0, version) AS from_ms,
       leadInFrame(version, 1, 9999999999999) OVER (
           PARTITION BY kind, key ORDER BY version ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS until_ms
FROM registry;

CREATE OR REPLACE VIEW offer_history AS
SELECT client_id, JSONExtractString(body, 'slug') AS offer, from_ms, until_ms,
       JSONExtract(body, 'click_window_days', 'UInt16') AS click_window_days,
       if(JSONType(body, 'device_window_days') IN ('Int64', 'UInt64'),
          JSONExtract(body, 'device_window_days', 'UInt16'), click_window_days) AS device_window_days,
       if(JSONType(body, 'customer_window_days') IN ('Int64', 'UInt64'),
          JSONExtract(body, 'customer_window_days', 'UInt16'), 65535) AS customer_window_days,
       if(JSONHas(body, 'methods'), JSONExtract(body, 'methods', 'Array(String)'),
          ['promo_code', 'click_id', 'device', 'customer']) AS methods,
       JSONExtractString(body, 'model') = 'first_click' AS first_click,
       JSONExtract(body, 'hold_days', 'UInt16') AS hold_days,
       if(JSONHas(body, 'holds'), JSONExtract(body, 'holds', 'self_referral', 'Bool'), true) AS self_referral,
       if(JSONHas(body, 'holds'), JSONExtract(body, 'holds', 'fastest_s', 'UInt32'), 5) AS fastest_s,
       if(JSONHas(body, 'holds'), JSONExtract(body, 'holds', 'clicks_per_network', 'UInt64'), 200) AS clicks_per_network,
       if(JSONHas(body, 'holds'), JSONExtract(body, 'holds', 'conversions_per_click', 'UInt64'), 10) AS conversions_per_click,
       if(JSONHas(body, 'holds'), JSONExtract(body, 'holds', 'refund_percent', 'UInt8'), 30) AS refund_percent
FROM registry_history
WHERE kind = 'offer';

CREATE OR REPLACE VIEW partner_history AS
SELECT client_id, JSONExtractString(body, 'ref') AS partner_ref, from_ms, until_ms,
       JSONExtractString(body, 'status') = 'active' AS active,
       JSONExtract(body, 'offers', 'Array(String)')[1] AS first_offer,
       JSONExtractString(body, 'email_hash') AS email_hash,
       JSONExtract(body, 'devices', 'Array(String)') AS devices,
       JSONExtractString(body, 'currency') AS currency
FROM registry_history
WHERE kind = 'partner';

-- Codes are compared in upper case: people type them.
CREATE OR REPLACE VIEW promo_code_history AS
SELECT client_id, upperUTF8(JSONExtractString(body, 'code')) AS code, from_ms, until_ms,
       JSONExtractString(body, 'partner') AS partner_ref, JSONExtractString(body, 'offer') AS offer
FROM registry_history
WHERE kind = 'promo_code';

CREATE OR REPLACE VIEW commission_rule_history AS
SELECT client_id, JSONExtractString(body, 'name') AS rule, from_ms, until_ms,
       JSONExtractString(body, 'offer') AS offer, JSONExtractString(body, 'partner') AS partner_ref,
       JSONExtract(body, 'applies_to', 'Array(String)') AS applies_to,
       JSONExtract(body, 'basis_points', 'UInt32') AS basis_points,
       JSONExtractString(body, 'fixed') != '' AS is_fixed,
       toDecimal64OrZero(JSONExtractString(body, 'fixed'), 4) AS fixed,
       toDecimal64OrZero(JSONExtractString(body, 'minimum'), 4) AS minimum,
       if(JSONExtractString(body, 'maximum') = '', toDecimal64('99999999999999', 4),
          toDecimal64OrZero(JSONExtractString(body, 'maximum'), 4)) AS maximum,
       JSONExtractString(body, 'currency') AS currency,
       JSONExtractString(body, 'basis') = 'net_of_tax_and_shipping' AS net,
       if(JSONType(body, 'renewal_months') IN ('Int64', 'UInt64'),
          JSONExtract(body, 'renewal_months', 'Int32'), 100000) AS renewal_months,
       JSONExtractString(body, 'tier_by') = 'revenue' AS by_revenue,
       arrayMap(t -> (JSONExtract(t, 'after', 'UInt64'), JSONExtract(t, 'basis_points', 'UInt32'),
                      toDecimal64OrZero(JSONExtractString(t, 'fixed'), 4)),
                JSONExtractArrayRaw(body, 'tiers')) AS tiers,
       parseDateTime64BestEffort(JSONExtractString(body, 'valid_from'), 3, 'UTC') AS valid_from,
       parseDateTime64BestEffort(JSONExtractString(body, 'valid_to'), 3, 'UTC') AS valid_to
FROM registry_history
WHERE kind = 'commission_rule';

-- click_rows: a click is what was received first under its id (precedence falls with time). The id stands in the address
-- of the landing page, and a browser reports clicks by ids of its own: who sends an id once more changes nothing.
CREATE TABLE IF NOT EXISTS click_rows
(
    client_id   UInt32,
    click_id    String,
    event_time  DateTime64(3, 'UTC'),
    received_at DateTime64(3, 'UTC'),
    partner_ref String,
    offer       LowCardinality(String),
    device_id   String,
    url         String,
    referrer    String,
    ip          String,
    user_agent  String,
    is_bot      Bool,
    bot_reason  LowCardinality(String),
    properties  JSON(max_dynamic_paths = 32),
    precedence  UInt64 DEFAULT 100000000000000 - toUnixTimestamp64Milli(received_at)
)
ENGINE = ReplacingMergeTree(precedence)
ORDER BY (client_id, click_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS click_rows_mv TO click_rows AS
SELECT client_id, click_id, event_time, received_at, partner_ref, offer, device_id, url, referrer, ip, user_agent, is_bot,
       bot_reason, properties
FROM events
WHERE event_type = 'click';

INSERT INTO click_rows (client_id, click_id, event_time, received_at, partner_ref, offer, device_id, url, referrer, ip, user_agent,
                        is_bot, bot_reason, properties)
SELECT client_id, click_id, event_time, received_at, partner_ref, offer, device_id, url, referrer, ip, user_agent, is_bot,
       bot_reason, properties
FROM events
WHERE event_type = 'click'
SETTINGS max_partitions_per_insert_block = 0;

-- changes: what came in since, for the worker. seen_at is when the insert began, so that rows may become visible a
-- little out of order; a time in the future is an appointment. The worker drops days that it has settled. There is no
-- dedup window: an insert that was cut off between the views and is sent again tells its changes again, after all of it
-- is there. What is told twice is looked at twice, and nothing else.
--   payment   id is a conversion key, or any id that leads to one
--   evidence  id is a device, a click, an e-mail hash, a promo code: see dependencies
--   client    id is a version of the registry that this client's rules changed with
CREATE TABLE IF NOT EXISTS changes
(
    seen_at   DateTime64(3, 'UTC'),
    client_id UInt32,
    kind      LowCardinality(String),
    id        String
)
ENGINE = MergeTree
PARTITION BY toDate(seen_at)
ORDER BY (seen_at, client_id, kind, id)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS changes_mv TO changes AS
SELECT now64(3) AS seen_at, client_id, change.1 AS kind, change.2 AS id
FROM
(
    SELECT DISTINCT
        client_id,
        arrayJoin(arrayConcat(
            if(conversion_key != '' OR event_type IN ('refund', 'chargeback'),
               arrayMap(i -> ('payment', i), arrayPushFront(refs, conversion_key)), []),
            if((event_type = 'click' OR device_id != '') AND click_id != '', [('evidence', click_id)], []),
            if(device_id != '' AND (click_id != '' OR email_hash != ''), [('evidence', device_id)], []),
            if(device_id != '' AND email_hash != '', [('evidence', email_hash)], [])
        )) AS change
    FROM events
)
WHERE id != '';

CREATE MATERIALIZED VIEW IF NOT EXISTS registry_changes_mv TO changes AS
SELECT now64(3) AS seen_at, JSONExtract(body, 'client_id', 'UInt32') AS client_id,
       if(kind = 'promo_code', 'evidence', 'client') AS kind,
       if(registry.kind = 'promo_code', concat('promo ', upperUTF8(JSONExtractString(body, 'code'))), toString(version)) AS id
FROM registry
WHERE registry.kind IN ('offer', 'partner', 'commission_rule', 'promo_code');

-- What there was before this table is a change of every client.
INSERT INTO changes SELECT now64(3), client_id, 'payment', conversion_key FROM conversion_reports GROUP BY client_id, conversion_key;

-- dependencies: which conversions looked at an id, so that they are looked at again when something is said of it.
--   an e-mail hash, a device or a click as it is; 'customer …', 'subscription …', 'promo …', 'won …' (the click that won)
CREATE TABLE IF NOT EXISTS dependencies
(
    client_id      UInt32,
    id             String,
    conversion_key String
)
ENGINE = ReplacingMergeTree
ORDER BY (client_id, id, conversion_key)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- worker_state: how far everything is settled.
CREATE TABLE IF NOT EXISTS worker_state
(
    name       String,
    value      DateTime64(3, 'UTC'),
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- device_clicks and identities the other way round.
CREATE TABLE IF NOT EXISTS click_devices
(
    client_id  UInt32,
    click_id   String,
    device_id  String,
    first_seen SimpleAggregateFunction(min, DateTime64(3, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (client_id, click_id, device_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS click_devices_mv TO click_devices AS
SELECT client_id, click_id, device_id, min(event_time) AS first_seen
FROM events
WHERE device_id != '' AND click_id != ''
GROUP BY client_id, click_id, device_id;

INSERT INTO click_devices SELECT client_id, click_id, device_id, first_seen FROM device_clicks;

CREATE TABLE IF NOT EXISTS device_emails
(
    client_id  UInt32,
    device_id  String,
    email_hash String,
    first_seen SimpleAggregateFunction(min, DateTime64(3, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (client_id, device_id, email_hash)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS device_emails_mv TO device_emails AS
SELECT client_id, device_id, email_hash, min(event_time) AS first_seen
FROM events
WHERE email_hash != '' AND device_id != ''
GROUP BY client_id, device_id, email_hash;

INSERT INTO device_emails SELECT client_id, device_id, email_hash, first_seen FROM identities;

-- network_clicks: clicks of people on a partner's links by address block and minute.
CREATE TABLE IF NOT EXISTS network_clicks
(
    client_id   UInt32,
    partner_ref String,
    ip          String,
    since       DateTime('UTC'),
    clicks      AggregateFunction(uniqCombined, String)
)
ENGINE = AggregatingMergeTree
ORDER BY (client_id, partner_ref, ip, since)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS network_clicks_mv TO network_clicks AS
SELECT client_id, partner_ref, ip, toStartOfMinute(event_time) AS since, uniqCombinedState(click_id) AS clicks
FROM events
WHERE event_type = 'click' AND ip != '' AND NOT is_bot
GROUP BY client_id, partner_ref, ip, since;

-- A lead is a conversion without money: its key says so, and what its page said it is worth is no revenue. Bots make none.
ALTER TABLE conversion_reports_mv MODIFY QUERY
SELECT client_id, conversion_key, event_id, event_name, event_time, order_id, if(event_type = 'lead', 0, revenue) AS revenue,
       currency, is_test, click_id, promo_code, device_id, customer_ref, email_hash,
       if(event_name = 'subscription_first_invoice', toDecimal64OrZero(toString(properties.amount), 4), revenue) AS amount,
       toDecimal64OrZero(toString(properties.tax), 4) AS tax,
       toDecimal64OrZero(toString(properties.shipping), 4) AS shipping,
       toString(properties.subscription) AS subscription,
       toString(properties.account) AS account
FROM events
WHERE conversion_key != '' AND event_type NOT IN ('refund', 'chargeback') AND event_name != 'invoice_payment_linked'
  AND NOT (event_type = 'lead' AND is_bot);

CREATE OR REPLACE VIEW conversions AS
SELECT client_id, conversion_key, order_id, if(startsWith(conversion_key, 'lead:'), 'lead', kind) AS kind, event_time, revenue,
       refunded, currency, is_test, click_id, promo_code, device_id, customer_ref, email_hash, charged_back, tax, shipping,
       subscription, account, counts_from, merged_keys
FROM payments
WHERE counts_from <= now64(3);

-- attribution_rows: the answer, and the facts of the conversion that it was given on. One that is gone was merged with
-- another when a link between them came, or turned out to be a test.
ALTER TABLE attribution_rows
    ADD COLUMN IF NOT EXISTS payment LowCardinality(String) COMMENT 'first, renewal, lead, trial' AFTER reason,
    ADD COLUMN IF NOT EXISTS event_time DateTime64(3, 'UTC') AFTER payment,
    ADD COLUMN IF NOT EXISTS revenue Decimal(18, 4) AFTER event_time,
    ADD COLUMN IF NOT EXISTS refunded Decimal(18, 4) COMMENT 'or charged back' AFTER revenue,
    ADD COLUMN IF NOT EXISTS currency LowCardinality(String) AFTER refunded,
    ADD COLUMN IF NOT EXISTS touches Array(Tuple(clicked_at DateTime64(3, 'UTC'), click_id String, partner_ref String,
        offer String, method String)) COMMENT 'every click that might have earned, in order' AFTER currency,
    ADD COLUMN IF NOT EXISTS gone Bool AFTER touches;

CREATE OR REPLACE VIEW attributions AS
SELECT client_id, conversion_key, order_id, partner_ref, offer, click_id, method, reason, attributed_at,
       payment, event_time, revenue, refunded, currency, touches
FROM attribution_rows FINAL
WHERE NOT gone;

-- partner_sales: how much of what a partner sold came back, as sketches: a sale that is written again counts once, and one
-- that moved to another partner still counts here.
CREATE TABLE IF NOT EXISTS partner_sales
(
    client_id   UInt32,
    partner_ref String,
    day         Date,
    sales       AggregateFunction(uniqCombined, String),
    refunded    AggregateFunction(uniqCombined, String)
)
ENGINE = AggregatingMergeTree
ORDER BY (client_id, partner_ref, day)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS partner_sales_mv TO partner_sales AS
SELECT client_id, partner_ref, toDate(event_time) AS day, uniqCombinedState(conversion_key) AS sales,
       uniqCombinedStateIf(conversion_key, a.refunded > 0) AS refunded
FROM attribution_rows AS a
WHERE partner_ref != '' AND payment IN ('first', 'renewal')
GROUP BY client_id, partner_ref, day;

-- rates: units of a currency for one unit of the base, by day. What was imported stays: entries were written with it.
CREATE TABLE IF NOT EXISTS rates
(
    day         Date,
    currency    LowCardinality(String),
    rate        Decimal(18, 8),
    imported_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (currency, day)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- holds: what makes a commission wait for a person. reviews: what the person said; the last word counts.
CREATE TABLE IF NOT EXISTS holds
(
    client_id      UInt32,
    conversion_key String,
    partner_ref    String,
    code           LowCardinality(String) COMMENT 'self_referral, fast_conversion, click_burst, conversions_per_click, refund_rate',
    evidence       String,
    raised_at      DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (client_id, conversion_key, partner_ref, code)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS reviews
(
    client_id      UInt32,
    conversion_key String,
    partner_ref    String,
    approved       Bool,
    codes          Array(String) COMMENT 'what it was on hold for',
    note           String,
    reviewed_at    DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(reviewed_at)
ORDER BY (client_id, conversion_key, partner_ref)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS reviews_changes_mv TO changes AS
SELECT now64(3) AS seen_at, client_id, 'payment' AS kind, conversion_key AS id
FROM reviews;

-- ledger_lines: lines of commission money, only ever added. entry_id follows from the place of a line: the conversion,
-- the partner, the part (earned, reversed), and how many lines of that part came before. Two workers that write the
-- same place write one line: the earlier one stands (precedence falls with time), and what it lacks is a line after it.
CREATE TABLE IF NOT EXISTS ledger_lines
(
    entry_id       String,
    client_id      UInt32,
    conversion_key String,
    partner_ref    String,
    kind           LowCardinality(String) COMMENT 'accrual, reversal, adjustment',
    amount         Decimal(18, 4) COMMENT 'reversals are negative',
    currency       LowCardinality(String),
    rule           LowCardinality(String),
    hold_until     DateTime64(3, 'UTC'),
    created_at     DateTime64(3, 'UTC') DEFAULT now64(3),
    reason         JSON(max_dynamic_paths = 32),
    part           LowCardinality(String) COMMENT 'earned, reversed',
    sale_currency  LowCardinality(String),
    sale_day       Date,
    rate           Decimal(38, 10) COMMENT 'from the currency of the sale, as it was that day',
    rule_currency  LowCardinality(String),
    rule_rate      Decimal(38, 10) COMMENT 'from the currency of the rule, as it was that day',
    precedence     UInt64 DEFAULT 100000000000000 - toUnixTimestamp64Milli(created_at)
)
ENGINE = ReplacingMergeTree(precedence)
ORDER BY (client_id, conversion_key, entry_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

INSERT INTO ledger_lines (entry_id, client_id, conversion_key, partner_ref, kind, amount, currency, rule, hold_until, created_at,
                          reason, part)
SELECT entry_id, client_id, conversion_key, partner_ref, kind, amount, currency, rule, hold_until, created_at, reason, 'earned'
FROM ledger_entries FINAL;

CREATE OR REPLACE VIEW ledger AS
SELECT entry_id, client_id, conversion_key, partner_ref, kind, amount, currency, rule, hold_until, created_at, reason
FROM ledger_lines FINAL;

-- open_holds: what nobody has decided on yet. A review covers the codes that it saw. A payment that was merged with
-- another has none any more: those of the other say it.
CREATE OR REPLACE VIEW open_holds AS
SELECT h.client_id AS client_id, h.conversion_key AS conversion_key, h.partner_ref AS partner_ref,
       arraySort(groupUniqArray(h.code)) AS codes, min(h.raised_at) AS raised_at,
       arraySort(groupUniqArray(concat(h.code, ': ', h.evidence))) AS evidence
FROM (SELECT * FROM holds FINAL) AS h
LEFT JOIN (SELECT * FROM reviews FINAL) AS r
    ON r.client_id = h.client_id AND r.conversion_key = h.conversion_key AND r.partner_ref = h.partner_ref
WHERE NOT has(r.codes, h.code)
  AND (h.client_id, h.conversion_key) NOT IN
  (
      SELECT client_id, conversion_key FROM attribution_rows FINAL
      WHERE gone AND (client_id, conversion_key) IN (SELECT client_id, conversion_key FROM holds)
  )
GROUP BY client_id, conversion_key, partner_ref;

-- commissions: what the lines of one sale come to, by partner and currency. pending until the hold date has passed and
-- nothing is to be reviewed; reversed when nothing is left.
CREATE OR REPLACE VIEW commissions AS
SELECT l.client_id AS client_id, l.conversion_key AS conversion_key, l.partner_ref AS partner_ref, l.currency AS currency,
       l.earned AS earned, l.reversed AS reversed, l.earned + l.reversed AS amount, l.hold_until AS hold_until, h.codes AS holds,
       multiIf(amount = 0, 'reversed', notEmpty(holds) OR l.hold_until > now64(3), 'pending', 'approved') AS status
FROM
(
    SELECT client_id, conversion_key, partner_ref, currency, sumIf(e.amount, e.part = 'earned') AS earned,
           sumIf(e.amount, e.part = 'reversed') AS reversed, max(e.hold_until) AS hold_until
    FROM (SELECT * FROM ledger_lines FINAL) AS e
    GROUP BY client_id, conversion_key, partner_ref, currency
) AS l
LEFT JOIN open_holds AS h
    ON h.client_id = l.client_id AND h.conversion_key = l.conversion_key AND h.partner_ref = l.partner_ref;
