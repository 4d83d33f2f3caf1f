/* The database of box.h, replicated by this process. */
#ifndef TESTS_SCHEMA_REPLICATED_H
#define TESTS_SCHEMA_REPLICATED_H

#include "box.h"

#include "object/object.h"
#include "replica/replica.h"
#include "schema/safety.h"
#include "schema/shape.h"
#include "store/fake.h"

static hf_source *source;
static char replica[TEMP_PATH + 32];

#define REPLICATE(...)                                                                             \
    replicate(&(hf_replicate_options){                                                             \
        .size = sizeof(hf_replicate_options), .interval_ms = 1, __VA_ARGS__})
static inline void replicate(const hf_replicate_options *o) {
    HF(hf_attach(app, urls, o, &source));
    HF(hf_source_wait(source, NULL, NULL));
}

/* To a directory: the same as `holdfast replicate app.db DIR`. */
static inline void to_directory(void) {
    snprintf(replica, sizeof replica, "%s/replica", app_dir);
    urls[0] = replica;
    REPLICATE(.drain_ms = 10000);
}

static inline void end_replication(void) {
    HF(hf_detach(source));
    source = NULL;
}

static inline struct store *destination(void) {
    struct store *store;
    OK(destination_open(store_env(), urls[0], &store, e));
    return store;
}

static inline int64_t of_restored(uint64_t txid, const char *query) {
    static int count;
    char path[TEMP_PATH + 64];
    struct store *store = destination();
    struct restore_options o = {.target.txid = txid};
    struct restore_result result;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/restored-%d.db", app_dir, count++);
    OK(replica_restore(store, path, &o, &result, e));
    store_free(store);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    int64_t n = number(db, query);
    sqlite3_close(db);
    return n;
}

/* ---- a run, and what it changes ---- */

static char before_hash[65];
static int64_t before_rows;

static inline void read_hash(const char *path, char out[65], int64_t *rows) {
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    OK(contents_hash(db, out, rows, e));
    sqlite3_close(db);
}

static inline void check_equal(const char *path, const char *hash) {
    char now[65];
    int64_t rows;
    read_hash(path, now, &rows);
    ck_assert_str_eq(now, hash);
}

static inline void step(bool last) {
    struct record record = {.version = 20260901120000,
                            .name = (char *)(uintptr_t) "20260901120000_split.sql",
                            .phase = last ? PHASE_DONE : PHASE_EXPANDED,
                            .phase_ms = 1};
    struct step_row row = {.version = record.version, .step = last ? "contract" : "expand"};
    OK(sconn_begin(&conn, e));
    OK(history_prepare(&conn, e));
    int64_t seen = number(conn.db, "PRAGMA data_version");
    row.others = conn.seen != seen;
    OK(sconn_exec(&conn,
                  last ? "UPDATE t SET y = x * 2; DELETE FROM t WHERE x % 3 = 0"
                       : "ALTER TABLE t ADD COLUMN y; CREATE INDEX ty ON t(y)",
                  e));
    OK(history_put(&conn, &record, e));
    OK(history_log(&conn, &row, e));
    OK(sconn_commit(&conn, NULL, e));
    conn.seen = seen;
}

/* A run as apply does it, of two steps; `others`: what somebody else does at that moment. */
enum moment { NEVER, BEFORE_IT, IN_ITS_MIDDLE, BEHIND_IT };
static inline void migrate_beside(const char *run, enum moment moment, const char *others) {
    struct restore_point p;
    char name[60];
    snprintf(name, sizeof name, "before-20260901120000-%s", run);
    OK(restore_point_make(&conn, name, &p, e));
    read_hash(app_path, before_hash, &before_rows);
    if (moment == BEFORE_IT) sql(others);
    step(false);
    if (moment == IN_ITS_MIDDLE) sql(others);
    step(true);
    if (moment == BEHIND_IT) sql(others);
    snprintf(name, sizeof name, "after-20260901120000-%s", run);
    OK(restore_point_make(&conn, name, &p, e));
    ck_assert_int_eq(p.others, moment == BEHIND_IT);
}

static inline void migrate(const char *run) {
    migrate_beside(run, NEVER, NULL);
}

static inline void fill(int rows) {
    char text[200];
    snprintf(text, sizeof text,
             "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < %d)"
             "INSERT INTO t SELECT i FROM s",
             rows);
    sql(text);
}

#endif
