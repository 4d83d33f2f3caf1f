/* What has been done to a database: its own tables, written in the transaction of each step.
 *
 *     holdfast_schema     one row: older programs than min_version are refused
 *                         (one, format, min_version)
 *     holdfast_migration  a row for each migration: how far it is
 *                         (version, name, sha256, chain, phase, phase_ms, breaking, triggers)
 *     holdfast_step       a row for each step that was run, for people
 *                         (id, at_ms, version, step, lock_us, rows, others)
 *     holdfast_backfill   where each backfill stands: behind the key `last`
 *                         (version, part, last, rows, started_ms, at_ms, done)
 *     holdfast_client     who has it open (clients.h)
 *
 * The first four are made by the first step that writes one, all at once, and each file, main and
 * noise, has its own.
 */
#ifndef SCHEMA_HISTORY_H
#define SCHEMA_HISTORY_H

#include "schema/conn.h"

enum phase {
    PHASE_NONE,
    PHASE_EXPANDED,
    PHASE_SYNCED,
    PHASE_BACKFILLED,
    PHASE_VERIFIED,
    PHASE_DONE
};
const char *phase_name(enum phase); /* "expanded" */

struct record {
    int64_t version;
    char *name;
    char *triggers; /* those that sync made, an array of JSON; NULL: none to be dropped */
    char sha256[65], chain[65];
    enum phase phase;
    int64_t phase_ms; /* Unix time */
    bool breaking;
};
struct records {
    struct record *at; /* by version */
    size_t count;
    int64_t min_version;
};

/* Empty when the tables are not there; nothing is written. RC_UNFIT: of a newer Holdfast. */
MUST_USE rc history_read(sqlite3 *db, struct records *out, struct err *e);
void records_deinit(struct records *);
const struct record *records_find(const struct records *, int64_t version);

/* In the transaction of a step. */
MUST_USE rc history_prepare(struct sconn *, struct err *e); /* the tables, where they are not */
MUST_USE rc history_put(struct sconn *, const struct record *, struct err *e);
MUST_USE rc history_remove(struct sconn *, int64_t version, struct err *e); /* its backfills, too */
MUST_USE rc history_set_min(struct sconn *, int64_t version, struct err *e);
struct step_row {
    int64_t version, lock_us, rows;
    const char *step; /* "expand", "backfill 0", "contract", "down" */
    bool others;      /* somebody else had committed since this run's step before */
};
MUST_USE rc history_log(struct sconn *, const struct step_row *, struct err *e);

/* Do the files and the records of one database agree? RC_CONFLICT: a file was edited, is missing,
 * or would come behind a newer one, and which. RC_UNFIT: the database is newer than this set
 * allows. *ahead: how many records are newer than all files, and allowed. */
MUST_USE rc history_check(const struct set *, const struct records *, bool noise,
                          const char *database, size_t *ahead, struct err *e);

#endif
