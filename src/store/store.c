/* A store: opened, closed, and what it knows about itself.
 *
 * Invariant: an open that finds everything made writes nothing to main, so it uploads nothing.
 */
#include "os/system.h"
#include "store/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    if (!sqlite3_threadsafe())
        return err_set(e, RC_UNFIT, "SQLite %s was built without threads", sqlite3_libversion());
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

/* ---- open and close ---- */

static void free_store(hf_store *s) {
    if (s->options.noise_prefixes) free_texts(s->options.noise_prefixes);
    queue_deinit(&s->main_turn);
    queue_deinit(&s->noise_turn);
    queue_deinit(&s->reader_turn);
    stats_deinit(&s->stats);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->hook_lock);
    free(s);
}

/* Noise is the last but one, main the last: who closes a file last cleans up after it. */
static void close_files(hf_store *s) {
    for (struct conn *c; (c = s->idle);) {
        s->idle = c->next;
        conn_close(c);
    }
    conn_close(s->writers[HF_BOTH]);
    if (s->noise[0]) noise_close(s);
    conn_close(s->writers[HF_NOISE]);
    conn_close(s->writers[HF_MAIN]);
    note_closed(s);
}

static rc open_files(hf_store *s, const hf_store_options *o, struct err *e) {
    int64_t deadline_ns = s->env->mono_ns(s->env) + s->options.timeout_ms * 1000000;
    TRY(check_inherited(s, e));
    TRY(conn_open(s, HF_MAIN, deadline_ns, &s->writers[HF_MAIN], e));
    TRY(fill_file(s->writers[HF_MAIN], o->main_schema, e));
    if (s->noise[0]) TRY(noise_open(s, o->noise_schema, deadline_ns, e));
    TRY(note_open(s, e));
    return kv_open(s, &s->kv, e);
}

static rc name_files(hf_store *s, const char *path, const char *noise, struct err *e) {
    char beside[LIMIT_PATH];
    TRY(name_file(s->env, path, s->path, e));
    if (!noise) return ok();
    name_noise(s->path, beside);
    TRY(name_file(s->env, *noise ? noise : beside, s->noise, e));
    if (strcmp(s->path, s->noise) == 0)
        return err_set(e, RC_USAGE, "%s: main and noise are the same file", s->path);
    struct file_stat a, b;
    if (is_ok(s->env->files->stat(s->env, s->path, &a, NULL)) &&
        is_ok(s->env->files->stat(s->env, s->noise, &b, NULL)) && a.device == b.device &&
        a.inode == b.inode)
        return err_set(e, RC_USAGE, "%s and %s are the same file", s->path, s->noise);
    return ok();
}

static rc open_at(hf_store *s, const char *path, const hf_store_options *o, struct err *e) {
    TRY(name_files(s, path, o->noise, e));
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
    queue_init(&s->main_turn, 1, false);
    queue_init(&s->noise_turn, 1, false);
    queue_init(&s->reader_turn, s->options.readers, true);
    stats_init(&s->stats);
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
    rc r = ok();
    pthread_mutex_lock(&s->lock);
    if (s->open)
        r = err_set(e, RC_BUSY,
                    "%s: the transaction '%s' is open for %.1f s: commit it or roll it "
                    "back first",
                    s->path, s->open->why,
                    (double)(s->env->mono_ns(s->env) - s->open->began_ns) / 1e9);
    pthread_mutex_unlock(&s->lock);
    return r;
}

static rc store_close(hf_store *s, struct err *e) {
    if (s->generation != fork_generation()) { /* SQLite's part is the parent's */
        tx_forget(s);
        note_closed(s);
        free_store(s);
        return ok();
    }
    if (s->kv && kv_is_dispatcher(s->kv))
        return err_set(e, RC_USAGE, "hf_store_close in the callback of a watch");
    TRY(source_may_end(s->source, e));
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

const char *store_noise_path(const hf_store *s) {
    return s->noise;
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
