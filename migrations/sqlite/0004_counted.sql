-- The order in which records, and what was said of them behind their verdicts, count. A record
-- counts once nothing can change how it does: when it is written, or, where its answer left early,
-- when the rest came or is given up. A row of `shadow` counts when it is written.
CREATE TABLE counted (
    n            INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice
    seq          INTEGER NOT NULL REFERENCES record (seq) ON DELETE CASCADE,
    without_rest INTEGER NOT NULL DEFAULT 0,        -- 1: a rest that came too late
    shadow       INTEGER NOT NULL DEFAULT 0,        -- which row of `shadow` of that record; 0: itself
    UNIQUE (seq, shadow)
) STRICT;

-- Records whose rest is still awaited.
CREATE TABLE awaited (
    seq   INTEGER PRIMARY KEY REFERENCES record (seq) ON DELETE CASCADE,
    at_us INTEGER NOT NULL
) STRICT;

-- How far the roll-ups and marks below go: written in the same transaction with them.
CREATE TABLE followed (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    n     INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    old_n INTEGER NOT NULL -- what older programs stored: up to here n is the record's own seq
) STRICT;

-- What older programs stored counts in the order in which it was stored, without a row for each in
-- `counted`: a start must not wait for a whole store. Its own places begin behind.
INSERT INTO followed (id, n, seq, at_us, old_n)
    SELECT 1, 0, 0, 0, coalesce(max(seq), 0) FROM record;
INSERT INTO sqlite_sequence (name, seq) SELECT 'counted', old_n FROM followed;

-- What was known of a policy's drift when its baseline was frozen: what watches rests on this row and
-- on what was counted behind it, however old the records get that it was learnt from.
CREATE TABLE baseline (
    policy TEXT    NOT NULL,
    folded TEXT    NOT NULL, -- how: JSON
    n      INTEGER NOT NULL, -- the place, in the order above, at which it was frozen
    at_us  INTEGER NOT NULL,
    hash   TEXT    NOT NULL, -- of the form
    form   TEXT    NOT NULL, -- JSON
    PRIMARY KEY (policy, folded, n)
) STRICT, WITHOUT ROWID;

-- What happened that a picture of the figures must show: a new revision, a breaker, drift. Appended;
-- only `until_us`, the end of a stretch that lasts, is filled in later.
CREATE TABLE mark (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT    NOT NULL,
    at_us    INTEGER NOT NULL,
    until_us INTEGER,
    policy   TEXT,
    judge    TEXT,
    form     TEXT    NOT NULL -- JSON
) STRICT;
CREATE INDEX mark_at ON mark (kind, at_us);

