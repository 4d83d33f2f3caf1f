/* status and history: what the database says of itself. Nothing is written; a disagreement between
 * files and records is part of the answer.
 */
#include "schema/clients.h"
#include "schema/gates.h"
#include "schema/run.h"

#include <stdio.h>

/* ---- status ---- */

static rc add_database(struct run *r, bool noise, json_t *list, struct err *e) {
    const struct side *side = &r->side[noise];
    const struct records *all = &side->records;
    if (!side->c.db) return ok();
    return json_add(list,
                    json_pack("{ss ss sI sI sI}", "database", database_name(noise), "path",
                              side->c.path, "min_version", (json_int_t)all->min_version, "newest",
                              (json_int_t)(all->count ? all->at[all->count - 1].version : 0),
                              "ahead", (json_int_t)side->ahead),
                    e);
}

static json_t *milliseconds(const struct record *r) {
    return r ? json_integer(r->phase_ms) : json_null();
}

static json_t *next_step(const struct run *r, const struct migration *m) {
    enum step step;
    return step_next(m, run_phase(r, m), &step) ? json_string(step_name(step)) : json_null();
}

static rc add_migration(struct run *r, const struct migration *m, json_t *list, struct err *e) {
    const struct record *record = records_find(&r->side[m->noise].records, m->version);
    bool breaking = record ? record->breaking : false;
    return json_add(list,
                    json_pack("{ss sI ss ss so sb so}", "database", database_name(m->noise),
                              "version", (json_int_t)m->version, "name", m->name, "phase",
                              phase_name(run_phase(r, m)), "phase_ms", milliseconds(record),
                              "breaking", breaking, "next", next_step(r, m)),
                    e);
}

/* Records of no file: of a newer program, or of a file that is gone. */
static rc add_unknown(struct run *r, bool noise, json_t *list, struct err *e) {
    const struct records *all = &r->side[noise].records;
    for (size_t i = 0; i < all->count; i++) {
        const struct record *one = &all->at[i];
        if (set_find(&r->schema->set, one->version)) continue;
        TRY(json_add(list,
                     json_pack("{ss sI ss ss sI sb sn}", "database", database_name(noise),
                               "version", (json_int_t)one->version, "name", one->name, "phase",
                               phase_name(one->phase), "phase_ms", (json_int_t)one->phase_ms,
                               "breaking", one->breaking, "next"),
                     e));
    }
    return ok();
}

static rc add_backfills(struct run *r, bool noise, json_t *list, struct err *e) {
    struct sconn *c = &r->side[noise].c;
    sqlite3_stmt *st = NULL;
    rc result = ok();
    int64_t there = 0;
    if (c->db)
        TRY(sconn_int(c, "SELECT count(*) FROM sqlite_master WHERE name = 'holdfast_backfill'",
                      &there, e));
    if (!there) return ok();
    int code = sqlite3_prepare_v2(
        c->db, "SELECT version, part, rows, done FROM holdfast_backfill ORDER BY 1, 2", -1, &st,
        NULL);
    while (code == SQLITE_OK && is_ok(result) && sqlite3_step(st) == SQLITE_ROW)
        result = json_add(list,
                          json_pack("{ss sI sI sI sb}", "database", database_name(noise), "version",
                                    (json_int_t)sqlite3_column_int64(st, 0), "part",
                                    (json_int_t)sqlite3_column_int64(st, 1), "rows",
                                    (json_int_t)sqlite3_column_int64(st, 2), "done",
                                    sqlite3_column_int(st, 3)),
                          e);
    code = sqlite3_finalize(st);
    return is_ok(result) && code != SQLITE_OK ? sconn_error(c, code, NULL, 0, e) : result;
}

/* Is there a lock file? Where it is not, nobody has ever joined, and to look must not make one. */
static bool may_have_clients(hf_schema *s) {
    char path[LIMIT_PATH + 8];
    struct file_stat st;
    snprintf(path, sizeof path, "%s-schema", s->path);
    return is_ok(s->env->files->stat(s->env, path, &st, NULL));
}

/* What would stop an apply, as far as that can be seen without the gate: whoever comes meanwhile is
 * seen by the step itself. */
static rc see_gates(struct run *r, const struct migration *m, enum step step, char why[GATE_WHY],
                    struct err *e) {
    const struct record *record = records_find(&r->side[m->noise].records, m->version);
    if (step == STEP_CONTRACT) gate_soak(r->schema, m, record, why);
    if (why[0] || !step_breaks(m, step) || !may_have_clients(r->schema)) return ok();
    struct err who;
    rc asked = clients_check(r->schema, m->version, &who);
    if (asked.code == RC_CONFLICT) snprintf(why, GATE_WHY, "%.*s", GATE_WHY - 1, who.text);
    else if (!is_ok(asked)) return err_set(e, asked.code, "%s", who.text);
    return ok();
}

static rc add_waits(struct run *r, const struct migration *m, struct err *e) {
    struct side *side = &r->side[m->noise];
    char why[GATE_WHY] = "";
    enum step step;
    if (!step_next(m, run_phase(r, m), &step)) return ok();
    if (side->behind) snprintf(why, sizeof why, "it is behind %.200s", side->behind->name);
    else TRY(see_gates(r, m, step, why, e));
    if (!why[0]) return ok();
    if (!side->behind) side->behind = m;
    return run_wait(r, m, why, e);
}

