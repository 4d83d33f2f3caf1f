-- After Gitea 1.8.0, migration 78, "rename repo is_bare to repo is_empty": a boolean and its index get another name.
-- There all tables were read and written with the service stopped.

-- holdfast:expand
ALTER TABLE repository ADD COLUMN is_empty INTEGER NOT NULL DEFAULT 0;
CREATE INDEX `IDX_repository_is_empty` ON `repository` (`is_empty`);

-- holdfast:sync
CREATE TRIGGER is_bare_i AFTER INSERT ON repository WHEN coalesce(new.is_bare, 0) <> new.is_empty BEGIN
    UPDATE repository SET is_empty = max(coalesce(new.is_bare, 0), new.is_empty),
                          is_bare = max(coalesce(new.is_bare, 0), new.is_empty) WHERE id = new.id;
END;
CREATE TRIGGER is_bare_u AFTER UPDATE OF is_bare ON repository WHEN coalesce(new.is_bare, 0) <> new.is_empty BEGIN
    UPDATE repository SET is_empty = coalesce(new.is_bare, 0) WHERE id = new.id;
END;
CREATE TRIGGER is_empty_u AFTER UPDATE OF is_empty ON repository WHEN coalesce(new.is_bare, 0) <> new.is_empty BEGIN
    UPDATE repository SET is_bare = new.is_empty WHERE id = new.id;
END;

-- holdfast:backfill table=repository key=id batch=200 where="is_bare = 1 AND is_empty = 0"
UPDATE repository SET is_empty = 1 WHERE id > :lo AND id <= :hi AND is_bare = 1 AND is_empty = 0;

-- holdfast:verify
SELECT count(*) FROM repository WHERE coalesce(is_bare, 0) <> is_empty;

-- holdfast:contract
DROP INDEX `IDX_repository_is_bare`;
ALTER TABLE repository DROP COLUMN is_bare;

-- holdfast:revert
DROP INDEX `IDX_repository_is_empty`;
ALTER TABLE repository DROP COLUMN is_empty;

-- holdfast:down lossy
DROP INDEX `IDX_repository_is_empty`;
-- holdfast:rebuild repository fill=is_bare:"is_empty"
CREATE TABLE `repository` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `owner_id` INTEGER NULL, `lower_name` TEXT NOT NULL,
    `name` TEXT NOT NULL, `is_private` INTEGER NULL, `is_bare` INTEGER NULL, `is_archived` INTEGER NULL,
    `num_stars` INTEGER NULL, `size` INTEGER NOT NULL DEFAULT 0, `created_unix` INTEGER NULL
);
CREATE INDEX `IDX_repository_is_bare` ON `repository` (`is_bare`);
