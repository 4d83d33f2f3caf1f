/* Copies of a database: see the header.
 *
 * Why SQLite's backup and not VACUUM INTO: it copies free pages, rowids and a fragmented table as
 * they are, so what is measured on the copy is what the original will take; it needs none of the
 * functions and modules that the schema may name; and it can be stopped.
 *
 * On the disk after a crash: a directory of that name, whose lock is free.
 */
#include "schema/copy.h"

#include "replica/replica.h"
#include "schema/safety.h"
#include "store/fake.h"

#include <stdio.h>
#include <string.h>

#define MARK "-rehearsal-"
#define BASE_MAX 60 /* bytes of the database's name in the directory's */
#define PAGES_AT_ONCE 2000
#define TRIES 3

/* ---- the directory ---- */

static rc below(const char *dir, const char *name, char out[LIMIT_PATH], struct err *e) {
    int n = snprintf(out, LIMIT_PATH, "%s/%s", dir, name);
    return n > 0 && (size_t)n < LIMIT_PATH ? ok()
                                           : err_set(e, RC_USAGE, "%.80s...: path too long", dir);
}

/* What replicating a database leaves in the runtime directory (source/run_file.c): notes under the
 * number of its inode, which are worth nothing when the copy is gone, or nobody ships it. */
static void forget_run(struct env *env, const char *database) {
    static const char *const ends[] = {"", ".lock", ".tmp"};
    char dir[LIMIT_PATH], path[LIMIT_PATH + 100];
    struct file_stat st;
    struct err ignored;
    if (!is_ok(env->files->stat(env, database, &st, &ignored))) return;
    if (!is_ok(system_runtime_dir(dir, &ignored))) return;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(path, sizeof path, "%s/%llx-%llu%s", dir, (unsigned long long)st.device,
                 (unsigned long long)st.inode, ends[i]);
        (void)env->files->remove(env, path, &ignored).code;
    }
}

struct removal {
    struct env *env;
    const char *dir;
};

static rc remove_tree(struct env *env, const char *path, struct err *e);

static rc remove_entry(void *arg, const char *name, struct err *e) {
    const struct removal *r = arg;
    char path[LIMIT_PATH];
    TRY(below(r->dir, name, path, e));
    (void)remove_tree(r->env, path, e).code; /* the rest may go all the same */
    return ok();
}

static rc remove_tree(struct env *env, const char *path, struct err *e) {
    struct file_stat st;
    TRY(env->files->stat(env, path, &st, e));
    if (st.is_directory)
        (void)env->files->list(env, path, remove_entry, &(struct removal){env, path}, e).code;
    return env->files->remove(env, path, e);
}

static void forget_runs(struct env *env, const char *dir) {
    char path[LIMIT_PATH];
    struct err ignored;
    if (is_ok(below(dir, "main.db", path, &ignored))) forget_run(env, path);
}

static void remove_work(struct env *env, const char *dir) {
    struct err ignored;
    forget_runs(env, dir);
    (void)remove_tree(env, dir, &ignored).code;
}

/* The lock is given back behind the removal: who comes meanwhile sees that it is at work. */
static rc take_lock(const char *dir, struct lock_file *lock, struct err *e) {
    char path[LIMIT_PATH];
    int holder;
    TRY(below(dir, "lock", path, e));
    return lock_file_take(lock, path, &holder, e);
}

struct sweep {
    struct env *env;
    const char *dir, *mark;
};

static rc sweep_entry(void *arg, const char *name, struct err *e) {
    const struct sweep *s = arg;
    char path[LIMIT_PATH];
    struct lock_file lock = {0};
    if (strncmp(name, s->mark, strlen(s->mark)) != 0) return ok();
    if (!is_ok(below(s->dir, name, path, e)) || !is_ok(take_lock(path, &lock, e))) return ok();
    remove_work(s->env, path);
    lock_file_release(&lock);
    return ok();
}

