/* The handle: which files, which migrations, and how long to wait.
 *
 * Opening reads the migrations and writes nothing; what it finds in the database is looked at by
 * the calls that need it.
 */
#include "os/system.h"
#include "schema/clients.h"
#include "schema/internal.h"
#include "schema/lock.h"
#include "store/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE_MS 60000LL
#define LONGEST_MS (365 * 1440 * MINUTE_MS)

/* ---- options ---- */

static rc take_ms(const char *name, int64_t *ms, int64_t otherwise, struct err *e) {
    if (*ms < 0 || *ms > LONGEST_MS)
        return err_set(e, RC_USAGE, "hf_schema_options.%s: %lld is not within 0 and %lld", name,
                       (long long)*ms, LONGEST_MS);
    if (!*ms) *ms = otherwise;
    return ok();
}

static rc take_all(const hf_schema_options *given, hf_schema_options *o, struct err *e) {
    TRY(take_options(given, o, sizeof *o, "hf_schema_options", e));
    if (o->dir && o->migrations)
        return err_set(e, RC_USAGE, "hf_schema_options: .dir or .migrations, not both");
    TRY(take_ms("timeout_ms", &o->timeout_ms, 10 * MINUTE_MS, e));
    TRY(take_ms("lock_ms", &o->lock_ms, MINUTE_MS / 6, e));
    TRY(take_ms("target_ms", &o->target_ms, 5, e));
    return take_ms("wait_ms", &o->wait_ms, MINUTE_MS, e);
}

static void name_app(hf_schema *s, const char *app) {
    if (app) snprintf(s->app, sizeof s->app, "%s", app);
    else system_process_name(system_pid(), s->app, sizeof s->app);
}

/* ---- files ---- */

static rc name_one(struct env *env, const char *path, const char *missing, char out[LIMIT_PATH],
                   struct file_stat *st, struct err *e) {
    rc r = env->files->stat(env, path, st, e);
    if (r.code == RC_NOTFOUND) return err_set(e, RC_NOTFOUND, "%s: %s", path, missing);
    TRY(r);
    if (!st->is_regular) return err_set(e, RC_USAGE, "%s: not a regular file", path);
    return system_real_path(path, out, e);
}

static rc name_files(hf_schema *s, const char *path, const char *noise, struct err *e) {
    struct file_stat a, b;
    TRY(name_one(s->env, path, "no such database", s->path, &a, e));
    if (!noise || !*noise) return ok();
    TRY(name_one(s->env, noise, "no such database; the store makes it when it opens", s->noise, &b,
                 e));
    if (a.device != b.device || a.inode != b.inode) return ok();
    return err_set(e, RC_USAGE, "%s: main and noise are the same file", s->path);
}

static rc name_store(hf_schema *s, hf_store *store, struct err *e) {
    TRY(store_check(store, "hf_schema_of: the store", e));
    s->store = store;
    return name_files(s, hf_store_path(store), store_noise_path(store), e);
}

/* ---- migrations ---- */

static rc check_noise(const hf_schema *s, struct err *e) {
    for (size_t i = 0; i < s->set.count && !s->noise[0]; i++)
        if (s->set.at[i]->noise)
            return err_set(e, RC_USAGE,
                           "%s is a migration of noise, and %s was opened without its "
                           "noise (-noise PATH)",
                           s->set.at[i]->name, s->path);
    return ok();
}

static rc load(hf_schema *s, const hf_schema_options *o, struct err *e) {
    s->has_migrations = o->dir || o->migrations;
    if (o->dir) TRY(set_load(s->env, o->dir, &s->set, e));
    if (o->migrations) TRY(set_of_array(o->migrations, &s->set, e));
    return check_noise(s, e);
}

/* ---- open and close ---- */

static rc fill(hf_schema *s, const char *path, const char *noise, hf_store *store,
               const hf_schema_options *o, struct err *e) {
    s->env = store_env();
    if (!s->env) return err_set(e, RC_NOMEM, "no threads for a schema");
    s->generation = fork_generation();
    s->options = *o;
    s->options.dir = s->options.app = NULL;
    s->options.migrations = NULL;
    name_app(s, o->app);
    TRY(store ? name_store(s, store, e) : name_files(s, path, noise, e));
    return load(s, o, e);
}

rc schema_open(const char *path, const char *noise, hf_store *store, const hf_schema_options *given,
               hf_schema **out, struct err *e) {
    hf_schema_options o;
    TRY(take_all(given, &o, e));
    hf_schema *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, RC_NOMEM, "no memory for a schema");
    rc r = fill(s, path, noise, store, &o, e);
    if (is_ok(r)) *out = s;
    else schema_close(s);
    return r;
}

void schema_close(hf_schema *s) {
    if (!s) return;
    if (s->generation == fork_generation()) clients_leave(s->presence); /* else the parent's */
    lock_close(s->lock);
    set_deinit(&s->set);
    free(s);
}

/* ---- for the others of this room ---- */

rc schema_enter(hf_schema *s, struct err *e) {
    if (!s) return err_set(e, RC_USAGE, "the schema is NULL");
    TRY(fork_check(s->generation, "the schema", e));
    if (!atomic_exchange(&s->entered, true)) return ok();
    return err_set(e, RC_BUSY, "%s: this handle is in another call", s->path);
}

void schema_leave(hf_schema *s) {
    atomic_store(&s->entered, false);
}

rc schema_lock(hf_schema *s, struct lock **out, struct err *e) {
    if (!s->lock) TRY(lock_open(s->env, s->path, &s->lock, e));
    *out = s->lock;
    return ok();
}

void schema_event(hf_schema *s, const char *name, const char *const *pairs, int count) {
    if (s->options.event) s->options.event(s->options.event_arg, name, pairs, count);
}
