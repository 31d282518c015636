-- The ledger's lines of the story.
SELECT transform(l.conversion_key, {keys:Array(String)}, {names:Array(String)}) AS who, l.partner_ref AS partner,
       l.kind AS kind, concat(toDecimalString(l.amount, 2), ' ', l.currency) AS amount, l.rule AS rule,
       toString(l.reason.cause) AS cause, toDate(l.hold_until) AS due
FROM ledger AS l
WHERE l.client_id = {client:UInt32} AND l.conversion_key IN {keys:Array(String)}
ORDER BY l.hold_until, l.conversion_key, l.amount DESC
