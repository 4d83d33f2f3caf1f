-- After Gitea 1.5.0, database version 69: the tables that the steps here change, with columns that later steps need,
-- in the form in which xorm makes them on SQLite: names in backquotes, indexes IDX_ and UQE_, no foreign keys.
CREATE TABLE `user` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `lower_name` TEXT NOT NULL, `name` TEXT NOT NULL,
    `email` TEXT NOT NULL, `is_active` INTEGER NULL, `type` INTEGER NULL, `created_unix` INTEGER NULL
);
CREATE UNIQUE INDEX `UQE_user_lower_name` ON `user` (`lower_name`);
CREATE UNIQUE INDEX `UQE_user_name` ON `user` (`name`);
CREATE INDEX `IDX_user_is_active` ON `user` (`is_active`);
CREATE TABLE `email_address` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `uid` INTEGER NOT NULL, `email` TEXT NOT NULL,
    `is_activated` INTEGER NULL
);
CREATE INDEX `IDX_email_address_uid` ON `email_address` (`uid`);
CREATE UNIQUE INDEX `UQE_email_address_email` ON `email_address` (`email`);

CREATE TABLE `repository` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `owner_id` INTEGER NULL, `lower_name` TEXT NOT NULL,
    `name` TEXT NOT NULL, `is_private` INTEGER NULL, `is_bare` INTEGER NULL, `is_archived` INTEGER NULL,
    `num_stars` INTEGER NULL, `size` INTEGER NOT NULL DEFAULT 0, `created_unix` INTEGER NULL
);
CREATE UNIQUE INDEX `UQE_repository_s` ON `repository` (`owner_id`,`lower_name`);
CREATE INDEX `IDX_repository_is_bare` ON `repository` (`is_bare`);
CREATE INDEX `IDX_repository_name` ON `repository` (`name`);

CREATE TABLE `issue` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `repo_id` INTEGER NULL, `index` INTEGER NULL,
    `poster_id` INTEGER NULL, `name` TEXT NULL, `content` TEXT NULL, `is_closed` INTEGER NULL, `is_pull` INTEGER NULL,
    `ref` TEXT NULL, `pin_order` INTEGER DEFAULT 0 NULL, `created_unix` INTEGER NULL
);
CREATE UNIQUE INDEX `UQE_issue_repo_index` ON `issue` (`repo_id`,`index`);
CREATE INDEX `IDX_issue_pin_order` ON `issue` (`pin_order`);
CREATE TABLE `pull_request` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `issue_id` INTEGER NULL, `head_repo_id` INTEGER NULL,
    `head_user_name` TEXT NULL, `head_branch` TEXT NULL, `has_merged` INTEGER NULL
);
CREATE INDEX `IDX_pull_request_head_user_name` ON `pull_request` (`head_user_name`);
CREATE INDEX `IDX_pull_request_issue_id` ON `pull_request` (`issue_id`);
CREATE TABLE `label` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `repo_id` INTEGER NULL, `name` TEXT NULL, `color` VARCHAR(7) NULL
);
CREATE TABLE `issue_label` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `issue_id` INTEGER NULL, `label_id` INTEGER NULL
);
CREATE TABLE `release` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `repo_id` INTEGER NULL, `tag_name` TEXT NULL
);
CREATE TABLE `attachment` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `uuid` TEXT NULL, `issue_id` INTEGER NULL,
    `release_id` INTEGER NULL, `name` TEXT NULL, `size` INTEGER DEFAULT 0 NULL
);
CREATE UNIQUE INDEX `UQE_attachment_uuid` ON `attachment` (`uuid`);
CREATE TABLE `reaction` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `type` TEXT NOT NULL, `issue_id` INTEGER NOT NULL,
    `comment_id` INTEGER NULL, `user_id` INTEGER NOT NULL, `original_author_id` INTEGER NOT NULL DEFAULT 0,
    `original_author` TEXT NULL, `created_unix` INTEGER NULL
);
CREATE UNIQUE INDEX `UQE_reaction_s` ON `reaction` (`type`,`issue_id`,`comment_id`,`user_id`);
CREATE INDEX `IDX_reaction_user_id` ON `reaction` (`user_id`);

CREATE TABLE `topic` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `name` TEXT NULL, `repo_count` INTEGER NULL
);
CREATE UNIQUE INDEX `UQE_topic_name` ON `topic` (`name`);
CREATE TABLE `repo_topic` (`repo_id` INTEGER NULL, `topic_id` INTEGER NULL);
CREATE TABLE `issue_index` (`group_id` INTEGER NULL, `max_index` INTEGER NULL);
CREATE INDEX `IDX_issue_index_max_index` ON `issue_index` (`max_index`);

CREATE TABLE `webhook` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `repo_id` INTEGER NULL, `org_id` INTEGER NULL, `url` TEXT NULL,
    `signature` TEXT NULL, `is_ssl` INTEGER NULL, `is_active` INTEGER NULL, `hook_task_type` INTEGER NULL
);
CREATE INDEX `IDX_webhook_org_id` ON `webhook` (`org_id`);
CREATE TABLE `hook_task` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `hook_id` INTEGER NULL, `uuid` TEXT NULL, `type` INTEGER NULL,
    `signature` TEXT NULL, `is_ssl` INTEGER NULL, `payload_content` TEXT NULL, `is_delivered` INTEGER NULL
);
CREATE INDEX `IDX_hook_task_type` ON `hook_task` (`type`);
CREATE TABLE `login_source` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `type` INTEGER NULL, `name` TEXT NULL,
    `is_actived` INTEGER NOT NULL DEFAULT 0, `cfg` TEXT NULL
);
CREATE INDEX `IDX_login_source_is_actived` ON `login_source` (`is_actived`);
CREATE UNIQUE INDEX `UQE_login_source_name` ON `login_source` (`name`);
CREATE TABLE `u2f_registration` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `name` TEXT NULL, `user_id` INTEGER NULL, `raw` BLOB NULL,
    `counter` TEXT NULL
);
CREATE TABLE `task` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `doer_id` INTEGER NULL, `type` INTEGER NULL,
    `status` INTEGER NULL, `errors` TEXT NULL
);
CREATE TABLE `project` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `title` TEXT NOT NULL, `repo_id` INTEGER NULL
);
CREATE TABLE `project_issue` (
    `id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `issue_id` INTEGER NULL, `project_id` INTEGER NULL,
    `sorting` INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX `IDX_project_issue_issue_id` ON `project_issue` (`issue_id`);
