/* The library: a store, its keys and values, replication in the process with its socket, and the
 * extension of SQLite.
 *
 * What a function said is there, is there; what it said it read is what was written. A transaction
 * that failed has left nothing.
 */
#include "life.h"
#include "operations.h"

#include "daemon/client.h"
#include "holdfast.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEED "../seed/"

/* Ends the operation with what the library said. */
#define STOP_UNLESS(call)                                                                          \
    do {                                                                                           \
        int code_ = (call);                                                                        \
        if (code_ != HF_OK) {                                                                      \
            said_hf(code_);                                                                        \
            return;                                                                                \
        }                                                                                          \
    } while (0)

void said_hf(int code) {
    outcome->code = code;
    if (code) snprintf(outcome->words, sizeof outcome->words, "%.500s", hf_errmsg());
}

/* ---- a store ---- */

static const char tables[] = "CREATE TABLE IF NOT EXISTS t(i INTEGER PRIMARY KEY, v TEXT, b BLOB);";

static const hf_store_options with_noise = {
    .size = sizeof with_noise,
    .noise = "",
    .main_schema = tables,
    .noise_schema = "CREATE TABLE IF NOT EXISTS noise.seen(i INTEGER PRIMARY KEY, at INTEGER)",
    .timeout_ms = 1000};

static int add_row(hf_tx *t, void *arg) {
    const uint64_t *i = arg;
    char v[40];
    snprintf(v, sizeof v, "row %" PRIu64, *i);
    return hf_run(t, "INSERT INTO t VALUES (?, ?, zeroblob(?))", "isi", (int64_t)*i, v,
                  (int64_t)(*i * 100 % 1500));
}

static int add_noise(hf_tx *t, void *arg) {
    (void)arg;
    return hf_run(t, "INSERT INTO noise.seen VALUES (1, 1)", "");
}

static int add_both(hf_tx *t, void *arg) {
    const uint64_t *i = arg;
    int code = hf_run(t, "INSERT INTO noise.seen VALUES (?, 1)", "i", (int64_t)*i);
    return code ? code : add_row(t, arg);
}

static int count_rows(hf_tx *t, void *out) {
    struct sqlite3_stmt *s;
    int code = hf_query(t, &s, "SELECT count(*) FROM t", "");
    if (code) return code;
    code = hf_step(t, s);
    if (code != HF_ROW) return code;
    *(int64_t *)out = sqlite3_column_int64(s, 0);
    return hf_step(t, s);
}

static int write_row(hf_store *s, uint64_t i, int scope) {
    int code = hf_write(s, scope, "a row", scope == HF_BOTH ? add_both : add_row, &i);
    if (code == HF_OK) outcome->committed = i;
    return code;
}

static int use_store(hf_store *s) {
    int64_t seen = 0;
    for (uint64_t i = 1; i <= 4; i++) {
        int code = write_row(s, i, i % 2 ? HF_MAIN : HF_BOTH);
        if (code == HF_OK) code = hf_read(s, "count", count_rows, &seen);
        if (code) return code;
        MUST((uint64_t)seen == i, "WRONG ANSWER: %" PRId64 " rows, not %" PRIu64, seen, i);
    }
    return hf_write(s, HF_NOISE, "noise", add_noise, NULL);
}

static void run_store(void) {
    hf_store *s;
    STOP_UNLESS(hf_store_open(DB, &with_noise, &s));
    said_hf(use_store(s));
    int code = hf_store_close(s);
    if (!outcome->code) said_hf(code);
}

static void check_store(void) {
    if (!outcome->committed && !is_there(DB)) return;
    uint64_t rows = rows_of(DB);
    MUST(rows == outcome->committed, "%" PRIu64 " rows, and %" PRIu64 " were committed", rows,
         outcome->committed);
}

/* ---- keys and values ---- */

#define USER "{\"name\": \"n%d\", \"at\": %d}"

static int put_users(hf_store *s) {
    char key[20], value[60];
    for (int i = 1; i <= 3; i++) {
        snprintf(key, sizeof key, "user/%d", i);
        snprintf(value, sizeof value, USER, i, i);
        int code = hf_put(s, key, hf_json(value));
        if (code) return code;
    }
    return HF_OK;
}

static void changed(void *arg, const hf_change *c) {
    (void)arg;
    MUST(strncmp(c->key, "user/", 5) == 0, "WRONG ANSWER: a change of %s is told", c->key);
}

