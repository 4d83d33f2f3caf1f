/* What is under a prefix, and a spec that fits it. Nothing is written. */
#ifndef PROMOTE_ANALYZE_H
#define PROMOTE_ANALYZE_H

#include "promote/reading.h"
#include "promote/spec.h"

struct analysis {
    const char *prefix, *name;
    const char *key; /* the template; NULL: guessed from the keys */
};

/* A report, and the spec as a text, free(*spec):
 *
 *     {"name": "node", "database": "main", "prefix": "/node/", "key": "/node/{id}",
 *      "keys": 200000, "objects": 199000, "longest": 4096,
 *      "members": [{"path": "$.name", "column": "name", "type": "TEXT", "present": 199000,
 *                   "types": {"text": 198990, "integer": 10}, "nulls": 0, "missing": 0,
 *                   "beyond_64_bits": 0, "least": 1, "greatest": 9, "longest": 20}],
 *      "more_members": false,
 *      "why": [{"why", "keys", "example"}], "rejects": 2000,
 *      "values": {"bytes": 0, "semantic": 198000, "lossy": 0}, "spec": "..."}
 *
 * "column" and "type" are null for a member that stays in the rest. RC_NOTFOUND: no key is under
 * the prefix. RC_CONFLICT: it has keys in main and in noise. RC_USAGE: prefix, name or key are
 * none.
 *
 * A column is proposed for what at least half of the objects have, nearly all of it (95 %) of one
 * type. `files`: main, and noise if there is one. */
MUST_USE rc analyze(struct reading *files, size_t count, const struct analysis *, json_t **report,
                    char **spec, struct err *e);

#endif
