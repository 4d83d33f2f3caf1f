-- After Gitea 1.12.0, migration 139, "prepend refs/heads/ to issue refs".

-- holdfast:sync
CREATE TRIGGER ref_i AFTER INSERT ON issue WHEN new.ref <> '' AND new.ref NOT LIKE 'refs/%' BEGIN
    UPDATE issue SET ref = 'refs/heads/' || new.ref WHERE id = new.id;
END;
CREATE TRIGGER ref_u AFTER UPDATE OF ref ON issue WHEN new.ref <> '' AND new.ref NOT LIKE 'refs/%' BEGIN
    UPDATE issue SET ref = 'refs/heads/' || new.ref WHERE id = new.id;
END;

-- holdfast:backfill table=issue key=id batch=100 where="ref <> '' AND ref NOT LIKE 'refs/%'"
UPDATE issue SET ref = 'refs/heads/' || ref WHERE id > :lo AND id <= :hi AND ref <> '' AND ref NOT LIKE 'refs/%';

-- holdfast:verify
SELECT count(*) FROM issue WHERE ref <> '' AND ref NOT LIKE 'refs/%';
