-- node, from the keys under node/: rung 3 of 5, shadow.
-- The table, kept from the keys by triggers. Keys are written as ever; a value that does not
-- fit has no row, but is in the table of rejects. The table itself cannot be written.

-- holdfast:expand
CREATE TABLE IF NOT EXISTS DBX(Key TEXT PRIMARY KEY, Value TEXT);

CREATE TABLE node(
  name TEXT NOT NULL CHECK (name <> '' AND instr(name, '/') = 0),
  ip TEXT,
  user TEXT,
  extra TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(extra) AND json_type(extra) = 'object'),
  PRIMARY KEY (name),
  CHECK (coalesce(NULL,
    nullif(json_type(extra, '$.ip'), 'null'),
    nullif(json_type(extra, '$.user'), 'null')) IS NULL)
) STRICT;
CREATE INDEX node_ip_index ON node(ip);
CREATE INDEX node_user_index ON node(user);

-- The keys that do not fit, of all promotions, and why.
CREATE TABLE IF NOT EXISTS holdfast_reject(
  name TEXT NOT NULL, key TEXT NOT NULL, why TEXT NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY (name, key)
) STRICT, WITHOUT ROWID;

CREATE VIEW node_kv AS
  -- holdfast:promote node prefix=node/ key=node/{name}
  -- col name TEXT key
  -- col ip   TEXT $.ip index
  -- col user TEXT $.user index
  -- rest extra
SELECT kv_key, name,
       json_extract(kv_object, '$.ip') AS ip,
       json_extract(kv_object, '$.user') AS user,
       json_remove(kv_object,
         CASE json_type(kv_object, '$.ip') WHEN 'null' THEN '$[0]' ELSE '$.ip' END,
         CASE json_type(kv_object, '$.user') WHEN 'null' THEN '$[0]' ELSE '$.user' END) AS extra,
       CASE
         WHEN typeof(kv_value) <> 'text' THEN 'the value is a ' || typeof(kv_value)
         WHEN instr(kv_value, char(0)) THEN 'the value has a NUL in it'
         WHEN kv_object IS NULL THEN 'the value is not JSON'
         WHEN json_type(kv_object) <> 'object' THEN 'the value is JSON, and not an object'
         WHEN kv_key <> 'node/' || name
              OR name = '' OR instr(name, '/') OR instr(name, char(0))
           THEN 'the key is not like node/{name}'
         WHEN (SELECT count(*) FROM json_each(kv_object, '$')
                WHERE key IN ('ip', 'user'))
           <> (json_type(kv_object, '$.ip') IS NOT NULL)
            + (json_type(kv_object, '$.user') IS NOT NULL)
           THEN 'a member of $ is there twice, or spelled with escapes'
         WHEN json_type(kv_object, '$.ip') NOT IN ('text', 'null')
           THEN '$.ip is ' || json_type(kv_object, '$.ip') || ', not TEXT'
         WHEN json_type(kv_object, '$.user') NOT IN ('text', 'null')
           THEN '$.user is ' || json_type(kv_object, '$.user') || ', not TEXT'
         WHEN instr(kv_value, '\u') AND (instr(json_extract(kv_object, '$.ip', '$.ip'), '\u0000')
              OR replace(json_extract(kv_object, '$.ip'), char(65533), '') GLOB '*' || char(65533) || '*'
              OR instr(json_extract(kv_object, '$.user', '$.user'), '\u0000')
              OR replace(json_extract(kv_object, '$.user'), char(65533), '') GLOB '*' || char(65533) || '*')
           THEN 'a string has a NUL or half a character in it'
       END AS kv_why
  FROM (SELECT Key AS kv_key, Value AS kv_value,
               substr(Key, 6) AS name,
               CASE WHEN json_valid(Value) THEN Value END AS kv_object
          FROM DBX WHERE Key >= 'node/' AND Key < 'node0' AND Value IS NOT NULL);

