-- What 0007 has replaced: ledger_entries by ledger_lines, the table clicks by click_rows.
--
-- Reads and writes no rows; a view of the same name takes the table's place in 0009. Twice: what is gone is passed over.

DROP TABLE IF EXISTS ledger_entries;

DROP VIEW IF EXISTS clicks_mv;

DROP TABLE IF EXISTS clicks;
