/* What a rebuild must leave as it was: the rows of every table, and that views and triggers of the
 * whole database can be compiled. Looked at before and behind it, in its transaction.
 */
#ifndef SCHEMA_REBUILD_GUARD_H
#define SCHEMA_REBUILD_GUARD_H

#include "schema/rows.h"

struct before {
    json_t *broken; /* what did not compile: not the migration's fault */
    json_t *counts; /* rows by table */
};
void before_deinit(struct before *);

/* `table`: that which is to be made anew. */
MUST_USE rc before_look(struct sconn *, const char *table, struct before *out, struct err *e);
/* RC_CONFLICT: rows are lost, or a view or trigger is broken, and which. The transaction is to be
 * rolled back then. `lost`: columns that the table had. */
MUST_USE rc before_compare(struct sconn *, const char *table, const json_t *lost,
                           const struct before *, struct err *e);

#endif
