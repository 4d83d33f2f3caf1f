/* A table made anew under its old name: what ALTER TABLE cannot do.
 *
 * The steps of https://sqlite.org/lang_altertable.html, section 7, inside of the transaction of the
 * step that asks for it; the connection has foreign keys off (conn.h). Kept: indexes, triggers, the
 * views on it, STRICT, WITHOUT ROWID, generated columns, rowids, AUTOINCREMENT's number, what
 * ANALYZE found out. Checked: the rows of every table are as many as before; each view and trigger
 * can still be compiled.
 */
#ifndef SCHEMA_REBUILD_H
#define SCHEMA_REBUILD_H

#include "schema/conn.h"

/* In an open transaction, which is to be rolled back behind an error; without a guard (guard.h).
 * *rows: of the table. Errors name what is lost: a column that an index, a trigger or a view uses;
 * a NULL where NOT NULL is asked. Afterwards the table's name is in double quotes in its text. */
MUST_USE rc rebuild_run(struct sconn *, const struct migration *, const struct statement *,
                        int64_t *rows, struct err *e);
/* The CREATE TABLE that it would make; sqlite3_free. For plan, and the tests. */
MUST_USE rc rebuild_sql(struct sconn *, const struct rebuild *, char **out, struct err *e);

#endif
