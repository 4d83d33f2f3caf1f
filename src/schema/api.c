/* The public functions over a schema: into the handle, the work, and out with one object of
 * JSON. */
#include "base/nearest.h"
#include "schema/apply.h"
#include "schema/clients.h"
#include "schema/lint.h"
#include "schema/rehearse.h"
#include "schema/safety.h"
#include "store/internal.h"
#include "store/status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- open and close ---- */

int hf_schema_open(const char *path, const char *noise, const hf_schema_options *given,
                   hf_schema **out) {
    struct err e;
    if (!path || !out) return fail(RC_USAGE, "hf_schema_open: an argument is NULL");
    return done(schema_open(path, noise, NULL, given, out, &e), &e);
}

int hf_schema_of(hf_store *store, const hf_schema_options *given, hf_schema **out) {
    struct err e;
    if (!store || !out) return fail(RC_USAGE, "hf_schema_of: an argument is NULL");
    return done(schema_open(NULL, NULL, store, given, out, &e), &e);
}

void hf_schema_close(hf_schema *s) {
    schema_close(s);
}

/* ---- presence ---- */

static rc join(hf_schema *s, struct err *e) {
    int64_t version = set_newest(&s->set);
    if (s->presence) return err_set(e, RC_USAGE, "%s: this handle has joined already", s->path);
    if (!s->has_migrations)
        return err_set(e, RC_USAGE,
                       "%s: a program without migrations knows no schema: set .dir or"
                       " .migrations",
                       s->path);
    return clients_join(s, version, &s->presence, e);
}

int hf_schema_join(hf_schema *s) {
    struct err e;
    rc r = schema_enter(s, &e);
    if (!is_ok(r)) return done(r, &e);
    r = join(s, &e);
    schema_leave(s);
    return done(r, &e);
}

/* ---- what a run may be told ---- */

