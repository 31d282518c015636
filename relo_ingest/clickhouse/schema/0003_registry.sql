-- registry: clients, offers, partners, promo codes, commission rules and secrets, as versioned rows that are only
-- ever added. The row with the highest version of a (kind, key) is the one in force; older ones are the history.
-- Secrets are encrypted before they come here.

CREATE TABLE IF NOT EXISTS registry
(
    kind       LowCardinality(String),
    key        String,
    version    UInt64,
    body       String COMMENT 'one JSON object',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree
ORDER BY (kind, key, version)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE OR REPLACE VIEW registry_current AS
SELECT kind, key, max(r.version) AS version, argMax(r.body, r.version) AS body
FROM registry AS r
GROUP BY kind, key;

CREATE OR REPLACE VIEW clients AS
SELECT JSONExtract(body, 'client_id', 'UInt32') AS client_id, JSONExtractString(body, 'slug') AS slug,
       JSONExtractString(body, 'name') AS name, JSONExtractString(body, 'status') AS status
FROM registry_current
WHERE kind = 'client';

CREATE OR REPLACE VIEW offers AS
SELECT JSONExtract(body, 'client_id', 'UInt32') AS client_id, JSONExtractString(body, 'slug') AS slug,
       JSONExtractString(body, 'landing_page') AS landing_page, JSONExtractString(body, 'status') AS status,
       JSONExtract(body, 'click_window_days', 'UInt16') AS click_window_days,
       JSONExtract(body, 'hold_days', 'UInt16') AS hold_days
FROM registry_current
WHERE kind = 'offer';

CREATE OR REPLACE VIEW partners AS
SELECT JSONExtract(body, 'client_id', 'UInt32') AS client_id, JSONExtractString(body, 'ref') AS ref,
       JSONExtractString(body, 'name') AS name, JSONExtractString(body, 'status') AS status
FROM registry_current
WHERE kind = 'partner';

CREATE OR REPLACE VIEW promo_codes AS
SELECT JSONExtract(body, 'client_id', 'UInt32') AS client_id, JSONExtractString(body, 'code') AS code,
       JSONExtractString(body, 'partner') AS partner_ref
FROM registry_current
WHERE kind = 'promo_code';

CREATE OR REPLACE VIEW commission_rules AS
SELECT JSONExtract(body, 'client_id', 'UInt32') AS client_id, JSONExtractString(body, 'name') AS name,
       JSONExtractString(body, 'offer') AS offer, JSONExtractString(body, 'partner') AS partner_ref,
       JSONExtract(body, 'applies_to', 'Array(String)') AS applies_to,
       JSONExtract(body, 'basis_points', 'UInt32') AS basis_points,
       parseDateTime64BestEffort(JSONExtractString(body, 'valid_from'), 3, 'UTC') AS valid_from,
       parseDateTime64BestEffort(JSONExtractString(body, 'valid_to'), 3, 'UTC') AS valid_to
FROM registry_current
WHERE kind = 'commission_rule';
