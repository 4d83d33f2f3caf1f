/* Rows without parents, while foreign keys are off: compared, and not refused as such.
 *
 * A database may have them from before, made with foreign keys off, as is SQLite's default; and a
 * REFERENCES to what is no key, which nobody noticed. They are not the migration's fault.
 */
#ifndef SCHEMA_PARENTS_H
#define SCHEMA_PARENTS_H

#include "schema/rows.h"

/* By table; rows_free. */
MUST_USE rc parents_read(struct sconn *, json_t **out, struct err *e);
/* RC_CONFLICT: a table has more than it had, or can be checked no longer, and which. */
MUST_USE rc parents_compare(struct sconn *, json_t *before, struct err *e);

#endif
