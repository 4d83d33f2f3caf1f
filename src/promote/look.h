/* What a promotion is at, asked of the database itself. Nothing is written. */
#ifndef PROMOTE_LOOK_H
#define PROMOTE_LOOK_H

#include "promote/ladder.h"
#include "promote/reading.h"

/* Those of one file, found by their views, which carry their spec, into an array:
 *
 *     {"name": "node", "database": "main", "prefix": "/node/", "key": "/node/{id}",
 *      "rung": "shadow", "keys": 200000, "rows": 198000, "rejects": 2000}
 *
 * "rows" is null before rung 3. */
MUST_USE rc look_status(struct reading *, json_t *array, struct err *e);

/* Do table and keys say the same? By the spec that is given, not by the database's own views:
 *
 *     {"name", "database", "rung", "keys", "rows", "rejects",
 *      "differences": 1, "differ": [{"key": "/node/7", "what": "the row has no key"}],
 *      "why": [{"why": "$.seen is text, not INT", "keys": 12, "example": "/node/9"}],
 *      "values": {"bytes": 100, "semantic": 98, "lossy": 0}}
 *
 * "values": of the keys that fit, in how many the value that the row gives is the same bytes, or
 * equal as JSON; null without a table. *agree: no differences, none lossy. */
MUST_USE rc look_verify(struct reading *, const struct spec *, json_t **out, bool *agree,
                        struct err *e);

/* {"name", "database", "key", "why", "at_ms"} of each reject, into an array; `name` NULL: of
 * all. */
MUST_USE rc look_rejects(struct reading *, const char *name, json_t *array, struct err *e);

/* [{"why", "keys", "example"}]: what does not fit, by reason. */
MUST_USE rc look_reasons(struct reading *, const struct spec *, json_t **out, struct err *e);
/* In how many the value that the row gives back is ... `table`: of the rows that are there, else of
 * those that the keys would give. */
struct round_trip {
    int64_t bytes, semantic, lossy;
};
MUST_USE rc look_round_trip(struct reading *, const struct spec *, bool table,
                            struct round_trip *out, struct err *e);

#endif
