/* The rungs of a promotion, each a migration in plain SQL.
 *
 *     1 index     the indexes on DBX that hf_kv_find uses
 *     2 view      node_v: the keys as rows, found by those indexes
 *     3 shadow    the table, kept from the keys by triggers; only keys may be written
 *     4 table     both may be written, and each follows the other
 *     5 retired   the keys are gone
 *
 * 1 and 2 may be left out; 4 stands on 3, and 5 on 4. Each has its way back, and what goes on
 * between two of them is for holdfast schema: order, batches, verification, gates.
 */
#ifndef PROMOTE_LADDER_H
#define PROMOTE_LADDER_H

#include "promote/spec.h"

enum rung { RUNG_NONE, RUNG_INDEX, RUNG_VIEW, RUNG_SHADOW, RUNG_TABLE, RUNG_RETIRED };
#define RUNGS 6
const char *rung_name(enum rung); /* "shadow"; "none" */
/* "shadow" or "3"; false: it is none. */
bool rung_parse(const char *text, enum rung *out);

/* The text of a migration. `below`: which rungs there are already, one bit each (1 << RUNG_VIEW).
 * RC_USAGE: a rung that it stands on is not there; no column is to be indexed. */
MUST_USE rc ladder_text(const struct spec *, enum rung, unsigned below, struct buf *out,
                        struct err *e);
/* "node_3_shadow": what the migration is called. */
void ladder_name(const struct spec *, enum rung, char out[LIMIT_SPEC_NAME + 16]);
/* Which rung of `name` the file of a migration is; RUNG_NONE: of none. */
enum rung ladder_rung_of(const char *name, const char *file);

#endif
