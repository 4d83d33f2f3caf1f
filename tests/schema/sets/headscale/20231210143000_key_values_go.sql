-- After headscale 0.23.0, step 202312101430: the tables for keys and values, and for shared machines, are dropped.
-- Nothing has used them for years.
DROP TABLE kvs;
DROP TABLE IF EXISTS shared_machines;

-- holdfast:down lossy
CREATE TABLE `kvs` (`key` text, `value` text);
CREATE TABLE `shared_machines` (`id` integer, `machine_id` integer, `namespace_id` integer, PRIMARY KEY (`id`));
