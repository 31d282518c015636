-- What the views of events keep, and the views. Each table is safe against the same row coming again:
-- rows with an identity replace themselves, aggregates are of states that a repeated row does not change.

-- clicks: one row per use of a partner link.
CREATE TABLE IF NOT EXISTS clicks
(
    client_id   UInt32,
    click_id    String,
    event_time  DateTime64(3, 'UTC'),
    partner_ref String,
    offer       LowCardinality(String),
    device_id   String,
    url         String,
    referrer    String,
    ip          String,
    user_agent  String,
    properties  JSON(max_dynamic_paths = 32)
)
ENGINE = ReplacingMergeTree
ORDER BY (client_id, click_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS clicks_mv TO clicks AS
SELECT client_id, click_id, event_time, partner_ref, offer, device_id, url, referrer, ip, user_agent, properties
FROM events
WHERE event_type = 'click';

-- device_clicks: which device was seen with which click id. The pixel says it, since the link itself is
-- opened on another domain, where the site's device cookie does not exist.
CREATE TABLE IF NOT EXISTS device_clicks
(
    client_id  UInt32,
    device_id  String,
    click_id   String,
    first_seen SimpleAggregateFunction(min, DateTime64(3, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (client_id, device_id, click_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS device_clicks_mv TO device_clicks AS
SELECT client_id, device_id, click_id, min(event_time) AS first_seen
FROM events
WHERE device_id != '' AND click_id != ''
GROUP BY client_id, device_id, click_id;

-- identities: which e-mail hash was seen with which device.
CREATE TABLE IF NOT EXISTS identities
(
    client_id  UInt32,
    email_hash String,
    device_id  String,
    first_seen SimpleAggregateFunction(min, DateTime64(3, 'UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (client_id, email_hash, device_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS identities_mv TO identities AS
SELECT client_id, email_hash, device_id, min(event_time) AS first_seen
FROM events
WHERE email_hash != '' AND device_id != ''
GROUP BY client_id, email_hash, device_id;

-- payment_refs: any id of the payment system ↔ the conversion it belongs to.
CREATE TABLE IF NOT EXISTS payment_refs
(
    client_id      UInt32,
    ref            String,
    conversion_key String
)
ENGINE = ReplacingMergeTree
ORDER BY (client_id, ref, conversion_key)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS payment_refs_mv TO payment_refs AS
SELECT DISTINCT client_id, arrayJoin(refs) AS ref, conversion_key
FROM events
WHERE conversion_key != '';

-- conversion_reports: every event that reports a conversion; the few rows of events that are money.
CREATE TABLE IF NOT EXISTS conversion_reports
(
    client_id      UInt32,
    conversion_key String,
    event_id       String,
    event_name     LowCardinality(String),
    event_time     DateTime64(3, 'UTC'),
    order_id       String,
    revenue        Decimal(18, 4),
    currency       LowCardinality(String),
    is_test        Bool,
    click_id       String,
    promo_code     String,
    device_id      String,
    customer_ref   String,
    email_hash     String
)
ENGINE = ReplacingMergeTree
ORDER BY (client_id, conversion_key, event_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS conversion_reports_mv TO conversion_reports AS
SELECT client_id, conversion_key, event_id, event_name, event_time, order_id, revenue, currency, is_test,
       click_id, promo_code, device_id, customer_ref, email_hash
FROM events
WHERE conversion_key != '';

-- conversions: one row per conversion, however many events report it and however often. Every expression gives the
-- same answer when a report is there twice: min, max and argMin are not sums. Empty values do not win over known ones.
CREATE OR REPLACE VIEW conversions AS
SELECT
    r.client_id AS client_id,
    r.conversion_key AS conversion_key,
    argMinIf(r.order_id, (r.event_time, r.event_id), r.order_id != '') AS order_id,
    argMin(if(r.event_name = 'subscription_renewal', 'renewal', 'purchase'), (r.event_time, r.event_id)) AS kind,
    min(r.event_time) AS event_time,
    max(r.revenue) AS revenue,
    toDecimal64(0, 4) AS refunded,
    argMinIf(r.currency, (r.event_time, r.event_id), r.currency != '') AS currency,
    max(r.is_test) AS is_test,
    argMinIf(r.click_id, (r.event_time, r.event_id), r.click_id != '') AS click_id,
    argMinIf(r.promo_code, (r.event_time, r.event_id), r.promo_code != '') AS promo_code,
    argMinIf(r.device_id, (r.event_time, r.event_id), r.device_id != '') AS device_id,
    argMinIf(r.customer_ref, (r.event_time, r.event_id), r.customer_ref != '') AS customer_ref,
    argMinIf(r.email_hash, (r.event_time, r.event_id), r.email_hash != '') AS email_hash
FROM conversion_reports AS r
GROUP BY r.client_id, r.conversion_key;

-- traffic by day: distinct events and devices, as sketches that a repeated event does not change (about 1 % off).
CREATE TABLE IF NOT EXISTS traffic_daily_states
(
    client_id    UInt32,
    day          Date,
    media_source LowCardinality(String),
    event_name   LowCardinality(String),
    partner_ref  String,
    events       AggregateFunction(uniqCombined, String),
    devices      AggregateFunction(uniqCombined, String)
)
ENGINE = AggregatingMergeTree
ORDER BY (client_id, day, media_source, event_name, partner_ref)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS traffic_daily_mv TO traffic_daily_states AS
SELECT
    client_id,
    toDate(event_time) AS day,
    media_source,
    event_name,
    partner_ref,
    uniqCombinedState(event_id) AS events,
    uniqCombinedStateIf(device_id, device_id != '') AS devices
FROM events
GROUP BY client_id, day, media_source, event_name, partner_ref;

CREATE OR REPLACE VIEW traffic_daily AS
SELECT client_id, day, media_source, event_name, partner_ref,
       uniqCombinedMerge(t.events) AS events, uniqCombinedMerge(t.devices) AS devices
FROM traffic_daily_states AS t
GROUP BY client_id, day, media_source, event_name, partner_ref;

CREATE OR REPLACE VIEW revenue_daily AS
SELECT client_id, toDate(event_time) AS day, currency, kind,
       count() AS conversions, sum(c.revenue) AS revenue, sum(c.refunded) AS refunded
FROM conversions AS c
WHERE NOT is_test
GROUP BY client_id, day, currency, kind;
