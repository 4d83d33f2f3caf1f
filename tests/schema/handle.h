/* What the tests of the public functions over a schema share. */
#ifndef TESTS_SCHEMA_HANDLE_H
#define TESTS_SCHEMA_HANDLE_H

#include "../store/box.h"

#include <jansson.h>

static char schema_dir[TEMP_PATH], schema_path[TEMP_PATH * 2], schema_noise[TEMP_PATH * 2];
static sqlite3 *others; /* somebody beside: sqlite3, an operator */

static inline void by_others(const char *sql) {
    char *words = NULL;
    ck_assert_msg(sqlite3_exec(others, sql, NULL, NULL, &words) == SQLITE_OK, "%s: %s", sql, words);
}

static inline int64_t seen_by_others(const char *sql) {
    sqlite3_stmt *st;
    ck_assert_msg(sqlite3_prepare_v2(others, sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", sql,
                  sqlite3_errmsg(others));
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return n;
}

static inline void others_open(void) {
    ck_assert_int_eq(sqlite3_open(schema_path, &others), SQLITE_OK);
    sqlite3_busy_timeout(others, 10000);
    char *sql = sqlite3_mprintf("PRAGMA journal_mode = WAL; ATTACH %Q AS noise;"
                                "PRAGMA noise.journal_mode = WAL;",
                                schema_noise);
    by_others(sql);
    sqlite3_free(sql);
}

/* Before a fork: a child may not open what its parent's SQLite has open. */
static inline void others_close(void) {
    sqlite3_close(others);
}

/* app.db in WAL mode, and app-noise.db, which `others` has attached. */
static inline void schema_setup(void) {
    temp_dir(schema_dir);
    snprintf(schema_path, sizeof schema_path, "%s/app.db", schema_dir);
    snprintf(schema_noise, sizeof schema_noise, "%s/app-noise.db", schema_dir);
    others_open();
}

static inline void schema_teardown(void) {
    others_close();
}

#endif
