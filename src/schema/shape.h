/* The shape and the contents of a database, to be compared.
 *
 * The shape is every object of sqlite_schema but SQLite's own, those that belong to a virtual
 * table, and Holdfast's (holdfast_*, DBX, hf_kv_*): its text in a form where blanks, comments, the
 * case of words, quotes that mean nothing, and the order of a column's constraints are alike; and
 * the names of its columns as they are written, which programs see.
 *
 * The contents are every row of every ordinary table, those of virtual tables' making included, but
 * SQLite's and Holdfast's own. Columns go by name, so that their order is the shape's alone.
 */
#ifndef SCHEMA_SHAPE_H
#define SCHEMA_SHAPE_H

#include "schema/conn.h"

struct shape; /* objects by type and name */
MUST_USE rc shape_read(sqlite3 *db, struct shape **out, struct err *e);
void shape_free(struct shape *); /* NULL is fine */
MUST_USE rc shape_hash(const struct shape *, char out[65], struct err *e);
/* Each object that differs: "missing" (in `is`), "extra", or "changed", with both texts as SQLite
 * has them (NULL where it is not). Stops at the first error of `each`. */
typedef rc shape_each(void *arg, const char *type, const char *name, const char *what,
                      const char *should, const char *is, struct err *);
MUST_USE rc shape_compare(const struct shape *should, const struct shape *is, shape_each *each,
                          void *arg, struct err *e);

/* {"user": {"rows": 12, "sha256": "..."}, ...}, of one moment; types count. json_decref(*out). */
MUST_USE rc contents_tables(sqlite3 *db, json_t **out, struct err *e);
/* The same in one. Rows in the order of their keys; `rows` may be NULL. */
MUST_USE rc contents_hash(sqlite3 *db, char out[65], int64_t *rows, struct err *e);

/* The shape that the files say the database must have: made in memory, up to the phases that the
 * database has recorded. RC_CONFLICT: a file that does not run on an empty database. */
MUST_USE rc shape_of_files(hf_schema *, bool noise, struct shape **out, struct err *e);

#endif
