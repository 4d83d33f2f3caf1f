-- After headscale 0.25.0, step 202501221827: routes of nodes that are gone are deleted, and from then on a route goes
-- with its node.
DELETE FROM routes WHERE node_id NOT IN (SELECT id FROM nodes);
DELETE FROM routes WHERE node_id IS NULL;
-- holdfast:rebuild routes
CREATE TABLE routes (
    id integer PRIMARY KEY, created_at datetime, updated_at datetime, deleted_at datetime, node_id integer NOT NULL,
    prefix text, advertised numeric, enabled numeric, is_primary numeric,
    CONSTRAINT fk_nodes_routes FOREIGN KEY (node_id) REFERENCES nodes(id) ON DELETE CASCADE
);

-- holdfast:down lossy
-- holdfast:rebuild routes
CREATE TABLE `routes` (
    `id` integer, `created_at` datetime, `updated_at` datetime, `deleted_at` datetime, "node_id" integer,
    `prefix` text, `advertised` numeric, `enabled` numeric, `is_primary` numeric,
    PRIMARY KEY (`id`)
);
