-- What a commission was put on hold for, and what was decided.
-- Reads:  holds, reviews
-- Writes: nothing
--
-- {merged}: keys by which the payment was known before another report named it. What was decided then holds on.
SELECT *
FROM
(
    SELECT h.partner_ref AS partner_ref, h.code AS code, h.evidence AS evidence, toUnixTimestamp64Milli(h.raised_at) AS at,
           false AS is_review, false AS approved, '' AS note, [] AS codes
    FROM holds AS h FINAL
    WHERE h.client_id = {client_id:UInt32} AND h.conversion_key = {key:String}
    UNION ALL
    SELECT r.partner_ref, '', '', toUnixTimestamp64Milli(r.reviewed_at), true, r.approved, r.note, r.codes
    FROM reviews AS r FINAL
    WHERE r.client_id = {client_id:UInt32}
      AND (r.conversion_key = {key:String} OR has({merged:Array(String)}, r.conversion_key))
)
ORDER BY at, code
