-- The lines are in ledger_lines since 0007.

DROP TABLE IF EXISTS ledger_entries;
