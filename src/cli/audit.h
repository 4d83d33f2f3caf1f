/* Is the replica what the database is? And: how far behind is it right now?
 *
 * Both take a read transaction of their own, read the log and the replica, and work with or without
 * a running `holdfast replicate`.
 */
#ifndef CLI_AUDIT_H
#define CLI_AUDIT_H

#include "replica/replica.h"

struct audit_result {
    uint64_t txid;          /* the replica's state that was compared */
    uint32_t pages;         /* compared */
    uint32_t pages_pending; /* changed since and not yet shipped: not compared */
    uint32_t differing, first_differing;
};
/* Restores the newest state that the live log continues and compares page by page. RC_CORRUPT when
 * a page differs; RC_CONFLICT when the database does not continue the replica. */
MUST_USE rc audit_source(struct env *, struct store *, const char *db, struct audit_result *,
                         struct err *e);

enum safety { SAFETY_SAFE, SAFETY_LATE, SAFETY_UNSAFE };
struct status {
    enum safety safety;
    char class[16];   /* of the start-up classes */
    char reason[512]; /* one line, when not safe */
    uint64_t txid;    /* durable */
    int64_t txid_time_ms;
    uint32_t commits_pending;
    uint64_t bytes_pending; /* of the log */
    double lag_seconds;     /* since the oldest commit that may not be durable: an upper bound */
    uint32_t wal_frames, backfilled;
    int64_t verified_ms; /* last successful look by `replicate`; 0: none */
    bool verified_ok;
    int holder_pid; /* a reader that keeps the log from being reset; 0: none */
    char holder_name[64];
    int replicator_pid; /* 0: no holdfast replicates this database here */
};
/* `late_ms`: how much lag is still safe. RC codes only for what cannot be looked at. */
MUST_USE rc audit_status(struct env *, struct store *, const char *db, int64_t late_ms,
                         struct status *, struct err *e);

#endif
