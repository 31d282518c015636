-- Attributed conversions that have no accrual yet: what the step after this one prices.
-- Reads:  attributions, conversions, ledger_entries
-- Writes: the temporary table commission_todo of this session
-- Twice:  it is made anew.
--
-- {whole} and {thousandths}: currencies whose minor unit has 0 and 3 decimals; all others have 2.

CREATE OR REPLACE TEMPORARY TABLE commission_todo ENGINE = Memory AS
SELECT a.client_id AS client_id, a.conversion_key AS conversion_key, a.partner_ref AS partner_ref,
       a.offer AS offer, c.revenue AS revenue, c.currency AS currency, c.event_time AS event_time,
       if(c.kind = 'renewal', 'renewal', 'first') AS payment,
       multiIf(has({whole:Array(String)}, c.currency), 0, has({thousandths:Array(String)}, c.currency), 3, 2) AS digits
FROM attributions AS a
INNER JOIN conversions AS c ON c.client_id = a.client_id AND c.conversion_key = a.conversion_key
LEFT ANTI JOIN ledger_entries AS l ON l.client_id = a.client_id AND l.conversion_key = a.conversion_key
WHERE a.method != 'none' AND NOT c.is_test
  -- What was paid for under a key that this conversion had before (merged_keys) is paid for.
  AND (c.client_id, c.conversion_key) NOT IN
  (
      SELECT m.client_id, m.conversion_key
      FROM (SELECT client_id, conversion_key, arrayJoin(merged_keys) AS former_key FROM conversions) AS m
      INNER JOIN ledger_entries AS e ON e.client_id = m.client_id AND e.conversion_key = m.former_key
  )
