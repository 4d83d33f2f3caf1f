-- After Gitea 1.11.0, migration 102: a column of pull requests is dropped, and the index on it, which is in its way.

-- holdfast:contract soak=0s
DROP INDEX IDX_pull_request_head_user_name;
-- holdfast:rebuild pull_request drop=head_user_name
