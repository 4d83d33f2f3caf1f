/* A database and the connection that changes it, for the tests of rebuilds. */
#ifndef TESTS_SCHEMA_REBUILD_BOX_H
#define TESTS_SCHEMA_REBUILD_BOX_H

#include "../os/temp.h"

#include "schema/rebuild.h"

static hf_schema handle;
static struct sconn conn;
static char box_path[TEMP_PATH * 2];

static inline void box_setup(void) {
    char dir[TEMP_PATH];
    sqlite3 *db;
    temp_dir(dir);
    snprintf(box_path, sizeof box_path, "%s", below(dir, "app.db"));
    ck_assert_int_eq(sqlite3_open(box_path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    handle.options.lock_ms = 1000;
    OK(env_new_system(1, &handle.env, e));
    OK(sconn_open_at(&handle, box_path, false, &conn, e));
}

static inline void box_teardown(void) {
    sconn_close(&conn);
    env_free_system(handle.env);
}

static inline void run(const char *sql) {
    int code = sqlite3_exec(conn.db, sql, NULL, NULL, NULL);
    ck_assert_msg(code == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(conn.db));
}

static inline void put_cell(sqlite3_str *out, sqlite3_stmt *st, int i) {
    const char *text = (const char *)sqlite3_column_text(st, i);
    sqlite3_str_appendf(out, "%s%s", i ? "|" : "", text ? text : "null");
}

/* The rows, a line each; sqlite3_free. */
static inline char *rows_of(const char *sql) {
    sqlite3_str *out = sqlite3_str_new(NULL);
    sqlite3_stmt *st;
    int code = sqlite3_prepare_v2(conn.db, sql, -1, &st, NULL);
    ck_assert_msg(code == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(conn.db));
    for (int n = 0; (code = sqlite3_step(st)) == SQLITE_ROW; n++) {
        if (n) sqlite3_str_appendchar(out, 1, '\n');
        for (int i = 0; i < sqlite3_column_count(st); i++) put_cell(out, st, i);
    }
    ck_assert_msg(code == SQLITE_DONE, "%s: %s", sql, sqlite3_errmsg(conn.db));
    sqlite3_finalize(st);
    char *text = sqlite3_str_finish(out);
    return text ? text : sqlite3_mprintf("");
}

static inline void gives(const char *sql, const char *expected) {
    char *is = rows_of(sql);
    ck_assert_msg(strcmp(is, expected) == 0, "%s:\n%s\nnot\n%s", sql, is, expected);
    sqlite3_free(is);
}

/* The whole file, page by page. */
struct image {
    unsigned char *bytes;
    sqlite3_int64 size;
};
static inline struct image image_of(void) {
    struct image i = {0};
    i.bytes = sqlite3_serialize(conn.db, "main", &i.size, 0);
    ck_assert_ptr_nonnull(i.bytes);
    return i;
}
static inline void ck_assert_same_image(struct image *was) {
    struct image is = image_of();
    ck_assert_int_eq(is.size, was->size);
    ck_assert_int_eq(memcmp(is.bytes, was->bytes, (size_t)is.size), 0);
    sqlite3_free(is.bytes);
    sqlite3_free(was->bytes);
}

/* ---- rebuilds ---- */

#define OPS_MOST 6
struct op {
    enum rebuild_op_kind kind;
    const char *column, *value;
};

static inline char *unconst(const char *text) {
    return (char *)(uintptr_t)text;
}

/* Up to the first that is all zeros. */
static inline size_t ops_of(const struct op *given, struct rebuild_op ops[OPS_MOST]) {
    size_t n = 0;
    for (; given && n < OPS_MOST; n++) {
        const struct op *o = &given[n];
        if (!o->column && !o->value && !o->kind) break;
        ops[n] = (struct rebuild_op){o->kind, unconst(o->column), unconst(o->value)};
    }
    return n;
}

/* In a transaction of its own, as a step would be. */
static inline rc rebuild(const char *table, const struct op *given, const char *create,
                         struct err *e) {
    struct rebuild_op ops[OPS_MOST];
    struct rebuild r = {unconst(table), ops, ops_of(given, ops), unconst(create)};
    struct migration m = {.name = unconst("7_form.sql")};
    struct statement st = {.rebuild = &r, .line = 3};
    int64_t rows;
    TRY(sconn_begin(&conn, e));
    rc done = sconn_watch_parents(&conn, e);
    if (is_ok(done)) done = rebuild_run(&conn, &m, &st, &rows, e);
    if (is_ok(done)) return sconn_commit(&conn, NULL, e);
    sconn_rollback(&conn);
    return done;
}

/* It goes well, and nothing is found wrong behind it. */
static inline void rebuilds(const char *table, const struct op *ops, const char *create) {
    OK(rebuild(table, ops, create, e));
    gives("PRAGMA integrity_check", "ok");
    gives("PRAGMA foreign_key_check", "");
}

#endif
