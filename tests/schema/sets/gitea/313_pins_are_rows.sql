-- After Gitea 1.24.0, migration 313, "Move PinOrder from issue table to a new table issue_pin". The way back loses the
-- difference between no pin and none known (NULL, 0).

-- holdfast:expand
CREATE TABLE `issue_pin` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `repo_id` INTEGER NOT NULL, `issue_id` INTEGER NOT NULL,
    `is_pull` INTEGER NOT NULL, `pin_order` INTEGER DEFAULT 0 NULL
);
CREATE UNIQUE INDEX `UQE_issue_pin_s` ON `issue_pin` (`repo_id`,`issue_id`);

-- holdfast:sync
CREATE TRIGGER pin_i AFTER INSERT ON issue WHEN new.pin_order > 0 BEGIN
    INSERT INTO issue_pin(repo_id, issue_id, is_pull, pin_order)
    VALUES (new.repo_id, new.id, new.is_pull, new.pin_order);
END;
CREATE TRIGGER pin_u AFTER UPDATE OF pin_order ON issue WHEN new.pin_order IS NOT old.pin_order BEGIN
    DELETE FROM issue_pin WHERE repo_id = new.repo_id AND issue_id = new.id AND coalesce(new.pin_order, 0) = 0;
    INSERT INTO issue_pin(repo_id, issue_id, is_pull, pin_order)
    SELECT new.repo_id, new.id, new.is_pull, new.pin_order WHERE new.pin_order > 0
    ON CONFLICT(repo_id, issue_id) DO UPDATE SET pin_order = excluded.pin_order;
END;
CREATE TRIGGER pin_d AFTER DELETE ON issue BEGIN
    DELETE FROM issue_pin WHERE issue_id = old.id;
END;

-- holdfast:backfill table=issue key=id batch=100 where="pin_order > 0"
INSERT INTO issue_pin(repo_id, issue_id, is_pull, pin_order)
SELECT repo_id, id, is_pull, pin_order FROM issue WHERE id > :lo AND id <= :hi AND pin_order > 0
ON CONFLICT(repo_id, issue_id) DO NOTHING;

-- holdfast:verify
SELECT count(*) FROM issue i LEFT JOIN issue_pin p ON p.issue_id = i.id
WHERE coalesce(i.pin_order, 0) <> coalesce(p.pin_order, 0);

-- holdfast:contract
DROP INDEX `IDX_issue_pin_order`;
ALTER TABLE issue DROP COLUMN pin_order;

-- holdfast:revert
DROP TABLE issue_pin;

-- holdfast:down lossy
-- holdfast:rebuild issue fill=pin_order:"coalesce((SELECT p.pin_order FROM issue_pin p WHERE p.issue_id = issue.id), 0)"
CREATE TABLE `issue` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `repo_id` INTEGER NULL, `index` INTEGER NULL,
    `poster_id` INTEGER NULL, `name` TEXT NULL, `content` TEXT NULL, `is_closed` INTEGER NULL, `is_pull` INTEGER NULL,
    `ref` TEXT NULL, `pin_order` INTEGER DEFAULT 0 NULL, `created_unix` INTEGER NULL
);
CREATE INDEX `IDX_issue_pin_order` ON `issue` (`pin_order`);
DROP TABLE issue_pin;
