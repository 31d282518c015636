-- What a link said: sub ids, the ad networks' click ids, the country, as columns of clicks.
--
-- Reads and writes no rows. The columns are read from properties, where the ingest put them: when a click is inserted,
-- since click_rows_mv does not name them, and when an older click is read. So nothing is moved, the queries of the views and
-- the dedup windows stay as they are, and beacons, which have none of these, carry no further column.
-- Twice: columns are added where they are not, the view is replaced.

ALTER TABLE click_rows
    ADD COLUMN IF NOT EXISTS s1 String DEFAULT toString(properties.s1) AFTER bot_reason,
    ADD COLUMN IF NOT EXISTS s2 String DEFAULT toString(properties.s2) AFTER s1,
    ADD COLUMN IF NOT EXISTS s3 String DEFAULT toString(properties.s3) AFTER s2,
    ADD COLUMN IF NOT EXISTS s4 String DEFAULT toString(properties.s4) AFTER s3,
    ADD COLUMN IF NOT EXISTS s5 String DEFAULT toString(properties.s5) AFTER s4,
    ADD COLUMN IF NOT EXISTS s6 String DEFAULT toString(properties.s6) AFTER s5,
    ADD COLUMN IF NOT EXISTS s7 String DEFAULT toString(properties.s7) AFTER s6,
    ADD COLUMN IF NOT EXISTS s8 String DEFAULT toString(properties.s8) AFTER s7,
    ADD COLUMN IF NOT EXISTS s9 String DEFAULT toString(properties.s9) AFTER s8,
    ADD COLUMN IF NOT EXISTS s10 String DEFAULT toString(properties.s10) AFTER s9,
    ADD COLUMN IF NOT EXISTS fbclid String DEFAULT toString(properties.fbclid) AFTER s10,
    ADD COLUMN IF NOT EXISTS gclid String DEFAULT toString(properties.gclid) AFTER fbclid,
    ADD COLUMN IF NOT EXISTS gbraid String DEFAULT toString(properties.gbraid) AFTER gclid,
    ADD COLUMN IF NOT EXISTS wbraid String DEFAULT toString(properties.wbraid) AFTER gbraid,
    ADD COLUMN IF NOT EXISTS ttclid String DEFAULT toString(properties.ttclid) AFTER wbraid,
    ADD COLUMN IF NOT EXISTS msclkid String DEFAULT toString(properties.msclkid) AFTER ttclid,
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) DEFAULT toString(properties._relo_country)
        COMMENT 'two letters, from ingest.country_header' AFTER msclkid,
    ADD COLUMN IF NOT EXISTS code String DEFAULT toString(properties._relo_code)
        COMMENT 'of a short link' AFTER country,
    ADD COLUMN IF NOT EXISTS is_repeat Bool DEFAULT toString(properties._relo_repeat) = 'true'
        COMMENT 'the device used this link shortly before: dedup_minutes of the offer' AFTER code;

CREATE OR REPLACE VIEW clicks AS
SELECT * EXCEPT precedence FROM click_rows FINAL;

-- short_links: what `relo link` made.
CREATE OR REPLACE VIEW short_links AS
SELECT JSONExtract(body, 'client_id', 'UInt32') AS client_id, JSONExtractString(body, 'code') AS code,
       JSONExtractString(body, 'ref') AS partner_ref, JSONExtractString(body, 'offer') AS offer,
       JSONExtractString(body, 'to') AS target, JSONExtractString(body, 'parameters', 's1') AS s1
FROM registry_current
WHERE kind = 'link';
