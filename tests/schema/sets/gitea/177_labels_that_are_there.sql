-- After Gitea 1.14.0, migration 177, "Delete orphaned IssueLabels"; a label is of an issue once.
DELETE FROM issue_label WHERE label_id NOT IN (SELECT id FROM label) OR issue_id NOT IN (SELECT id FROM issue);
DELETE FROM issue_label WHERE id NOT IN (SELECT min(id) FROM issue_label GROUP BY issue_id, label_id);
CREATE UNIQUE INDEX `UQE_issue_label_s` ON `issue_label` (`issue_id`,`label_id`);

-- holdfast:down lossy
DROP INDEX `UQE_issue_label_s`;
