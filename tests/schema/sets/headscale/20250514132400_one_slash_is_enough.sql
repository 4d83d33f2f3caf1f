-- After headscale 0.26.0, step 202505141324: identifiers of users lose their second slash. Data only: old programs find
-- their users by either.

-- holdfast:backfill table=users key=id batch=10
UPDATE users SET provider_identifier =
    replace(replace(replace(provider_identifier, '://', ':~'), '//', '/'), ':~', '://')
WHERE id > :lo AND id <= :hi AND provider_identifier LIKE '%//%//%';

-- holdfast:verify
SELECT count(*) FROM users WHERE provider_identifier LIKE '%//%//%';