static rc take_phase(const char *name, enum phase *out, struct err *e) {
    static const char *const names[] = {"expand", "sync", "backfill", "verify", NULL};
    static const enum phase phases[] = {PHASE_EXPANDED, PHASE_SYNCED, PHASE_BACKFILLED,
                                        PHASE_VERIFIED};
    *out = PHASE_NONE;
    if (!name) return ok();
    for (int i = 0; names[i]; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = phases[i];
            return ok();
        }
    const char *near = nearest_name(name, names);
    return err_set(e, RC_USAGE,
                   "'%.40s' is no phase to stop at: expand, sync, backfill, verify%s%s%s", name,
                   near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static rc take_run(const hf_schema_run *o, struct run_options *out, struct err *e) {
    *out = (struct run_options){.to_version = o->version,
                                .no_restore_point = o->no_restore_point,
                                .need_restore_point = o->need_restore_point,
                                .accept_lossy = o->accept_lossy,
                                .assume_gone = o->assume_gone,
                                .no_soak = o->no_soak};
    if (o->version < 0) return err_set(e, RC_USAGE, "%" PRId64 " is not a version", o->version);
    if (o->no_restore_point && o->need_restore_point)
        return err_set(e, RC_USAGE, "no_restore_point and need_restore_point: one of them");
    return take_phase(o->phase, &out->to_phase, e);
}

static rc need_migrations(const hf_schema *s, struct err *e) {
    if (s->has_migrations) return ok();
    return err_set(e, RC_USAGE, "%s: no migrations: set hf_schema_options.dir or .migrations",
                   s->path);
}

/* ---- the runs ---- */

typedef rc work(hf_schema *, const hf_schema_run *, json_t **out, struct err *e);

/* What a run has to say is given also when it fails. */
static int give(rc r, json_t *o, char **json, struct err *e) {
    char *text = o && json ? json_text(o, JSON_COMPACT) : NULL;
    bool lost = o && json && !text;
    json_decref(o);
    if (is_ok(r) && lost) r = err_set(e, RC_NOMEM, "no memory for the answer");
    if (text) *json = text;
    return done(r, e);
}

static int run(hf_schema *s, const hf_schema_run *given, char **json, work *fn) {
    hf_schema_run o;
    json_t *out = NULL;
    struct err e;
    rc r = take_options(given, &o, sizeof o, "hf_schema_run", &e);
    if (is_ok(r)) r = schema_enter(s, &e);
    if (!is_ok(r)) return done(r, &e);
    r = fn(s, &o, &out, &e);
    schema_leave(s);
    return give(r, out, json, &e);
}

static rc apply(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    struct run_options how;
    TRY(need_migrations(s, e));
    TRY(take_run(o, &how, e));
    return apply_run(s, &how, out, e);
}

static rc revert(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    struct run_options how;
    TRY(need_migrations(s, e));
    TRY(take_run(o, &how, e));
    return revert_run(s, &how, out, e);
}

static rc down(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    struct run_options how;
    TRY(need_migrations(s, e));
    TRY(take_run(o, &how, e));
    return down_run(s, &how, out, e);
}

static rc undo(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    return undo_run(s, o->from, o->discard, out, e);
}

static rc rehearse(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    struct rehearse_options how = {.from = o->from, .keep = o->keep};
    TRY(need_migrations(s, e));
    return rehearse_run(s, &how, out, e);
}

static rc baseline(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    TRY(need_migrations(s, e));
    return baseline_run(s, o->version ? o->version : set_newest(&s->set), out, e);
}

static rc status(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    (void)o;
    return status_run(s, out, e);
}

static rc history(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    (void)o;
    return history_run(s, out, e);
}

static rc plan(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    (void)o;
    TRY(need_migrations(s, e));
    return plan_run(s, out, e);
}

static rc drift(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    bool differs;
    (void)o;
    TRY(need_migrations(s, e));
    TRY(drift_run(s, &differs, out, e));
    return differs ? err_set(e, RC_CONFLICT, "%s: it is not what the migrations say", s->path)
                   : ok();
}

static rc clients(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    json_t *list;
    (void)o;
    TRY(clients_json(s, &list, e));
    *out = json_pack("{s:o}", "clients", list);
    return *out ? ok() : err_set(e, RC_NOMEM, "no memory");
}

static rc lint_all(hf_schema *s, const hf_schema_run *o, json_t **out, struct err *e) {
    bool errors = false;
    (void)o;
    TRY(need_migrations(s, e));
    *out = json_pack("{s:o}", "findings", lint_json(&s->set, &errors));
    if (!*out) return err_set(e, RC_NOMEM, "no memory");
    return errors ? err_set(e, RC_CORRUPT, "there are errors in the migrations") : ok();
}

int hf_schema_apply(hf_schema *s, const hf_schema_run *o, char **json) {
    return run(s, o, json, apply);
}
int hf_schema_revert(hf_schema *s, const hf_schema_run *o, char **json) {
    return run(s, o, json, revert);
}
int hf_schema_down(hf_schema *s, const hf_schema_run *o, char **json) {
    return run(s, o, json, down);
}
int hf_schema_undo(hf_schema *s, const hf_schema_run *o, char **json) {
    return run(s, o, json, undo);
}
int hf_schema_baseline(hf_schema *s, const hf_schema_run *o, char **json) {
    return run(s, o, json, baseline);
}
int hf_schema_rehearse(hf_schema *s, const hf_schema_run *o, char **json) {
    return run(s, o, json, rehearse);
}
int hf_schema_status(hf_schema *s, char **json) {
    return run(s, NULL, json, status);
}
int hf_schema_history(hf_schema *s, char **json) {
    return run(s, NULL, json, history);
}
int hf_schema_plan(hf_schema *s, char **json) {
    return run(s, NULL, json, plan);
}
int hf_schema_drift(hf_schema *s, char **json) {
    return run(s, NULL, json, drift);
}
int hf_schema_clients(hf_schema *s, char **json) {
    return run(s, NULL, json, clients);
}
int hf_schema_lint(hf_schema *s, char **json) {
    return run(s, NULL, json, lint_all);
}
