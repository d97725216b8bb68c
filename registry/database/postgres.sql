-- The truth in PostgreSQL. Keys are bytea, whose order is the order of their octets.

-- name: schema
CREATE TABLE IF NOT EXISTS actors (
    id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS log (
    serial   bigint PRIMARY KEY,
    key      bytea NOT NULL,
    time     bigint NOT NULL,
    actor    integer NOT NULL REFERENCES actors,
    action   smallint NOT NULL,
    previous bigint,
    record   bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS newest (
    key    bytea PRIMARY KEY,
    serial bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS homed ON newest (key) WHERE position('\x2f'::bytea IN key) = 0;
CREATE TABLE IF NOT EXISTS replies (
    actor    integer NOT NULL REFERENCES actors,
    key      text NOT NULL,
    request  bytea NOT NULL,
    document bytea NOT NULL,
    expires  bigint NOT NULL,
    PRIMARY KEY (actor, key)
);
CREATE INDEX IF NOT EXISTS replies_expires ON replies (expires);
CREATE TABLE IF NOT EXISTS tokens (
    name     text PRIMARY KEY,
    digest   bytea NOT NULL UNIQUE,
    role     text NOT NULL,
    prefixes text[] NOT NULL,
    created  bigint NOT NULL
);

-- name: take_turn
SELECT pg_advisory_xact_lock(hashtextextended('waymark.log', 0));

-- name: head
SELECT coalesce(max(serial), 0) FROM log;

-- name: newest
SELECT n.key, n.serial, l.record FROM newest n JOIN log l USING (serial) WHERE n.key = ANY($1::bytea[]);

-- name: walk
SELECT n.key, n.serial, l.record FROM newest n JOIN log l USING (serial)
WHERE n.key > $1 AND n.key < $2 AND ($4 OR l.action <> $5)
ORDER BY n.key LIMIT $3;

-- name: homed
SELECT n.key, n.serial, l.record FROM newest n JOIN log l USING (serial)
WHERE position('\x2f'::bytea IN n.key) = 0
ORDER BY n.key;

-- name: changes
SELECT l.serial, l.key, l.time, a.name, l.action, l.previous, l.record FROM log l JOIN actors a ON a.id = l.actor
WHERE l.serial > $1 ORDER BY l.serial LIMIT $2;

-- name: history
WITH RECURSIVE start (serial) AS (
    SELECT previous FROM log WHERE serial = $2::bigint AND key = $1
    UNION ALL
    SELECT serial FROM newest
    WHERE key = $1 AND NOT EXISTS (SELECT 1 FROM log WHERE serial = $2::bigint AND key = $1)
),
version (serial) AS (
    SELECT serial FROM start
    UNION ALL
    SELECT l.previous FROM log l JOIN version v ON l.serial = v.serial WHERE l.previous IS NOT NULL
)
SELECT l.serial, l.key, l.time, a.name, l.action, l.previous, l.record
FROM version v JOIN log l ON l.serial = v.serial JOIN actors a ON a.id = l.actor
WHERE $2::bigint IS NULL OR l.serial < $2::bigint
ORDER BY l.serial DESC LIMIT $3;

-- name: aging
SELECT n.key, n.serial, l.record FROM log l JOIN newest n ON n.key = l.key AND n.serial = l.serial
WHERE l.serial > $1 AND l.action <> $4 AND position('\x2f'::bytea IN l.key) > 0 AND l.serial < coalesce(
    (SELECT serial FROM log WHERE serial > $1 AND time >= $2 ORDER BY serial LIMIT 1),
    9223372036854775807
)
ORDER BY l.serial LIMIT $3;

-- name: actor
WITH added AS (INSERT INTO actors (name) VALUES ($1) ON CONFLICT (name) DO NOTHING RETURNING id)
SELECT id FROM added UNION ALL SELECT id FROM actors WHERE name = $1 LIMIT 1;

-- name: append
INSERT INTO log (serial, key, time, actor, action, previous, record)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::integer[], $5::smallint[], $6::bigint[], $7::bytea[]);

-- name: advance
INSERT INTO newest (key, serial) SELECT key, max(serial) FROM log WHERE serial > $1 GROUP BY key
ON CONFLICT (key) DO UPDATE SET serial = excluded.serial;

-- name: replies
SELECT a.name, r.key, r.request, r.document, r.expires
FROM unnest($1::text[], $2::text[]) AS w (actor, key) JOIN actors a ON a.name = w.actor
JOIN replies r ON r.actor = a.id AND r.key = w.key
WHERE r.expires > $3;

-- name: keep_reply
INSERT INTO replies (actor, key, request, document, expires) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (actor, key) DO UPDATE
SET request = excluded.request, document = excluded.document, expires = excluded.expires;

-- name: forget_replies
DELETE FROM replies WHERE expires <= $1;

-- name: tokens
SELECT name, digest, role, prefixes, created FROM tokens ORDER BY name;

-- name: add_token
INSERT INTO tokens (name, digest, role, prefixes, created) VALUES ($1, $2, $3, $4, $5);

-- name: remove_token
DELETE FROM tokens WHERE name = $1;
