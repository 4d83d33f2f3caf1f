/* The run file: what a run knew before it let the log be reset, for the run after it.
 *
 * It lives in a runtime directory that does not outlive the machine's power, and names the boot:
 * that it is there proves that no power was lost since. A hint and never truth: without it, or when
 * it does not fit, the start-up classes fall back to safer rows. Written without fsync, replaced by
 * rename. Beside it lies a lock: one holder per database and machine.
 */
#ifndef SOURCE_RUN_FILE_H
#define SOURCE_RUN_FILE_H

#include "base/bitmap.h"
#include "format/wal.h"
#include "os/env.h"
#include "os/system.h"

#define RUN_DESTS 8

/* What a run knew that its replica ends with: the object `txid` of run `node`, which may have gone
 * on since, or any of its own. */
struct run_tail {
    uint64_t txid, node, own; /* 0: none */
};

struct run_record {
    bool present;
    uint64_t nonce; /* of the run that wrote it */
    struct walindex_header at;
    uint32_t change_counter; /* of the database's header at that boundary */
    int dest_count;
    struct {
        uint64_t id; /* hash of the destination's URL */
        struct run_tail tail;
        struct bitmap unacked; /* pages changed up to `at` that it may lack */
        bool full;
    } dest[RUN_DESTS];
};

struct run_file {
    struct env *env;
    char path[LIMIT_PATH];
    uint64_t device, inode;
    int64_t birth_ns; /* inodes are used again */
    struct lock_file lock;
    int holder;              /* an observer's view: who replicates, 0 nobody */
    struct run_record found; /* of the run before us, or of the one at work */
};

/* Takes the lock (RC_BUSY: another Holdfast has the database; an observer only looks who) and reads
 * what was left. */
MUST_USE rc run_file_open(struct run_file *, struct env *, const char *database, bool observe,
                          struct err *e);
MUST_USE rc run_file_write(struct run_file *, const struct run_record *, struct err *e);
void run_file_close(struct run_file *);
void run_record_deinit(struct run_record *);
uint64_t run_dest_id(const char *url);
int run_record_find(const struct run_record *, const char *url); /* index, -1: it is not in it */

#endif
