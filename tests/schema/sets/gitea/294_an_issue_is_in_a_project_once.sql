-- After Gitea 1.22.0, migration 294, "Add unique index for project issue table": what is there twice is deleted first,
-- and from then on nobody may make another.

-- holdfast:sync
CREATE TRIGGER once_i BEFORE INSERT ON project_issue
WHEN EXISTS (SELECT 1 FROM project_issue WHERE issue_id = new.issue_id AND project_id = new.project_id) BEGIN
    SELECT RAISE(ABORT, 'the issue is in that project');
END;
CREATE TRIGGER once_u BEFORE UPDATE OF issue_id, project_id ON project_issue
WHEN (new.issue_id IS NOT old.issue_id OR new.project_id IS NOT old.project_id)
    AND EXISTS (SELECT 1 FROM project_issue WHERE issue_id = new.issue_id AND project_id = new.project_id) BEGIN
    SELECT RAISE(ABORT, 'the issue is in that project');
END;

-- holdfast:backfill table=project_issue key=id batch=100
DELETE FROM project_issue WHERE id > :lo AND id <= :hi AND EXISTS (
    SELECT 1 FROM project_issue p WHERE p.issue_id = project_issue.issue_id AND p.project_id = project_issue.project_id
        AND p.id < project_issue.id);

-- holdfast:verify
SELECT count(*) FROM (SELECT 1 FROM project_issue GROUP BY issue_id, project_id HAVING count(*) > 1);

-- holdfast:contract compatible
CREATE UNIQUE INDEX `UQE_project_issue_s` ON `project_issue` (`issue_id`,`project_id`);

-- holdfast:down lossy
DROP INDEX `UQE_project_issue_s`;
