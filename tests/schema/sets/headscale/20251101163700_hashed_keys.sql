-- After headscale 0.28.0, step 202511011637-preauthkey-bcrypt: new keys are kept as a hash, found by their first
-- letters; old ones have neither.

-- holdfast:expand
ALTER TABLE pre_auth_keys ADD COLUMN prefix text;
ALTER TABLE pre_auth_keys ADD COLUMN hash blob;
CREATE UNIQUE INDEX IF NOT EXISTS idx_pre_auth_keys_prefix ON pre_auth_keys(prefix) WHERE prefix IS NOT NULL AND prefix != '';

-- holdfast:down lossy
DROP INDEX idx_pre_auth_keys_prefix;
ALTER TABLE pre_auth_keys DROP COLUMN hash;
ALTER TABLE pre_auth_keys DROP COLUMN prefix;