static rc add_all(struct run *r, json_t *databases, json_t *migrations, json_t *backfills,
                  int64_t *pending, struct err *e) {
    const struct set *set = &r->schema->set;
    for (size_t i = 0; i < set->count; i++) {
        TRY(add_migration(r, set->at[i], migrations, e));
        *pending += run_phase(r, set->at[i]) != PHASE_DONE;
        TRY(add_waits(r, set->at[i], e));
    }
    for (int noise = 0; noise < 2; noise++) {
        TRY(add_database(r, noise, databases, e));
        TRY(add_unknown(r, noise, migrations, e));
        TRY(add_backfills(r, noise, backfills, e));
    }
    return ok();
}

static rc say_all(struct run *r, json_t **out, struct err *e) {
    struct err problem = {0};
    int64_t pending = 0;
    rc checked = run_check(r, &problem);
    json_t *databases = json_array(), *migrations = json_array(), *backfills = json_array();
    rc result = databases && migrations && backfills
                    ? add_all(r, databases, migrations, backfills, &pending, e)
                    : err_set(e, RC_NOMEM, "no memory for an answer");
    json_t *all = json_pack("{so so so sI sO ss?}", "databases", databases, "migrations",
                            migrations, "backfills", backfills, "pending", (json_int_t)pending,
                            "waits", r->waits, "problem", is_ok(checked) ? NULL : problem.text);
    if (is_ok(result) && !all) result = err_set(e, RC_NOMEM, "no memory for an answer");
    if (is_ok(result)) *out = all;
    else json_decref(all);
    return result;
}

static rc look_and(hf_schema *s, rc (*say)(struct run *, json_t **, struct err *), json_t **out,
                   struct err *e) {
    struct run_options o = {0};
    struct run r = {.schema = s, .options = &o};
    rc result = run_look(&r, e);
    if (is_ok(result)) result = say(&r, out, e);
    run_deinit(&r);
    return result;
}

rc status_run(hf_schema *s, json_t **out, struct err *e) {
    return look_and(s, say_all, out, e);
}

/* ---- history ---- */

static rc add_step(struct run *r, bool noise, sqlite3_stmt *st, json_t *list, struct err *e) {
    int64_t version = sqlite3_column_int64(st, 1);
    const struct record *record = records_find(&r->side[noise].records, version);
    return json_add(
        list,
        json_pack("{ss sI sI ss? ss sf sI sb}", "database", database_name(noise), "at_ms",
                  (json_int_t)sqlite3_column_int64(st, 0), "version", (json_int_t)version, "name",
                  record ? record->name : NULL, "step", (const char *)sqlite3_column_text(st, 2),
                  "lock_ms", (double)sqlite3_column_int64(st, 3) / 1000, "rows",
                  (json_int_t)sqlite3_column_int64(st, 4), "others", sqlite3_column_int(st, 5)),
        e);
}

/* The rows of a file are in their order; of two files the older comes first. */
struct rows {
    sqlite3_stmt *st;
    bool more;
};

static rc next_row(struct run *r, bool noise, struct rows *rows, struct err *e) {
    int code = sqlite3_step(rows->st);
    rows->more = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? ok()
               : sconn_error(&r->side[noise].c, code, NULL, 0, e);
}

static rc begin_rows(struct run *r, bool noise, struct rows *rows, struct err *e) {
    struct sconn *c = &r->side[noise].c;
    int64_t there = 0;
    if (c->db)
        TRY(sconn_int(c, "SELECT count(*) FROM sqlite_master WHERE name = 'holdfast_step'", &there,
                      e));
    if (!there) return ok();
    int code = sqlite3_prepare_v2(
        c->db, "SELECT at_ms, version, step, lock_us, rows, others FROM holdfast_step ORDER BY id",
        -1, &rows->st, NULL);
    return code == SQLITE_OK ? next_row(r, noise, rows, e) : sconn_error(c, code, NULL, 0, e);
}

static rc merge(struct run *r, struct rows rows[2], json_t *list, struct err *e) {
    for (int noise = 0; noise < 2; noise++) TRY(begin_rows(r, noise, &rows[noise], e));
    while (rows[0].more || rows[1].more) {
        int from = !rows[0].more || (rows[1].more && sqlite3_column_int64(rows[1].st, 0) <
                                                         sqlite3_column_int64(rows[0].st, 0));
        TRY(add_step(r, from, rows[from].st, list, e));
        TRY(next_row(r, from, &rows[from], e));
    }
    return ok();
}

static rc say_history(struct run *r, json_t **out, struct err *e) {
    struct rows rows[2] = {{0}};
    json_t *list = json_array(), *all = json_pack("{so}", "steps", list);
    rc result = all ? merge(r, rows, list, e) : err_set(e, RC_NOMEM, "no memory for an answer");
    sqlite3_finalize(rows[0].st);
    sqlite3_finalize(rows[1].st);
    if (is_ok(result)) *out = all;
    else json_decref(all);
    return result;
}

rc history_run(hf_schema *s, json_t **out, struct err *e) {
    return look_and(s, say_history, out, e);
}
