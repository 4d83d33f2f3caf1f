-- After headscale 0.26.0, step 202502131714: routes that were enabled become a list in JSON of their node, and their
-- table is dropped.

-- holdfast:expand
ALTER TABLE nodes ADD COLUMN approved_routes text;
CREATE INDEX idx_routes_enabled ON routes(node_id) WHERE enabled;

-- holdfast:sync
CREATE TRIGGER approved_i AFTER INSERT ON routes WHEN new.enabled BEGIN
    UPDATE nodes SET approved_routes = (
        SELECT json_group_array(prefix) FROM (SELECT DISTINCT prefix FROM routes
                                              WHERE node_id = new.node_id AND enabled ORDER BY prefix))
    WHERE id = new.node_id;
END;
CREATE TRIGGER approved_u AFTER UPDATE OF enabled, prefix ON routes BEGIN
    UPDATE nodes SET approved_routes = (
        SELECT iif(count(*), json_group_array(prefix), NULL)
        FROM (SELECT DISTINCT prefix FROM routes WHERE node_id = new.node_id AND enabled ORDER BY prefix))
    WHERE id = new.node_id;
END;
CREATE TRIGGER approved_d AFTER DELETE ON routes WHEN old.enabled BEGIN
    UPDATE nodes SET approved_routes = (
        SELECT iif(count(*), json_group_array(prefix), NULL)
        FROM (SELECT DISTINCT prefix FROM routes WHERE node_id = old.node_id AND enabled ORDER BY prefix))
    WHERE id = old.node_id;
END;

-- holdfast:backfill table=nodes key=id where="approved_routes IS NULL"
UPDATE nodes SET approved_routes = (
    SELECT iif(count(*), json_group_array(prefix), NULL)
    FROM (SELECT DISTINCT prefix FROM routes WHERE node_id = nodes.id AND enabled ORDER BY prefix))
WHERE id > :lo AND id <= :hi AND approved_routes IS NULL;

-- holdfast:verify
SELECT count(*) FROM routes r JOIN nodes n ON n.id = r.node_id
WHERE r.enabled AND NOT EXISTS (SELECT 1 FROM json_each(n.approved_routes) WHERE value = r.prefix);
SELECT count(*) FROM nodes n, json_each(n.approved_routes) e
WHERE NOT EXISTS (SELECT 1 FROM routes WHERE node_id = n.id AND prefix = e.value AND enabled);

-- holdfast:contract
DROP TABLE routes;

-- holdfast:revert
DROP INDEX idx_routes_enabled;
ALTER TABLE nodes DROP COLUMN approved_routes;

-- holdfast:down lossy
CREATE TABLE routes (
    id integer PRIMARY KEY, created_at datetime, updated_at datetime, deleted_at datetime, node_id integer NOT NULL,
    prefix text, advertised numeric, enabled numeric, is_primary numeric,
    CONSTRAINT fk_nodes_routes FOREIGN KEY (node_id) REFERENCES nodes(id) ON DELETE CASCADE
);
CREATE INDEX `idx_routes_deleted_at` ON `routes`(`deleted_at`);
INSERT INTO routes(node_id, prefix, advertised, enabled, is_primary)
SELECT n.id, e.value, true, true, false FROM nodes n, json_each(n.approved_routes) e;
ALTER TABLE nodes DROP COLUMN approved_routes;
