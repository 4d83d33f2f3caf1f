-- After headscale 0.24.0, step 202408181235: a name is unique together with its provider. The UNIQUE that stands in the
-- table goes, which ALTER TABLE cannot do; the nodes and keys of each user hang on it with ON DELETE CASCADE.

-- holdfast:rebuild users
CREATE TABLE users (
    id integer PRIMARY KEY, created_at datetime, updated_at datetime, deleted_at datetime, name text,
    display_name text, email text, provider_identifier text, provider text, profile_pic_url text
);
CREATE UNIQUE INDEX idx_provider_identifier ON users (provider_identifier) WHERE provider_identifier IS NOT NULL;
CREATE UNIQUE INDEX idx_name_provider_identifier ON users (name, provider_identifier);
CREATE UNIQUE INDEX idx_name_no_provider_identifier ON users (name) WHERE provider_identifier IS NULL;
