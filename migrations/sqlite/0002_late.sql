-- What came after an answer that left early: reasons, usage, the bill. Appended when it is known, one
-- row for a record, and read as one with it; `cost_micro_usd` is what the record's own column lacks.
CREATE TABLE late (
    seq            INTEGER PRIMARY KEY REFERENCES record (seq) ON DELETE CASCADE,
    cost_micro_usd INTEGER NOT NULL,
    form           TEXT    NOT NULL -- JSON
) STRICT;
