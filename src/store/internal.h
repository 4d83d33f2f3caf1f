/* What the files of this room share. See include/holdfast.h for what each function promises.
 *
 * Inside, functions return rc and fill a struct err, as everywhere; a public function ends with
 * `return done(r, &e)`, which keeps the words for hf_errmsg of this thread.
 */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "base/rc.h"
#include "holdfast.h"
#include "os/env.h"
#include "source/position.h"

#include <sqlite3.h>

/* error.c */
int done(rc r, const struct err *e); /* the public code; keeps the words */
int fail(enum rc_code code, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* What SQLite said, on this connection. */
MUST_USE rc sql_error(struct err *e, sqlite3 *db, int code, const char *doing);
/* The options as this library knows them: what an older caller does not know is zero, what a newer
 * one set and this library does not know is refused (RC_UNFIT). */
MUST_USE rc take_options(const void *given, void *out, size_t size, const char *name,
                         struct err *e);

/* process.c */
struct env *store_env(void); /* the process's, never freed; NULL: no memory */
/* This handle was made before a fork: RC_USAGE. */
MUST_USE rc fork_check(unsigned generation, const char *what, struct err *e);
unsigned fork_generation(void);

/* store.c */
struct kv;
MUST_USE rc store_check(const hf_store *, const char *what, struct err *e); /* fork, NULL */
bool store_has_noise(const hf_store *);
const char *store_noise_path(const hf_store *);            /* absolute; "": none */
const char *const *store_noise_prefixes(const hf_store *); /* NULL: none; else NULL-terminated */
int64_t store_timeout_ms(const hf_store *);
/* Tells the application's hf_store_options.event. Never under a lock; `count` texts, two for each
 * pair. */
void store_event(hf_store *, const char *name, const char *const *pairs, int count);
struct kv *store_kv(const hf_store *);     /* NULL until kv_open returned */
hf_source *store_source(const hf_store *); /* NULL: none */
void store_set_source(hf_store *, hf_source *);
/* fn is called after each commit that wrote main from now on, on the thread that committed; it only
 * wakes somebody. While there is one the store leaves the checkpoints of main to him. NULL: no
 * more; when it returns fn is not running. Any thread. */
void store_set_commit_hook(hf_store *, void (*fn)(void *), void *arg);
/* From now on each transaction that writes is refused (RC_UNFIT) where the schema of a file has
 * gone on beyond `version`, the newest that this program knows (0: none), which calls itself `app`.
 * -1: it is not asked any more. RC_USAGE: it was said already. Any thread. */
MUST_USE rc store_set_known_schema(hf_store *, const char *app, int64_t version, struct err *e);

/* kv.c: what the store calls there. */
MUST_USE rc kv_open(hf_store *, struct kv **out, struct err *e);
void kv_close(struct kv *); /* NULL is fine */
bool kv_is_dispatcher(const struct kv *);
/* On a connection that writes, the turn is held, before its BEGIN IMMEDIATE. */
MUST_USE rc kv_begin(struct kv *, int scope, sqlite3 *db, struct err *e);
MUST_USE rc kv_before_commit(struct kv *, hf_tx *, struct err *e); /* an error rolls back */
void kv_ended(struct kv *, int scope, bool committed);             /* the turn is still held */
void kv_wait_room(struct kv *);                                    /* nothing is held */

/* replicate.c: what the store calls there. */
MUST_USE rc source_may_end(const hf_source *, struct err *e); /* not in a callback of its own */
MUST_USE rc source_end(hf_source *, struct err *e); /* drains, ends, frees; NULL is fine */

/* turn.c */
/* Who holds the write lock of a database in WAL mode: "process 42 (app)". False: nobody is seen. */
bool name_writer(struct env *, const char *file, char *out, size_t size);

/* tx.c */
/* The transaction of this store that this thread is in; NULL: none. */
hf_tx *tx_of_thread(const hf_store *);
bool store_in_transaction(const hf_store *);
/* As the public ones; `deadline` (env->mono_ns) for the locks, 0: the store's timeout from now. */
MUST_USE rc tx_begin(hf_store *, int scope, const char *why, int64_t deadline_ns, hf_tx **out,
                     struct err *e);
/* For one statement that reads one file, and takes its locks itself: no BEGIN, and the other file
 * is not looked at. It may be told RC_BUSY, unlike those of HF_READ. Ends with tx_rollback. */
MUST_USE rc tx_begin_one(hf_store *, const char *why, hf_tx **out, struct err *e);
MUST_USE rc tx_commit(hf_tx *, struct err *e);
void tx_rollback(hf_tx *, int code); /* for the trace: what it ended with */
/* It is open, of this thread, and was not rolled back by SQLite. */
MUST_USE rc tx_check(hf_tx *, struct err *e);
hf_store *tx_store(const hf_tx *);
int tx_scope(const hf_tx *);

/* sql.c: for kv. A statement of the cache, reset and without parameters; it may do what the
 * application's may not. To be given back by tx_release, or at the transaction's end. */
MUST_USE rc tx_prepare(hf_tx *, const char *sql, sqlite3_stmt **out, struct err *e);
/* One step: *row, or the end (then the statement was given back). */
MUST_USE rc tx_step(hf_tx *, sqlite3_stmt *, bool *row, struct err *e);
void tx_release(hf_tx *, sqlite3_stmt *);
/* Statements without rows, as the store's own. */
MUST_USE rc tx_exec(hf_tx *, const char *sql, struct err *e);

#endif
