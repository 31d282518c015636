-- Who sent it: a verdict and its reason beside every event, and daily traffic that counts people.
--
-- Reads and writes no rows. Columns are added where they are not, queries and views are replaced: safe when run again.
-- The order matters for what is inserted meanwhile: a column is there before a view writes it. Rows of before have
-- no verdict and count as people, as they did. No table is new: the windows and fsync settings of 0001 and 0002 hold.

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS is_bot Bool COMMENT 'what the request said of itself; see bot_reason' AFTER ip,
    ADD COLUMN IF NOT EXISTS bot_reason LowCardinality(String) COMMENT 'empty for a person; a closed set' AFTER is_bot;

-- clicks: bots stay, so that "why has this click no sale" has an answer; a report leaves them out itself. Attribution
-- must not: a browser that prefetched a link shows that answer, without another request, when its visitor clicks.
ALTER TABLE clicks
    ADD COLUMN IF NOT EXISTS is_bot Bool AFTER user_agent,
    ADD COLUMN IF NOT EXISTS bot_reason LowCardinality(String) AFTER is_bot;

ALTER TABLE clicks_mv MODIFY QUERY
SELECT client_id, click_id, event_time, partner_ref, offer, device_id, url, referrer, ip, user_agent, is_bot, bot_reason,
       properties
FROM events
WHERE event_type = 'click';

-- traffic by day: the events of bots are a count of their own, beside those of people. is_bot is no part of the key,
-- or the view would read twice the rows to say one number.
ALTER TABLE traffic_daily_states
    ADD COLUMN IF NOT EXISTS bots AggregateFunction(uniqCombined, String) AFTER devices;

ALTER TABLE traffic_daily_mv MODIFY QUERY
SELECT
    client_id,
    toDate(event_time) AS day,
    media_source,
    event_name,
    partner_ref,
    uniqCombinedStateIf(event_id, NOT is_bot) AS events,
    uniqCombinedStateIf(device_id, device_id != '' AND NOT is_bot) AS devices,
    uniqCombinedStateIf(event_id, is_bot) AS bots
FROM events
GROUP BY client_id, day, media_source, event_name, partner_ref;

CREATE OR REPLACE VIEW traffic_daily AS
SELECT client_id, day, media_source, event_name, partner_ref,
       uniqCombinedMerge(t.events) AS events, uniqCombinedMerge(t.devices) AS devices, uniqCombinedMerge(t.bots) AS bots
FROM traffic_daily_states AS t
GROUP BY client_id, day, media_source, event_name, partner_ref;
