-- After headscale 0.23.0, step 202312101416, its third part: nodes that never came to be registered are deleted, and
-- the column that said so is dropped. Nothing comes before the contract: no program has read it for years.

-- holdfast:contract
DELETE FROM routes WHERE node_id IN (SELECT id FROM nodes WHERE NOT registered OR registered IS NULL);
DELETE FROM nodes WHERE NOT registered OR registered IS NULL;
-- holdfast:rebuild nodes drop=registered

-- holdfast:down lossy
-- holdfast:rebuild nodes fill=registered:"true"
CREATE TABLE "nodes" (
    `id` integer, `machine_key` varchar(64), `node_key` text, `disco_key` text, "ip_addresses" text, "hostname" text,
    "given_name" varchar(63), "user_id" integer, `registered` numeric, `register_method` text,
    `forced_tags` text, `auth_key_id` integer, `last_seen` datetime, `last_successful_update` datetime,
    `expiry` datetime, `host_info` JSON, `endpoints` JSON, `enabled_routes` JSON,
    `created_at` datetime, `updated_at` datetime, `deleted_at` datetime,
    PRIMARY KEY (`id`),
    CONSTRAINT `fk_machines_namespace` FOREIGN KEY ("user_id") REFERENCES "users"(`id`) ON DELETE CASCADE
);
