/* What a migration's statements may not do, asked by SQLite itself when it compiles them.
 *
 * Lint refuses the same in the text before anything runs, with better words; this is what cannot be
 * talked around: transactions, other files, settings, temporary objects, extensions, and the tables
 * of Holdfast's own. Off for what the runner itself does.
 */
#ifndef SCHEMA_GUARD_H
#define SCHEMA_GUARD_H

#include "schema/conn.h"

struct guard {
    const char *denied; /* why the last statement was refused; NULL: it was not */
};

/* Until guard_lift; the guard must live as long. */
void guard_set(struct sconn *, struct guard *);
void guard_lift(struct sconn *);
/* sconn_error, or why it was refused. */
MUST_USE rc guard_error(struct sconn *, const struct guard *, int code, const struct migration *,
                        int line, struct err *e);

#endif
