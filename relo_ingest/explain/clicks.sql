-- The clicks that a payment names, or that its devices were seen with, and whether each may earn.
-- Reads:  device_clicks, clicks, partner_history, offer_history
-- Writes: nothing
--
-- objection is '' for a click that counts. closeness: 3 the payment names it, 2 a device of the payment, 1 a connected one.
--
-- Of several reports of one click id the first that was received counts: whoever saw an id may report it again. While
-- clicks has no column received_at, the alias stands in for it; with prefer_column_name_to_alias the column goes first.
WITH
    fromUnixTimestamp64Milli({at:Int64}, 'UTC') AS sold_at,
    reached AS
    (
        SELECT click_id, max(closeness) AS closeness
        FROM
        (
            SELECT {click_id:String} AS click_id, 3 AS closeness
            UNION ALL
            SELECT click_id, if(has({direct:Array(String)}, device_id), 2, 1) AS closeness
            FROM
            (
                SELECT device_id, click_id, min(d.first_seen) AS seen
                FROM device_clicks AS d
                WHERE client_id = {client_id:UInt32} AND has({devices:Array(String)}, device_id)
                GROUP BY device_id, click_id
                HAVING toUnixTimestamp64Milli(seen) <= {until:Int64}
                ORDER BY seen DESC, click_id DESC
                LIMIT 200 BY device_id
            )
        )
        WHERE click_id != ''
        GROUP BY click_id
    )
SELECT r.click_id AS click_id, r.closeness AS closeness, if(r.closeness = 3, 'click_id', 'device') AS method,
       k.partner_ref AS partner_ref, k.offer AS offer, toUnixTimestamp64Milli(k.made_at) AS clicked_at,
       if(r.closeness = 3, o.click_window_days, o.device_window_days) AS window_days, o.methods AS methods,
       o.first_click AS first_click,
       multiIf(k.click_id = '', 'unknown',
               NOT p.active, 'partner',
               o.offer = '', 'offer',
               k.made_at > sold_at + INTERVAL 5 MINUTE, 'later',
               k.made_at < sold_at - toIntervalDay(window_days), 'window',
               NOT has(o.methods, method), 'method', '') AS objection
FROM reached AS r
LEFT JOIN
(
    SELECT click_id, event_time AS made_at, partner_ref, offer
    FROM clicks
    WHERE client_id = {client_id:UInt32} AND click_id IN (SELECT click_id FROM reached)
) AS k ON k.click_id = r.click_id
LEFT JOIN
(
    SELECT * FROM partner_history
    WHERE client_id = {client_id:UInt32} AND from_ms <= {at:Int64} AND {at:Int64} < until_ms
) AS p ON p.partner_ref = k.partner_ref
LEFT JOIN
(
    SELECT * FROM offer_history
    WHERE client_id = {client_id:UInt32} AND from_ms <= {at:Int64} AND {at:Int64} < until_ms
) AS o ON o.offer = k.offer
WHERE k.click_id != '' OR r.closeness = 3
ORDER BY clicked_at, click_id
