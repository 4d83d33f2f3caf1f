-- After headscale 0.23.0, step 2024041121742: a text with addresses between commas becomes a column for each kind;
-- the first of each counts. It was one stop; here old programs write the text and new ones the columns, side by side.

-- holdfast:expand
ALTER TABLE nodes ADD COLUMN ipv4 text;
ALTER TABLE nodes ADD COLUMN ipv6 text;

-- holdfast:sync
CREATE TRIGGER addresses_i AFTER INSERT ON nodes
WHEN new.ip_addresses IS NOT NULL AND new.ipv4 IS NULL AND new.ipv6 IS NULL BEGIN
    UPDATE nodes SET
        ipv4 = (SELECT value FROM json_each('["' || replace(new.ip_addresses, ',', '","') || '"]')
                WHERE value LIKE '%.%' ORDER BY key LIMIT 1),
        ipv6 = (SELECT value FROM json_each('["' || replace(new.ip_addresses, ',', '","') || '"]')
                WHERE value LIKE '%:%' ORDER BY key LIMIT 1)
    WHERE id = new.id;
END;
CREATE TRIGGER addresses_u AFTER UPDATE OF ip_addresses ON nodes WHEN new.ip_addresses IS NOT old.ip_addresses BEGIN
    UPDATE nodes SET
        ipv4 = (SELECT value FROM json_each('["' || replace(new.ip_addresses, ',', '","') || '"]')
                WHERE value LIKE '%.%' ORDER BY key LIMIT 1),
        ipv6 = (SELECT value FROM json_each('["' || replace(new.ip_addresses, ',', '","') || '"]')
                WHERE value LIKE '%:%' ORDER BY key LIMIT 1)
    WHERE id = new.id;
END;
CREATE TRIGGER addresses_new_i AFTER INSERT ON nodes
WHEN new.ip_addresses IS NULL AND coalesce(new.ipv4, new.ipv6) IS NOT NULL BEGIN
    UPDATE nodes SET ip_addresses = coalesce(new.ipv4 || ',' || new.ipv6, new.ipv4, new.ipv6) WHERE id = new.id;
END;
CREATE TRIGGER addresses_new_u AFTER UPDATE OF ipv4, ipv6 ON nodes
WHEN instr(',' || new.ip_addresses || ',', ',' || coalesce(new.ipv4, new.ipv6) || ',') = 0 BEGIN
    UPDATE nodes SET ip_addresses = coalesce(new.ipv4 || ',' || new.ipv6, new.ipv4, new.ipv6) WHERE id = new.id;
END;

-- holdfast:backfill table=nodes key=id batch=50 target=2ms where="ipv4 IS NULL AND ipv6 IS NULL"
UPDATE nodes SET
    ipv4 = (SELECT value FROM json_each('["' || replace(ip_addresses, ',', '","') || '"]')
            WHERE value LIKE '%.%' ORDER BY key LIMIT 1),
    ipv6 = (SELECT value FROM json_each('["' || replace(ip_addresses, ',', '","') || '"]')
            WHERE value LIKE '%:%' ORDER BY key LIMIT 1)
WHERE id > :lo AND id <= :hi AND ipv4 IS NULL AND ipv6 IS NULL AND ip_addresses IS NOT NULL;

-- holdfast:verify
SELECT count(*) FROM nodes WHERE ip_addresses <> '' AND ipv4 IS NULL AND ipv6 IS NULL;
SELECT count(*) FROM nodes
WHERE instr(',' || ip_addresses || ',', ',' || coalesce(ipv4, ipv6) || ',') = 0;

-- holdfast:contract
-- holdfast:rebuild nodes drop=ip_addresses

-- holdfast:revert
ALTER TABLE nodes DROP COLUMN ipv4;
ALTER TABLE nodes DROP COLUMN ipv6;

-- holdfast:down lossy
-- holdfast:rebuild nodes fill=ip_addresses:"coalesce(ipv4 || ',' || ipv6, ipv4, ipv6)"
CREATE TABLE "nodes" (
    `id` integer, `machine_key` varchar(64), `node_key` text, `disco_key` text, "ip_addresses" text, "hostname" text,
    "given_name" varchar(63), "user_id" integer, `register_method` text,
    `forced_tags` text, `auth_key_id` integer, `last_seen` datetime,
    `expiry` datetime, `host_info` JSON, `endpoints` JSON,
    `created_at` datetime, `updated_at` datetime, `deleted_at` datetime,
    PRIMARY KEY (`id`),
    CONSTRAINT `fk_machines_namespace` FOREIGN KEY ("user_id") REFERENCES "users"(`id`) ON DELETE CASCADE
);
