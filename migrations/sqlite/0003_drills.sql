-- One row for each drill. `form` is the drill as it is answered; a row without a result is one that
-- runs, or one during which the process died: the next start tells which.
CREATE TABLE drill (
    id       TEXT    PRIMARY KEY,
    judge    TEXT    NOT NULL,
    began_us INTEGER NOT NULL,
    result   TEXT,
    form     TEXT    NOT NULL -- JSON
) STRICT;
CREATE INDEX drill_began ON drill (began_us);
