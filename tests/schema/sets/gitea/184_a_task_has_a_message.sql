-- After Gitea 1.15.0, migration 184, "Rename Task errors to message". In goose's form.

-- +goose Up
ALTER TABLE `task` RENAME COLUMN errors TO message;

-- +goose Down
ALTER TABLE `task` RENAME COLUMN message TO errors;
