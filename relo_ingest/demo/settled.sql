-- How many payments of the story are attributed, and how many lines the ledger has for them.
SELECT (SELECT count() FROM attributions WHERE client_id = {client:UInt32} AND conversion_key IN {keys:Array(String)}),
       (SELECT count() FROM ledger WHERE client_id = {client:UInt32} AND conversion_key IN {keys:Array(String)})
