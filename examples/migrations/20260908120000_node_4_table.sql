-- node, from the keys under node/: rung 4 of 5, table.
-- Rows may be written, too, and each follows the other: programs that write keys go on. A value
-- stays as it is, byte for byte, until its row is changed.

-- holdfast:verify
SELECT count(*) FROM node_differs;
SELECT count(*) FROM holdfast_reject WHERE name = 'node'; -- correct or delete these keys first

-- holdfast:contract compatible
DROP TRIGGER IF EXISTS node_guard_insert;
DROP TRIGGER IF EXISTS node_guard_update;
DROP TRIGGER IF EXISTS node_guard_delete;

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

-- holdfast:down
DROP TRIGGER IF EXISTS node_put_insert;
DROP TRIGGER IF EXISTS node_put_update;
DROP TRIGGER IF EXISTS node_put_delete;

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

