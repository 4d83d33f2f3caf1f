-- After headscale 0.23.0, step 202312101416, its second part: machines are called nodes, and some of their columns
-- otherwise. In goose's form, with a trigger between its marks.

-- +goose Up
ALTER TABLE machines RENAME TO nodes;
ALTER TABLE routes RENAME COLUMN machine_id TO node_id;
ALTER TABLE nodes RENAME COLUMN ip_address TO ip_addresses;
ALTER TABLE nodes RENAME COLUMN name TO hostname;
ALTER TABLE nodes RENAME COLUMN nickname TO given_name;
-- +goose StatementBegin
CREATE TRIGGER audit_nodes AFTER DELETE ON nodes
BEGIN
    INSERT INTO audit(what, namespace) VALUES (coalesce(old.hostname, '?') || ' is gone; who asks?', old.user_id);
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER audit_nodes;
ALTER TABLE nodes RENAME COLUMN given_name TO nickname;
ALTER TABLE nodes RENAME COLUMN hostname TO name;
ALTER TABLE nodes RENAME COLUMN ip_addresses TO ip_address;
ALTER TABLE routes RENAME COLUMN node_id TO machine_id;
ALTER TABLE nodes RENAME TO machines;
