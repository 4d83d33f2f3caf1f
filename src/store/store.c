/* A store: opened, closed, and what it knows about itself.
 *
 * Invariant: an open that finds everything made writes nothing to main, so it uploads nothing.
 */
#include "os/system.h"
#include "store/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT 1
#define PATH_MAX_OF_SQLITE 500 /* its 512, less the longest ending */

/* ---- options ---- */

static rc check_range(const char *name, int64_t value, int64_t most, struct err *e) {
    if (value >= 0 && value <= most) return ok();
    return err_set(e, RC_USAGE, "hf_store_options.%s: %lld is not within 0 and %lld", name,
                   (long long)value, (long long)most);
}

static rc check_options(const hf_store_options *o, struct err *e) {
    TRY(check_range("main_sync", o->main_sync, HF_SYNC_FULL, e));
    TRY(check_range("noise_sync", o->noise_sync, HF_SYNC_FULL, e));
    TRY(check_range("readers", o->readers, 10000, e));
    TRY(check_range("timeout_ms", o->timeout_ms, 1000LL * 86400 * 365, e));
    TRY(check_range("cache_kib", o->cache_kib, 1 << 30, e));
    if (!o->noise && o->noise_prefixes)
        return err_set(e, RC_USAGE, "hf_store_options.noise_prefixes, but .noise is not set");
    if (!o->noise && o->noise_schema)
        return err_set(e, RC_USAGE, "hf_store_options.noise_schema, but .noise is not set");
    return ok();
}

static void set_defaults(hf_store_options *o) {
    if (o->main_sync == HF_SYNC_DEFAULT) o->main_sync = HF_SYNC_NORMAL;
    if (o->noise_sync == HF_SYNC_DEFAULT) o->noise_sync = HF_SYNC_OFF;
    if (!o->readers) o->readers = 16;
    if (!o->timeout_ms) o->timeout_ms = 10000;
    if (!o->cache_kib) o->cache_kib = 8192;
}

static void free_texts(const char *const *list) {
    for (const char *const *at = list; at && *at; at++) free((char *)*at);
    free((void *)list);
}

static rc copy_texts(const char *const *list, const char *const **out, struct err *e) {
    size_t n = 0;
    while (list[n]) n++;
    const char **copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++)
        if (!(copy[i] = strdup(list[i]))) {
            free_texts(copy);
            copy = NULL;
        }
    if (!copy) return err_set(e, RC_NOMEM, "no memory for the prefixes");
    *out = copy;
    return ok();
}

/* ---- names ---- */

/* The file's absolute name; what is there already may be a symbolic link. */
static rc resolve(struct env *env, const char *path, char out[LIMIT_PATH], struct err *e) {
    struct file_stat st;
    char dir[LIMIT_PATH];
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    if (!*path) return err_set(e, RC_USAGE, "the path of the database is empty");
    if (strcmp(path, ":memory:") == 0)
        return err_set(e, RC_USAGE, "a store is in files: for tests there is hf_store_open_temp");
    if (strlen(path) > PATH_MAX_OF_SQLITE)
        return err_set(e, RC_USAGE, "%.60s...: path too long", path);
    if (!*base) return err_set(e, RC_USAGE, "%s: a directory, not a file", path);
    if (is_ok(env->files->stat(env, path, &st, NULL))) {
        if (st.is_directory) return err_set(e, RC_USAGE, "%s: a directory, not a file", path);
        if (!st.is_regular) return err_set(e, RC_USAGE, "%s: not a regular file", path);
        return system_real_path(path, out, e);
    }
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    rc r = system_real_path(dir, out, e);
    if (!is_ok(r)) return err_prefix(e, r, "%.200s: its directory", path);
    size_t n = strlen(out);
    if (n + strlen(base) + 1 > PATH_MAX_OF_SQLITE)
        return err_set(e, RC_USAGE, "%.60s...: path too long", path);
    snprintf(out + n, LIMIT_PATH - n, "%s%s", n > 1 ? "/" : "", base);
    return ok();
}

/* app.db -> app-noise.db */
static void name_noise(const char *path, char out[LIMIT_PATH]) {
    const char *base = strrchr(path, '/') + 1, *dot = strrchr(base, '.');
    if (!dot || dot == base) dot = base + strlen(base);
    snprintf(out, LIMIT_PATH, "%.*s-noise%s", (int)(dot - path), path, dot);
}

static rc resolve_noise(hf_store *s, const char *noise, struct err *e) {
    if (!noise) return ok();
    char beside[LIMIT_PATH];
    name_noise(s->path, beside);
    TRY(resolve(s->env, *noise ? noise : beside, s->noise, e));
    if (strcmp(s->path, s->noise) == 0)
        return err_set(e, RC_USAGE, "%s: main and noise are the same file", s->path);
    return ok();
}

