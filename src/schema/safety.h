/* What is safe elsewhere: the replication of the database, asked through this process or its
 * socket.
 *
 * A restore point is a TXID that is acknowledged by every destination and pinned there, so that
 * retention leaves it: "schema before 20260901120000" and, when the run is over, "schema after
 * ...".
 */
#ifndef SCHEMA_SAFETY_H
#define SCHEMA_SAFETY_H

#include "schema/conn.h"

/* Who replicates main; *there false: nobody, or nobody who could be asked: then `e` says who does,
 * if that can be told. */
MUST_USE rc safety_find(hf_schema *, bool *there, struct err *e);
/* Until all that is committed is acknowledged; RC_NOTFOUND: nobody replicates. */
MUST_USE rc safety_wait(hf_schema *, bool flush, int64_t timeout_ms, struct err *e);
/* Its first destination, for destination_open: it may hold a secret. RC_NOTFOUND: nobody
 * replicates. */
MUST_USE rc safety_url(hf_schema *, char url[LIMIT_PATH], struct err *e);

struct restore_point {
    char name[64]; /* "before-20260901120000-<run>" */
    char url[LIMIT_PATH];
    uint64_t txid;
    int64_t time_ms;
    bool others; /* of an "after": it may hold commits of others behind the last step */
};
/* Waits, pins at each destination; *out: of the first. Of a pair the names are the same behind
 * "before-" and "after-"; but for the newest ten pairs their pins are removed. The connection is
 * the one that runs the steps, in no transaction: its `seen` is set before a "before", so that the
 * first step knows of a commit that came behind it, and compared behind an "after". */
MUST_USE rc restore_point_make(struct sconn *, const char *name, struct restore_point *out,
                               struct err *e);
/* Newest first; free(*out). `url` NULL: of the first destination of who replicates. */
MUST_USE rc restore_points(hf_schema *, const char *url, struct restore_point **out, size_t *count,
                           struct err *e);
/* Puts main back into the state before the last run, as one transaction of SQLite's backup: readers
 * go on, and the replica's history goes forward. RC_CONFLICT: commits that are not the migrations'
 * would be lost, and `discard` is not set; or there is nothing to undo. RC_FULL: it needs room for
 * two copies, and for the log. Noise stays as it is: "noise_stays" has the versions that it got
 * since.
 *
 *     {"restore_point": "before-...", "url", "txid", "time_ms", "discarded": false, "lock_us",
 *      "pages", "noise_stays": [version], "undone": [{"version", "name", "phase", "now"}]} */
MUST_USE rc undo_run(hf_schema *, const char *url /* NULL: of who replicates */, bool discard,
                     json_t **out, struct err *e);

#endif
