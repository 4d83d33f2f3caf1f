-- After headscale 0.28.0, steps 202601121700-migrate-hostinfo-request-tags and 202602201200-clear-tagged-node-user-id:
-- tags that a node had asked for, deep in the JSON of its host, become its own; who is tagged belongs to nobody.

-- holdfast:backfill table=nodes key=id batch=100
UPDATE nodes SET tags = (
    SELECT json_group_array(tag) FROM (
        SELECT value AS tag FROM json_each(CASE WHEN json_valid(nodes.tags) THEN nodes.tags ELSE '[]' END)
            WHERE value IS NOT NULL
        UNION
        SELECT value FROM json_each(nodes.host_info, '$.RequestTags') ORDER BY 1))
WHERE id > :lo AND id <= :hi AND json_valid(host_info) AND json_array_length(host_info, '$.RequestTags') > 0;

-- holdfast:backfill table=nodes key=id batch=100
UPDATE nodes SET user_id = NULL
WHERE id > :lo AND id <= :hi AND tags IS NOT NULL AND tags NOT IN ('[]', '', 'null');

-- holdfast:verify
SELECT count(*) FROM nodes n, json_each(CASE WHEN json_valid(n.host_info) THEN n.host_info ELSE '{}' END, '$.RequestTags') r
WHERE r.value IS NOT NULL AND NOT EXISTS (SELECT 1 FROM json_each(n.tags) WHERE value = r.value);
-- holdfast:verify expect=none
SELECT iif(count(*), 'some', 'none') FROM nodes WHERE user_id IS NOT NULL AND json_array_length(tags) > 0;
