/* A connection of the store: its settings, what may be done on it, and how it waits for others.
 *
 * The connection that writes noise alone has an empty database in memory as its main, and the noise
 * file attached under that name, as the others have it. So noise.x means the same everywhere, and a
 * statement on main.x fails there instead of finding a table of noise. (Rejected: to open the noise
 * file as main under another name. SQLite takes "main" for it all the same.)
 *
 * Why our own busy handler: sqlite3_busy_timeout sleeps up to 100 ms at a time, so that whoever has
 * waited long comes last. Here the pauses are random and never long.
 *
 * Invariants:
 * 1. One thread at a time uses a connection: the one whose turn it is. So SQLite needs no mutex.
 * 2. What ends or replaces the transaction, or changes the settings, is refused, but to the store.
 */
#include "store/parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_FIRST_NS 50000
#define PAUSE_MAX_NS 2000000
#define AUTO_CHECKPOINT 1000 /* pages, SQLite's own figure */

static const char *const sync_words[] = {"NORMAL", "OFF", "NORMAL", "FULL"};

/* ---- waiting for other processes ---- */

static uint32_t roll(struct conn *c) {
    c->dice ^= c->dice << 13; /* xorshift */
    c->dice ^= c->dice >> 17;
    return c->dice ^= c->dice << 5;
}

static int wait_for_lock(void *arg, int count) {
    struct conn *c = arg;
    struct env *env = c->store->env;
    int64_t left = c->deadline_ns - env->mono_ns(env);
    if (left <= 0) return 0;
    int64_t most = count < 5 ? (int64_t)PAUSE_FIRST_NS << count : PAUSE_MAX_NS;
    int64_t pause = PAUSE_FIRST_NS / 2 + roll(c) % most;
    env->sleep_ns(env, pause < left ? pause : left);
    return 1;
}

/* ---- what is refused ---- */

/* Pragmas that may have a value: they only ask, or change what belongs to the database. */
static bool may_have_value(const char *name) {
    static const char *const those[] = {
        "table_info",         "table_xinfo",       "table_list",        "index_list",
        "index_info",         "index_xinfo",       "user_version",      "application_id",
        "foreign_key_list",   "foreign_key_check", "quick_check",       "integrity_check",
        "defer_foreign_keys", "optimize",          "incremental_vacuum"};
    for (size_t i = 0; i < sizeof those / sizeof those[0]; i++)
        if (sqlite3_stricmp(name, those[i]) == 0) return true;
    return false;
}

static const char *refused_pragma(const char *name, const char *value) {
    if (sqlite3_stricmp(name, "wal_checkpoint") == 0)
        return "checkpoints are the store's, or the replication's";
    if (value && !may_have_value(name))
        return "the settings of a connection are the store's: see hf_store_options";
    return NULL;
}

/* The tables of holdfast schema; those that a promotion's triggers write may be written by them. */
static bool is_ours(const char *table, const char *trigger) {
    return table && sqlite3_strnicmp(table, "holdfast_", 9) == 0 &&
           !(trigger && sqlite3_stricmp(table, "holdfast_reject") == 0);
}

static const char *refused(struct conn *c, int action, const char *a, const char *b,
                           const char *schema, const char *trigger) {
    switch (action) {
    case SQLITE_TRANSACTION:
        return "the transaction is the store's: end it with hf_commit or hf_rollback, or return "
               "from the function of hf_write; SAVEPOINT nests";
    case SQLITE_ATTACH:
    case SQLITE_DETACH: return "a store has main and noise, and no other database";
    case SQLITE_PRAGMA: return refused_pragma(a, b);
    case SQLITE_CREATE_TEMP_TABLE:
    case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_TEMP_VIEW:
        return "it would stay on one of the store's connections: make it in main or noise";
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_FUNCTION:
    case SQLITE_RECURSIVE:
    case SQLITE_SAVEPOINT: return NULL;
    case SQLITE_ALTER_TABLE:
    case SQLITE_CREATE_INDEX:
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_DROP_INDEX:
    case SQLITE_DROP_TRIGGER:
        a = b; /* the table */
        __attribute__((fallthrough));
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
    case SQLITE_CREATE_TABLE:
    case SQLITE_DROP_TABLE:
        if (sqlite3_stricmp(a, "holdfast") == 0) return "the table holdfast is the store's";
        if (is_ours(a, trigger))
            return "the tables holdfast_... are those of 'holdfast schema': they can be read";
    }
    if (c->scope == HF_NOISE && schema && strcmp(schema, "main") == 0)
        return "the transaction is of noise alone: name it noise.x, or begin with HF_BOTH";
    return NULL;
}

