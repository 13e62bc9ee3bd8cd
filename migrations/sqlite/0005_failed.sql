-- What a record failed on, in the order that a list by criterion wants. What older programs stored is
-- listed in steps, after the start: see 0006.
CREATE TABLE failed (
    criterion TEXT    NOT NULL,
    at_us     INTEGER NOT NULL,
    seq       INTEGER NOT NULL REFERENCES record (seq) ON DELETE CASCADE,
    PRIMARY KEY (criterion, at_us, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX failed_seq ON failed (seq);
