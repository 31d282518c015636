-- What a rule's arithmetic works with at the time of a payment: the currency that its partner is paid in, the rates of that
-- day, the step that the month had reached, and whether a renewal comes too late.
-- Reads:  commission_rule_history, partner_history, rates, attribution_rows
-- Writes: nothing
--
-- As in worker/steps/commission.sql. A rate is units for one of the base; 0: there is none of that day or the 7 before.
-- {started_at}: of the first payment, from which renewals are counted.
WITH
    fromUnixTimestamp64Milli({at:Int64}, 'UTC') AS sold_at,
    month AS
    (
        SELECT toUInt64(count()) AS sales, sumIf(a.revenue, a.currency = {currency:String}) AS sold
        FROM attribution_rows AS a FINAL
        WHERE client_id = {client_id:UInt32} AND partner_ref = {partner:String} AND offer = {offer:String} AND NOT gone
          AND payment IN ('first', 'renewal') AND toStartOfMonth(event_time) = toStartOfMonth(sold_at)
          AND (event_time, conversion_key) < (sold_at, {key:String})
    ),
    (
        SELECT mapFromArrays(groupArray(d.currency), groupArray(d.rate))
        FROM
        (
            SELECT currency, argMax(n.rate, n.day) AS rate
            FROM rates AS n
            WHERE day <= toDate(sold_at) AND day + 7 >= toDate(sold_at)
            GROUP BY currency
        ) AS d
    ) AS day_rates
SELECT multiIf(p.own_currency != '', p.own_currency, c.is_fixed, c.currency, {currency:String}) AS paid_in,
       day_rates[{currency:String}] AS sale_rate, day_rates[paid_in] AS entry_rate, day_rates[c.currency] AS rule_rate,
       arrayLast(t -> t.1 <= if(c.by_revenue, toUInt64(m.sold), m.sales), c.tiers) AS step,
       c.by_revenue AS by_revenue,
       {payment:String} = 'renewal'
           AND sold_at >= addMonths(fromUnixTimestamp64Milli({started_at:Int64}, 'UTC'), c.renewal_months) + INTERVAL 1 DAY
           AS too_late
FROM
(
    SELECT * FROM commission_rule_history
    WHERE client_id = {client_id:UInt32} AND rule = {rule:String} AND from_ms <= {at:Int64} AND {at:Int64} < until_ms
) AS c
CROSS JOIN month AS m
CROSS JOIN
(
    SELECT currency AS own_currency FROM partner_history
    WHERE client_id = {client_id:UInt32} AND partner_ref = {partner:String}
      AND from_ms <= {at:Int64} AND {at:Int64} < until_ms
) AS p