static int may(void *arg, int action, const char *a, const char *b, const char *schema,
               const char *trigger) {
    struct conn *c = arg;
    const char *why = c->own ? NULL : refused(c, action, a, b, schema, trigger);
    if (!why) return SQLITE_OK;
    c->denied = why;
    return SQLITE_DENY;
}

/* The start of a statement in one line. */
static void shorten(const char *sql, char out[200]) {
    size_t n = 0;
    bool space = false;
    for (; *sql && n < 160; sql++) {
        bool blank = *sql == ' ' || *sql == '\n' || *sql == '\t' || *sql == '\r';
        if (!blank && space && n) out[n++] = ' ';
        if (!blank) out[n++] = *sql;
        space = blank;
    }
    snprintf(out + n, 200 - n, "%s", *sql ? " ..." : "");
}

/* What SQLite says, and what to do about it if the reason is the transaction's scope. */
rc conn_error(struct conn *c, int code, const char *doing, struct err *e) {
    char sql[200];
    const char *denied = c->denied, *said = sqlite3_errmsg(c->db), *other = NULL;
    c->denied = NULL;
    shorten(doing, sql);
    if (denied) return err_set(e, RC_USAGE, "%s: %s", sql, denied);
    if (c->scope == HF_MAIN && c->store->noise[0] &&
        (strstr(said, "no such table: noise.") || strstr(said, "unknown database noise")))
        other = "main";
    if (c->scope == HF_NOISE && strstr(said, "no such table: main.")) other = "noise";
    if (other)
        return err_set(e, RC_USAGE, "%s: %s: this transaction is of %s alone: HF_BOTH has both",
                       sql, said, other);
    return sql_error(e, c->db, code, sql);
}

/* ---- commits of main ---- */

static int committed(void *arg, sqlite3 *db, const char *schema, int pages) {
    struct conn *c = arg;
    hf_store *s = c->store;
    bool taken = false;
    if (strcmp(schema, "main") == 0 && c->scope & HF_MAIN) {
        pthread_mutex_lock(&s->hook_lock);
        taken = s->on_commit != NULL;
        if (taken) s->on_commit(s->on_commit_arg);
        pthread_mutex_unlock(&s->hook_lock);
    }
    if (!taken && pages >= AUTO_CHECKPOINT)
        sqlite3_wal_checkpoint_v2(db, schema, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return SQLITE_OK;
}

void store_set_commit_hook(hf_store *s, void (*fn)(void *), void *arg) {
    pthread_mutex_lock(&s->hook_lock);
    s->on_commit = fn;
    s->on_commit_arg = arg;
    pthread_mutex_unlock(&s->hook_lock);
}

/* ---- open and close ---- */

rc conn_exec(struct conn *c, const char *sql, bool own, struct err *e) {
    bool was = c->own;
    c->own |= own;
    c->denied = NULL;
    int code = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    c->own = was;
    return code == SQLITE_OK ? ok() : conn_error(c, code, sql, e);
}

static rc attach_noise(struct conn *c, struct err *e) {
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(c->db, "ATTACH ? AS noise", -1, &st, NULL);
    if (code == SQLITE_OK) code = sqlite3_bind_text(st, 1, c->store->noise, -1, SQLITE_STATIC);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    rc r = code == SQLITE_DONE ? ok() : sql_error(e, c->db, code, c->store->noise);
    sqlite3_finalize(st);
    return r;
}

const char *file_schema(const struct conn *c) {
    return c->scope == HF_NOISE ? "noise" : "main";
}

static rc set_wal(struct conn *c, const char *schema, const char *path, struct err *e) {
    char sql[64];
    sqlite3_stmt *st = NULL;
    snprintf(sql, sizeof sql, "PRAGMA %s.journal_mode = WAL", schema);
    int code = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    rc r = ok();
    if (code != SQLITE_ROW) r = conn_error(c, code, path, e);
    else if (sqlite3_stricmp((const char *)sqlite3_column_text(st, 0), "wal") != 0)
        r = err_set(e, RC_UNFIT, "%s: SQLite cannot keep it in WAL mode", path);
    sqlite3_finalize(st);
    return r;
}

static rc set_file(struct conn *c, const char *schema, const char *path, int sync, struct err *e) {
    char sql[200];
    if (sqlite3_db_readonly(c->db, schema) == 1)
        return err_set(e, RC_IO, "%s: no permission to write it", path);
    if (c->scope == HF_NOISE) TRY(noise_check_ours(c, e));
    TRY(set_wal(c, schema, path, e));
    snprintf(sql, sizeof sql,
             "PRAGMA %s.synchronous = %s; PRAGMA %s.cache_size = -%lld; PRAGMA %s.mmap_size = 0",
             schema, sync_words[sync], schema, (long long)c->store->options.cache_kib, schema);
    return conn_exec(c, sql, true, e);
}

static rc set_up(struct conn *c, struct err *e) {
    const hf_store *s = c->store;
    bool has_noise = s->noise[0] && c->scope != HF_MAIN;
    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_handler(c->db, wait_for_lock, c);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, (int *)NULL);
    sqlite3_set_authorizer(c->db, may, c);
    if (has_noise) TRY(attach_noise(c, e));
    if (c->scope != HF_NOISE) TRY(set_file(c, "main", s->path, s->options.main_sync, e));
    if (has_noise) TRY(set_file(c, "noise", s->noise, s->options.noise_sync, e));
    if (c->scope == HF_READ) return conn_exec(c, "PRAGMA query_only = 1", true, e);
    sqlite3_wal_hook(c->db, committed, c);
    return conn_exec(c, "PRAGMA recursive_triggers = 1", true, e);
}

