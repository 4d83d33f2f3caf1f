-- After headscale 0.24.0, step 202407191627: what a provider of identities says of a user.

-- holdfast:expand
ALTER TABLE users ADD COLUMN display_name text;
ALTER TABLE users ADD COLUMN email text;
ALTER TABLE users ADD COLUMN provider_identifier text;
ALTER TABLE users ADD COLUMN provider text;
ALTER TABLE users ADD COLUMN profile_pic_url text;

-- holdfast:down lossy
ALTER TABLE users DROP COLUMN profile_pic_url;
ALTER TABLE users DROP COLUMN provider;
ALTER TABLE users DROP COLUMN provider_identifier;
ALTER TABLE users DROP COLUMN email;
ALTER TABLE users DROP COLUMN display_name;
