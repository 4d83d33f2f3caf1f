/* A run, and one step of it.
 *
 * Why the gate is asked twice when a restore point is to be made: that may take a minute, in which
 * no program could start; and a contract that waits must not leave a restore point at each start.
 *
 * Invariants
 *  1. Between run_begin and run_end no other run changes these files.
 *  2. Who finds nothing to do writes nothing: no transaction, no restore point.
 *  3. A restore point of main is acknowledged before the first step that writes main.
 */
#include "schema/run.h"
#include "schema/gates.h"
#include "schema/lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SLICE_NS 100000000 /* how soon one who waits sees that it is to stop */

const char *database_name(bool noise) {
    return noise ? "noise" : "main";
}

/* ---- connections and records ---- */

static void close_sides(struct run *r) {
    for (int i = 0; i < 2; i++) {
        sconn_close(&r->side[i].c);
        records_deinit(&r->side[i].records);
    }
}

static rc read_side(struct side *side, struct err *e) {
    struct records now = {0};
    TRY(err_prefix(e, history_read(side->c.db, &now, e), "%s", side->c.path));
    records_deinit(&side->records);
    side->records = now;
    return ok();
}

static rc open_sides(struct run *r, bool reading, struct err *e) {
    hf_schema *s = r->schema;
    close_sides(r);
    for (int noise = 0; noise < (s->noise[0] ? 2 : 1); noise++) {
        struct side *side = &r->side[noise];
        TRY(reading ? sconn_open_reading(s, noise, &side->c, e)
                    : sconn_open(s, noise, &side->c, e));
        TRY(read_side(side, e));
    }
    return ok();
}

static rc check_side(struct run *r, bool noise, struct err *e) {
    struct side *side = &r->side[noise];
    return history_check(&r->schema->set, &side->records, noise, side->c.path, &side->ahead, e);
}

rc run_check(struct run *r, struct err *e) {
    TRY(check_side(r, false, e));
    return r->side[1].c.db ? check_side(r, true, e) : ok();
}

rc run_look(struct run *r, struct err *e) {
    r->applied = json_array();
    r->waits = json_array();
    if (!r->applied || !r->waits) return err_set(e, RC_NOMEM, "no memory for a run");
    return open_sides(r, true, e);
}

/* ---- the turn ---- */

static rc stopped(const struct run *r, struct err *e) {
    if (!atomic_load(&r->schema->stop)) return ok();
    return err_set(e, RC_CANCELLED, "%s: told to stop between two steps: run it again to go on",
                   r->schema->path);
}

static rc wait_turn(struct run *r, struct lock *lock, struct err *e) {
    hf_schema *s = r->schema;
    int64_t now = s->env->mono_ns(s->env), end = now + s->options.timeout_ms * 1000000;
    schema_event(s, "schema.turn", (const char *const[]){"db", s->path, "held_by", "another"}, 4);
    for (;; now = s->env->mono_ns(s->env)) {
        TRY(stopped(r, e));
        rc got = lock_wait(lock, LOCK_TURN, false, now + SLICE_NS < end ? now + SLICE_NS : end, e);
        if (got.code != RC_TIMEOUT) return got;
        if (s->env->mono_ns(s->env) >= end) break;
    }
    return err_set(e, RC_TIMEOUT,
                   "%s: another process has been changing the schema for %" PRId64 " s", s->path,
                   s->options.timeout_ms / 1000);
}

static rc take_turn(struct run *r, struct err *e) {
    struct lock *lock;
    if (r->options->rehearsing) return ok();
    TRY(schema_lock(r->schema, &lock, e));
    rc got = lock_take(lock, LOCK_TURN, false, e);
    if (got.code == RC_BUSY) got = wait_turn(r, lock, e);
    if (is_ok(got)) r->turn = lock;
    return got;
}

static void name_run(struct run *r) {
    uint32_t id;
    r->schema->env->random(r->schema->env, &id, sizeof id);
    snprintf(r->id, sizeof r->id, "%08" PRIx32, id);
}

rc run_begin(struct run *r, struct err *e) {
    if (!r->applied) r->applied = json_array();
    if (!r->waits) r->waits = json_array();
    if (!r->applied || !r->waits) return err_set(e, RC_NOMEM, "no memory for a run");
    name_run(r);
    TRY(take_turn(r, e));
    TRY(open_sides(r, false, e));
    return run_check(r, e);
}

