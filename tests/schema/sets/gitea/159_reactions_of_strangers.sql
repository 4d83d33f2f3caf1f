-- After Gitea 1.14.0, migration 159, "update reactions constraint": one kind of reaction of a person, whoever that is.
-- By hand, as xorm recreates a table, in dbmate's form; and as one would write it, without a transaction of its own.

-- migrate:up transaction:false
PRAGMA foreign_keys = OFF;
BEGIN;
CREATE TABLE `tmp_recreate__reaction` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `type` TEXT NOT NULL, `issue_id` INTEGER NOT NULL,
    `comment_id` INTEGER NULL, `user_id` INTEGER NOT NULL, `original_author_id` INTEGER NOT NULL DEFAULT 0,
    `original_author` TEXT NULL, `created_unix` INTEGER NULL
);
INSERT INTO `tmp_recreate__reaction` (`id`, `type`, `issue_id`, `comment_id`, `user_id`, `original_author_id`, `original_author`, `created_unix`)
SELECT `id`, `type`, `issue_id`, `comment_id`, `user_id`, COALESCE(`original_author_id`, 0), `original_author`, `created_unix` FROM `reaction`;
DROP TABLE `reaction`;
ALTER TABLE `tmp_recreate__reaction` RENAME TO `reaction`;
CREATE UNIQUE INDEX `UQE_reaction_s` ON `reaction` (`type`,`issue_id`,`comment_id`,`user_id`,`original_author_id`,`original_author`);
CREATE INDEX `IDX_reaction_user_id` ON `reaction` (`user_id`);
COMMIT;
PRAGMA foreign_keys = ON;
