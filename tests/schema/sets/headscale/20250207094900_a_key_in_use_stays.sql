-- After headscale 0.25.0, steps 202501311657 and 202502070949: nodes forget keys that are gone; then a key that a node
-- came with cannot be deleted, and a user who is deleted leaves the keys.

-- holdfast:backfill table=nodes key=id batch=64
UPDATE nodes SET auth_key_id = NULL
WHERE id > :lo AND id <= :hi AND auth_key_id NOT IN (SELECT id FROM pre_auth_keys);

-- holdfast:verify
SELECT count(*) FROM nodes WHERE auth_key_id IS NOT NULL AND auth_key_id NOT IN (SELECT id FROM pre_auth_keys);

-- holdfast:contract
-- holdfast:rebuild pre_auth_keys
CREATE TABLE pre_auth_keys (
    id integer PRIMARY KEY, key text, user_id integer, reusable numeric, ephemeral numeric DEFAULT false,
    used numeric DEFAULT false, created_at datetime, expiration datetime, tags text,
    CONSTRAINT fk_pre_auth_keys_user FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE SET NULL
);
-- holdfast:rebuild nodes
CREATE TABLE nodes (
    id integer PRIMARY KEY, machine_key text, node_key text, disco_key text, hostname text, given_name varchar(63),
    user_id integer, register_method text, forced_tags text, auth_key_id integer, last_seen datetime, expiry datetime,
    host_info text, endpoints text, created_at datetime, updated_at datetime, deleted_at datetime, ipv4 text, ipv6 text,
    CONSTRAINT fk_nodes_user FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE,
    CONSTRAINT fk_nodes_auth_key FOREIGN KEY (auth_key_id) REFERENCES pre_auth_keys(id)
);
