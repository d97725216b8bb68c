-- The truth in SQLite. Keys are BLOBs, so that their order is the order of their octets.

-- name: log_table
CREATE TABLE IF NOT EXISTS log (
    serial   INTEGER PRIMARY KEY,
    key      BLOB NOT NULL,
    time     INTEGER NOT NULL,
    actor    INTEGER NOT NULL,
    action   INTEGER NOT NULL,
    previous INTEGER,
    record   BLOB NOT NULL
);

-- name: newest_table
CREATE TABLE IF NOT EXISTS newest (key BLOB PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID;

-- name: homed_index
CREATE INDEX IF NOT EXISTS homed ON newest (key) WHERE instr(key, X'2F') = 0;

-- name: actors_table
CREATE TABLE IF NOT EXISTS actors (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

-- name: replies_table
CREATE TABLE IF NOT EXISTS replies (
    actor    INTEGER NOT NULL,
    key      TEXT NOT NULL,
    request  BLOB NOT NULL,
    document BLOB NOT NULL,
    expires  INTEGER NOT NULL,
    PRIMARY KEY (actor, key)
) WITHOUT ROWID;

-- name: replies_index
CREATE INDEX IF NOT EXISTS replies_expires ON replies (expires);

-- name: tokens_table
CREATE TABLE IF NOT EXISTS tokens (
    name     TEXT PRIMARY KEY,
    digest   BLOB NOT NULL UNIQUE,
    role     TEXT NOT NULL,
    prefixes TEXT NOT NULL,
    created  INTEGER NOT NULL
) WITHOUT ROWID;

-- name: head
SELECT coalesce(max(serial), 0) FROM log;

-- name: newest
SELECT n.key, n.serial, l.record FROM newest n JOIN log l ON l.serial = n.serial WHERE n.key IN

-- name: walk
SELECT n.key, n.serial, l.record FROM newest n JOIN log l ON l.serial = n.serial
WHERE n.key > :after AND n.key < :before AND (:gone OR l.action <> :delete)
ORDER BY n.key LIMIT :limit;

-- name: homed
SELECT n.key, n.serial, l.record FROM newest n JOIN log l ON l.serial = n.serial
WHERE instr(n.key, X'2F') = 0
ORDER BY n.key;

-- name: changes
SELECT l.serial, l.key, l.time, a.name, l.action, l.previous, l.record FROM log l JOIN actors a ON a.id = l.actor
WHERE l.serial > :after ORDER BY l.serial LIMIT :limit;

-- name: history
WITH RECURSIVE start (serial) AS (
    SELECT previous FROM log WHERE serial = :before AND key = :key
    UNION ALL
    SELECT serial FROM newest
    WHERE key = :key AND NOT EXISTS (SELECT 1 FROM log WHERE serial = :before AND key = :key)
),
version (serial) AS (
    SELECT serial FROM start
    UNION ALL
    SELECT l.previous FROM log l JOIN version v ON l.serial = v.serial WHERE l.previous IS NOT NULL
)
SELECT l.serial, l.key, l.time, a.name, l.action, l.previous, l.record
FROM version v JOIN log l ON l.serial = v.serial JOIN actors a ON a.id = l.actor
WHERE :before IS NULL OR l.serial < :before
ORDER BY l.serial DESC LIMIT :limit;

-- name: aging
SELECT n.key, n.serial, l.record FROM log l JOIN newest n ON n.key = l.key AND n.serial = l.serial
WHERE l.serial > :after AND l.action <> :delete AND instr(l.key, X'2F') > 0 AND l.serial < coalesce(
    (SELECT serial FROM log WHERE serial > :after AND time >= :written_before ORDER BY serial LIMIT 1),
    9223372036854775807
)
ORDER BY l.serial LIMIT :limit;

-- name: actor
SELECT id FROM actors WHERE name = :name;

-- name: add_actor
INSERT INTO actors (name) VALUES (:name);

-- name: append
INSERT INTO log (serial, key, time, actor, action, previous, record) VALUES

-- name: advance
INSERT INTO newest (key, serial) SELECT key, serial FROM log WHERE serial > :after ORDER BY serial
ON CONFLICT (key) DO UPDATE SET serial = excluded.serial;

-- name: replies
SELECT a.name, r.key, r.request, r.document, r.expires
FROM json_each(:wanted) w
JOIN actors a ON a.name = json_extract(w.value, '$[0]')
JOIN replies r ON r.actor = a.id AND r.key = json_extract(w.value, '$[1]')
WHERE r.expires > :now;

-- name: keep_reply
INSERT OR REPLACE INTO replies (actor, key, request, document, expires) VALUES

-- name: forget_replies
DELETE FROM replies WHERE expires <= :now;

-- name: tokens
SELECT name, digest, role, prefixes, created FROM tokens ORDER BY name;

-- name: add_token
INSERT INTO tokens (name, digest, role, prefixes, created) VALUES (:name, :digest, :role, :prefixes, :created);

-- name: remove_token
DELETE FROM tokens WHERE name = :name;
