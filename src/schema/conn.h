/* A connection that changes a schema: its settings, its transactions, its errors.
 *
 * Foreign keys are off, outside of any transaction, and that is asserted at each begin: with them
 * on a DROP TABLE deletes the children's rows. What they would have refused is compared before each
 * COMMIT instead (conn_commit). Only a backfill, which makes and drops nothing, has them on. On
 * noise the file itself is the connection's main.
 */
#ifndef SCHEMA_CONN_H
#define SCHEMA_CONN_H

#include "schema/internal.h"

struct sconn {
    sqlite3 *db;
    hf_schema *schema;
    bool noise;
    const char *path;
    int64_t began_ns;    /* of the open transaction */
    int64_t waited;      /* how often the busy handler was asked since begin */
    int64_t deadline_ns; /* for locks; set at each begin from schema->options.timeout_ms */
    json_t *parents;     /* sconn_watch_parents; NULL: not asked */
    bool foreign_keys;   /* they are on */
    int64_t seen;        /* PRAGMA data_version in the last step's transaction; 0: none yet */
};

MUST_USE rc sconn_open(hf_schema *, bool noise, struct sconn *out, struct err *e);
/* Only to look: nothing is written, the file's mode stays as it is. */
MUST_USE rc sconn_open_reading(hf_schema *, bool noise, struct sconn *out, struct err *e);
MUST_USE rc sconn_open_at(hf_schema *, const char *path, bool noise, struct sconn *out,
                          struct err *e); /* a copy; ":memory:" */
void sconn_close(struct sconn *);
void sconn_foreign_keys(struct sconn *, bool on);                       /* not in a transaction */
MUST_USE rc sconn_exec(struct sconn *, const char *sql, struct err *e); /* no rows wanted */
MUST_USE rc sconn_int(struct sconn *, const char *sql, int64_t *out, struct err *e); /* one value */
/* BEGIN IMMEDIATE. */
MUST_USE rc sconn_begin(struct sconn *, struct err *e);
/* Counts what has no parent now, to be compared at the commit: for a step that runs a migration's
 * statements; in a batch of a backfill SQLite does. */
MUST_USE rc sconn_watch_parents(struct sconn *, struct err *e);
/* RC_CONFLICT: rows have lost their parents in this transaction, and which table's: rolled back. */
MUST_USE rc sconn_commit(struct sconn *, int64_t *lock_us, struct err *e);
void sconn_rollback(struct sconn *);
/* What SQLite says, with file and line where a statement of a migration did it. */
MUST_USE rc sconn_error(struct sconn *, int code, const struct migration *, int line,
                        struct err *e);

#endif