/* ---- restore points ---- */

static rc is_new(struct run *r, bool *out, struct err *e) {
    int64_t tables, dbx, rows = 0;
    struct sconn *c = &r->side[0].c;
    TRY(sconn_int(c,
                  "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name <> 'DBX'"
                  " AND name NOT GLOB 'sqlite_*' AND name NOT GLOB 'holdfast*'",
                  &tables, e));
    TRY(sconn_int(c, "SELECT count(*) FROM sqlite_master WHERE name = 'DBX'", &dbx, e));
    if (dbx) TRY(sconn_int(c, "SELECT EXISTS (SELECT 1 FROM DBX)", &rows, e));
    *out = !tables && !rows;
    return ok();
}

/* `why`: what stood in the way of asking, or "". */
static rc nobody_replicates(struct run *r, const char *why, struct err *e) {
    bool new;
    if (!r->options->need_restore_point) return ok();
    TRY(is_new(r, &new, e));
    if (new) return ok();
    return err_set(e, RC_NOTFOUND,
                   "there is no restore point: %s: begin with 'holdfast replicate', or do without "
                   "one (-no-restore-point)",
                   *why ? why : "nobody replicates it");
}

static void tell_point(struct run *r, const struct restore_point *p) {
    schema_event(r->schema, "schema.restore_point",
                 (const char *const[]){"db", r->schema->path, "name", p->name, "url", p->url}, 6);
}

static rc make_point(struct run *r, const struct migration *m, struct err *e) {
    char name[sizeof r->point.name];
    bool there;
    struct err why = {0};
    r->asked_point = true;
    r->point_version = m->version;
    rc found = safety_find(r->schema, &there, &why);
    if (!is_ok(found)) return err_set(e, found.code, "%s", why.text);
    if (!there) return nobody_replicates(r, why.text, e);
    snprintf(name, sizeof name, "before-%" PRId64 "-%s", m->version, r->id);
    TRY(err_prefix(e, restore_point_make(&r->side[0].c, name, &r->point, e), "the restore point"));
    r->has_point = true;
    tell_point(r, &r->point);
    return ok();
}

static bool wants_point(const struct run *r, const struct migration *m) {
    return !m->noise && !r->asked_point && !r->options->no_restore_point && !r->options->rehearsing;
}

/* What was done stands without it; undo then cannot tell what came behind. */
static void make_after(struct run *r) {
    char name[sizeof r->after.name];
    struct err e;
    if (!r->has_point || !r->wrote_main) return;
    snprintf(name, sizeof name, "after-%" PRId64 "-%s", r->point_version, r->id);
    r->has_after = is_ok(restore_point_make(&r->side[0].c, name, &r->after, &e));
    if (r->has_after) tell_point(r, &r->after);
    else
        schema_event(r->schema, "schema.no_restore_point_after",
                     (const char *const[]){"db", r->schema->path, "name", name, "err", e.text}, 6);
}

void run_end(struct run *r) {
    make_after(r);
    if (r->turn) lock_release(r->turn, LOCK_TURN);
    r->turn = NULL;
    close_sides(r);
}

void run_deinit(struct run *r) {
    ENSURE(!r->turn);
    close_sides(r);
    json_decref(r->applied);
    json_decref(r->waits);
}

/* ---- one step ---- */

enum phase run_phase(const struct run *r, const struct migration *m) {
    const struct record *record = records_find(&r->side[m->noise].records, m->version);
    return record ? record->phase : PHASE_NONE;
}

rc run_wait(struct run *r, const struct migration *m, const char *why, struct err *e) {
    char version[24];
    snprintf(version, sizeof version, "%" PRId64, m->version);
    schema_event(
        r->schema, "schema.waits",
        (const char *const[]){"db", r->side[m->noise].c.path, "version", version, "why", why}, 6);
    return json_add(r->waits,
                    json_pack("{ss sI ss ss}", "database", database_name(m->noise), "version",
                              (json_int_t)m->version, "name", m->name, "why", why),
                    e);
}

