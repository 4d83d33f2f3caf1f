/* A backfill: one statement over a table in key order, in transactions short enough for others.
 *
 * Each batch is one BEGIN IMMEDIATE with its checkpoint in holdfast_backfill: killed anywhere, it
 * goes on behind the last batch that was committed. Its length follows the time that the write lock
 * was held (target_ms); between two batches others have as long as the batch took, and longer when
 * somebody waited; after each 8 MiB of log it waits until that is safe elsewhere (safety.h), and
 * while the log is longer than four times its checkpoint threshold.
 */
#ifndef SCHEMA_BACKFILL_H
#define SCHEMA_BACKFILL_H

#include "schema/conn.h"

struct backfill_report {
    int64_t batches, rows;
    int64_t lock_p50_us, lock_p99_us, lock_max_us;
    int64_t waited_ms; /* for replication, for others, for checkpoints */
    int64_t wal_max_bytes;
};

/* `part`: which backfill of the migration, from 0. RC_USAGE: the table has no such key; a key that
 * is not unique. RC_CANCELLED: schema->stop was set between two batches. */
MUST_USE rc backfill_run(struct sconn *, const struct migration *, const struct section *, int part,
                         struct backfill_report *, struct err *e);
/* Can it be run as it stands? Table, key, parameters; nothing is written. */
MUST_USE rc backfill_check(struct sconn *, const struct migration *, const struct section *,
                           struct err *e);

#endif
