/* What the files of this room share. Everything on the source's thread but `task.work`.
 *
 * The way of a commit: look() sees a newer header -> capture() marks its pages in `touched` -> a
 * cut folds them into every destination's `pending` and brings the sum up to the cut -> ship
 * encodes them -> the task puts the object into its slot -> acknowledged() moves the destination's
 * position.
 */
#ifndef SOURCE_INTERNAL_H
#define SOURCE_INTERNAL_H

#include "source/barrier.h"
#include "source/hold.h"
#include "source/look.h"
#include "source/run_file.h"
#include "source/source.h"

#define MAX_DESTS 8

struct dest;

/* A job for a worker and its end on the source's thread. */
struct task {
    struct job job;
    struct source *source;
    rc (*work)(struct task *, struct err *);
    void (*ended)(struct task *);
    rc result;
    struct err err;
    bool busy;
};
/* `work` on a worker, then `ended` here. */
void task_start(struct task *, rc (*work)(struct task *, struct err *),
                void (*ended)(struct task *));
/* The struct of which *p is the member. */
#define HOLDER_OF(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

/* A commit boundary whose pages can be read while the hold is not moved. */
struct cut {
    struct walindex_header at;
    uint32_t low; /* frames up to here are read from the database (we are in Z) */
    uint64_t seq; /* frames captured up to it */
};

/* One object on its way: a level-0 shipment or a compaction. Small ones are encoded in memory and
 * put at once; large ones are streamed in chunks while the cut is kept open. */
struct outgoing {
    struct dest *dest;
    struct task task;
    void (*ended)(struct task *); /* of each task on the way */
    int level;
    struct ltx_header header;
    struct cut cut;
    struct bitmap pages;
    bool all_pages, active, streaming, holds, finished;
    uint32_t next_page;
    struct ltx_writer writer;
    struct buf chunk;
    struct object_upload *upload;
    uint64_t file_checksum, size;
    bool adopted; /* the slot holds an earlier attempt of ours, with other bytes */
    int attempts; /* since the last that went well */
    int64_t started_ns, retry_ns;
};

enum dest_state {
    DEST_CLOSED,  /* its replica has not been read yet */
    DEST_OPENING, /* being read */
    DEST_KNOWN,   /* read; not classified */
    DEST_CLASSED, /* may append, as soon as all that can be asked have been */
    DEST_FENCING, /* our fence is on its way */
    DEST_READY,   /* we may append */
    DEST_REFUSED, /* final: see `refusal` */
};

/* The replica's end, as found at start. */
struct tail {
    bool empty;
    uint64_t txid;
    struct ltx_header header;
};

struct history { /* one level-0 file, for classes that need the past */
    uint64_t txid, sum;
    uint32_t salt[2], frame, checksum[2];
};

struct dest {
    struct source *source;
    struct store *store;
    enum dest_state state;
    struct err refusal;
    char trouble[ERR_TEXT_MAX]; /* its last failure, until something goes well */
    struct task open_task, keep_task, verify_task;
    struct replica_file fence; /* ours, once it is put */
    int attempts;
    int64_t retry_ns;

    /* as read */
    struct tail tail;
    struct listing files;
    struct history *history;
    size_t history_count;
    bool history_read;
    char owner[512]; /* words for people: host, path, pid */
    bool owner_is_us;
    struct run_tail known_tail; /* for the run file */
    int64_t verified_ms;
    uint64_t verified_txid; /* proven, and all below it; 0: nothing */
    struct listing to_verify;

    /* position */
    enum class class;
    uint64_t older_txid; /* source_older; 0: nothing was said */
    bool pin_tail;       /* the tail stays restorable whatever comes after it */
    uint64_t txid;       /* last acknowledged */
    int64_t txid_time_ms;
    struct walindex_header acked; /* the boundary it stands for */
    uint32_t acked_low;           /* as in its cut */
    bool acked_live;              /* `acked` is a boundary of our own hold */
    uint64_t acked_sum;
    uint64_t safe_to;      /* frames captured before its last acknowledged cut, + 1; 0: none yet */
    struct bitmap pending; /* changed since the last cut, in-flight excluded */
    bool full;             /* the next shipment holds every page */
    struct outgoing ship;
    int64_t last_ship_ns;

    /* levels 1..3 and 9 */
    struct outgoing compact;
    struct bitmap since[4]; /* pages changed since the level's newest file */
    uint64_t level_max[LIMIT_LEVELS];
    int64_t level_due_ms[LIMIT_LEVELS]; /* Unix time */
    bool pinned;         /* the acknowledged cut is kept open for compactions: no shipment */
    int64_t keep_due_ms; /* retention looks again; 0: nothing to do */
    struct listing doomed;
    uint64_t *pins;
    size_t pin_count;
};

struct log_frame {
    uint32_t pgno, checksum[2];
    bool commit;
};

/* The log as it was when the hold began, for classing destinations that are read later. */
struct start_log {
    struct walindex_header header;
    uint32_t low;
    struct log_frame *frames;
    uint64_t sum; /* of the database at that boundary; 0: not computed */
    bool sum_known;
    uint64_t below; /* of the database below the log */
    bool below_known;
    int64_t db_mtime_ms, wal_mtime_ms;
    uint32_t change_counter; /* in page 1 */
    bool old_log_ends;       /* the log before it ended where the run file says */
};

struct source {
    struct env *env;
    struct source_options opt;
    struct jobs_done *done;
    struct live live;
    struct hold hold;
    struct run_file run;
    uint64_t nonce;

