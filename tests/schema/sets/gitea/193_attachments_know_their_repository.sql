-- After Gitea 1.16.0, migration 193, "Add repo id column for attachment table": found by an issue, or by a release.

-- holdfast:expand
ALTER TABLE attachment ADD COLUMN repo_id INTEGER NULL;
CREATE INDEX `IDX_attachment_repo_id` ON `attachment` (`repo_id`);

-- holdfast:sync
CREATE TRIGGER attachment_i AFTER INSERT ON attachment WHEN new.repo_id IS NULL BEGIN
    UPDATE attachment SET repo_id = coalesce((SELECT repo_id FROM issue WHERE id = new.issue_id),
                                             (SELECT repo_id FROM `release` WHERE id = new.release_id))
    WHERE id = new.id;
END;
CREATE TRIGGER attachment_u AFTER UPDATE OF issue_id, release_id ON attachment BEGIN
    UPDATE attachment SET repo_id = coalesce((SELECT repo_id FROM issue WHERE id = new.issue_id),
                                             (SELECT repo_id FROM `release` WHERE id = new.release_id))
    WHERE id = new.id;
END;

-- holdfast:backfill table=attachment key=uuid batch=100 where="issue_id > 0"
UPDATE attachment SET repo_id = (SELECT repo_id FROM issue WHERE id = attachment.issue_id)
WHERE uuid > :lo AND uuid <= :hi AND issue_id > 0;

-- holdfast:backfill table=attachment key=id batch=100 where="release_id > 0"
UPDATE attachment SET repo_id = (SELECT repo_id FROM `release` WHERE id = attachment.release_id)
WHERE id > :lo AND id <= :hi AND release_id > 0;

-- holdfast:verify
SELECT count(*) FROM attachment a JOIN issue i ON i.id = a.issue_id WHERE a.repo_id IS NOT i.repo_id;
SELECT count(*) FROM attachment a JOIN `release` r ON r.id = a.release_id WHERE a.repo_id IS NOT r.repo_id;

-- holdfast:revert
DROP INDEX `IDX_attachment_repo_id`;
ALTER TABLE attachment DROP COLUMN repo_id;

-- holdfast:down lossy
DROP INDEX `IDX_attachment_repo_id`;
ALTER TABLE attachment DROP COLUMN repo_id;
