-- What the worker writes. Rows carry their identity, so a step that runs twice, or on two workers, writes the same
-- row again and it replaces itself. The views of the public name hide that.

CREATE TABLE IF NOT EXISTS attribution_rows
(
    client_id      UInt32,
    conversion_key String,
    order_id       String,
    partner_ref    String,
    offer          LowCardinality(String),
    click_id       String,
    method         LowCardinality(String) COMMENT 'promo_code, click_id, device, customer, none',
    reason         JSON(max_dynamic_paths = 32),
    attributed_at  DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(attributed_at)
ORDER BY (client_id, conversion_key)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE OR REPLACE VIEW attributions AS
SELECT client_id, conversion_key, order_id, partner_ref, offer, click_id, method, reason, attributed_at
FROM attribution_rows FINAL;

-- ledger: lines of commission money, only ever added. entry_id follows from what the entry is for.
CREATE TABLE IF NOT EXISTS ledger_entries
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
    reason         JSON(max_dynamic_paths = 32)
)
ENGINE = ReplacingMergeTree(created_at)
ORDER BY (client_id, conversion_key, entry_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE OR REPLACE VIEW ledger AS
SELECT entry_id, client_id, conversion_key, partner_ref, kind, amount, currency, rule, hold_until, created_at, reason
FROM ledger_entries FINAL;