    struct walindex_header pos; /* captured up to here */
    struct bitmap touched;      /* changed since the last cut */
    /* Sum over pages < summed_below that are not in touched. UINT32_MAX: all pages, so it is known
     * at each cut. Below that a scrub is on its way. */
    uint64_t sum;
    uint32_t summed_below;
    uint8_t *page;
    struct start_log start;
    bool moved;    /* the hold has moved since the start */
    bool new_log;  /* the log was reset, and the run file does not say so yet */
    int open_cuts; /* > 0: the hold may not move */

    struct dest dest[MAX_DESTS];
    int dest_count;
    bool draining, looked_last; /* the end: ship what was seen in one last look */
    uint64_t flush_to;          /* a waiter wants more than this many frames safe, now */

    /* schedule, mono ns */
    int64_t started, last_change, last_look, next_safety, not_before;
    int64_t relook, last_sign; /* the next look's distance; the last event or moved header */
    int64_t move_after, last_refresh, pause, lock_not_before, z_backoff;
    bool z_by_lock; /* this Z was entered under the write lock */
    double frames_per_ns;
    uint64_t frames_at_last_look;
    struct source_stats stats;
};

/* capture.c */
rc source_capture(void *source, struct err *e);
rc source_fold(struct source *s, struct err *e); /* touched -> every pending; the sum covers pos */
rc source_scrub(struct source *s, uint32_t pages, struct err *e);
bool source_sum_known(const struct source *s);
uint64_t source_sum(const struct source *s);   /* of pos, after a fold; 0 = unknown */
struct cut source_cut(const struct source *s); /* at pos */
rc source_read(struct source *, const struct cut *, uint32_t pgno, uint8_t *page, struct err *e);
rc source_sum_at(struct source *s, const struct cut *cut, uint64_t *sum, struct err *e);

/* checkpoint.c */
rc source_move(struct source *s, int64_t now, int64_t *due, struct err *e);

/* classify.c */
rc source_take_start(struct source *s, struct err *e);
rc source_retake_start(struct source *s, struct err *e); /* an observer's: lets go in between */
rc source_sum_start(struct source *s, struct err *e);    /* start.sum, if it can still be had */
rc dest_classify(struct dest *d, struct err *e);

/* The replica's newest state that the local database at the start equals; 0: none known. */
uint64_t source_known_state(const struct dest *d);
/* The frame of the log of the start at which the replica's end lies; commits beyond a frame. */
uint32_t dest_end_in_start(const struct dest *d);
uint32_t start_commits_from(const struct start_log *l, uint32_t frame);

/* dest.c */
rc dest_step(struct dest *d, int64_t now, int64_t *due, struct err *e);
bool dest_dirty(const struct dest *d);
bool dest_is_complete(const struct dest *d); /* it holds all that was captured */
void dest_unpin(struct dest *d);
void dest_deinit(struct dest *d);
int64_t backoff_ns(struct source *s, int attempts);
/* The unacknowledged pages of a destination. */
rc dest_unacked(struct dest *d, struct bitmap *out, struct err *e);

/* barrier.c: in this order, once a step; barrier_look only after a look that read the header */
bool barrier_take(struct barrier *b, struct source *s); /* somebody came to wait */
void barrier_look(struct barrier *b, struct source *s);
void barrier_settle(struct barrier *b, struct source *s, int64_t now, int64_t *due);
void barrier_leave(struct barrier *b); /* the source ends, or its database is another */

/* outgoing.c */
rc outgoing_begin(struct outgoing *o, const struct ltx_header *h, struct cut cut,
                  void (*ended)(struct task *), struct err *e);
struct replica_file outgoing_file(const struct outgoing *o);
rc outgoing_step(struct outgoing *o, struct err *e);
void outgoing_release(struct outgoing *o);

/* compact.c */
rc compact_step(struct dest *d, int64_t now, int64_t *due, struct err *e);
bool compact_due(const struct dest *d);
void compact_schedule(struct dest *d);

/* open.c */
void dest_open_start(struct dest *d);
void dest_retry(struct dest *d, const char *event,
                const char *words); /* later, from its reading on */
void dest_fence_stands(struct dest *d,
                       const struct replica_file *fence); /* from now on we may append */
rc dest_fence_start(struct dest *d, struct err *e);
rc slot_put(struct dest *d, const char *key, const void *bytes, size_t size, int64_t time_ms,
            uint64_t file_checksum, bool *adopted, struct err *e);
rc slot_resolve(struct dest *, const char *key, uint64_t checksum, bool *adopted, struct err *e);

/* source.c */
bool source_take_ends(struct source *s); /* of jobs; false: there were none */
void source_event(struct source *s, const char *name, const char *const *pairs, int count);
#define EVENT(s, name, ...)                                                                        \
    source_event(s, name, (const char *const[]){__VA_ARGS__},                                      \
                 (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)))
rc source_write_run_file(struct source *s, struct err *e);
static inline int64_t mono(struct source *s) {
    return s->env->mono_ns(s->env);
}
static inline int64_t unix_now(struct source *s) {
    return s->env->unix_ms(s->env);
}
static inline void due_at(int64_t *due, int64_t when) {
    if (when < *due) *due = when;
}
static inline bool is_due(int64_t now, int64_t when, int64_t *due) {
    if (now < when) due_at(due, when);
    return now >= when;
}
const char *u64_text(char out[24], uint64_t v);

#endif
