-- node, from the keys under node/: rung 5 of 5, retired.
-- The keys are deleted, and new ones refused; only the rejects stay, until they are deleted.
-- The way back makes keys of the rows: equal as JSON, in other bytes.

-- holdfast:verify
SELECT count(*) FROM node_differs;

-- holdfast:contract
DROP TRIGGER IF EXISTS node_put_insert;
DROP TRIGGER IF EXISTS node_put_update;
DROP TRIGGER IF EXISTS node_put_delete;
DROP TRIGGER IF EXISTS node_kv_insert;
DROP TRIGGER IF EXISTS node_kv_update;
DROP TRIGGER IF EXISTS node_kv_move;
DROP TRIGGER IF EXISTS node_kv_delete;
DROP VIEW node_differs;
DELETE FROM DBX WHERE Key >= 'node/' AND Key < 'node0'
   AND Key NOT IN (SELECT key FROM holdfast_reject WHERE name = 'node');

CREATE TRIGGER node_retired_insert BEFORE INSERT ON DBX
WHEN new.Key >= 'node/' AND new.Key < 'node0'
BEGIN
  SELECT RAISE(ABORT, 'the keys under node/ are retired: they are rows of the table node now');
END;

CREATE TRIGGER node_retired_update BEFORE UPDATE ON DBX
WHEN new.Key >= 'node/' AND new.Key < 'node0'
BEGIN
  SELECT RAISE(ABORT, 'the keys under node/ are retired: they are rows of the table node now');
END;

CREATE TRIGGER node_retired_move AFTER UPDATE OF Key ON DBX
WHEN old.Key >= 'node/' AND old.Key < 'node0'
BEGIN
  DELETE FROM holdfast_reject WHERE name = 'node' AND key = old.Key;
END;

CREATE TRIGGER node_retired_delete AFTER DELETE ON DBX
WHEN old.Key >= 'node/' AND old.Key < 'node0'
BEGIN
  DELETE FROM holdfast_reject WHERE name = 'node' AND key = old.Key;
END;

-- The keys had an index that saw to this.
CREATE UNIQUE INDEX node_ip ON node(ip);

-- holdfast:down lossy
DROP INDEX node_ip;
DROP TRIGGER IF EXISTS node_retired_insert;
DROP TRIGGER IF EXISTS node_retired_update;
DROP TRIGGER IF EXISTS node_retired_move;
DROP TRIGGER IF EXISTS node_retired_delete;
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

INSERT INTO DBX(Key, Value) SELECT kv_key, kv_value FROM node_value;

CREATE TRIGGER node_put_insert AFTER INSERT ON node
WHEN NOT EXISTS (SELECT 1 FROM node_kv AS p WHERE p.kv_key = 'node/' || new.name
  AND (p.ip, p.user, p.extra) IS (new.ip, new.user, new.extra)
  AND NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = p.kv_key))
BEGIN
  SELECT RAISE(ABORT, 'node: the key of this row has a value that does not fit (see holdfast_reject): delete the key first')
    FROM holdfast_reject WHERE name = 'node' AND key = 'node/' || new.name;
  INSERT INTO DBX(Key, Value)
  SELECT kv_key, kv_value FROM node_value WHERE (name) = (new.name)
  ON CONFLICT(Key) DO UPDATE SET Value = excluded.Value;
  SELECT RAISE(ABORT, 'node: this row cannot be a key and its value')
   WHERE NOT EXISTS (SELECT 1 FROM node_kv AS p WHERE p.kv_key = 'node/' || new.name
     AND (p.ip, p.user) IS (new.ip, new.user)
     AND NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = p.kv_key));
END;

CREATE TRIGGER node_put_update AFTER UPDATE ON node
WHEN (new.name) IS NOT (old.name)
  OR NOT EXISTS (SELECT 1 FROM node_kv AS p WHERE p.kv_key = 'node/' || new.name
  AND (p.ip, p.user, p.extra) IS (new.ip, new.user, new.extra)
  AND NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = p.kv_key))
BEGIN
  DELETE FROM DBX WHERE Key = 'node/' || old.name AND (new.name) IS NOT (old.name);
  SELECT RAISE(ABORT, 'node: the key of this row has a value that does not fit (see holdfast_reject): delete the key first')
    FROM holdfast_reject WHERE name = 'node' AND key = 'node/' || new.name;
  INSERT INTO DBX(Key, Value)
  SELECT kv_key, kv_value FROM node_value WHERE (name) = (new.name)
  ON CONFLICT(Key) DO UPDATE SET Value = excluded.Value;
  SELECT RAISE(ABORT, 'node: this row cannot be a key and its value')
   WHERE NOT EXISTS (SELECT 1 FROM node_kv AS p WHERE p.kv_key = 'node/' || new.name
     AND (p.ip, p.user) IS (new.ip, new.user)
     AND NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = p.kv_key));
END;

CREATE TRIGGER node_put_delete AFTER DELETE ON node
WHEN EXISTS (SELECT 1 FROM DBX WHERE Key = 'node/' || old.name AND Value IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = 'node' AND key = DBX.Key))
BEGIN
  DELETE FROM DBX WHERE Key = 'node/' || old.name;
END;

