-- The payments of the story, in order: whose each is, by which method and why, what it comes to.
SELECT transform(a.conversion_key, {keys:Array(String)}, {names:Array(String)}) AS who,
       concat(toDecimalString(a.revenue, 2), ' ', a.currency) AS paid, a.method AS method, a.partner_ref AS partner,
       toString(a.reason.evidence) AS because,
       if(c.currency = '', '', concat(toDecimalString(c.amount, 2), ' ', c.currency)) AS commission,
       c.status AS status, arrayStringConcat(c.holds, ', ') AS on_hold_for
FROM attributions AS a
LEFT JOIN commissions AS c ON c.client_id = a.client_id AND c.conversion_key = a.conversion_key
WHERE a.client_id = {client:UInt32} AND a.conversion_key IN {keys:Array(String)}
ORDER BY a.event_time, a.conversion_key
