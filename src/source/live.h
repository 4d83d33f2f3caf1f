/* The live database, seen through SQLite's own handles.
 *
 * Four connections of ours: two readers that hold (source/hold.h), one for checkpoints, one that
 * takes the write lock. The database and the log are read through the readers' sqlite3_file, the
 * wal-index through its xShmMap; we never open, and so never close, a descriptor on the user's
 * files: a close would drop every POSIX lock of the process. Nothing is ever written to the
 * database.
 *
 * Threads: all of it on one thread, the one that calls source_step.
 */
#ifndef SOURCE_LIVE_H
#define SOURCE_LIVE_H

#include "base/limits.h"
#include "format/wal.h"
#include "os/env.h"

#include <sqlite3.h>

struct live {
    struct env *env;
    char path[LIMIT_PATH], wal_path[LIMIT_PATH], shm_path[LIMIT_PATH];
    uint64_t device, inode; /* of the file that is open */
    uint32_t page_size;
    uint64_t wal_inode, shm_inode;
    bool switched; /* it was not in WAL mode before */
    sqlite3 *reader[2], *checkpointer, *locker;
    sqlite3_stmt *begin[2], *touch[2], *end[2], *lock, *unlock;
    sqlite3_file *db, *wal;
    const volatile uint8_t **regions;
    uint32_t region_count;
    uint8_t *frame; /* one frame with its header */
};

/* Opens an existing database. If it is not in WAL mode, switches it, or without `may_switch` says
 * so (RC_USAGE). RC_NOTFOUND, RC_BUSY (locked exclusively), RC_CORRUPT (not a database, encrypted),
 * RC_USAGE (a directory, a network file system), RC_IO. After it reader 0 is in a read
 * transaction. */
MUST_USE rc live_open(struct live *, struct env *, const char *path, bool may_switch,
                      struct err *e);
void live_close(struct live *); /* the log stays; nothing is checkpointed */

MUST_USE rc live_begin(struct live *, int reader, struct err *e);
MUST_USE rc live_end(struct live *, int reader, struct err *e);

/* A consistent copy of the wal-index header. When a writer was paused or killed between the copies
 * it waits, and after 100 ms lets SQLite recover it through a transaction of its own. */
MUST_USE rc live_header(struct live *, struct walindex_header *, struct err *e);
bool live_header_now(struct live *, struct walindex_header *); /* one look; false if torn */
uint32_t live_backfilled(const struct live *);
MUST_USE rc live_file_pages(struct live *, uint32_t *out, struct err *e); /* of the file as it is */

MUST_USE rc live_page_of_frame(struct live *, uint32_t frame, uint32_t *pgno, struct err *e);
MUST_USE rc live_frame_header(struct live *, uint32_t frame, struct wal_frame_header *,
                              struct err *e);
/* The log's checksum before that frame: what the wal-index said there, also where the frame before
 * is blank (of_this_log). */
MUST_USE rc live_checksum_before(struct live *, uint32_t frame, uint32_t sum[2], struct err *e);
/* The page as of frame `last`, frames <= `low` being read from the database (in Z the log below may
 * be overwritten at any moment, and the database holds all of it). */
MUST_USE rc live_page(struct live *, uint32_t pgno, uint32_t last, uint32_t low,
                      const uint32_t salt[2], uint8_t *page, struct err *e);

/* PASSIVE. RC_BUSY when another checkpoint is at it (waits up to wait_ns). */
MUST_USE rc live_checkpoint(struct live *, int64_t wait_ns, struct err *e);
MUST_USE rc live_sync_database(struct live *, struct err *e);
/* Somebody has the lock of a checkpoint. Asked of the system: to take it for an instant would make
 * an application's checkpoint fail at once. */
bool live_checkpoint_runs(struct live *);
/* One other process holds the locks of the checkpointer and of the writer. */
bool live_checkpointer_writes(struct live *);
/* BEGIN IMMEDIATE and ROLLBACK on a connection that does nothing else. RC_BUSY at once. */
MUST_USE rc live_lock(struct live *, struct err *e);
void live_unlock(struct live *);
/* The file at our path, or its -wal or -shm, is no longer the one that is open. */
bool live_has_moved(struct live *);

#endif
