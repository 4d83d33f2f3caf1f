-- After Gitea 1.15.0, migration 181, "Always save primary email on email address table": rows of one table made from
-- another's, and a unique index on what two programs must have come to agree on.

-- holdfast:expand
ALTER TABLE email_address ADD COLUMN lower_email TEXT;
ALTER TABLE email_address ADD COLUMN is_primary INTEGER NOT NULL DEFAULT 0;
ALTER TABLE email_address ADD COLUMN is_made INTEGER NOT NULL DEFAULT 0; -- by this migration: revert takes it away

-- holdfast:sync
CREATE TRIGGER email_lower_i AFTER INSERT ON email_address WHEN new.lower_email IS NULL BEGIN
    UPDATE email_address SET lower_email = lower(new.email) WHERE id = new.id;
END;
CREATE TRIGGER email_lower_u AFTER UPDATE OF email ON email_address BEGIN
    UPDATE email_address SET lower_email = lower(new.email) WHERE id = new.id;
END;
CREATE TRIGGER email_user_i AFTER INSERT ON user BEGIN
    INSERT INTO email_address(uid, email, is_activated, is_primary, is_made) VALUES (new.id, new.email, new.is_active, 1, 1)
    ON CONFLICT(email) DO UPDATE SET is_primary = 1;
END;
CREATE TRIGGER email_user_u AFTER UPDATE OF email ON user WHEN new.email IS NOT old.email BEGIN
    UPDATE email_address SET is_primary = 0 WHERE uid = new.id AND email = old.email;
    INSERT INTO email_address(uid, email, is_activated, is_primary, is_made) VALUES (new.id, new.email, new.is_active, 1, 1)
    ON CONFLICT(email) DO UPDATE SET is_primary = 1;
END;

-- holdfast:backfill table=email_address key=id where="lower_email IS NULL"
UPDATE email_address SET lower_email = lower(email) WHERE id > :lo AND id <= :hi AND lower_email IS NULL;

-- holdfast:backfill table=user key=id batch=100
INSERT INTO email_address(uid, email, is_activated, is_primary, is_made)
SELECT id, email, is_active, 1, 1 FROM user WHERE id > :lo AND id <= :hi
ON CONFLICT(email) DO UPDATE SET is_primary = 1;

-- holdfast:verify
SELECT count(*) FROM user u WHERE NOT EXISTS (SELECT 1 FROM email_address WHERE email = u.email AND is_primary);
SELECT count(*) FROM email_address WHERE lower_email IS NOT lower(email);
SELECT count(*) - count(DISTINCT lower_email) FROM email_address;

-- holdfast:contract compatible
CREATE UNIQUE INDEX `UQE_email_address_lower_email` ON `email_address` (`lower_email`);
ALTER TABLE email_address DROP COLUMN is_made;

-- holdfast:revert
DELETE FROM email_address WHERE is_made;
ALTER TABLE email_address DROP COLUMN is_made;
ALTER TABLE email_address DROP COLUMN is_primary;
ALTER TABLE email_address DROP COLUMN lower_email;