static int count_pair(void *arg, const hf_pair *p) {
    (void)p;
    ++*(int *)arg;
    return 0;
}

static int read_users(hf_tx *t, void *arg) {
    int found_count = 0, scanned = 0;
    hf_find f = {.size = sizeof f, .prefix = "user/", .path = "$.name", .equals = hf_text("n2")};
    hf_scan all = {.size = sizeof all, .prefix = "user/"};
    (void)arg;
    int code = hf_kv_find(t, &f, count_pair, &found_count);
    if (!code) code = hf_kv_scan(t, &all, count_pair, &scanned);
    if (!code && (found_count != 1 || scanned != 3))
        found("WRONG ANSWER: %d found and %d scanned", found_count, scanned);
    return code;
}

static int swap_user(hf_tx *t, void *arg) {
    hf_value old = hf_json("{\"name\": \"n1\", \"at\": 1}");
    (void)arg;
    return hf_kv_swap(t, "user/1", &old, hf_json("{\"name\": \"n1\", \"at\": 7}"));
}

static int use_keys(hf_store *s) {
    hf_watch *w = NULL;
    char *value = NULL;
    size_t bytes;
    int code = hf_kv_watch(s, "user/", changed, NULL, &w);
    if (!code) code = put_users(s);
    if (!code) code = hf_kv_index(s, "user/", "$.name", 0);
    if (!code) code = hf_read(s, "users", read_users, NULL);
    if (!code) code = hf_write(s, HF_MAIN, "swap", swap_user, NULL);
    if (!code) code = hf_get(s, "user/1", &value, &bytes);
    if (!code && strcmp(value, "{\"name\": \"n1\", \"at\": 7}") != 0)
        found("WRONG ANSWER: %s", value);
    if (!code) hf_free(value);
    if (!code) code = hf_delete(s, "user/1");
    if (w) hf_watch_stop(w);
    return code;
}

static void run_keys(void) {
    hf_store *s;
    STOP_UNLESS(hf_store_open(DB, NULL, &s));
    int code = use_keys(s);
    MUST(code != HF_NOTFOUND, "WRONG ANSWER: what was put is not found: %s", hf_errmsg());
    said_hf(code);
    code = hf_store_close(s);
    if (!outcome->code) said_hf(code);
}

/* ---- replication in the process ---- */

static const char *const replica[] = {"replica", NULL};

static hf_replicate_options soon(void) {
    return (hf_replicate_options){.size = sizeof(hf_replicate_options),
                                  .interval_ms = 50,
                                  .start_ms = patience_ms(),
                                  .drain_ms = patience_ms(),
                                  .checkpoint_pages = 10,
                                  .socket = 1};
}

static int write_and_wait(hf_store *s) {
    hf_wait_options w = {.size = sizeof w, .timeout_ms = patience_ms(), .flush = 1};
    for (uint64_t i = 1; i <= 3; i++) {
        int code = write_row(s, i, HF_MAIN);
        if (!code) code = hf_wait(s, NULL, &w);
        if (code) return code;
        outcome->acked = i;
        outcome->waits++;
    }
    return HF_OK;
}

static void run_replicated(void) {
    hf_store *s;
    char *status = NULL;
    const hf_store_options o = {.size = sizeof o, .main_schema = tables, .timeout_ms = 1000};
    STOP_UNLESS(hf_store_open(DB, &o, &s));
    hf_replicate_options r = soon();
    int code = hf_store_replicate(s, replica, &r);
    if (!code) code = write_and_wait(s);
    if (!code) code = write_row(s, 4, HF_MAIN); /* the close ships it, or says that it has not */
    if (!code) code = hf_source_status(hf_store_source(s), &status);
    if (!code) hf_free(status);
    said_hf(code);
    code = hf_store_close(s);
    if (code == HF_OK && !outcome->code) outcome->acked = outcome->committed;
    if (!outcome->code) said_hf(code);
}

static void check_replicated(void) {
    MUST(!outcome->nothing_fails || outcome->waits == 3, "nothing was waited for");
    if (!outcome->committed && !outcome->acked) return; /* the tables may not have been made */
    life_check(DB, "replica");
}

/* ---- others ask by the socket: the client, and the extension ---- */

static void prepare_database(void) {
    rows_add(DB, 4);
}

