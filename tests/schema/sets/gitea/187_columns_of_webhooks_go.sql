-- After Gitea 1.15.0, migration 187, "Drop unneeded webhook related columns": of two tables, in one rebuild each.

-- holdfast:contract
-- holdfast:rebuild webhook drop=signature drop=is_ssl
-- holdfast:rebuild hook_task drop=signature drop=is_ssl
