/* An application of a test: its own connection, a fake destination, and what public functions
 * say. */
#ifndef TESTS_STORE_APP_H
#define TESTS_STORE_APP_H

#include "../os/temp.h"

#include "holdfast.h"

#include <sqlite3.h>

static inline void hf_ok(int code, const char *what) {
    ck_assert_msg(code == HF_OK, "%s: %s: %s", what, hf_strcode(code), hf_errmsg());
}
#define HF(call) hf_ok(call, #call)

static inline void hf_fails(int code, int expected, const char *words, const char *what) {
    ck_assert_msg(code == expected, "%s: %s, not %s: %s", what, hf_strcode(code),
                  hf_strcode(expected), hf_errmsg());
    ck_assert_msg(strstr(hf_errmsg(), words) != NULL, "%s: '%s' is not in: %s", what, words,
                  hf_errmsg());
}
#define HF_FAILS(call, code, words) hf_fails(call, code, words, #call)

static char app_dir[TEMP_PATH], app_path[TEMP_PATH + 32];
static sqlite3 *app;
static hf_fake *fake;
static const char *urls[4];

static inline void sql(const char *text) {
    char *words = NULL;
    ck_assert_msg(sqlite3_exec(app, text, NULL, NULL, &words) == SQLITE_OK, "%s: %s", text, words);
}

static inline int64_t number(sqlite3 *db, const char *text) {
    sqlite3_stmt *s;
    ck_assert_msg(sqlite3_prepare_v2(db, text, -1, &s, NULL) == SQLITE_OK, "%s: %s", text,
                  sqlite3_errmsg(db));
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return n;
}

static inline void app_open(void) {
    ck_assert_int_eq(sqlite3_open(app_path, &app), SQLITE_OK);
    sqlite3_busy_timeout(app, 10000);
}

/* A directory, app.db in WAL mode with a table t(x), and a fake. */
static inline void app_setup(void) {
    temp_dir(app_dir);
    setenv("RUNTIME_DIRECTORY", app_dir, 1);
    snprintf(app_path, sizeof app_path, "%s/app.db", app_dir);
    app_open();
    sql("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE t(x)");
    HF(hf_fake_new(&fake));
    urls[0] = hf_fake_url(fake);
    urls[1] = NULL;
}

static inline void app_teardown(void) {
    sqlite3_close(app);
    hf_fake_free(fake);
}

#endif
