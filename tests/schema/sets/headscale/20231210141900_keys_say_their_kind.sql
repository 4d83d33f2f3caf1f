-- After headscale 0.23.0, step 202312101416, its fourth part: each key begins with what it is a key of. Programs that
-- know keys without it are long gone, so that one statement does.
UPDATE nodes SET machine_key = 'mkey:' || machine_key WHERE machine_key NOT LIKE 'mkey:%';
UPDATE nodes SET node_key = 'nodekey:' || node_key WHERE node_key NOT LIKE 'nodekey:%';
UPDATE nodes SET disco_key = 'discokey:' || disco_key WHERE disco_key NOT LIKE 'discokey:%';
UPDATE nodes SET auth_key_id = NULL WHERE auth_key_id = 0;
UPDATE nodes SET given_name = lower(replace(hostname, '_', '-')) WHERE given_name IS NULL OR given_name = '';

-- holdfast:down lossy
UPDATE nodes SET machine_key = substr(machine_key, 6), node_key = substr(node_key, 9), disco_key = substr(disco_key, 10);
