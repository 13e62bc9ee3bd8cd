-- What may be spent behind verdicts in a day, written before it is spent: what the calls under way may
-- cost, and a little for the next. What a killed process had under way is in it.
CREATE TABLE purse (
    day             INTEGER NOT NULL, -- days (UTC) since 1970
    policy          TEXT    NOT NULL, -- '': all of them share it
    purpose         TEXT    NOT NULL, -- as in `shadow`
    entry           TEXT    NOT NULL, -- as in `shadow`
    drawn_micro_usd INTEGER NOT NULL,
    PRIMARY KEY (day, policy, purpose, entry)
) STRICT, WITHOUT ROWID;
