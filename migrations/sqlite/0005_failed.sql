-- Lists by route, and by a criterion that an image failed on. Of a large store the first start after
-- an older program reads every record once for this index, before it serves.
CREATE INDEX record_route ON record (route, at_us) WHERE route IS NOT NULL;

-- What a record failed on, in the order that a list by criterion wants.
CREATE TABLE failed (
    criterion TEXT    NOT NULL,
    at_us     INTEGER NOT NULL,
    seq       INTEGER NOT NULL REFERENCES record (seq) ON DELETE CASCADE,
    PRIMARY KEY (criterion, at_us, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX failed_seq ON failed (seq);

-- What a policy in mode
-- `observe` let pass is listed from here on.
INSERT OR IGNORE INTO failed
SELECT value, record.at_us, record.seq FROM record, json_each(record.form, '$.failed')
WHERE record.verdict IN ('fail', 'review');