/* `ask` while the database is replicated here. */
static void attached(void (*ask)(sqlite3 *)) {
    sqlite3 *db = NULL;
    hf_source *source = NULL;
    take_database(4);
    points_pause();
    MUST(sqlite3_open(DB, &db) == SQLITE_OK, "open");
    points_resume();
    hf_replicate_options o = soon();
    int code = hf_attach(db, replica, &o, &source);
    if (code) said_hf(code);
    else {
        ask(db);
        code = hf_detach(source);
        if (!outcome->code) said_hf(code);
        if (!outcome->code) outcome->acked = outcome->committed;
    }
    points_pause();
    sqlite3_close(db);
    points_resume();
}

static void ask_client(sqlite3 *db) {
    char socket[LIMIT_PATH], *answer = NULL;
    struct err e = {0};
    struct client_wait w = {.timeout_ms = patience_ms(), .flush = true};
    const char *path = sqlite3_db_filename(db, "main");
    rc r = client_find(path, NULL, socket, &e);
    for (uint64_t rows = 5; is_ok(r) && rows <= 7; rows++) {
        rows_add(DB, rows);
        r = client_wait(socket, &w, &answer, &e);
        if (is_ok(r)) outcome->acked = rows, outcome->waits++;
        if (is_ok(r)) free(answer);
    }
    if (is_ok(r)) r = client_status(socket, &answer, &e);
    if (is_ok(r)) free(answer);
    said(r, &e);
}

static void run_socket(void) {
    attached(ask_client);
}

static void extension_path(char out[600]) {
    const char *build = getenv("TORTURE_BUILD");
    char self[500];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = 0;
    if (build) snprintf(out, 600, "%s/src/ext/holdfast", build);
    else snprintf(out, 600, "%.*s/../../src/ext/holdfast", (int)(strrchr(self, '/') - self), self);
}

/* SQL's own errors count as the extension's words. */
static bool ask_sql(sqlite3 *db, const char *sql) {
    char *words = NULL;
    int code = sqlite3_exec(db, sql, NULL, NULL, &words);
    if (code == SQLITE_OK) return true;
    outcome->code = code;
    snprintf(outcome->words, sizeof outcome->words, "%.500s", words ? words : sqlite3_errstr(code));
    sqlite3_free(words);
    return false;
}

static void ask_extension(sqlite3 *db) {
    char path[600], wait[80], *words = NULL;
    extension_path(path);
    snprintf(wait, sizeof wait, "SELECT holdfast_wait(%d, 'flush')", patience_ms());
    points_pause();
    sqlite3_enable_load_extension(db, 1);
    MUST(sqlite3_load_extension(db, path, NULL, &words) == SQLITE_OK, "%s: %s", path, words);
    points_resume();
    for (uint64_t rows = 5; rows <= 7; rows++) {
        rows_add(DB, rows);
        if (!ask_sql(db, wait)) return;
        outcome->acked = rows;
        outcome->waits++;
    }
    if (ask_sql(db, "SELECT holdfast_position()")) (void)ask_sql(db, "SELECT holdfast_status()");
}

static void run_extension(void) {
    attached(ask_extension);
}

static void check_attached(void) {
    MUST(!outcome->nothing_fails || outcome->waits == 3, "nothing was waited for");
    life_check(DB, "replica");
}

/* ---- before a first open ---- */

static void prepare_replica(void) {
    rows_add(DB, 4);
    SURE(life_whole(DB, "replica", 10, &sure_err));
    MUST(rows_of(DB) == 10, "what is prepared lacks rows");
}

static void run_restore_missing(void) {
    const char *const from[] = {SEED "replica", NULL};
    int restored = 0;
    hf_replicate_options o = soon();
    int code = hf_restore_if_missing(DB, from, &o, &restored);
    MUST(code || restored, "WRONG ANSWER: there is a backup, and it says that there is none");
    said_hf(code);
}

static void check_restore_missing(void) {
    MUST(is_there(DB) || outcome->code, "it said that it was restored, and nothing is there");
    if (is_there(DB)) MUST(rows_of(DB) == 10, "PARTIAL FILE: not all rows are there");
}

const struct operation store_operations[] = {
    {.name = "store", NULL, run_store, check_store},
    {.name = "keys", NULL, run_keys, NULL},
    {.name = "restore-if-missing",
     prepare_replica,
     run_restore_missing,
     check_restore_missing,
     .waits = true},
    {.name = "replicated-store", NULL, run_replicated, check_replicated, .waits = true},
    {.name = "socket", prepare_database, run_socket, check_attached, .waits = true},
    {.name = "extension", prepare_database, run_extension, check_attached, .waits = true},
    {0},
};
