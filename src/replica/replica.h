/* What a replica is: its files, which of them make a state, restoring and proving it.
 *
 * A replica is a set of LTX files under a store's root, in levels 0..9 (docs/format.md 2). Nothing
 * in it is ever rewritten. All functions here are synchronous and are called from worker threads or
 * from a command; they may use env->parallel. Any thread; no shared state between calls.
 */
#ifndef REPLICA_REPLICA_H
#define REPLICA_REPLICA_H

#include "base/bitmap.h"
#include "format/ltx.h"
#include "format/names.h"
#include "object/object.h"

#include <stdatomic.h>

struct replica_file {
    int level;
    uint64_t min_txid, max_txid;
    uint64_t size_bytes;
    int64_t time_ms; /* the store's time, or the header's after listing_read_times */
};

/* Sorted by level, then min, then max. Free with listing_deinit. */
struct listing {
    struct replica_file *files;
    size_t count, capacity;
};

void replica_key(const struct store *, const struct replica_file *, char key[KEY_SIZE]);

void listing_deinit(struct listing *);
MUST_USE rc listing_copy(const struct listing *, struct listing *out, struct err *);
MUST_USE rc listing_add(struct listing *, struct replica_file, struct err *); /* keeps the order */
void listing_remove(struct listing *, const struct replica_file *);
/* All ten levels. Names that are not ours are ignored and counted in *strangers (may be NULL). */
MUST_USE rc replica_list(struct store *, struct listing *out, size_t *strangers, struct err *);
/* The same for who reads; empty where there is nothing but fences, as nothing was shipped yet. */
MUST_USE rc replica_list_backup(struct store *, struct listing *out, size_t *strangers,
                                struct err *);
/* It was empty: RC_NOTFOUND. But RC_USAGE where Litestream 0.3 left a backup, which only a restore
 * can read. */
MUST_USE rc replica_no_backup(struct store *, struct err *);
/* Slot 1 of a new replica holds an empty database of one page. */
void replica_empty_page(uint8_t *page, uint32_t page_size);
uint64_t replica_empty_sum(uint32_t page_size);
/* Of a store where nothing was found: whether levels are there as the other layout names them, as
 * after a copy from a directory into a bucket or back. */
MUST_USE rc replica_other_layout(struct store *, bool *found, struct err *);
/* Replace each time_ms by the one in the file's header: mtimes do not survive cp. A header that
 * cannot be read leaves it as it was. `parallel` 0: the number of CPUs. */
MUST_USE rc listing_read_times(struct store *, struct listing *, int parallel, struct err *);

MUST_USE rc replica_read_header(struct store *, const struct replica_file *, struct ltx_header *,
                                struct err *);
/* Add the page numbers of a file's index to `pages` (reads the tail only). */
MUST_USE rc replica_read_index(struct store *, const struct replica_file *, uint32_t page_size,
                               struct bitmap *pages, struct err *);
/* Read a whole object back and decode it: header, index, every page, CRC. RC_CORRUPT names it. With
 * `expect` (may be NULL) the file checksum must be that one. */
MUST_USE rc replica_read_back(struct store *, const struct replica_file *, const uint64_t *expect,
                              struct err *);

/* ---- planning: docs/format.md 2.5 ---- */
struct target {
    uint64_t txid;   /* 0: not by TXID */
    int64_t time_ms; /* 0: not by time; files with time < time_ms take part */
};
struct plan {
    struct replica_file *files; /* in order of application */
    size_t count;
    uint64_t txid; /* what applying it gives */
};
void plan_deinit(struct plan *);
/* The files at whose end the database can be restored, in order of their ends, then levels.
 * free(). */
MUST_USE rc listing_points(const struct listing *, struct replica_file **out, size_t *count,
                           struct err *);
/* RC_NOTFOUND: no files, no such TXID (the words name the nearest ones), a time before the first
 * backup. RC_CORRUPT: a hole, also with a time target: never older data without a word. */
MUST_USE rc plan_make(const struct listing *, struct target, struct plan *out, struct err *);

/* ---- restore: docs/design.md "restore" ---- */
struct progress { /* all may be read from another thread while the call runs */
    atomic_ullong bytes_total, bytes_done; /* of page frames to fetch */
    atomic_int phase;                      /* 0 planning, 1 indexes, 2 pages, 3 checking, 4 done */
    atomic_bool cancel;                    /* set it: RC_CANCELLED */
};
struct restore_options {
    struct target target;
    int parallel;              /* 0: number of CPUs, at least 4 */
    struct progress *progress; /* may be NULL */
    /* Start from a local file that holds exactly the state of base_txid: only newer files' pages
     * are fetched. NULL: from nothing. The base is only read. */
    const char *base_path;
    struct file *base; /* the same, open, and it stays open; NULL: it is opened and closed */
    uint64_t base_txid;
    bool ltx_only; /* leave aside what Litestream 0.3 left; a TXID or a base means that too */
};
struct restore_result {
    uint64_t txid;       /* 0: of a replica of Litestream 0.3, which has none but these two */
    char generation[17]; /* "": not of such a one */
    uint32_t index;
    int64_t time_ms; /* of the last file applied */
    uint32_t page_size, page_count;
    uint64_t bytes_fetched, bytes_written;
    bool sum_checked; /* the database's sum was known and right */
};
/* Of LTX files and of what Litestream 0.3 left it takes that which has the newer objects, by then.
 * Builds out_path in an unnamed temp file beside it, proves it, syncs it, then names it: at no
 * moment is anything unverified visible. RC_CONFLICT if out_path exists or
 * out_path-wal, -shm or -journal does. */
MUST_USE rc replica_restore(struct store *, const char *out_path, const struct restore_options *,
                            struct restore_result *, struct err *);

/* ---- verify ---- */
struct verify_result {
    uint64_t files, pages, bytes;
    uint64_t txid;          /* newest proven state */
    uint64_t links_checked; /* states whose sum was compared */
    uint64_t links_unknown; /* states with no sum to compare (foreign files, sum 0) */
    char broken[128];       /* key of the first object that breaks it, "" if none */
};
/* Reads every object, decodes it, and walks the states: each file that carries a sum must produce
 * it, each compacted file must equal the state it claims. RC_CORRUPT names the first that
 * breaks. */
MUST_USE rc replica_verify(struct store *, int parallel, struct progress *, struct verify_result *,
                           struct err *);
/* The same of the files that ought to be there; lists nothing. Nothing may be deleted meanwhile. */
MUST_USE rc replica_verify_listing(struct store *, const struct listing *, int parallel,
                                   struct progress *, struct verify_result *, struct err *);

/* ---- retention: docs/format.md 2.3. Pure: chooses, deletes nothing. ---- */
struct retention {
    int64_t level0_ms;   /* age after which covered level-0 files go (default 5 min) */
    int64_t snapshot_ms; /* age of snapshots (default 24 h) */
};
/* `pins`: TXIDs whose restore must stay possible. Never chosen: fences (level-0 files without
 * pages) and TXID 1 at level 0, the newest file of a level, the newest snapshot, what a pin's plan
 * needs. */
MUST_USE rc retention_choose(const struct listing *, struct retention, int64_t now_ms,
                             const uint64_t *pins, size_t pin_count, struct listing *remove,
                             struct err *);
#endif
