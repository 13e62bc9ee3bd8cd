-- A start must not wait for a whole store. An index cannot be made in steps, so lists by route have a
-- table of their own, which can; it takes the index's place and its room. Its rows go with their
-- records: retention deletes them by their key, without an index by record.
DROP INDEX IF EXISTS record_route;

CREATE TABLE routed (
    route TEXT    NOT NULL,
    at_us INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    PRIMARY KEY (route, at_us, seq)
) STRICT, WITHOUT ROWID;

-- From which record on `routed` and `failed` say everything; 0: of all records. What is older was
-- stored by an older program and is listed in steps, newest first, after the start: until then lists
-- by route and by criterion look at the records themselves.
CREATE TABLE listed (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    from_seq INTEGER NOT NULL
) STRICT;
INSERT INTO listed (id, from_seq) SELECT 1, coalesce(max(seq) + 1, 0) FROM record;

-- Records that were brought in when newer ones of their policy were here: they are added up, and no
-- monitor sees them.
CREATE TABLE unwatched (
    seq INTEGER PRIMARY KEY REFERENCES record (seq) ON DELETE CASCADE
) STRICT;
