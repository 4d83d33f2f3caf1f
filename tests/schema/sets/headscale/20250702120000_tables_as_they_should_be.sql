-- After headscale 0.27.0, step 202507021200: all tables are made anew, their columns in the order of schema.sql and
-- their ids never given twice. Parents and children of foreign keys, in one transaction.

-- holdfast:rebuild users
CREATE TABLE users(
  id integer PRIMARY KEY AUTOINCREMENT,
  name text, display_name text, email text, provider_identifier text, provider text, profile_pic_url text,
  created_at datetime, updated_at datetime, deleted_at datetime
);
-- holdfast:rebuild pre_auth_keys
CREATE TABLE pre_auth_keys(
  id integer PRIMARY KEY AUTOINCREMENT,
  key text, user_id integer, reusable numeric, ephemeral numeric DEFAULT false, used numeric DEFAULT false,
  tags text, expiration datetime, created_at datetime,
  CONSTRAINT fk_pre_auth_keys_user FOREIGN KEY(user_id) REFERENCES users(id) ON DELETE SET NULL
);
-- holdfast:rebuild nodes
CREATE TABLE nodes(
  id integer PRIMARY KEY AUTOINCREMENT,
  machine_key text, node_key text, disco_key text, endpoints text, host_info text, ipv4 text, ipv6 text,
  hostname text, given_name varchar(63), user_id integer, register_method text, forced_tags text,
  auth_key_id integer, last_seen datetime, expiry datetime, approved_routes text,
  created_at datetime, updated_at datetime, deleted_at datetime,
  CONSTRAINT fk_nodes_user FOREIGN KEY(user_id) REFERENCES users(id) ON DELETE CASCADE,
  CONSTRAINT fk_nodes_auth_key FOREIGN KEY(auth_key_id) REFERENCES pre_auth_keys(id)
);

-- The same by hand, as it was done there.
DROP INDEX IF EXISTS idx_api_keys_prefix;
ALTER TABLE api_keys RENAME TO api_keys_old;
CREATE TABLE api_keys(
  id integer PRIMARY KEY AUTOINCREMENT, prefix text, hash blob, expiration datetime, last_seen datetime,
  created_at datetime
);
INSERT INTO api_keys (id, prefix, hash, expiration, last_seen, created_at)
SELECT id, prefix, hash, expiration, last_seen, created_at FROM api_keys_old;
CREATE UNIQUE INDEX idx_api_keys_prefix ON api_keys(prefix);
DROP TABLE api_keys_old;

DROP INDEX idx_namespaces_deleted_at;
CREATE INDEX idx_users_deleted_at ON users(deleted_at);
