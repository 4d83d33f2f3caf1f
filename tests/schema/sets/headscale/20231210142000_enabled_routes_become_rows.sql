-- After headscale 0.23.0, step 202312101416, its last part: a list in JSON becomes rows of routes, where others are
-- already; a list that is JSON's null has none. There it stopped the world; here old programs go on to write it.

-- holdfast:expand
ALTER TABLE routes ADD COLUMN of_list numeric DEFAULT false;
CREATE INDEX idx_routes_node ON routes(node_id, prefix);

-- holdfast:sync
CREATE TRIGGER enabled_routes_i AFTER INSERT ON nodes WHEN json_valid(new.enabled_routes) BEGIN
    INSERT INTO routes(created_at, updated_at, node_id, prefix, advertised, enabled, is_primary, of_list)
    SELECT new.updated_at, new.updated_at, new.id, value, true, true, false, true FROM json_each(new.enabled_routes)
    WHERE value IS NOT NULL AND NOT EXISTS (SELECT 1 FROM routes WHERE node_id = new.id AND prefix = value);
END;
CREATE TRIGGER enabled_routes_u AFTER UPDATE OF enabled_routes ON nodes
WHEN json_valid(new.enabled_routes) AND new.enabled_routes IS NOT old.enabled_routes BEGIN
    DELETE FROM routes WHERE node_id = new.id AND of_list
        AND prefix NOT IN (SELECT value FROM json_each(new.enabled_routes) WHERE value IS NOT NULL);
    INSERT INTO routes(created_at, updated_at, node_id, prefix, advertised, enabled, is_primary, of_list)
    SELECT new.updated_at, new.updated_at, new.id, value, true, true, false, true FROM json_each(new.enabled_routes)
    WHERE value IS NOT NULL AND NOT EXISTS (SELECT 1 FROM routes WHERE node_id = new.id AND prefix = value);
END;
CREATE TRIGGER enabled_routes_d AFTER DELETE ON nodes BEGIN
    DELETE FROM routes WHERE node_id = old.id AND of_list;
END;

-- holdfast:backfill table=nodes key=id batch=50
INSERT INTO routes(created_at, updated_at, node_id, prefix, advertised, enabled, is_primary, of_list)
SELECT DISTINCT n.updated_at, n.updated_at, n.id, e.value, true, true, false, true
FROM nodes n, json_each(CASE WHEN json_valid(n.enabled_routes) THEN n.enabled_routes ELSE '[]' END) e
WHERE n.id > :lo AND n.id <= :hi
    AND e.value IS NOT NULL AND NOT EXISTS (SELECT 1 FROM routes r WHERE r.node_id = n.id AND r.prefix = e.value);

-- holdfast:verify
SELECT count(*)
FROM nodes n, json_each(CASE WHEN json_valid(n.enabled_routes) THEN n.enabled_routes ELSE '[]' END) e
WHERE e.value IS NOT NULL AND NOT EXISTS (SELECT 1 FROM routes r WHERE r.node_id = n.id AND r.prefix = e.value);
SELECT count(*) - count(DISTINCT node_id || ' ' || prefix) FROM routes WHERE of_list;

-- holdfast:contract
-- holdfast:rebuild nodes drop=enabled_routes
DROP INDEX idx_routes_node;
ALTER TABLE routes DROP COLUMN of_list;

-- holdfast:revert
DROP INDEX idx_routes_node;
DELETE FROM routes WHERE of_list;
ALTER TABLE routes DROP COLUMN of_list;
