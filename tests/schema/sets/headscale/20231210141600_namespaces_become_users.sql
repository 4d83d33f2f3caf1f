-- After headscale 0.23.0, step 202312101416, its first part: namespaces are called users. In dbmate's form.

-- migrate:up
ALTER TABLE namespaces RENAME TO users;
ALTER TABLE machines RENAME COLUMN namespace_id TO user_id;
ALTER TABLE pre_auth_keys RENAME COLUMN namespace_id TO user_id;

-- migrate:down
ALTER TABLE pre_auth_keys RENAME COLUMN user_id TO namespace_id;
ALTER TABLE machines RENAME COLUMN user_id TO namespace_id;
ALTER TABLE users RENAME TO namespaces;
