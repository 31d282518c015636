-- What the registry said when: made again when it changes.
-- Reads:  offer_history, partner_history, promo_code_history, commission_rule_history
-- Writes: the temporary tables offer_terms, partner_terms, promo_code_terms, rule_terms
-- Twice:  they are made anew.

CREATE OR REPLACE TEMPORARY TABLE offer_terms ENGINE = Memory AS SELECT * FROM offer_history;

CREATE OR REPLACE TEMPORARY TABLE partner_terms ENGINE = Memory AS SELECT * FROM partner_history;

CREATE OR REPLACE TEMPORARY TABLE promo_code_terms ENGINE = Memory AS SELECT * FROM promo_code_history;

CREATE OR REPLACE TEMPORARY TABLE rule_terms ENGINE = Memory AS SELECT * FROM commission_rule_history;