CREATE VIEW node_value AS
SELECT name,
       'node/' || name AS kv_key,
       json_set(extra,
         CASE WHEN ip IS NULL THEN '$[0]' ELSE '$.ip' END, ip,
         CASE WHEN user IS NULL THEN '$[0]' ELSE '$.user' END, user) AS kv_value
  FROM node;

CREATE VIEW node_differs AS
SELECT p.kv_key, CASE WHEN p.kv_why IS NULL THEN 'the row is not that of the key'
       ELSE 'it does not fit, and no reject says so' END AS kv_what
  FROM node_kv AS p LEFT JOIN node AS n ON n.name = p.name
 WHERE CASE WHEN p.kv_why IS NULL THEN
         (p.ip, p.user, p.extra) IS NOT (n.ip, n.user, n.extra)
       ELSE NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = p.kv_key) END
UNION ALL
SELECT 'node/' || n.name, 'the row has no key'
  FROM node AS n
 WHERE NOT EXISTS (SELECT 1 FROM DBX WHERE Key = 'node/' || n.name AND Value IS NOT NULL)
    OR EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = 'node/' || n.name)
UNION ALL
SELECT r.key, 'it is called a reject, and is none'
  FROM holdfast_reject AS r
 WHERE r.name = 'node' AND NOT EXISTS (SELECT 1 FROM node_kv AS p
                    WHERE p.kv_key = r.key AND p.kv_why IS NOT NULL);

-- holdfast:sync
CREATE TRIGGER node_kv_insert AFTER INSERT ON DBX
WHEN new.Key >= 'node/' AND new.Key < 'node0'
BEGIN
  DELETE FROM holdfast_reject WHERE name = 'node' AND key = new.Key;
  INSERT INTO holdfast_reject(name, key, why, at_ms)
  SELECT 'node', kv_key, kv_why, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)
    FROM node_kv WHERE kv_key = new.Key AND kv_why IS NOT NULL;
  DELETE FROM node
   WHERE name = substr(new.Key, 6) AND 'node/' || name = new.Key
     AND (new.Value IS NULL OR EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = new.Key));
  INSERT INTO node(name, ip, user, extra)
  SELECT name, ip, user, extra
    FROM node_kv WHERE kv_key = new.Key
     AND NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = new.Key)
  ON CONFLICT(name) DO UPDATE SET (ip, user, extra) =
    (excluded.ip, excluded.user, excluded.extra)
    WHERE (node.ip, node.user, node.extra) IS NOT (excluded.ip, excluded.user, excluded.extra);
END;

CREATE TRIGGER node_kv_update AFTER UPDATE OF Key, Value ON DBX
WHEN new.Key >= 'node/' AND new.Key < 'node0'
BEGIN
  DELETE FROM holdfast_reject WHERE name = 'node' AND key = new.Key;
  INSERT INTO holdfast_reject(name, key, why, at_ms)
  SELECT 'node', kv_key, kv_why, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)
    FROM node_kv WHERE kv_key = new.Key AND kv_why IS NOT NULL;
  DELETE FROM node
   WHERE name = substr(new.Key, 6) AND 'node/' || name = new.Key
     AND (new.Value IS NULL OR EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = new.Key));
  INSERT INTO node(name, ip, user, extra)
  SELECT name, ip, user, extra
    FROM node_kv WHERE kv_key = new.Key
     AND NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = new.Key)
  ON CONFLICT(name) DO UPDATE SET (ip, user, extra) =
    (excluded.ip, excluded.user, excluded.extra)
    WHERE (node.ip, node.user, node.extra) IS NOT (excluded.ip, excluded.user, excluded.extra);
END;

CREATE TRIGGER node_kv_move AFTER UPDATE OF Key ON DBX
WHEN old.Key >= 'node/' AND old.Key < 'node0' AND new.Key IS NOT old.Key
BEGIN
  DELETE FROM holdfast_reject WHERE name = 'node' AND key = old.Key;
  DELETE FROM node
   WHERE name = substr(old.Key, 6) AND 'node/' || name = old.Key;
END;

