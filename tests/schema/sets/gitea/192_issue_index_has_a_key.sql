-- After Gitea 1.16.0, migration 192, "RecreateIssueResourceIndexTable to have a primary key instead of an unique index".
-- Of numbers that were given twice the greatest counts.
DELETE FROM issue_index WHERE rowid NOT IN (
    SELECT rowid FROM (SELECT rowid, row_number() OVER (PARTITION BY group_id ORDER BY max_index DESC) AS place
                       FROM issue_index WHERE group_id IS NOT NULL) WHERE place = 1);
-- holdfast:rebuild issue_index
CREATE TABLE `issue_index` (`group_id` INTEGER PRIMARY KEY NOT NULL, `max_index` INTEGER NULL);
