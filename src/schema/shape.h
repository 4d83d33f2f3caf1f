/* The shape and the contents of a database, to be compared.
 *
 * The shape is every object of sqlite_schema but SQLite's own, Holdfast's (holdfast_*, DBX,
 * hf_kv_*) and those of no SQL: its text in single blanks, without comments, keywords in capitals;
 * and what SQLite made of it (table_xinfo, index_xinfo, foreign_key_list).
 */
#ifndef SCHEMA_SHAPE_H
#define SCHEMA_SHAPE_H

#include "schema/conn.h"

struct shape; /* objects by type and name */
MUST_USE rc shape_read(sqlite3 *db, struct shape **out, struct err *e);
void shape_free(struct shape *);
void shape_hash(const struct shape *, char out[65]);
/* Each object that differs: missing (in `is`), extra, or changed, with both texts. */
MUST_USE rc shape_compare(const struct shape *should, const struct shape *is,
                          rc (*each)(void *, const char *type, const char *name, const char *what,
                                     const char *should, const char *is, struct err *),
                          void *arg, struct err *e);
/* Of every row of every table but Holdfast's history, in key order; types count. */
MUST_USE rc contents_hash(sqlite3 *db, char out[65], int64_t *rows, struct err *e);

/* The shape that the files say the database must have: made in memory, up to the recorded
 * phases. */
MUST_USE rc shape_of_files(hf_schema *, bool noise, struct shape **out, struct err *e);

#endif
