-- Which partner each conversion belongs to.
-- Reads:  attribution_todo (see that step), clicks, device_clicks, identities, partners, offers
-- Writes: attribution_rows
-- Twice:  two runs at once write equal rows, which replace each other.
--
-- The first that holds: the click that the payment names; the last click of the same device, that is the
-- conversion's own device or any device seen with the same e-mail hash or the same click id. A click counts within
-- the offer's window before the conversion (5 minutes of clock skew allowed), at the same client, while its partner
-- is active.

INSERT INTO attribution_rows (client_id, conversion_key, order_id, partner_ref, offer, click_id, method, reason)
WITH
    devices AS
    (
        SELECT t.client_id AS client_id, t.conversion_key AS conversion_key, t.device_id AS device_id, 'payment' AS via
        FROM attribution_todo AS t
        WHERE t.device_id != ''
        UNION DISTINCT
        SELECT t.client_id, t.conversion_key, i.device_id, 'email'
        FROM attribution_todo AS t
        INNER JOIN identities AS i ON i.client_id = t.client_id AND i.email_hash = t.email_hash
        WHERE t.email_hash != ''
        UNION DISTINCT
        SELECT t.client_id, t.conversion_key, d.device_id, 'browser id'
        FROM attribution_todo AS t
        INNER JOIN device_clicks AS d ON d.client_id = t.client_id AND d.click_id = t.click_id
        WHERE t.click_id != ''
    ),
    touches AS
    (
        SELECT t.client_id AS client_id, t.conversion_key AS conversion_key, 2 AS rank, 'click_id' AS method,
               t.click_id AS click_id, '' AS device_id, 'the payment names the click' AS evidence
        FROM attribution_todo AS t
        WHERE t.click_id != ''
        UNION ALL
        SELECT d.client_id, d.conversion_key, 1, 'device', dc.click_id, d.device_id,
               concat('the click was seen on a device known by ', d.via)
        FROM devices AS d
        INNER JOIN device_clicks AS dc ON dc.client_id = d.client_id AND dc.device_id = d.device_id
    ),
    candidates AS
    (
        SELECT t.client_id AS client_id, t.conversion_key AS conversion_key,
               argMax(
                   (touch.method, k.partner_ref, k.offer, touch.click_id, touch.device_id, touch.evidence, k.event_time),
                   (touch.rank, k.event_time, touch.click_id, touch.device_id)
               ) AS winner,
               groupUniqArray(20)((touch.method, touch.click_id, k.partner_ref)) AS seen
        FROM attribution_todo AS t
        INNER JOIN touches AS touch ON touch.client_id = t.client_id AND touch.conversion_key = t.conversion_key
        INNER JOIN clicks AS k ON k.client_id = touch.client_id AND k.click_id = touch.click_id
        INNER JOIN partners AS p ON p.client_id = k.client_id AND p.ref = k.partner_ref
        INNER JOIN offers AS o ON o.client_id = k.client_id AND o.slug = k.offer
        WHERE p.status = 'active'
          AND k.event_time <= t.event_time + INTERVAL 5 MINUTE
          AND k.event_time >= t.event_time - toIntervalDay(o.click_window_days)
        GROUP BY t.client_id, t.conversion_key
    )
SELECT
    t.client_id,
    t.conversion_key,
    t.order_id,
    c.winner.2,
    c.winner.3,
    c.winner.4,
    if(c.winner.1 = '', 'none', c.winner.1) AS found,
    toJSONString(map(
        'evidence', if(found = 'none', 'no click of an active partner within the window', c.winner.6),
        'clicked_at', if(found = 'none', '', concat(formatDateTime(c.winner.7, '%F %T'), ' UTC')),
        'device_id', c.winner.5,
        'candidates', arrayStringConcat(arraySort(arrayMap(s -> concat(s.1, ' ', s.2, ' ', s.3), c.seen)), ', ')
    ))
FROM attribution_todo AS t
LEFT JOIN candidates AS c ON c.client_id = t.client_id AND c.conversion_key = t.conversion_key
WHERE t.known_method = '' OR c.winner.1 != ''
