-- After Gitea 1.20.0, migration 245, "Rename Webhook org_id to owner_id": a column with an index.

-- holdfast:expand
ALTER TABLE webhook ADD COLUMN owner_id INTEGER NULL;
CREATE INDEX `IDX_webhook_owner_id` ON `webhook` (`owner_id`);

-- holdfast:sync
CREATE TRIGGER owner_i AFTER INSERT ON webhook WHEN new.owner_id IS NOT new.org_id BEGIN
    UPDATE webhook SET owner_id = coalesce(new.owner_id, new.org_id), org_id = coalesce(new.owner_id, new.org_id)
    WHERE id = new.id;
END;
CREATE TRIGGER owner_old_u AFTER UPDATE OF org_id ON webhook WHEN new.org_id IS NOT new.owner_id BEGIN
    UPDATE webhook SET owner_id = new.org_id WHERE id = new.id;
END;
CREATE TRIGGER owner_new_u AFTER UPDATE OF owner_id ON webhook WHEN new.org_id IS NOT new.owner_id BEGIN
    UPDATE webhook SET org_id = new.owner_id WHERE id = new.id;
END;

-- holdfast:backfill table=webhook key=id batch=50 where="owner_id IS NOT org_id"
UPDATE webhook SET owner_id = org_id WHERE id > :lo AND id <= :hi AND owner_id IS NOT org_id;

-- holdfast:verify
SELECT count(*) FROM webhook WHERE owner_id IS NOT org_id;

-- holdfast:contract soak=1s
DROP INDEX `IDX_webhook_org_id`;
-- holdfast:rebuild webhook drop=org_id

-- holdfast:revert
DROP INDEX `IDX_webhook_owner_id`;
ALTER TABLE webhook DROP COLUMN owner_id;
