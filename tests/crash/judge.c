/* Judging: see the header. The replica is judged by the code that a restore runs. */
#include "judge.h"

#include "model.h"
#include "replica/replica.h"

#include <dirent.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((format(printf, 2, 3))) static void bad(struct verdict *v, const char *format, ...) {
    va_list list;
    if (v->bad) return;
    va_start(list, format);
    vsnprintf(v->words, sizeof v->words, format, list);
    va_end(list);
    v->bad = true;
}

/* ---- a database ---- */

struct expected {
    uint64_t commit[MODEL_ROWS + 1]; /* that the row is of; 0: it is not there */
};

static void expect(uint64_t n, struct expected *e) {
    bool known[MODEL_ROWS + 1] = {false};
    int left = MODEL_ROWS;
    *e = (struct expected){0};
    for (; n > 0 && left > 0; n--) {
        for (int k = MODEL_ROWS_PER_COMMIT - 1; k >= 0; k--) {
            int64_t id = model_row(n, k);
            if (known[id]) continue;
            known[id] = true;
            left--;
            if (!model_deletes(n, k)) e->commit[id] = n;
        }
    }
}

static bool ask(sqlite3 *db, struct verdict *v, const char *sql,
                void (*row)(sqlite3_stmt *, void *, struct verdict *), void *arg) {
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
    while (code == SQLITE_OK && (code = sqlite3_step(s)) == SQLITE_ROW) {
        row(s, arg, v);
        code = SQLITE_OK;
    }
    if (code != SQLITE_DONE) bad(v, "%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_finalize(s);
    return !v->bad;
}

static void take_number(sqlite3_stmt *s, void *arg, struct verdict *v) {
    (void)v;
    *(int64_t *)arg = sqlite3_column_int64(s, 0);
}

static void must_be_ok(sqlite3_stmt *s, void *arg, struct verdict *v) {
    const char *words = (const char *)sqlite3_column_text(s, 0);
    (void)arg;
    if (!words || strcmp(words, "ok") != 0) bad(v, "integrity_check: %s", words ? words : "NULL");
}

static void check_row(sqlite3_stmt *s, void *arg, struct verdict *v) {
    uint8_t data[MODEL_DATA_MAX];
    struct expected *e = arg;
    int64_t id = sqlite3_column_int64(s, 0);
    uint64_t n = (uint64_t)sqlite3_column_int64(s, 1);
    if (id < 1 || id > MODEL_ROWS || !n || e->commit[id] != n) {
        bad(v, "row %lld is of commit %llu, in the state of commit %llu", (long long)id,
            (unsigned long long)n, (unsigned long long)v->commit);
        return;
    }
    size_t size = model_data(n, id, data);
    const void *there = sqlite3_column_blob(s, 2);
    if ((size_t)sqlite3_column_bytes(s, 2) != size || (size && memcmp(there, data, size) != 0))
        bad(v, "row %lld of commit %llu has other bytes", (long long)id, (unsigned long long)n);
    e->commit[id] = 0;
}

static void check_rows(sqlite3 *db, struct verdict *v) {
    struct expected e;
    expect(v->commit, &e);
    if (!ask(db, v, "SELECT id, commit_number, data FROM row", check_row, &e)) return;
    for (int id = 1; id <= MODEL_ROWS; id++)
        if (e.commit[id])
            bad(v, "row %d of commit %llu is missing in the state of commit %llu", id,
                (unsigned long long)e.commit[id], (unsigned long long)v->commit);
}

/* Of a store: the key was put in the same transaction. */
static void check_key(sqlite3 *db, struct verdict *v) {
    int64_t tables = 0, n = 0;
    ask(db, v, "SELECT count(*) FROM sqlite_schema WHERE name = 'DBX'", take_number, &tables);
    if (!tables || !v->commit) return;
    ask(db, v, "SELECT Value FROM DBX WHERE Key = 'last'", take_number, &n);
    if ((uint64_t)n != v->commit)
        bad(v, "the key is of commit %lld, the rows of commit %llu", (long long)n,
            (unsigned long long)v->commit);
}

static void read_database(sqlite3 *db, struct verdict *v) {
    int64_t n = 0;
    if (!ask(db, v, "PRAGMA integrity_check(1)", must_be_ok, NULL)) return;
    ask(db, v, "SELECT count(*) FROM sqlite_schema WHERE name = 'last'", take_number, &n);
    if (v->bad || !n) return;
    ask(db, v, "SELECT count(*) FROM sqlite_schema WHERE name = 'fork'", take_number, &n);
    v->forked = n > 0;
    n = 0;
    ask(db, v, "SELECT n FROM last", take_number, &n);
    v->commit = (uint64_t)n;
    check_rows(db, v);
    check_key(db, v);
}

void judge_database(const char *path, struct verdict *v) {
    sqlite3 *db = NULL;
    struct stat st;
    *v = (struct verdict){0};
    if (stat(path, &st) != 0 || st.st_size == 0) return;
    v->there = true;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        bad(v, "open: %s", sqlite3_errmsg(db));
    else read_database(db, v);
    sqlite3_close(db);
}

/* ---- a replica ---- */

static void judge_notes(const char *root, struct verdict *v) {
    char path[LIMIT_PATH + 300];
    snprintf(path, sizeof path, "%s/holdfast", root);
    DIR *d = opendir(path);
    for (struct dirent *entry; d && (entry = readdir(d)) != NULL;) {
        size_t n = strlen(entry->d_name);
        if (entry->d_name[0] == '.' || n < 5 || strcmp(entry->d_name + n - 5, ".json") != 0)
            continue;
        snprintf(path, sizeof path, "%s/holdfast/%s", root, entry->d_name);
        json_error_t error;
        json_t *note = json_load_file(path, 0, &error);
        if (!note) bad(v, "note %s: %s", entry->d_name, error.text);
        json_decref(note);
    }
    if (d) closedir(d);
}

static rc read_each(struct store *store, const struct listing *files, struct err *e) {
    for (size_t i = 0; i < files->count; i++)
        TRY(replica_read_back(store, &files->files[i], NULL, e));
    return ok();
}

static rc verify(struct store *store, const struct listing *files, bool any_names, bool *hole,
                 struct err *e) {
    struct verify_result proven;
    rc r = replica_verify(store, 1, NULL, &proven, e);
    *hole = any_names && r.code == RC_CORRUPT && strstr(e->text, "in its level");
    return *hole ? read_each(store, files, e) : r;
}

static rc verify_and_restore(struct store *store, const char *scratch, bool any_names, bool *hole,
                             struct err *e) {
    struct restore_result restored;
    struct restore_options options = {.parallel = 1};
    struct listing files AUTO(listing_deinit) = {0};
    size_t strangers = 0;
    TRY(replica_list_backup(store, &files, &strangers, e));
    if (strangers) return err_set(e, RC_CORRUPT, "a name that is no object's");
    if (!files.count) return (rc){RC_NOTFOUND};
    TRY(verify(store, &files, any_names, hole, e));
    return replica_restore(store, scratch, &options, &restored, e);
}

static void remove_database(const char *path) {
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    char name[LIMIT_PATH + 16];
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

void judge_replica(struct env *env, const char *root, const char *scratch, bool any_names,
                   struct verdict *v) {
    bool hole = false;
    struct store *store = NULL;
    struct err e = {0};
    *v = (struct verdict){0};
    remove_database(scratch);
    rc r = store_new_file(env, root, &store, &e);
    if (is_ok(r)) r = verify_and_restore(store, scratch, any_names, &hole, &e);
    store_free(store);
    if (is_ok(r)) judge_database(scratch, v);
    else if (r.code != RC_NOTFOUND) bad(v, "%s", e.text);
    v->there = is_ok(r);
    v->hole = hole;
    judge_notes(root, v);
    remove_database(scratch);
}