static rc say_step(struct run *r, const struct migration *m, const struct step_report *report,
                   struct err *e) {
    char version[24], ms[24];
    double lock_ms = (double)report->lock_us / 1000;
    const char *step = step_name(report->step), *phase = phase_name(step_phase(m, report->step));
    snprintf(version, sizeof version, "%" PRId64, m->version);
    snprintf(ms, sizeof ms, "%.3f", lock_ms);
    schema_event(r->schema, "schema.step",
                 (const char *const[]){"db", r->side[m->noise].c.path, "version", version, "step",
                                       step, "lock_ms", ms},
                 8);
    return json_add(r->applied,
                    json_pack("{ss sI ss ss ss sf sI sI}", "database", database_name(m->noise),
                              "version", (json_int_t)m->version, "name", m->name, "step", step,
                              "phase", phase, "lock_ms", lock_ms, "rows", (json_int_t)report->rows,
                              "wal_bytes", (json_int_t)report->wal_bytes),
                    e);
}

static rc pass_gate(struct run *r, const struct migration *m, enum step step, bool *waits,
                    struct err *e) {
    char why[GATE_WHY];
    const struct record *record = records_find(&r->side[m->noise].records, m->version);
    TRY(gate_enter(r->schema, m, step, record, r->options, why, e));
    *waits = why[0] != 0;
    return *waits ? run_wait(r, m, why, e) : ok();
}

static rc prepare_step(struct run *r, const struct migration *m, enum step step, bool gated,
                       bool *waits, struct err *e) {
    if (gated) TRY(pass_gate(r, m, step, waits, e));
    if (*waits || !wants_point(r, m)) return ok();
    if (gated) gate_leave(r->schema);
    TRY(make_point(r, m, e));
    return gated ? pass_gate(r, m, step, waits, e) : ok();
}

/* The phase that is read again says whether somebody else took the step: *ran is false then. */
static rc do_step(struct run *r, const struct migration *m, enum step step,
                  struct step_report *report, bool *ran, struct err *e) {
    struct side *side = &r->side[m->noise];
    enum phase was = run_phase(r, m);
    rc done = step_run(&side->c, m, step, r->options, report, e);
    *ran = is_ok(done);
    if (done.code == RC_RETRY) {
        TRY(read_side(side, e));
        TRY(check_side(r, m->noise, e));
        return run_phase(r, m) != was ? ok() : done;
    }
    TRY(done);
    r->wrote_main |= !m->noise;
    return read_side(side, e);
}

rc run_step(struct run *r, const struct migration *m, enum step step, bool *waits, struct err *e) {
    bool gated = gate_asked(m, step) && !r->options->rehearsing, ran;
    struct step_report report;
    *waits = false;
    TRY(stopped(r, e));
    TRY(prepare_step(r, m, step, gated, waits, e));
    if (*waits) return ok();
    rc done = do_step(r, m, step, &report, &ran, e);
    if (gated) gate_leave(r->schema);
    return is_ok(done) && ran ? say_step(r, m, &report, e) : done;
}

/* ---- as JSON ---- */

rc json_add(json_t *array, json_t *item, struct err *e) {
    if (item && json_array_append_new(array, item) == 0) return ok();
    return err_set(e, RC_NOMEM, "no memory for an answer");
}

static json_t *point_json(const struct restore_point *p) {
    return json_pack("{ss ss sI sI}", "name", p->name, "url", p->url, "txid", (json_int_t)p->txid,
                     "time_ms", (json_int_t)p->time_ms);
}

static json_t *points_json(const struct run *r) {
    if (!r->has_point) return json_null();
    json_t *point = point_json(&r->point);
    json_t *after = r->has_after ? point_json(&r->after) : json_null();
    if (point && after && json_object_set_new(point, "after", after) == 0) return point;
    json_decref(point);
    return NULL;
}

rc run_json(struct run *r, json_t **out, struct err *e) {
    json_t *all = json_pack("{sO sO sI so}", "applied", r->applied, "waits", r->waits, "ahead",
                            (json_int_t)r->side[0].ahead + (json_int_t)r->side[1].ahead,
                            "restore_point", points_json(r));
    if (!all) return err_set(e, RC_NOMEM, "no memory for an answer");
    *out = all;
    return ok();
}
