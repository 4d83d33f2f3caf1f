/* The primary side: hold a live database, capture its commits, ship them to replicas.
 *
 *     source_open(&s, env, "app.db", &options, e)
 *     source_add(s, store, e)                       per destination; takes the store
 *     for (;;) { source_step(s, now, changed, &due, e); wait until due, woken, or a file changed; }
 *     source_drain(s); step until source_left(s) == 0 or the patience ends; source_free(s)
 *
 * source_step never waits for a store: it hands out jobs through env->submit and takes their ends
 * from a queue. It reads and checkpoints the database, which is local. One thread calls everything
 * here but the wake callback.
 *
 * Errors: of a destination are kept with it (source_status) and retried; an error returned by
 * source_step is final for the run: RC_FENCED and RC_CONFLICT (fork, unproven, foreign), RC_BEHIND,
 * RC_CORRUPT (gap, damaged log), RC_NOTFOUND (the database was replaced or deleted: open it anew).
 */
#ifndef SOURCE_SOURCE_H
#define SOURCE_SOURCE_H

#include "object/object.h"
#include "replica/replica.h"
#include "source/position.h"

struct source;
struct barrier;

struct source_options {         /* zero means default */
    int64_t interval_ms;        /* at most one shipment per this under steady writes: 1000 */
    uint32_t checkpoint_pages;  /* log length at which checkpoints begin: 1000 */
    int64_t level_ms[4];        /* [1..3]: 30 s, 5 min, 1 h */
    int64_t snapshot_ms;        /* 24 h */
    struct retention retention; /* 5 min, 24 h */
    int64_t verify_ms;          /* 24 h; negative: never */
    int64_t start_ms; /* how long one silent destination keeps the others from starting: 10 s */
    enum ltx_encoding encoding;
    bool unfenced;           /* go on with a store that cannot keep a second writer out */
    bool take_over;          /* append although the replica was another's */
    bool observe;            /* only look: no lock, nothing is shipped (status, audit) */
    bool adopt_local;        /* the local database is right, whatever the replica holds */
    struct barrier *barrier; /* source/barrier.h; may be NULL; outlives the source */
    /* Told of events, for a log: name, then key and value in turn. */
    void (*event)(void *arg, const char *name, const char *const *pairs, int count);
    void *event_arg;
    void (*wake)(void *arg); /* called from workers when a job has ended */
    void *wake_arg;
};

MUST_USE rc source_open(struct source **out, struct env *, const char *path,
                        const struct source_options *, struct err *);
MUST_USE rc source_add(struct source *, struct store *, struct err *); /* takes the store */
/* Destination i was seen at this TXID, an older state of this very database: up to there, and no
 * further, the local one is right whatever it holds. */
void source_older(struct source *, int i, uint64_t txid);
/* Does what is due at mono time `now`, and says when it is due next. `changed`: the files were seen
 * to change (inotify), so look closely for a while. */
MUST_USE rc source_step(struct source *, int64_t now_ns, bool changed, int64_t *due_ns,
                        struct err *);
/* From now on ship what there is at once, and no more than that. */
void source_drain(struct source *);
/* Destinations that lack something captured; their URLs and pages, for people, in `words`. */
int source_left(const struct source *, char *words, size_t size);
/* What is under way is not waited for any more: as after a crash, the next start finds out what
 * became of it. */
void source_abandon(struct source *);
void source_free(struct source *); /* waits for jobs that are under way */

/* Destination i; false beyond the last. */
struct source_dest {
    const struct store *store;
    const char *state; /* "closed", "opening", ..., "ready", "refused" */
    bool ready;        /* it is ours to append to */
    bool complete;     /* it holds all that was captured */
    bool failing;      /* its last answer was an error; it is tried again */
    uint64_t txid;     /* last acknowledged in this run; 0: none yet */
    uint32_t lacks_pages;
    bool lacks_all;    /* what it lacks is not known yet, or is every page */
    const char *error; /* of its last failure, until something went well; "" if there is none */
};
bool source_dest(const struct source *, int i, struct source_dest *out);

/* Of everything captured, on the source's thread. */
void source_position(const struct source *, struct position *out);

/* The files of a database that was replaced. While its log still lies at its path nobody may open
 * what has come there: SQLite would take the log for that one's and copy it in. */
struct old_files {
    char path[LIMIT_PATH], wal_path[LIMIT_PATH];
    struct file_stat db, wal; /* inode 0: not known, or not there any more */
};
void source_old_files(const struct source *, struct old_files *out);

/* The files to watch for changes. */
int source_watch_paths(struct source *, const char *paths[2]);

struct source_stats {
    uint64_t commits, frames, resets;
    uint32_t wal_frames_max;
    uint64_t locks; /* times that a checkpoint took the write lock */
    int64_t lock_ns, lock_max_ns;
    uint64_t shipments, bytes_shipped;
    uint64_t frames_captured;
};
void source_stats(const struct source *, struct source_stats *);
bool source_switched_mode(const struct source *);

#endif
