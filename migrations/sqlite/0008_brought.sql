-- What was said behind verdicts and came from another store: what it cost was not paid here. Where newer
-- records of its policy are here already it is added up, and no monitor sees it: `unwatched`. It has a
-- table of its own, because a column that is added is checked against every row that is there, and a
-- start must not wait for a whole store.
CREATE TABLE brought (
    shadow    INTEGER PRIMARY KEY REFERENCES shadow (id) ON DELETE CASCADE,
    unwatched INTEGER NOT NULL
) STRICT;

-- A record that comes from another store, and counted there behind what was said of it, waits for its
-- place: 1. An import that was killed goes on with it; a gate that starts before that lets it count.
ALTER TABLE awaited ADD COLUMN brought INTEGER NOT NULL DEFAULT 0;