/* ---- what is in it ---- */

static rc check_format(struct conn *c, const char *file, bool *made, struct err *e) {
    sqlite3_stmt *st = NULL;
    int64_t format = 0;
    *made = false;
    int code = sqlite3_prepare_v2(c->db, "SELECT value FROM holdfast WHERE name = 'format'", -1,
                                  &st, NULL);
    if (code == SQLITE_ERROR) return ok(); /* no such table */
    if (code == SQLITE_OK) code = sqlite3_step(st);
    if (code == SQLITE_ROW) format = sqlite3_column_int64(st, 0);
    rc r = code == SQLITE_ROW || code == SQLITE_DONE ? ok() : sql_error(e, c->db, code, file);
    sqlite3_finalize(st);
    TRY(r);
    if (format > FORMAT)
        return err_set(e, RC_UNFIT,
                       "%s: written by a newer library (format %lld; this one, %s, "
                       "knows %d)",
                       file, (long long)format, HOLDFAST_VERSION, FORMAT);
    *made = format == FORMAT;
    return ok();
}

static rc fill(struct conn *c, const char *schema, const char *sql, bool made, struct err *e) {
    char mark[400];
    snprintf(mark, sizeof mark,
             "CREATE TABLE %s.holdfast(name TEXT PRIMARY KEY, value);"
             "INSERT INTO %s.holdfast VALUES ('format', %d);"
             "CREATE TABLE IF NOT EXISTS %s.DBX(Key TEXT PRIMARY KEY, Value TEXT);",
             schema, schema, FORMAT, schema);
    if (!made) TRY(conn_exec(c, mark, true, e));
    return sql ? conn_exec(c, sql, false, e) : ok();
}

static rc make(struct conn *c, const char *file, const char *schema, const char *sql,
               struct err *e) {
    bool made;
    TRY(check_format(c, file, &made, e));
    if (made && !sql) return ok();
    TRY(conn_exec(c, "BEGIN IMMEDIATE", true, e));
    rc r = check_format(c, file, &made, e); /* another process may have made it meanwhile */
    if (is_ok(r)) r = fill(c, schema, sql, made, e);
    if (is_ok(r)) r = conn_exec(c, "COMMIT", true, e);
    if (!is_ok(r) && !sqlite3_get_autocommit(c->db))
        (void)!is_ok(conn_exec(c, "ROLLBACK", true, NULL));
    return r;
}

/* ---- open and close ---- */

static void free_store(hf_store *s) {
    if (s->options.noise_prefixes) free_texts(s->options.noise_prefixes);
    queue_deinit(&s->main_turn);
    queue_deinit(&s->noise_turn);
    queue_deinit(&s->reader_turn);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->hook_lock);
    free(s);
}

static void close_files(hf_store *s) {
    for (struct conn *c; (c = s->idle);) {
        s->idle = c->next;
        conn_close(c);
    }
    for (int i = 0; i < 4; i++) conn_close(s->writers[i]);
}

static rc open_files(hf_store *s, const hf_store_options *o, struct err *e) {
    struct conn **w = s->writers;
    TRY(conn_open(s, HF_MAIN, &w[HF_MAIN], e));
    TRY(make(w[HF_MAIN], s->path, "main", o->main_schema, e));
    if (s->noise[0]) {
        TRY(conn_open(s, HF_NOISE, &w[HF_NOISE], e));
        TRY(make(w[HF_NOISE], s->noise, "noise", o->noise_schema, e));
    }
    return kv_open(s, &s->kv, e);
}

static rc open_at(hf_store *s, const char *path, const hf_store_options *o, struct err *e) {
    TRY(resolve(s->env, path, s->path, e));
    TRY(resolve_noise(s, o->noise, e));
    if (o->noise_prefixes) TRY(copy_texts(o->noise_prefixes, &s->options.noise_prefixes, e));
    rc r = open_files(s, o, e);
    if (!is_ok(r)) close_files(s);
    return r;
}

static rc new_store(const hf_store_options *o, hf_store **out, struct err *e) {
    hf_store *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, RC_NOMEM, "no memory for a store");
    s->env = store_env();
    if (!s->env) {
        free(s);
        return err_set(e, RC_NOMEM, "no threads for a store");
    }
    s->generation = fork_generation();
    s->options = *o;
    s->options.main_schema = s->options.noise_schema = s->options.noise = NULL;
    s->options.noise_prefixes = NULL;
    set_defaults(&s->options);
    queue_init(&s->main_turn, 1);
    queue_init(&s->noise_turn, 1);
    queue_init(&s->reader_turn, s->options.readers);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->hook_lock, NULL);
    *out = s;
    return ok();
}

