-- After headscale 0.22 as it was before versioned migrations: what GORM's AutoMigrate had made by then.
CREATE TABLE `namespaces` (
    `id` integer, `created_at` datetime, `updated_at` datetime, `deleted_at` datetime, `name` text UNIQUE,
    PRIMARY KEY (`id`)
);
CREATE INDEX `idx_namespaces_deleted_at` ON `namespaces`(`deleted_at`);

CREATE TABLE `pre_auth_keys` (
    `id` integer, `key` text, `namespace_id` integer, `reusable` numeric, `ephemeral` numeric DEFAULT false,
    `used` numeric DEFAULT false, `created_at` datetime, `expiration` datetime,
    PRIMARY KEY (`id`),
    CONSTRAINT `fk_pre_auth_keys_namespace` FOREIGN KEY (`namespace_id`) REFERENCES `namespaces`(`id`) ON DELETE CASCADE
);
CREATE TABLE `pre_auth_key_acl_tags` (`id` integer, `pre_auth_key_id` integer, `tag` text, PRIMARY KEY (`id`));

CREATE TABLE `machines` (
    `id` integer, `machine_key` varchar(64), `node_key` text, `disco_key` text, `ip_address` text, `name` text,
    `nickname` varchar(63), `namespace_id` integer, `registered` numeric, `register_method` text,
    `forced_tags` text, `auth_key_id` integer, `last_seen` datetime, `last_successful_update` datetime,
    `expiry` datetime, `host_info` JSON, `endpoints` JSON, `enabled_routes` JSON,
    `created_at` datetime, `updated_at` datetime, `deleted_at` datetime,
    PRIMARY KEY (`id`),
    CONSTRAINT `fk_machines_namespace` FOREIGN KEY (`namespace_id`) REFERENCES `namespaces`(`id`) ON DELETE CASCADE
);
CREATE TABLE `routes` (
    `id` integer, `created_at` datetime, `updated_at` datetime, `deleted_at` datetime, `machine_id` integer,
    `prefix` text, `advertised` numeric, `enabled` numeric, `is_primary` numeric,
    PRIMARY KEY (`id`)
);
CREATE INDEX `idx_routes_deleted_at` ON `routes`(`deleted_at`);

CREATE TABLE `api_keys` (
    `id` integer, `prefix` text, `hash` blob, `created_at` datetime, `expiration` datetime, `last_seen` datetime,
    PRIMARY KEY (`id`)
);
CREATE UNIQUE INDEX `idx_api_keys_prefix` ON `api_keys`(`prefix`);
CREATE TABLE `kvs` (`key` text, `value` text);
CREATE TABLE `shared_machines` (`id` integer, `machine_id` integer, `namespace_id` integer, PRIMARY KEY (`id`));

-- Not headscale's own: what a site adds, and a migration must not lose.
CREATE VIEW nodes_by_namespace AS
    SELECT n.name AS namespace, m.name AS node FROM machines m JOIN namespaces n ON n.id = m.namespace_id;
CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, namespace INTEGER) STRICT;
CREATE TRIGGER audit_namespaces AFTER DELETE ON namespaces BEGIN
    INSERT INTO audit(what, namespace) VALUES ('a namespace is gone; its nodes, too', old.id);
END;

-- holdfast:down lossy
DROP VIEW nodes_by_namespace;
DROP TABLE audit;
DROP TABLE shared_machines;
DROP TABLE kvs;
DROP TABLE api_keys;
DROP TABLE routes;
DROP TABLE machines;
DROP TABLE pre_auth_key_acl_tags;
DROP TABLE pre_auth_keys;
DROP TABLE namespaces;
