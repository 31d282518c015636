-- events: every row that came in, as it came in. One insert per segment.
--
-- Row identity is (client, day, event id): an event that comes again, in another batch, replaces itself.
-- The dedup window lets a batch that is sent again (same token) vanish whole; it must stand on this table
-- and on every table that a view of this table writes to, or a retry doubles the views.
-- fsync: a segment is deleted once ClickHouse has its rows, so the rows must be on disk by then.

CREATE TABLE IF NOT EXISTS events
(
    event_id       String,
    client_id      UInt32,
    event_time     DateTime64(3, 'UTC'),
    received_at    DateTime64(3, 'UTC'),
    event_type     LowCardinality(String),
    event_name     LowCardinality(String),
    channel        LowCardinality(String),
    media_source   LowCardinality(String),
    is_test        Bool,
    device_id      String,
    click_id       String,
    partner_ref    String,
    offer          LowCardinality(String),
    order_id       String,
    conversion_key String,
    refs           Array(String) COMMENT 'ids in the payment system that name the same payment',
    revenue        Decimal(18, 4) COMMENT 'whole currency units; never sum raw events for money: see conversions',
    currency       LowCardinality(String),
    email_hash     String COMMENT 'SHA-256 hex of the trimmed, lower-cased address',
    customer_ref   String,
    promo_code     String,
    url            String,
    referrer       String,
    title          String,
    user_agent     String,
    ip             String COMMENT 'truncated: IPv4 /24, IPv6 /48',
    lang           LowCardinality(String),
    screen         LowCardinality(String),
    properties     JSON(max_dynamic_paths = 64)
)
ENGINE = ReplacingMergeTree(received_at)
PARTITION BY toYYYYMM(event_time)
ORDER BY (client_id, toDate(event_time), event_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
