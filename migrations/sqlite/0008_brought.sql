-- What was said behind verdicts and came from another store: what it cost was not paid here. Where newer
-- records of its policy are here already it is added up, and no monitor sees it: `unwatched`.
ALTER TABLE shadow ADD COLUMN brought   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE shadow ADD COLUMN unwatched INTEGER NOT NULL DEFAULT 0;

-- A record that comes from another store, and counted there behind what was said of it, waits for its
-- place: 1. An import that was killed goes on with it; a gate that starts before that lets it count.
ALTER TABLE awaited ADD COLUMN brought INTEGER NOT NULL DEFAULT 0;
