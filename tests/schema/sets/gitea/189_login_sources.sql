-- After Gitea 1.16.0, migration 189, "Unwrap ldap.Sources": JSON within JSON is unwrapped, in place, and is_actived is
-- spelled is_active.

-- holdfast:expand
ALTER TABLE login_source ADD COLUMN is_active INTEGER NOT NULL DEFAULT 0;
ALTER TABLE login_source ADD COLUMN settings TEXT;
CREATE INDEX `IDX_login_source_is_active` ON `login_source` (`is_active`);

-- holdfast:sync
CREATE TRIGGER source_i AFTER INSERT ON login_source BEGIN
    UPDATE login_source SET is_active = new.is_actived,
        settings = CASE WHEN json_valid(new.cfg) THEN coalesce(json_extract(new.cfg, '$.Source'), new.cfg) ELSE new.cfg END
    WHERE id = new.id;
END;
CREATE TRIGGER source_u AFTER UPDATE OF is_actived, cfg ON login_source BEGIN
    UPDATE login_source SET is_active = new.is_actived,
        settings = CASE WHEN json_valid(new.cfg) THEN coalesce(json_extract(new.cfg, '$.Source'), new.cfg) ELSE new.cfg END
    WHERE id = new.id;
END;

-- holdfast:backfill table=login_source key=id batch=10 where="settings IS NULL"
UPDATE login_source SET is_active = is_actived,
    settings = CASE WHEN json_valid(cfg) THEN coalesce(json_extract(cfg, '$.Source'), cfg) ELSE cfg END
WHERE id > :lo AND id <= :hi AND settings IS NULL;

-- holdfast:verify
SELECT count(*) FROM login_source WHERE is_active <> is_actived;
SELECT count(*) FROM login_source WHERE json_valid(settings) AND json_extract(settings, '$.Source') IS NOT NULL;
SELECT count(*) FROM login_source WHERE cfg IS NOT NULL AND settings IS NULL;

-- holdfast:contract
DROP INDEX `IDX_login_source_is_actived`;
-- holdfast:rebuild login_source drop=is_actived drop=cfg
ALTER TABLE login_source RENAME COLUMN settings TO cfg;

-- holdfast:revert
DROP INDEX `IDX_login_source_is_active`;
ALTER TABLE login_source DROP COLUMN settings;
ALTER TABLE login_source DROP COLUMN is_active;
