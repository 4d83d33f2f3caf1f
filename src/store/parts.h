/* The store's own parts: the queues, the connections, the transactions. Private to store.c, conn.c,
 * cache.c, queue.c, tx.c, sql.c, noise.c, stats.c; the others of this room go through
 * internal.h. */
#ifndef STORE_PARTS_H
#define STORE_PARTS_H

#include "base/limits.h"
#include "store/internal.h"

#include <pthread.h>

/* ---- queue.c: first come, first served, with a deadline ---- */

struct waiter;
struct queue {
    pthread_mutex_t lock;
    /* guarded by lock */
    int free;   /* how many more may go in now */
    bool loose; /* a place that is left may go to one who did not wait */
    struct waiter *head, **tail;
    const char *holder; /* the last that went in */
    int64_t since_ns;
};
void queue_init(struct queue *, int places, bool loose);
void queue_deinit(struct queue *);
/* False: the deadline passed. */
bool queue_enter(struct queue *, const char *why, int64_t now_ns, int64_t deadline_ns);
void queue_leave(struct queue *, int64_t now_ns);
/* Who went in last, and how long ago; returns how many wait. */
int queue_holder(struct queue *, int64_t now_ns, char *why, size_t size, int64_t *held_ns);

/* ---- turn.c ---- */

/* When those who write a file stand aside for other processes. Of whose turn it is. */
struct aside {
    int64_t every_ns, due_ns, left_ns;
};
struct conn;
MUST_USE rc turn_take(hf_store *, int scope, const char *why, int64_t asked_ns, int64_t deadline_ns,
                      struct err *e);
/* The connection's BEGIN; waits for other processes. */
MUST_USE rc turn_lock(struct conn *, const char *why, int64_t asked_ns, struct err *e);
void turn_leave(hf_store *, int scope, int64_t now_ns);
MUST_USE rc late_for_lock(hf_store *, int scope, const char *why, int64_t waited_ns, struct err *e);

/* ---- stats.c ---- */

#define LABELS_MAX 256
#define LABEL_SLOTS 512
struct label;
struct stats {
    struct label *_Atomic slots[LABEL_SLOTS]; /* by hash; filled, never emptied */
    struct label *others[4];
    pthread_mutex_t lock;
    int count; /* guarded by lock */
};
void stats_init(struct stats *);
void stats_deinit(struct stats *);
struct label *stats_label(struct stats *, const char *why, int scope); /* NULL: no memory */
const char *label_why(const struct label *);
void label_count(struct label *, const hf_trace *);

/* ---- cache.c: statements that stay prepared ---- */

struct stmt {
    sqlite3_stmt *it;
    char *sql;
    uint32_t hash;
    bool cached, own;
    struct stmt *next_hash, *next_used; /* in its bucket; among those that the transaction uses */
    struct stmt *older, *newer;         /* by last use */
};
#define CACHE_BUCKETS 256
#define CACHE_MAX 256
struct cache {
    struct stmt *buckets[CACHE_BUCKETS], *oldest, *newest;
    int count;
};
uint32_t text_hash(const char *);
/* One that is not in use; `own`: the store's, see conn.c. */
MUST_USE rc cache_get(struct conn *, const char *sql, bool own, struct stmt **out, struct err *e);
void cache_put(struct conn *, struct stmt *); /* reset, without parameters */
void cache_clear(struct conn *);

/* ---- conn.c, tx.c ---- */

struct hf_tx {
    hf_store *store;
    struct conn *conn;
    int scope;
    struct label *label;
    const char *why;        /* the label's */
    _Atomic uint64_t owner; /* number of its thread; 0: it has ended */
    bool gone, lent;        /* gone: SQLite rolled it back; lent: by hf_sqlite */
    bool one;               /* of one statement, which is a transaction by itself: no BEGIN */
    struct err words;       /* why it is gone */
    int64_t asked_ns, began_ns;
    hf_place *place;
    struct stmt *used;
    hf_tx *next_of_thread;
    hf_tx *next, **link; /* the store's open ones */
};

