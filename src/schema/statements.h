/* Running what a section of a migration says: inside of the transaction of its step. */
#ifndef SCHEMA_STATEMENTS_H
#define SCHEMA_STATEMENTS_H

#include "schema/conn.h"

/* Each statement, under the guard; rebuilds without. *rows: how many were written, by triggers
 * too. Errors have file and line. */
MUST_USE rc statements_run(struct sconn *, const struct migration *, const struct section *,
                           int64_t *rows, struct err *e);
/* Each statement gives one value, which must be what is expected. Reads only. RC_CONFLICT. */
MUST_USE rc statements_verify(struct sconn *, const struct migration *, const struct section *,
                              struct err *e);
/* Can it leave rows without their parents? What only adds to the schema cannot, and so spares
 * looking at every row under the write lock. */
bool statement_may_orphan(const struct statement *);

/* Every trigger and its text, to see what was made meanwhile. */
struct triggers;
MUST_USE rc triggers_read(struct sconn *, struct triggers **out, struct err *e);
void triggers_free(struct triggers *); /* NULL is fine */
/* The names of those that are new or have another text, as an array of JSON; free(*out). */
MUST_USE rc triggers_made(const struct triggers *before, const struct triggers *now, char **out,
                          struct err *e);
/* Those of such an array that are still there; NULL: none. */
MUST_USE rc triggers_drop(struct sconn *, const char *names, struct err *e);

#endif
