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
    int free; /* how many more may go in now; 0 while somebody waits */
    struct waiter *head, **tail;
    const char *holder; /* the last that went in */
    int64_t since_ns;
};
void queue_init(struct queue *, int places);
void queue_deinit(struct queue *);
/* False: the deadline passed. */
bool queue_enter(struct queue *, struct env *, const char *why, int64_t deadline_ns);
void queue_leave(struct queue *, struct env *);
/* Who went in last, and how long ago. */
void queue_holder(struct queue *, struct env *, char *why, size_t size, int64_t *held_ns);

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
struct conn;
/* One that is not in use; `own`: the store's, see conn.c. */
MUST_USE rc cache_get(struct conn *, const char *sql, bool own, struct stmt **out, struct err *e);
void cache_put(struct conn *, struct stmt *); /* reset, without parameters */
void cache_clear(struct conn *);

/* ---- conn.c, tx.c ---- */

struct hf_tx {
    hf_store *store;
    struct conn *conn;
    int scope;
    char why[64];
    uint64_t thread;
    bool open, gone, lent; /* gone: SQLite rolled it back; lent: by hf_sqlite */
    struct err words;      /* why it is gone */
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
    struct cache cache;
    struct stmt *begin, *look, *commit, *rollback;
    struct hf_tx tx;
    struct conn *next; /* in the pool */
};
MUST_USE rc conn_open(hf_store *, int scope, struct conn **out, struct err *e);
void conn_close(struct conn *); /* NULL is fine */
/* Of statements without rows; own: not asked whether they may. */
MUST_USE rc conn_exec(struct conn *, const char *sql, bool own, struct err *e);
MUST_USE rc conn_error(struct conn *, int code, const char *doing, struct err *e);
/* One of `begin`, `look`, `commit`, `rollback`. Returns SQLite's code. */
int conn_run(struct conn *, struct stmt *);

/* ---- store.c ---- */

struct hf_store {
    struct env *env;
    unsigned generation;
    char path[LIMIT_PATH], noise[LIMIT_PATH]; /* absolute; "": there is none */
    char temp[LIMIT_PATH];                    /* the directory, to be removed; "": not temporary */
    hf_store_options options;                 /* the prefixes are copies, the schemas NULL */
    struct queue main_turn, noise_turn, reader_turn;
    struct conn *writers[4]; /* by scope; each is whose turn it is */
    pthread_mutex_t hook_lock;
    /* guarded by hook_lock */
    void (*on_commit)(void *);
    void *on_commit_arg;
    pthread_mutex_t lock;
    /* guarded by lock */
    struct conn *idle; /* readers, the last used first */
    hf_tx *open;
    struct kv *kv;
    hf_source *source;
};

#endif