struct conn {
    sqlite3 *db;
    hf_store *store;
    int scope;
    int64_t deadline_ns; /* for locks */
    uint32_t dice;
    bool own;           /* the store's own statement is being prepared or run */
    const char *denied; /* what the authorizer has to say */
    struct {
        int64_t known;    /* hf_store.known when it was asked; 0: not yet */
        unsigned commits; /* of the file, as SQLite counted them then */
    } fits[2];            /* of main and noise: newer.c */
    bool asked;           /* in the transaction that is open */
    struct cache cache;
    struct stmt *begin, *look, *commit, *rollback;
    struct hf_tx tx;
    struct conn *next; /* in the pool */
};
MUST_USE rc conn_open(hf_store *, int scope, int64_t deadline_ns, struct conn **out, struct err *e);
void conn_close(struct conn *);               /* NULL is fine */
const char *file_schema(const struct conn *); /* of one that writes one file: "main" or "noise" */
/* Of statements without rows; own: not asked whether they may. */
MUST_USE rc conn_exec(struct conn *, const char *sql, bool own, struct err *e);
MUST_USE rc conn_error(struct conn *, int code, const char *doing, struct err *e);
/* One of `begin`, `look`, `commit`, `rollback`. Returns SQLite's code. */
int conn_run(struct conn *, struct stmt *);

/* In the child of a fork: this thread is in no transaction of it. */
void tx_forget(const hf_store *);

/* ---- names.c ---- */

/* The absolute name of a database file; what is there may be a symbolic link. */
MUST_USE rc name_file(struct env *, const char *path, char out[LIMIT_PATH], struct err *e);
/* app.db -> app-noise.db */
void name_noise(const char *path, char out[LIMIT_PATH]);

/* ---- contents.c: on the connections that write one file ---- */

/* The marks, DBX, and the application's schema (NULL: none). Writes nothing if all is there. */
MUST_USE rc fill_file(struct conn *, const char *schema, struct err *e);
/* "" if there is none. NULL: takes it away. */
MUST_USE rc mark_get(struct conn *, const char *name, char *out, size_t size, struct err *e);
MUST_USE rc mark_set(struct conn *, const char *name, const char *value, struct err *e);

/* ---- newer.c ---- */

/* In a transaction that writes, before all else. RC_UNFIT: the schema has gone on without this
 * program (store_set_known_schema). */
MUST_USE rc check_newer(struct conn *, struct err *e);
void newer_ended(struct conn *); /* such a transaction, in either way */

/* ---- noise.c ---- */

/* The noise file, sound and with its tables: made anew if it is lost or damaged. */
MUST_USE rc noise_open(hf_store *, const char *schema, int64_t deadline_ns, struct err *e);
/* RC_USAGE: a database, but no noise. Nothing was written to it. */
MUST_USE rc noise_check_ours(struct conn *, struct err *e);
void noise_close(hf_store *); /* before its connection */

/* ---- inherited.c ---- */

/* RC_USAGE: SQLite had one of its files open when this process was forked. */
MUST_USE rc check_inherited(const hf_store *, struct err *e);
/* RC_CANCELLED: under one of its names there is not the file that it has open. */
MUST_USE rc check_replaced(const hf_store *, struct err *e);
bool is_open_twice(const hf_store *, const char *path); /* by another store of this process */
MUST_USE rc note_open(const hf_store *, struct err *e);
void note_closed(const hf_store *);

/* ---- store.c ---- */

struct hf_store {
    struct env *env;
    unsigned generation;
    char path[LIMIT_PATH], noise[LIMIT_PATH]; /* absolute; "": there is none */
    char temp[LIMIT_PATH];                    /* the directory, to be removed; "": not temporary */
    hf_store_options options;                 /* the prefixes are copies, the schemas NULL */
    struct queue main_turn, noise_turn, reader_turn;
    struct aside main_aside, noise_aside;
    struct stats stats;
    struct conn *writers[4]; /* by scope; each is whose turn it is */
    pthread_mutex_t hook_lock;
    /* guarded by hook_lock */
    void (*on_commit)(void *);
    void *on_commit_arg;
    _Atomic int64_t
        known; /* the newest version of a schema + 1; 0: not said. Changed under hook_lock */
    char known_by[100]; /* guarded by hook_lock */
    pthread_mutex_t lock;
    /* guarded by lock */
    struct conn *idle; /* readers, the last used first */
    hf_tx *open;
    struct kv *kv;
    hf_source *source;
};

#endif