/* What a killed one left, where it can be removed. */
static void sweep(struct env *env, const char *dir, const char *mark) {
    struct err ignored;
    struct sweep s = {env, dir, mark};
    (void)env->files->list(env, dir, sweep_entry, &s, &ignored).code;
}

static rc check_room(struct env *env, const char *dir, uint64_t bytes, struct err *e) {
    struct file *f;
    TRY(env->files->open(env, dir, FILE_TEMP, &f, e));
    rc r = env->files->reserve(env, f, bytes, e);
    env->files->close(env, f);
    return r;
}

/* RC_BUSY, RC_NOTFOUND: somebody who swept took it for a leftover before its lock was taken. */
static rc make_one(const char *parent, const char *mark, struct work *w, struct err *e) {
    char name[BASE_MAX + 64];
    uint64_t number;
    struct file_stat st;
    w->env->random(w->env, &number, sizeof number);
    snprintf(name, sizeof name, "%s%016llx", mark, (unsigned long long)number);
    TRY(below(parent, name, w->dir, e));
    TRY(w->env->files->make_dirs(w->env, w->dir, e));
    rc r = take_lock(w->dir, &w->lock, e);
    if (is_ok(r)) r = w->env->files->stat(w->env, w->dir, &st, e);
    if (is_ok(r)) return r;
    lock_file_release(&w->lock);
    if (r.code != RC_BUSY && r.code != RC_NOTFOUND) remove_work(w->env, w->dir);
    return r;
}

static rc make_in(const char *parent, const char *mark, uint64_t bytes, struct work *w,
                  struct err *e) {
    sweep(w->env, parent, mark);
    TRY(check_room(w->env, parent, bytes, e));
    rc r = ok();
    for (int i = 0; i < TRIES; i++) {
        r = make_one(parent, mark, w, e);
        if (r.code != RC_BUSY && r.code != RC_NOTFOUND) return r;
    }
    return r;
}

static rc count_entry(void *arg, const char *name, struct err *e) {
    (void)name, (void)e;
    ++*(int *)arg;
    return ok();
}

static rc make_kept(const char *dir, uint64_t bytes, struct work *w, struct err *e) {
    int entries = 0;
    TRY(w->env->files->make_dirs(w->env, dir, e));
    TRY(system_real_path(dir, w->dir, e));
    TRY(w->env->files->list(w->env, w->dir, count_entry, &entries, e));
    if (entries) return err_set(e, RC_CONFLICT, "%s: it is not empty", dir);
    w->keep = true;
    return check_room(w->env, w->dir, bytes, e);
}

static void mark_of(const char *database, char out[BASE_MAX + 32]) {
    const char *slash = strrchr(database, '/');
    snprintf(out, BASE_MAX + 32, ".%.*s" MARK, BASE_MAX, slash ? slash + 1 : database);
}

rc work_open(hf_schema *s, const char *keep, uint64_t bytes, struct work *out, struct err *e) {
    char mark[BASE_MAX + 32], beside[LIMIT_PATH];
    struct work w = {.env = s->env};
    struct err first;
    rc r;
    mark_of(s->path, mark);
    system_directory_of(s->path, beside);
    if (keep) {
        sweep(w.env, beside, mark);
        r = make_kept(keep, bytes, &w, e);
        if (is_ok(r)) *out = w;
        return r;
    }
    r = make_in(beside, mark, bytes, &w, &first);
    if (!is_ok(r)) r = make_in(system_temp_dir(), mark, bytes, &w, e);
    if (is_ok(r)) *out = w;
    else
        return err_set(e, r.code, "no place for a copy of %s: %.400s; %.400s", s->path, first.text,
                       e->text);
    return ok();
}

void work_close(struct work *w) {
    if (!w->env) return;
    if (w->keep) forget_runs(w->env, w->dir);
    else remove_work(w->env, w->dir);
    lock_file_release(&w->lock);
    *w = (struct work){0};
}

