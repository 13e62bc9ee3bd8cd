-- One row for each check. `form` is the record as it is answered and exported; the columns beside
-- it are what is filtered by or counted over. Rows are appended and, when their time is over,
-- deleted; nothing updates them.
CREATE TABLE record (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of commits, never used twice
    id             TEXT    NOT NULL UNIQUE,
    at_us          INTEGER NOT NULL,                  -- when the check began
    policy         TEXT    NOT NULL,
    revision       TEXT    NOT NULL,
    verdict        TEXT    NOT NULL,
    would_be       TEXT,
    first_verdict  TEXT,
    basis          TEXT    NOT NULL,
    judge          TEXT,
    provider       TEXT,
    model          TEXT,
    route          TEXT,
    team           TEXT,
    external_id    TEXT,
    image_digest   TEXT    NOT NULL,
    pre            REAL    NOT NULL,
    propensity     REAL    NOT NULL,
    judged_by      TEXT    NOT NULL,
    client_gone    INTEGER NOT NULL,
    total_ms       REAL    NOT NULL,
    cost_micro_usd INTEGER NOT NULL,
    form           TEXT    NOT NULL                   -- JSON
) STRICT;

-- Every list is newest first. SQLite ends each index with the row's seq, so each of these gives
-- (at_us, seq) in order for one value of its filter.
CREATE INDEX record_at          ON record (at_us);
CREATE INDEX record_policy      ON record (policy, at_us);
CREATE INDEX record_verdict     ON record (verdict, at_us);
CREATE INDEX record_basis       ON record (basis, at_us);
CREATE INDEX record_judge       ON record (judge, at_us) WHERE judge IS NOT NULL;
CREATE INDEX record_team        ON record (team, at_us) WHERE team IS NOT NULL;
CREATE INDEX record_external_id ON record (external_id, at_us) WHERE external_id IS NOT NULL;
CREATE INDEX record_image       ON record (image_digest, at_us);

-- One row for each call to a judge, in starting order.
CREATE TABLE attempt (
    seq            INTEGER NOT NULL REFERENCES record (seq) ON DELETE CASCADE,
    idx            INTEGER NOT NULL,
    judge          TEXT    NOT NULL,
    provider       TEXT    NOT NULL,
    model          TEXT    NOT NULL,
    route          TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    said           TEXT,
    started_ms     INTEGER NOT NULL,
    took_ms        INTEGER NOT NULL,
    input_tokens   INTEGER,
    output_tokens  INTEGER,
    cost_micro_usd INTEGER NOT NULL,
    PRIMARY KEY (seq, idx)
) STRICT, WITHOUT ROWID;

-- A record's flags, in the order that a list by flag wants.
CREATE TABLE flag (
    flag  TEXT    NOT NULL,
    at_us INTEGER NOT NULL,
    seq   INTEGER NOT NULL REFERENCES record (seq) ON DELETE CASCADE,
    PRIMARY KEY (flag, at_us, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX flag_seq ON flag (seq);

-- Which picture files belong to a record; several records may share one file.
CREATE TABLE image (
    seq        INTEGER NOT NULL REFERENCES record (seq) ON DELETE CASCADE,
    idx        INTEGER NOT NULL,
    view       TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    size_bytes INTEGER NOT NULL,
    policy     TEXT    NOT NULL, -- as in the record: images are kept for a shorter time
    at_us      INTEGER NOT NULL,
    PRIMARY KEY (seq, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_digest ON image (digest);
CREATE INDEX image_age ON image (policy, at_us);

-- Which record answers a repeated request.
CREATE TABLE idempotency (
    scope          TEXT    NOT NULL, -- the API key's name
    key            TEXT    NOT NULL,
    request_digest TEXT    NOT NULL, -- of everything that the answer depends on
    seq            INTEGER NOT NULL REFERENCES record (seq) ON DELETE CASCADE,
    at_us          INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_seq ON idempotency (seq);
CREATE INDEX idempotency_age ON idempotency (at_us);
