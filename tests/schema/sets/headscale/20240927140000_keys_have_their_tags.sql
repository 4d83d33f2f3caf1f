-- After headscale 0.24.0, step 202409271400: the tags of a key, a table of their own, become a list in JSON of the key.

-- holdfast:expand
ALTER TABLE pre_auth_keys ADD COLUMN tags text;
CREATE INDEX idx_tags_of_key ON pre_auth_key_acl_tags(pre_auth_key_id);

-- holdfast:sync
CREATE TRIGGER key_tags_i AFTER INSERT ON pre_auth_key_acl_tags BEGIN
    UPDATE pre_auth_keys SET tags = (
        SELECT json_group_array(tag) FROM (SELECT DISTINCT tag FROM pre_auth_key_acl_tags
                                           WHERE pre_auth_key_id = new.pre_auth_key_id ORDER BY tag))
    WHERE id = new.pre_auth_key_id;
END;
CREATE TRIGGER key_tags_d AFTER DELETE ON pre_auth_key_acl_tags BEGIN
    UPDATE pre_auth_keys SET tags = (
        SELECT iif(count(*), json_group_array(tag), NULL)
        FROM (SELECT DISTINCT tag FROM pre_auth_key_acl_tags WHERE pre_auth_key_id = old.pre_auth_key_id ORDER BY tag))
    WHERE id = old.pre_auth_key_id;
END;

-- holdfast:backfill table=pre_auth_keys key=id batch=20 where="tags IS NULL"
UPDATE pre_auth_keys SET tags = (
    SELECT iif(count(*), json_group_array(tag), NULL)
    FROM (SELECT DISTINCT tag FROM pre_auth_key_acl_tags WHERE pre_auth_key_id = pre_auth_keys.id ORDER BY tag))
WHERE id > :lo AND id <= :hi AND tags IS NULL;

-- holdfast:verify
SELECT count(*) FROM pre_auth_key_acl_tags t JOIN pre_auth_keys k ON k.id = t.pre_auth_key_id
WHERE NOT EXISTS (SELECT 1 FROM json_each(k.tags) WHERE value = t.tag);
SELECT count(*) FROM pre_auth_keys k, json_each(k.tags) e
WHERE NOT EXISTS (SELECT 1 FROM pre_auth_key_acl_tags WHERE pre_auth_key_id = k.id AND tag = e.value);

-- holdfast:contract soak=0s
DROP TABLE pre_auth_key_acl_tags;

-- holdfast:revert
DROP INDEX idx_tags_of_key;
ALTER TABLE pre_auth_keys DROP COLUMN tags;

-- holdfast:down lossy
CREATE TABLE `pre_auth_key_acl_tags` (`id` integer, `pre_auth_key_id` integer, `tag` text, PRIMARY KEY (`id`));
INSERT INTO pre_auth_key_acl_tags(pre_auth_key_id, tag) SELECT k.id, e.value FROM pre_auth_keys k, json_each(k.tags) e;
ALTER TABLE pre_auth_keys DROP COLUMN tags;