CREATE TRIGGER node_kv_delete AFTER DELETE ON DBX
WHEN old.Key >= 'node/' AND old.Key < 'node0'
BEGIN
  DELETE FROM holdfast_reject WHERE name = 'node' AND key = old.Key;
  DELETE FROM node
   WHERE name = substr(old.Key, 6) AND 'node/' || name = old.Key;
END;

CREATE TRIGGER node_guard_insert AFTER INSERT ON node
WHEN NOT EXISTS (SELECT 1 FROM node_kv AS p WHERE p.kv_key = 'node/' || new.name
  AND (p.ip, p.user, p.extra) IS (new.ip, new.user, new.extra)
  AND NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = p.kv_key))
BEGIN
  SELECT RAISE(ABORT, 'node is kept from the keys under node/, and not written itself: put the key');
END;

CREATE TRIGGER node_guard_update AFTER UPDATE ON node
WHEN (new.name) IS NOT (old.name)
  OR NOT EXISTS (SELECT 1 FROM node_kv AS p WHERE p.kv_key = 'node/' || new.name
  AND (p.ip, p.user, p.extra) IS (new.ip, new.user, new.extra)
  AND NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = p.kv_key))
BEGIN
  SELECT RAISE(ABORT, 'node is kept from the keys under node/, and not written itself: put the key');
END;

CREATE TRIGGER node_guard_delete AFTER DELETE ON node
WHEN EXISTS (SELECT 1 FROM DBX WHERE Key = 'node/' || old.name AND Value IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = DBX.Key))
BEGIN
  SELECT RAISE(ABORT, 'node is kept from the keys under node/, and not written itself: put the key');
END;

-- holdfast:backfill table=DBX key=Key where="Key >= 'node/' AND Key < 'node0'"
INSERT INTO node(name, ip, user, extra)
SELECT name, ip, user, extra
  FROM node_kv WHERE kv_key IN (SELECT Key FROM DBX WHERE Key > :lo AND Key <= :hi) AND kv_why IS NULL
ON CONFLICT(name) DO UPDATE SET (ip, user, extra) =
  (excluded.ip, excluded.user, excluded.extra)
  WHERE (node.ip, node.user, node.extra) IS NOT (excluded.ip, excluded.user, excluded.extra);

-- holdfast:backfill table=DBX key=Key where="Key >= 'node/' AND Key < 'node0'"
INSERT INTO holdfast_reject(name, key, why, at_ms)
SELECT 'node', kv_key, kv_why, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)
  FROM node_kv WHERE kv_key IN (SELECT Key FROM DBX WHERE Key > :lo AND Key <= :hi)
   AND kv_why IS NOT NULL
ON CONFLICT(name, key) DO UPDATE SET why = excluded.why, at_ms = excluded.at_ms;

-- holdfast:verify
SELECT count(*) FROM node_differs;

-- holdfast:revert
DROP TRIGGER IF EXISTS node_kv_insert;
DROP TRIGGER IF EXISTS node_kv_update;
DROP TRIGGER IF EXISTS node_kv_move;
DROP TRIGGER IF EXISTS node_kv_delete;
DROP TRIGGER IF EXISTS node_guard_insert;
DROP TRIGGER IF EXISTS node_guard_update;
DROP TRIGGER IF EXISTS node_guard_delete;
DROP VIEW node_differs;
DROP VIEW node_value;
DROP VIEW node_kv;
DELETE FROM holdfast_reject WHERE name = 'node';
DROP TABLE node;

-- holdfast:down
DROP TRIGGER IF EXISTS node_kv_insert;
DROP TRIGGER IF EXISTS node_kv_update;
DROP TRIGGER IF EXISTS node_kv_move;
DROP TRIGGER IF EXISTS node_kv_delete;
DROP TRIGGER IF EXISTS node_guard_insert;
DROP TRIGGER IF EXISTS node_guard_update;
DROP TRIGGER IF EXISTS node_guard_delete;
DROP VIEW node_differs;
DROP VIEW node_value;
DROP VIEW node_kv;
DELETE FROM holdfast_reject WHERE name = 'node';
DROP TABLE node;