-- Sums by minute (step_s 60) and by hour (3600): any two rows of a table may be added up. `spread`
-- counts values by log bucket, as text that can be put behind another: see ledger/spread.rs.
-- Keyed by policy before time: each policy keeps its sums for a time of its own, and what is too old
-- of one must be found without looking at the others'.
CREATE TABLE verdict_rollup (
    step_s         INTEGER NOT NULL,
    start_s        INTEGER NOT NULL,
    policy         TEXT    NOT NULL,
    revision       TEXT    NOT NULL,
    judge          TEXT    NOT NULL, -- '': no judge judged
    route          TEXT    NOT NULL, -- '' likewise
    basis          TEXT    NOT NULL,
    n              INTEGER NOT NULL,
    passes         INTEGER NOT NULL,
    fails          INTEGER NOT NULL,
    reviews        INTEGER NOT NULL,
    rated          INTEGER NOT NULL,
    rejects        INTEGER NOT NULL, -- fails among rated
    first_rejects  INTEGER NOT NULL, -- rated whose first judgement alone would not pass
    borderline     INTEGER NOT NULL,
    client_gone    INTEGER NOT NULL,
    cost_micro_usd INTEGER NOT NULL,
    spread         TEXT    NOT NULL, -- milliseconds of the whole check
    PRIMARY KEY (step_s, policy, start_s, revision, judge, route, basis)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt_rollup (
    step_s         INTEGER NOT NULL,
    start_s        INTEGER NOT NULL,
    policy         TEXT    NOT NULL,
    judge          TEXT    NOT NULL,
    route          TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    n              INTEGER NOT NULL,
    cost_micro_usd INTEGER NOT NULL,
    input_tokens   INTEGER NOT NULL,
    output_tokens  INTEGER NOT NULL,
    spread         TEXT    NOT NULL, -- milliseconds to the judgement, or to the end
    PRIMARY KEY (step_s, policy, start_s, judge, route, outcome)
) STRICT, WITHOUT ROWID;

-- First judgements, as drift looks at them: served ones, and those of probes.
CREATE TABLE judged_rollup (
    step_s  INTEGER NOT NULL,
    start_s INTEGER NOT NULL,
    policy  TEXT    NOT NULL,
    judge   TEXT    NOT NULL,
    config  TEXT    NOT NULL, -- what decided the judging, one name for all judges
    route   TEXT    NOT NULL,
    risk    TEXT    NOT NULL, -- stretch of the local risk, 00 to 19
    n       INTEGER NOT NULL,
    rejects INTEGER NOT NULL,
    PRIMARY KEY (step_s, policy, start_s, judge, config, route, risk)
) STRICT, WITHOUT ROWID;

CREATE TABLE flag_rollup (
    step_s  INTEGER NOT NULL,
    start_s INTEGER NOT NULL,
    policy  TEXT    NOT NULL,
    flag    TEXT    NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (step_s, policy, start_s, flag)
) STRICT, WITHOUT ROWID;

-- Images that two judges judged, by what each alone said; `route` is why the second was asked.
CREATE TABLE pair_rollup (
    step_s      INTEGER NOT NULL,
    start_s     INTEGER NOT NULL,
    policy      TEXT    NOT NULL,
    first       TEXT    NOT NULL,
    second      TEXT    NOT NULL,
    route       TEXT    NOT NULL,
    both        INTEGER NOT NULL,
    first_only  INTEGER NOT NULL,
    second_only INTEGER NOT NULL,
    neither     INTEGER NOT NULL,
    PRIMARY KEY (step_s, policy, start_s, first, second, route)
) STRICT, WITHOUT ROWID;

-- First judgements' scores by criterion; `spread` counts them in twentieths.
CREATE TABLE score_rollup (
    step_s    INTEGER NOT NULL,
    start_s   INTEGER NOT NULL,
    policy    TEXT    NOT NULL,
    judge     TEXT    NOT NULL,
    criterion TEXT    NOT NULL,
    pass_at   TEXT    NOT NULL, -- the line it was held to
    n         INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    spread    TEXT    NOT NULL,
    PRIMARY KEY (step_s, policy, start_s, judge, criterion, pass_at)
) STRICT, WITHOUT ROWID;

-- The highest that each detector's evidence reached, as a share of an alarm.
CREATE TABLE evidence_rollup (
    step_s   INTEGER NOT NULL,
    start_s  INTEGER NOT NULL,
    policy   TEXT    NOT NULL,
    detector TEXT    NOT NULL,
    ratio    REAL    NOT NULL,
    PRIMARY KEY (step_s, policy, start_s, detector)
) STRICT, WITHOUT ROWID;

-- What a judge said of an image behind its verdict: sampled, made up for after a failover, or asked
-- because a monitor wants to know. Appended, never changed; no verdict rests on it.
CREATE TABLE shadow (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    seq            INTEGER NOT NULL REFERENCES record (seq) ON DELETE CASCADE,
    at_us          INTEGER NOT NULL, -- of the call
    policy         TEXT    NOT NULL,
    judge          TEXT    NOT NULL,
    purpose        TEXT    NOT NULL, -- sample, backfill, burst
    entry          TEXT    NOT NULL, -- the id of the policy's entry that wanted it; '' where none did
    propensity     REAL    NOT NULL, -- that it would be asked, fixed before it was
    judged_by      TEXT    NOT NULL, -- what decided the judging
    cost_micro_usd INTEGER NOT NULL,
    form           TEXT    NOT NULL  -- JSON: the attempt, as in a record
) STRICT;
CREATE UNIQUE INDEX shadow_of ON shadow (seq, judge, entry);
CREATE INDEX shadow_at ON shadow (policy, at_us);
CREATE INDEX shadow_day ON shadow (at_us);

-- What a person said of a verdict. Appended, never changed.
CREATE TABLE label (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    seq       INTEGER NOT NULL REFERENCES record (seq) ON DELETE CASCADE,
    at_us     INTEGER NOT NULL,
    label     TEXT    NOT NULL,
    criterion TEXT,
    note      TEXT,
    by_whom   TEXT    NOT NULL
) STRICT;
CREATE INDEX label_seq ON label (seq);
CREATE INDEX label_at ON label (at_us);
