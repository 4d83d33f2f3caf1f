/* What the tests of the store share: files in a directory of the case's own, words and codes. */
#ifndef TESTS_STORE_BOX_H
#define TESTS_STORE_BOX_H

#include "../os/temp.h"
#include "holdfast.h"

#include <pthread.h>
#include <sqlite3.h>

/* The call ends with `code`, and the words have `text` in them. */
#define SAYS(call, expected, text)                                                                 \
    do {                                                                                           \
        int says_ = (call);                                                                        \
        ck_assert_msg(says_ == (expected), "%s: %s (\"%s\"), not %s", #call, hf_strcode(says_),    \
                      hf_errmsg(), hf_strcode(expected));                                          \
        ck_assert_msg(strstr(hf_errmsg(), text) != NULL, "%s: \"%s\" lacks \"%s\"", #call,         \
                      hf_errmsg(), text);                                                          \
    } while (0)

#define FINE(call)                                                                                 \
    do {                                                                                           \
        int fine_ = (call);                                                                        \
        ck_assert_msg(fine_ == HF_OK, "%s: %s: %s", #call, hf_strcode(fine_), hf_errmsg());        \
    } while (0)

/* On a thread of its own, to its end. */
static inline void in_thread(void *(*fn)(void *), void *arg) {
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, fn, arg), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

/* The one number that the query gives. */
static inline int64_t number_in(hf_tx *t, const char *sql) {
    sqlite3_stmt *st;
    FINE(hf_query(t, &st, sql, ""));
    ck_assert_msg(hf_step(t, st) == HF_ROW, "%s: %s", sql, hf_errmsg());
    int64_t n = sqlite3_column_int64(st, 0);
    ck_assert_int_eq(hf_step(t, st), HF_OK);
    return n;
}

static inline int64_t number(hf_store *s, const char *sql) {
    hf_tx *t;
    FINE(hf_begin(s, HF_READ, "a number", &t));
    int64_t n = number_in(t, sql);
    FINE(hf_commit(t));
    return n;
}

static inline int run_text(hf_tx *t, void *sql) {
    return hf_exec(t, sql);
}

/* The statements in one transaction. */
static inline int write_as(hf_store *s, int scope, const char *why, const char *sql) {
    return hf_write(s, scope, why, run_text, (void *)(uintptr_t)sql);
}

static inline int write_sql(hf_store *s, int scope, const char *sql) {
    return write_as(s, scope, "a test", sql);
}

#define TABLES                                                                                     \
    .noise = "", .main_schema = "CREATE TABLE IF NOT EXISTS m(id INTEGER PRIMARY KEY, v UNIQUE);", \
    .noise_schema = "CREATE TABLE IF NOT EXISTS noise.n(id INTEGER PRIMARY KEY, v);"

static inline hf_store *temp_store(void) {
    hf_store *s;
    hf_store_options o = {.size = sizeof o, TABLES};
    FINE(hf_store_open_temp(&o, &s));
    return s;
}

#endif
