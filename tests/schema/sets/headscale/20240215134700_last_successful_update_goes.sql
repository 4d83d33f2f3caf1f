-- After headscale 0.23.0, step 202402151347: a column that nothing uses is dropped.
ALTER TABLE nodes DROP COLUMN last_successful_update;
