/* Keys and values: what the files kv*.c share. See include/holdfast.h for what each function
 * promises.
 *
 * A key lives in one file: in noise if one of the store's noise prefixes begins it, else in main.
 * So the keys under a prefix are in one file too, unless the prefix is shorter than a noise prefix
 * that it begins: then it is refused, as no order or index spans two files.
 *
 * A row whose Value is NULL counts as none. A row whose Key is not text, or has a NUL in it, can
 * only be written by plain SQL; it is no key, and a scan that meets it says so (RC_CORRUPT).
 *
 * Life: kv_open when transactions work, kv_close when none is open. Threads: as the transaction;
 * what is in struct kv does not change after kv_open.
 */
#ifndef STORE_KV_H
#define STORE_KV_H

#include "base/limits.h"
#include "store/internal.h"
#include "store/limits.h"

#include <stddef.h>

enum kv_file { KV_MAIN, KV_NOISE };
#define KV_FILES 2

struct kv {
    hf_store *store;
    const char *const *noise_prefixes; /* the store's; may be NULL */
    bool noise;
    char refused[KV_FILES][200]; /* why DBX of this file cannot serve; "": it can */
    struct watches *watches;
};

/* One text for each file: KV_SQL("DELETE FROM ", ".DBX"). */
#define KV_SQL(before, after)                                                                      \
    { before "main" after, before "noise" after }
const char *kv_file_name(enum kv_file);
int kv_scope(enum kv_file); /* that may write it */

/* ---- kv_key.c ---- */

bool utf8_valid(const void *text, size_t n);
/* `what`: "key" or "prefix"; a key has at least one byte. */
MUST_USE rc kv_check_key(const char *key, const char *what, struct err *e);
/* The least text that is greater than all that begin with the prefix. False: there is none. */
bool kv_upper(const char *prefix, char out[LIMIT_KV_KEY + 8]);
enum kv_file kv_file_of(const struct kv *, const char *key);
/* NULL: all of main. RC_USAGE: its keys are in both files. */
MUST_USE rc kv_file_of_prefix(const struct kv *, const char *prefix, enum kv_file *out,
                              struct err *e);
/* RC_USAGE: the transaction does not reach this file; RC_UNFIT: its table cannot serve. */
MUST_USE rc kv_reach(const struct kv *, const hf_tx *, enum kv_file, bool write, const char *key,
                     struct err *e);

/* ---- kv.c ---- */

/* What a public function said, as rc. */
MUST_USE rc kv_public(int code, struct err *e);

/* A statement of the store's cache while it is in use; AUTO(kv_rows_end) gives it back. */
struct kv_rows {
    hf_tx *tx;
    sqlite3_stmt *it; /* NULL: it is at its end */
};
MUST_USE rc kv_rows(hf_tx *, const char *sql, struct kv_rows *out, struct err *e);
MUST_USE rc kv_next(struct kv_rows *, struct err *e); /* RC_NOTFOUND, without words: no more */
void kv_rows_end(struct kv_rows *);
/* Calls `fn` for each row of (Key, Value); *stopped is what it returned. */
MUST_USE rc kv_each(struct kv_rows *, hf_each *fn, void *arg, int *stopped, struct err *e);

/* Binds the range of a prefix: at `at` its least key, at `at + 1` what lies beyond. NULL: all. */
void kv_bind_prefix(sqlite3_stmt *, int at, const char *prefix);
/* RC_CONFLICT if the key is there and not `replace`. */
MUST_USE rc kv_store_value(hf_tx *, enum kv_file, const char *key, const hf_value *, bool replace,
                           struct err *e);

/* ---- kv_index.c ---- */

/* Proves every index that is there; tells of those that no query can use. */
MUST_USE rc kv_index_open(struct kv *, hf_tx *, enum kv_file, struct err *e);
/* SQLite refused to put the key, in the words of `e`: if an index of ours did, says so in ours. */
void kv_index_explain(hf_tx *, enum kv_file, struct err *e);

/* ---- kv_path.c ---- */

/* A path in one of its spellings to the one that the index has. RC_USAGE: it is none. */
MUST_USE rc kv_path(const char *path, char out[LIMIT_JSON_PATH], struct err *e);

/* ---- kv_watch.c; what the store calls of it is in store/internal.h ---- */

MUST_USE rc watches_new(struct kv *, struct watches **out, struct err *e);
void watches_free(struct watches *);

#endif
