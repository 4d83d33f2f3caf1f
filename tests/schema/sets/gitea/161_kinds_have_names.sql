-- After Gitea 1.14.0, migrations 161 and 162, "Convert task type from int to string": a number becomes a word, in two
-- tables; the numbers have an index.

-- holdfast:expand
ALTER TABLE hook_task ADD COLUMN typ VARCHAR(16);
CREATE INDEX `IDX_hook_task_typ` ON `hook_task` (`typ`);
ALTER TABLE webhook ADD COLUMN type VARCHAR(16);
CREATE TABLE kind_of_task (number INTEGER PRIMARY KEY, word TEXT NOT NULL);
INSERT INTO kind_of_task VALUES (1, 'gogs'), (2, 'slack'), (3, 'gitea'), (4, 'discord'), (5, 'dingtalk'),
    (6, 'telegram'), (7, 'msteams'), (8, 'feishu'), (9, 'matrix'), (10, 'wechatwork');

-- holdfast:sync
CREATE TRIGGER task_kind_i AFTER INSERT ON hook_task BEGIN
    UPDATE hook_task SET typ = coalesce(new.typ, (SELECT word FROM kind_of_task WHERE number = new.type)),
        type = coalesce(new.type, (SELECT number FROM kind_of_task WHERE word = new.typ)) WHERE id = new.id;
END;
CREATE TRIGGER task_kind_u AFTER UPDATE OF type ON hook_task WHEN new.type IS NOT old.type BEGIN
    UPDATE hook_task SET typ = (SELECT word FROM kind_of_task WHERE number = new.type) WHERE id = new.id;
END;
CREATE TRIGGER hook_kind_i AFTER INSERT ON webhook BEGIN
    UPDATE webhook SET type = coalesce(new.type, (SELECT word FROM kind_of_task WHERE number = new.hook_task_type)),
        hook_task_type = coalesce(new.hook_task_type, (SELECT number FROM kind_of_task WHERE word = new.type))
    WHERE id = new.id;
END;
CREATE TRIGGER hook_kind_u AFTER UPDATE OF hook_task_type ON webhook WHEN new.hook_task_type IS NOT old.hook_task_type BEGIN
    UPDATE webhook SET type = (SELECT word FROM kind_of_task WHERE number = new.hook_task_type) WHERE id = new.id;
END;

-- holdfast:backfill table=hook_task key=id batch=500 where="typ IS NULL"
UPDATE hook_task SET typ = (SELECT word FROM kind_of_task WHERE number = hook_task.type)
WHERE id > :lo AND id <= :hi AND typ IS NULL;

-- holdfast:backfill table=webhook key=id where="type IS NULL"
UPDATE webhook SET type = (SELECT word FROM kind_of_task WHERE number = webhook.hook_task_type)
WHERE id > :lo AND id <= :hi AND type IS NULL;

-- holdfast:verify
SELECT count(*) FROM hook_task WHERE type IS NOT NULL
    AND typ IS NOT (SELECT word FROM kind_of_task WHERE number = hook_task.type);
SELECT count(*) FROM webhook WHERE hook_task_type IS NOT NULL
    AND type IS NOT (SELECT word FROM kind_of_task WHERE number = webhook.hook_task_type);

-- holdfast:contract
DROP INDEX `IDX_hook_task_type`;
ALTER TABLE hook_task DROP COLUMN type;
ALTER TABLE webhook DROP COLUMN hook_task_type;
DROP TABLE kind_of_task;

-- holdfast:revert
DROP TABLE kind_of_task;
ALTER TABLE webhook DROP COLUMN type;
DROP INDEX `IDX_hook_task_typ`;
ALTER TABLE hook_task DROP COLUMN typ;
