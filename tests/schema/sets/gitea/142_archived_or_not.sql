-- After Gitea 1.13.0, migration 142, "Ensure Repository.IsArchived is not null".

-- holdfast:sync
CREATE TRIGGER is_archived_i AFTER INSERT ON repository WHEN new.is_archived IS NULL BEGIN
    UPDATE repository SET is_archived = 0 WHERE id = new.id;
END;
CREATE TRIGGER is_archived_u AFTER UPDATE OF is_archived ON repository WHEN new.is_archived IS NULL BEGIN
    UPDATE repository SET is_archived = 0 WHERE id = new.id;
END;

-- holdfast:backfill table=repository key=id where="is_archived IS NULL"
UPDATE repository SET is_archived = 0 WHERE id > :lo AND id <= :hi AND is_archived IS NULL;

-- holdfast:verify
SELECT count(*) FROM repository WHERE is_archived IS NULL;

-- holdfast:contract
-- holdfast:rebuild repository notnull=is_archived default=is_archived:0
