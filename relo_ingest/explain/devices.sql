-- The devices of a payment, and how each was found: at the payment itself, with its click, with its e-mail hash; and the
-- connected ones, which share an address with one of those.
-- Reads:  click_devices, identities, device_emails
-- Writes: nothing
--
-- The limits are those of worker/steps/evidence.sql: 20 devices of the click id and of an address, 5 addresses of a device,
-- the earliest first, of what was seen until {until} (ms).
WITH
    direct AS
    (
        SELECT {device_id:String} AS device_id, 'payment' AS via WHERE device_id != ''
        UNION ALL
        SELECT device_id, 'click'
        FROM
        (
            SELECT device_id, min(c.first_seen) AS seen
            FROM click_devices AS c
            WHERE client_id = {client_id:UInt32} AND click_id = {click_id:String} AND click_id != ''
            GROUP BY device_id
            HAVING toUnixTimestamp64Milli(seen) <= {until:Int64}
            ORDER BY seen, device_id
            LIMIT 20
        )
        UNION ALL
        SELECT device_id, 'email'
        FROM
        (
            SELECT device_id, min(i.first_seen) AS seen
            FROM identities AS i
            WHERE client_id = {client_id:UInt32} AND email_hash = {email_hash:String} AND email_hash != ''
            GROUP BY device_id
            HAVING toUnixTimestamp64Milli(seen) <= {until:Int64}
            ORDER BY seen, device_id
            LIMIT 20
        )
    ),
    addresses AS
    (
        SELECT email_hash
        FROM
        (
            SELECT device_id, email_hash, min(e.first_seen) AS seen
            FROM device_emails AS e
            WHERE client_id = {client_id:UInt32} AND device_id IN (SELECT device_id FROM direct)
            GROUP BY device_id, email_hash
            HAVING toUnixTimestamp64Milli(seen) <= {until:Int64}
            ORDER BY seen, email_hash
            LIMIT 5 BY device_id
        )
    ),
    connected AS
    (
        SELECT device_id
        FROM
        (
            SELECT email_hash, device_id, min(i.first_seen) AS seen
            FROM identities AS i
            WHERE client_id = {client_id:UInt32} AND email_hash IN addresses
            GROUP BY email_hash, device_id
            HAVING toUnixTimestamp64Milli(seen) <= {until:Int64}
            ORDER BY seen, device_id
            LIMIT 20 BY email_hash
        )
    )
SELECT device_id, known_by
FROM
(
    SELECT device_id, arraySort(groupUniqArray(via)) AS known_by FROM direct GROUP BY device_id
    UNION ALL
    SELECT DISTINCT device_id, ['connected'] FROM connected WHERE device_id NOT IN (SELECT device_id FROM direct)
)
ORDER BY known_by = ['connected'], device_id