static rc store_open(const char *path, const hf_store_options *given, hf_store **out,
                     struct err *e) {
    hf_store_options o;
    hf_store *s;
    if (!path || !out) return err_set(e, RC_USAGE, "hf_store_open: an argument is NULL");
    TRY(take_options(given, &o, sizeof o, "hf_store_options", e));
    TRY(check_options(&o, e));
    TRY(new_store(&o, &s, e));
    rc r = open_at(s, path, &o, e);
    if (is_ok(r)) *out = s;
    else free_store(s);
    return r;
}

int hf_store_open(const char *path, const hf_store_options *given, hf_store **out) {
    struct err e;
    return done(store_open(path, given, out, &e), &e);
}

/* ---- temporary ---- */

static rc make_temp_dir(struct env *env, const char *parent, char out[LIMIT_PATH], struct err *e) {
    uint64_t id;
    env->random(env, &id, sizeof id);
    snprintf(out, LIMIT_PATH, "%.400s/holdfast-%016llx", parent, (unsigned long long)id);
    return env->files->make_dirs(env, out, e);
}

static rc remove_in(void *arg, const char *name, struct err *e) {
    hf_store *s = arg;
    char path[LIMIT_PATH + 256];
    snprintf(path, sizeof path, "%s/%s", s->temp, name);
    return s->env->files->remove(s->env, path, e);
}

static void remove_temp(hf_store *s) {
    struct err e;
    if (!s->temp[0]) return;
    rc r = s->env->files->list(s->env, s->temp, remove_in, s, &e);
    if (is_ok(r)) r = s->env->files->remove(s->env, s->temp, &e);
    (void)r.code; /* what cannot be removed stays; nobody can do better */
}

static rc open_temp(const hf_store_options *given, hf_store **out, struct err *e) {
    hf_store_options o;
    hf_store *s;
    char path[LIMIT_PATH + 16];
    if (!out) return err_set(e, RC_USAGE, "hf_store_open_temp: an argument is NULL");
    TRY(take_options(given, &o, sizeof o, "hf_store_options", e));
    TRY(check_options(&o, e));
    o.main_sync = o.noise_sync = HF_SYNC_OFF;
    TRY(new_store(&o, &s, e));
    rc r = make_temp_dir(s->env, "/dev/shm", s->temp, e);
    if (!is_ok(r)) r = make_temp_dir(s->env, system_temp_dir(), s->temp, e);
    if (!is_ok(r)) s->temp[0] = 0;
    snprintf(path, sizeof path, "%s/store.db", s->temp);
    if (is_ok(r)) r = open_at(s, path, &o, e);
    if (is_ok(r)) {
        *out = s;
        return r;
    }
    remove_temp(s);
    free_store(s);
    return r;
}

int hf_store_open_temp(const hf_store_options *given, hf_store **out) {
    struct err e;
    return done(open_temp(given, out, &e), &e);
}

static rc check_idle(hf_store *s, struct err *e) {
    char why[64] = "";
    pthread_mutex_lock(&s->lock);
    if (s->open) snprintf(why, sizeof why, "%s", s->open->why);
    pthread_mutex_unlock(&s->lock);
    if (!why[0]) return ok();
    return err_set(e, RC_BUSY, "%s: the transaction '%s' is open: end it first", s->path, why);
}

static rc store_close(hf_store *s, struct err *e) {
    if (s->generation != fork_generation()) { /* SQLite's part is the parent's */
        free_store(s);
        return ok();
    }
    if (s->kv && kv_is_dispatcher(s->kv))
        return err_set(e, RC_USAGE, "hf_store_close in the callback of a watch");
    TRY(check_idle(s, e));
    kv_close(s->kv);
    s->kv = NULL;
    rc r = source_end(s->source, e);
    close_files(s);
    remove_temp(s);
    free_store(s);
    return r;
}

int hf_store_close(hf_store *s) {
    struct err e;
    return s ? done(store_close(s, &e), &e) : HF_OK;
}

/* ---- what it knows ---- */

const char *hf_store_path(const hf_store *s) {
    return s ? s->path : NULL;
}

rc store_check(const hf_store *s, const char *what, struct err *e) {
    if (!s) return err_set(e, RC_USAGE, "%s is NULL", what);
    return fork_check(s->generation, what, e);
}

bool store_has_noise(const hf_store *s) {
    return s->noise[0] != 0;
}

const char *const *store_noise_prefixes(const hf_store *s) {
    return s->options.noise_prefixes;
}

int64_t store_timeout_ms(const hf_store *s) {
    return s->options.timeout_ms;
}

void store_event(hf_store *s, const char *name, const char *const *pairs, int count) {
    if (s->options.event) s->options.event(s->options.event_arg, name, pairs, count);
}

struct kv *store_kv(const hf_store *s) {
    return s->kv;
}

hf_source *store_source(const hf_store *s) {
    return s->source;
}

void store_set_source(hf_store *s, hf_source *source) {
    s->source = source;
}
