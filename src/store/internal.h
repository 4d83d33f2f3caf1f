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

/* store.c */
struct env *store_env(void); /* the process's; never freed */
/* This handle was made before a fork: RC_USAGE. */
MUST_USE rc check_fork(unsigned generation, const char *what, struct err *e);
unsigned fork_generation(void);

/* tx.c: for kv. A cached statement, reset and without parameters. `noise`: prepared for that
 * file. */
MUST_USE rc tx_prepare(hf_tx *, const char *sql, sqlite3_stmt **out, struct err *e);
hf_store *tx_store(const hf_tx *);
int tx_scope(const hf_tx *);

#endif
