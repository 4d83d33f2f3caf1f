/* A look at a database beside its replica: what would a start find, and how far behind is it?
 *
 * Classes the database as a start would, so that a fork or an older file is seen, and never fences,
 * ships or deletes. Works with or without a running `holdfast replicate`.
 *
 *     look_open(&l, env, store, "app.db", e)   takes a read transaction of its own
 *     l.class, l.txid, look_page(&l, ...)      all of one boundary
 *     look_close(&l)                           also after a failure
 */
#ifndef SOURCE_LOOK_H
#define SOURCE_LOOK_H

#include "base/bitmap.h"
#include "object/object.h"

/* docs/design.md "start-up classes". */
enum class {
    CLASS_NEW,
    CLASS_CONTINUES,
    CLASS_AHEAD,
    CLASS_EQUAL,
    CLASS_BEHIND,
    CLASS_OLDER,
    CLASS_FORK,
    CLASS_INCOMPATIBLE,
    CLASS_UNPROVEN,
    CLASS_GONE,
};
const char *class_name(enum class);

struct look {
    struct source *source; /* private */
    const char *path;      /* of the database, without symbolic links */
    enum class class;
    struct err refusal; /* why a start would stop; its code is RC_OK if it would not */
    bool empty;         /* the replica holds nothing at all */
    uint64_t txid;      /* its end */
    int64_t txid_time_ms;
    uint64_t known_txid; /* its newest state that the database is known to equal; 0: none is */
    const struct bitmap *pending;   /* pages changed since its end, as far as the class tells */
    uint32_t page_size, page_count; /* of the database */
    uint32_t log_frames, backfilled, commits_pending;
    uint64_t bytes_pending; /* of the log */
    int64_t log_written_ms; /* Unix time, before we came */
    int replicator_pid;     /* 0: no holdfast replicates this database here */
    int reader_pid;         /* one that keeps the log from being reset; 0: none */
};

MUST_USE rc look_open(struct look *, struct env *, struct store *, const char *db, struct err *);
MUST_USE rc look_page(struct look *, uint32_t pgno, uint8_t *page, struct err *);
void look_close(struct look *);

#endif
