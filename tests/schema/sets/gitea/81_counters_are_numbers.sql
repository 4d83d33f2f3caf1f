-- After Gitea 1.8.0, migration 81, "update U2F counter type": what was kept as a text is a number.

-- holdfast:rebuild u2f_registration type=counter:INTEGER

-- holdfast:down
-- holdfast:rebuild u2f_registration type=counter:TEXT