static rc prepare_own(struct conn *c, struct err *e) {
    bool reads = c->scope == HF_READ;
    TRY(cache_get(c, reads ? "BEGIN" : "BEGIN IMMEDIATE", true, &c->begin, e));
    if (reads) {
        const char *look = c->store->noise[0] ? "SELECT 1 FROM main.sqlite_master, "
                                                "noise.sqlite_master LIMIT 1"
                                              : "SELECT 1 FROM main.sqlite_master LIMIT 1";
        TRY(cache_get(c, look, true, &c->look, e));
    }
    TRY(cache_get(c, "COMMIT", true, &c->commit, e));
    return cache_get(c, "ROLLBACK", true, &c->rollback, e);
}

/* SQLite tries once more for reading alone, so of a file that it may not make it says that it is
 * not there. */
static rc cannot_open(struct conn *c, const char *path, struct err *e) {
    int errnum = c->db ? sqlite3_system_errno(c->db) : 0;
    return err_set(e, RC_IO, "%s: SQLite cannot open it: %s", path,
                   errnum == ENOENT ? "no permission to make files there"
                   : errnum         ? strerror(errnum)
                                    : "it does not say why");
}

static rc open_file(struct conn *c, struct err *e) {
    const char *path = c->scope == HF_NOISE ? ":memory:" : c->store->path;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
    int code = sqlite3_open_v2(path, &c->db, flags, NULL);
    if ((code & 0xff) == SQLITE_CANTOPEN) return cannot_open(c, path, e);
    if (code != SQLITE_OK) return sql_error(e, c->db, code, path);
    c->own = true;
    rc r = set_up(c, e);
    c->own = false;
    TRY(r);
    return prepare_own(c, e);
}

static rc try_open(hf_store *s, int scope, int64_t deadline_ns, struct conn **out, struct err *e) {
    TRY(check_replaced(s, e)); /* or it would write to one file, and its others to another */
    struct conn *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, RC_NOMEM, "no memory for a connection");
    c->store = s;
    c->scope = scope;
    c->deadline_ns = deadline_ns;
    s->env->random(s->env, &c->dice, sizeof c->dice);
    c->dice |= 1; /* never 0 */
    c->tx.conn = c;
    c->tx.store = s;
    rc r = open_file(c, e);
    if (is_ok(r)) *out = c;
    else conn_close(c);
    return r;
}

/* While another process makes the file, or is the last to close it, SQLite says BUSY at once. */
rc conn_open(hf_store *s, int scope, int64_t deadline_ns, struct conn **out, struct err *e) {
    int64_t start = s->env->mono_ns(s->env);
    for (;;) {
        rc r = try_open(s, scope, deadline_ns, out, e);
        if (r.code != RC_BUSY) return r;
        int64_t now = s->env->mono_ns(s->env);
        if (now >= deadline_ns) return late_for_lock(s, scope, "open", now - start, e);
        s->env->sleep_ns(s->env, 1000000);
    }
}

void conn_close(struct conn *c) {
    if (!c) return;
    struct stmt *own[] = {c->begin, c->look, c->commit, c->rollback};
    for (int i = 0; i < 4; i++)
        if (own[i]) cache_put(c, own[i]);
    cache_clear(c);
    sqlite3_close_v2(c->db);
    free(c);
}

int conn_run(struct conn *c, struct stmt *s) {
    c->own = true;
    int code = sqlite3_step(s->it);
    int again = sqlite3_reset(s->it);
    c->own = false;
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : again;
}
