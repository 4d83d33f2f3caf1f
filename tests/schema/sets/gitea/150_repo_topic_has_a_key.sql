-- After Gitea 1.13.0, migration 150, "add primary key to repo_topic": what was there twice is there once.
DELETE FROM repo_topic WHERE rowid NOT IN (SELECT min(rowid) FROM repo_topic GROUP BY repo_id, topic_id);
DELETE FROM repo_topic WHERE repo_id IS NULL OR topic_id IS NULL;
-- holdfast:rebuild repo_topic
CREATE TABLE `repo_topic` (
    `repo_id` INTEGER NOT NULL, `topic_id` INTEGER NOT NULL, PRIMARY KEY ( `repo_id`,`topic_id` )
) WITHOUT ROWID;
UPDATE topic SET repo_count = (SELECT count(*) FROM repo_topic WHERE topic_id = topic.id);

-- holdfast:down lossy
-- holdfast:rebuild repo_topic
CREATE TABLE `repo_topic` (`repo_id` INTEGER NULL, `topic_id` INTEGER NULL);
