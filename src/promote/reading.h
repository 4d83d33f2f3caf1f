/* A database file, to be read and never written: what analyze, status, verify and rejects do. */
#ifndef PROMOTE_READING_H
#define PROMOTE_READING_H

#include "base/bytes.h"
#include "os/env.h"

#include <jansson.h>
#include <sqlite3.h>

struct reading {
    sqlite3 *db;
    const char *path;
    bool noise;
    bool has_keys; /* the table DBX is there */
};

/* Opens, and begins a read: all that is asked is of one moment. RC_NOTFOUND: no such file. */
MUST_USE rc reading_open(struct env *, const char *path, bool noise, struct reading *out,
                         struct err *e);
void reading_close(struct reading *); /* zeros are fine */
/* `sql` without its NUL; RC_NOMEM if it could not be made. sqlite3_finalize(*out). */
MUST_USE rc reading_ask(struct reading *, struct buf *sql, sqlite3_stmt **out, struct err *e);
void end_query(sqlite3_stmt **); /* AUTO */
/* *row false: no more. */
MUST_USE rc reading_next(struct reading *, sqlite3_stmt *, bool *row, struct err *e);
/* The one number of a query that has one. */
MUST_USE rc reading_count(struct reading *, struct buf *sql, int64_t *out, struct err *e);
/* A column as text, "" for NULL; until the next step. */
const char *text_at(sqlite3_stmt *, int column);

/* json_pack's result, or RC_NOMEM. */
MUST_USE rc packed(json_t *made, json_t **out, struct err *e);

#endif
