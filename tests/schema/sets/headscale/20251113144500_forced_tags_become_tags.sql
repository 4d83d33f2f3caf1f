-- After headscale 0.28.0, step 202511131445-node-forced-tags-to-tags: a column gets another name. RENAME COLUMN breaks
-- the program that is still running; two columns in step do not.

-- holdfast:expand
ALTER TABLE nodes ADD COLUMN tags text;

-- holdfast:sync
CREATE TRIGGER tags_old_i AFTER INSERT ON nodes WHEN new.tags IS NULL AND new.forced_tags IS NOT NULL BEGIN
    UPDATE nodes SET tags = new.forced_tags WHERE id = new.id;
END;
CREATE TRIGGER tags_new_i AFTER INSERT ON nodes WHEN new.forced_tags IS NULL AND new.tags IS NOT NULL BEGIN
    UPDATE nodes SET forced_tags = new.tags WHERE id = new.id;
END;
CREATE TRIGGER tags_old_u AFTER UPDATE OF forced_tags ON nodes WHEN new.forced_tags IS NOT new.tags BEGIN
    UPDATE nodes SET tags = new.forced_tags WHERE id = new.id;
END;
CREATE TRIGGER tags_new_u AFTER UPDATE OF tags ON nodes WHEN new.tags IS NOT new.forced_tags BEGIN
    UPDATE nodes SET forced_tags = new.tags WHERE id = new.id;
END;

-- holdfast:backfill table=nodes key=id where="tags IS NOT forced_tags"
UPDATE nodes SET tags = forced_tags WHERE id > :lo AND id <= :hi AND tags IS NOT forced_tags;

-- holdfast:verify
SELECT count(*) FROM nodes WHERE tags IS NOT forced_tags;

-- holdfast:contract
ALTER TABLE nodes DROP COLUMN forced_tags;

-- holdfast:revert
ALTER TABLE nodes DROP COLUMN tags;

-- holdfast:down
-- holdfast:rebuild nodes fill=forced_tags:"tags"
CREATE TABLE nodes(
  id integer PRIMARY KEY AUTOINCREMENT,
  machine_key text, node_key text, disco_key text, endpoints text, host_info text, ipv4 text, ipv6 text,
  hostname text, given_name varchar(63), user_id integer, register_method text, forced_tags text,
  auth_key_id integer, last_seen datetime, expiry datetime, approved_routes text,
  created_at datetime, updated_at datetime, deleted_at datetime,
  CONSTRAINT fk_nodes_user FOREIGN KEY(user_id) REFERENCES users(id) ON DELETE CASCADE,
  CONSTRAINT fk_nodes_auth_key FOREIGN KEY(auth_key_id) REFERENCES pre_auth_keys(id)
);