void work_path(const struct work *w, const char *name, char out[LIMIT_PATH]) {
    snprintf(out, LIMIT_PATH, "%.*s/%s", (int)(LIMIT_PATH - 64), w->dir, name);
}

void work_remove(const struct work *w, const char *path) {
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    char name[LIMIT_PATH + 16];
    struct err ignored;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        (void)w->env->files->remove(w->env, name, &ignored).code;
    }
}

/* ---- the copies ---- */

static uint64_t size_at(struct env *env, const char *path, const char *end) {
    char name[LIMIT_PATH + 16];
    struct file_stat st;
    struct err ignored;
    snprintf(name, sizeof name, "%s%s", path, end);
    return is_ok(env->files->stat(env, name, &st, &ignored)) ? st.size_bytes : 0;
}

uint64_t copy_size(hf_schema *s, bool noise) {
    const char *path = noise ? s->noise : s->path;
    return *path ? size_at(s->env, path, "") + size_at(s->env, path, "-wal") : 0;
}

static rc said(sqlite3 *db, const char *path, int code, struct err *e) {
    struct sconn c = {.db = db, .path = path};
    return sconn_error(&c, code, NULL, 0, e);
}

static rc copy_pages(hf_schema *s, sqlite3_backup *b, sqlite3 *to, const char *path,
                     struct err *e) {
    int code;
    do {
        if (atomic_load(&s->stop)) return err_set(e, RC_CANCELLED, "stopped, as it was asked to");
        code = sqlite3_backup_step(b, PAGES_AT_ONCE);
    } while (code == SQLITE_OK);
    return code == SQLITE_DONE ? ok() : said(to, path, code, e);
}

static rc copy_into(hf_schema *s, sqlite3 *from, sqlite3 *to, const char *path, struct err *e) {
    int code = sqlite3_exec(to, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
    if (code != SQLITE_OK) return said(to, path, code, e);
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    if (!b) return said(to, path, sqlite3_errcode(to), e);
    rc r = copy_pages(s, b, to, path, e);
    code = sqlite3_backup_finish(b);
    if (is_ok(r) && code != SQLITE_OK) r = said(to, path, code, e);
    return r;
}

rc copy_database(hf_schema *s, sqlite3 *from, const char *to, struct err *e) {
    sqlite3 *db = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_exec(from, "BEGIN; SELECT 1 FROM sqlite_master", NULL, NULL, NULL);
    rc r = code == SQLITE_OK ? ok() : said(from, "a copy", code, e); /* one moment for all pages */
    if (is_ok(r) && (code = sqlite3_open_v2(to, &db, flags, NULL)) != SQLITE_OK)
        r = said(db, to, code, e);
    if (is_ok(r)) r = copy_into(s, from, db, to, e);
    sqlite3_close(db);
    if (!sqlite3_get_autocommit(from)) sqlite3_exec(from, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

rc original_open(hf_schema *s, bool noise, struct sconn *out, struct err *e) {
    bool has_log = size_at(s->env, noise ? s->noise : s->path, "-wal") > 0;
    TRY(sconn_open_reading(s, noise, out, e));
    /* With nobody else there, the close would copy the log into the database. */
    if (has_log) sqlite3_db_config(out->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    return ok();
}

rc copy_original(hf_schema *s, bool noise, const char *to, struct err *e) {
    struct sconn c;
    TRY(original_open(s, noise, &c, e));
    rc r = copy_database(s, c.db, to, e);
    sconn_close(&c);
    return r;
}

rc copy_restored(hf_schema *s, char url[LIMIT_PATH], const char *to, uint64_t *txid,
                 struct err *e) {
    struct store *store;
    struct restore_result result = {0};
    TRY(destination_open(s->env, url, &store, e));
    snprintf(url, LIMIT_PATH, "%s", store->url);
    rc r = replica_restore(store, to, &(struct restore_options){0}, &result, e);
    store_free(store);
    *txid = result.txid;
    return is_ok(r) ? r : err_prefix(e, r, "%s", url);
}
