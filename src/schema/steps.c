/* One step of one migration: its statements and its rows of history, in one transaction.
 *
 *                 begun as      ends as
 *     ordinary    none          done
 *     expand      none          expanded, or further: what has no section is passed over
 *     sync        expanded      synced
 *     backfill    synced        backfilled         many transactions, and one that ends it
 *     verify      backfilled    verified           a read, then the row
 *     contract    verified      done
 *     revert      any of the five, or done where there is no contract
 *     down        done          none
 *
 * Invariants
 *  1. In the transaction the record is read again: a step whose turn it is not does nothing.
 *  2. What a step has done and the row that says so are committed together: killed anywhere, the
 *     database is behind the step before or behind this one.
 *  3. min_version is the newest migration that is done and has broken older programs.
 */
#include "schema/apply.h"
#include "schema/backfill.h"
#include "schema/lint.h"
#include "schema/statements.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"ordinary", "expand",   "sync",   "backfill",
                                    "verify",   "contract", "revert", "down"};
static const enum section_kind kinds[] = {SECTION_ORDINARY, SECTION_EXPAND, SECTION_SYNC,
                                          SECTION_BACKFILL, SECTION_VERIFY, SECTION_CONTRACT,
                                          SECTION_REVERT,   SECTION_DOWN};
/* Behind each, when there is more to come. */
static const enum phase ends[] = {PHASE_DONE,     PHASE_EXPANDED, PHASE_SYNCED, PHASE_BACKFILLED,
                                  PHASE_VERIFIED, PHASE_DONE,     PHASE_NONE,   PHASE_NONE};

const char *step_name(enum step step) {
    return names[step];
}

/* ---- which step ---- */

bool step_next(const struct migration *m, enum phase phase, enum step *out) {
    if (m->form != FORM_PHASED) {
        *out = STEP_ORDINARY;
        return phase == PHASE_NONE;
    }
    for (int i = STEP_EXPAND; i <= STEP_CONTRACT; i++)
        if (ends[i] > phase && migration_has(m, kinds[i])) {
            *out = (enum step)i;
            return true;
        }
    return false;
}

enum phase step_phase(const struct migration *m, enum step step) {
    enum step next;
    if (step == STEP_REVERT || step == STEP_DOWN) return PHASE_NONE;
    return step_next(m, ends[step], &next) ? ends[step] : PHASE_DONE;
}

bool step_breaks(const struct migration *m, enum step step) {
    if (step == STEP_ORDINARY) return migration_breaks(m);
    return step == STEP_CONTRACT && !migration_section(m, SECTION_CONTRACT, NULL)->compatible;
}

static bool may_revert(const struct migration *m, enum phase phase) {
    if (m->form != FORM_PHASED || phase == PHASE_NONE) return false;
    return phase != PHASE_DONE || !migration_has(m, SECTION_CONTRACT);
}

static bool is_its_turn(const struct migration *m, enum phase phase, enum step step) {
    enum step next;
    if (step == STEP_REVERT) return may_revert(m, phase);
    if (step == STEP_DOWN) return phase == PHASE_DONE;
    return step_next(m, phase, &next) && next == step;
}

/* ---- one transaction ---- */

struct at {
    struct sconn *c;
    const struct migration *m;
    enum step step;
    struct records records; /* of this moment */
    struct record now;      /* as it will be; what it points to belongs to `records`, or `made` */
    char *made;
    bool others;
    int64_t seen;
    struct step_report *report;
};

static void leave(struct at *a) {
    records_deinit(&a->records);
    free(a->made);
}

/* Our own commits do not change what PRAGMA data_version says here. */
static rc see_others(struct at *a, struct err *e) {
    TRY(sconn_int(a->c, "PRAGMA data_version", &a->seen, e));
    a->others = a->c->seen && a->c->seen != a->seen;
    return ok();
}

static rc look_again(struct at *a, struct err *e) {
    const struct migration *m = a->m;
    TRY(history_prepare(a->c, e));
    TRY(see_others(a, e));
    TRY(history_read(a->c->db, &a->records, e));
    const struct record *r = records_find(&a->records, m->version);
    enum phase phase = r ? r->phase : PHASE_NONE;
    if (!is_its_turn(m, phase, a->step) || (r && strcmp(r->sha256, m->sha256) != 0))
        return err_set(e, RC_RETRY, "it is %s: somebody else changes the schema",
                       phase_name(phase)); /* invariant 1 */
    a->now = r ? *r : (struct record){.version = m->version};
    a->now.name = m->name;
    memcpy(a->now.sha256, m->sha256, sizeof m->sha256);
    memcpy(a->now.chain, m->chain, sizeof m->chain);
    return ok();
}

static rc run_sections(struct at *a, struct err *e) {
    for (size_t i = 0; i < a->m->count; i++)
        if (a->m->sections[i].kind == kinds[a->step])
            TRY(statements_run(a->c, a->m, &a->m->sections[i], &a->report->rows, e));
    return ok();
}

static rc verify_sections(struct at *a, struct err *e) {
    for (size_t i = 0; i < a->m->count; i++)
        if (a->m->sections[i].kind == SECTION_VERIFY)
            TRY(statements_verify(a->c, a->m, &a->m->sections[i], e));
    return ok();
}

static rc run_sync(struct at *a, struct err *e) {
    struct triggers *before = NULL, *now = NULL;
    rc r = triggers_read(a->c, &before, e);
    if (is_ok(r)) r = run_sections(a, e);
    if (is_ok(r)) r = triggers_read(a->c, &now, e);
    if (is_ok(r)) r = triggers_made(before, now, &a->made, e);
    if (is_ok(r)) a->now.triggers = a->made;
    triggers_free(before);
    triggers_free(now);
    return r;
}

static rc drop_triggers(struct at *a, struct err *e) {
    TRY(triggers_drop(a->c, a->now.triggers, e));
    a->now.triggers = NULL;
    return ok();
}

static rc run_by_kind(struct at *a, struct err *e) {
    if (a->step == STEP_BACKFILL || a->step == STEP_VERIFY) return ok(); /* it is done already */
    if (a->step == STEP_SYNC) return run_sync(a, e);
    if (a->step == STEP_CONTRACT) TRY(verify_sections(a, e));
    if (a->step >= STEP_CONTRACT) TRY(drop_triggers(a, e));
    return run_sections(a, e);
}

/* ---- the rows of history ---- */

static rc put_forward(struct at *a, struct err *e) {
    struct env *env = a->c->schema->env;
    a->now.phase = step_phase(a->m, a->step);
    a->now.phase_ms = env->unix_ms(env);
    a->now.breaking |= step_breaks(a->m, a->step);
    TRY(history_put(a->c, &a->now, e));
    if (!a->now.breaking || a->records.min_version >= a->m->version) return ok();
    return history_set_min(a->c, a->m->version, e);
}

/* Invariant 3. */
static rc put_back(struct at *a, struct err *e) {
    int64_t newest = 0;
    TRY(history_remove(a->c, a->m->version, e));
    for (size_t i = 0; i < a->records.count; i++)
        if (a->records.at[i].breaking && a->records.at[i].version != a->m->version)
            newest = a->records.at[i].version;
    return newest == a->records.min_version ? ok() : history_set_min(a->c, newest, e);
}

static rc log_one(struct at *a, const char *name, int64_t rows, int64_t lock_us, struct err *e) {
    struct step_row row = {.version = a->m->version,
                           .lock_us = lock_us,
                           .rows = rows,
                           .step = name,
                           .others = a->others};
    return history_log(a->c, &row, e);
}

static rc log_parts(struct at *a, struct err *e) {
    char name[40], sql[120];
    for (int part = 0; part < a->report->part; part++) {
        int64_t rows;
        snprintf(name, sizeof name, "backfill %d", part);
        snprintf(sql, sizeof sql,
                 "SELECT coalesce(sum(rows), 0) FROM holdfast_backfill"
                 " WHERE version = %lld AND part = %d",
                 (long long)a->m->version, part);
        TRY(sconn_int(a->c, sql, &rows, e));
        TRY(log_one(a, name, rows, a->report->lock_us, e));
    }
    return ok();
}

static rc log_step(struct at *a, struct err *e) {
    struct env *env = a->c->schema->env;
    if (a->step == STEP_BACKFILL) return log_parts(a, e);
    return log_one(a, names[a->step], a->report->rows, (env->mono_ns(env) - a->c->began_ns) / 1000,
                   e);
}

static bool may_orphan(const struct migration *m, enum step step) {
    for (size_t i = 0; i < m->count; i++)
        for (size_t j = 0; m->sections[i].kind == kinds[step] && j < m->sections[i].count; j++)
            if (statement_may_orphan(&m->sections[i].statements[j])) return true;
    return false;
}

static rc in_transaction(struct at *a, struct err *e) {
    bool statements = a->step != STEP_BACKFILL && a->step != STEP_VERIFY;
    TRY(look_again(a, e));
    if (statements && may_orphan(a->m, a->step)) TRY(sconn_watch_parents(a->c, e));
    TRY(run_by_kind(a, e));
    TRY(a->step < STEP_REVERT ? put_forward(a, e) : put_back(a, e));
    return log_step(a, e);
}

static rc transact(struct at *a, struct err *e) {
    int64_t lock_us = 0;
    TRY(sconn_begin(a->c, e));
    rc r = in_transaction(a, e);
    if (is_ok(r)) r = sconn_commit(a->c, &lock_us, e);
    else sconn_rollback(a->c);
    if (is_ok(r)) a->c->seen = a->seen;
    if (a->step != STEP_BACKFILL) a->report->lock_us = lock_us;
    return r;
}

/* ---- what comes before it ---- */

/* A migration that begins with its backfill: there must be a record for the checkpoints to hang
 * on, and the tables. */
static rc begin_backfill(struct at *a, struct err *e) {
    rc r = look_again(a, e);
    if (!is_ok(r) || a->now.phase != PHASE_NONE) return r;
    a->now.phase = PHASE_SYNCED;
    a->now.phase_ms = a->c->schema->env->unix_ms(a->c->schema->env);
    return history_put(a->c, &a->now, e);
}

static rc record_backfill(struct at *a, struct err *e) {
    TRY(sconn_begin(a->c, e));
    rc r = begin_backfill(a, e);
    if (is_ok(r)) r = sconn_commit(a->c, NULL, e);
    else sconn_rollback(a->c);
    return r;
}

static rc run_backfills(struct at *a, struct err *e) {
    struct backfill_report got;
    for (size_t i = 0; i < a->m->count; i++) {
        if (a->m->sections[i].kind != SECTION_BACKFILL) continue;
        memset(&got, 0, sizeof got);
        TRY(backfill_run(a->c, a->m, &a->m->sections[i], a->report->part++, &got, e));
        a->report->rows += got.rows;
        if (got.lock_max_us > a->report->lock_us) a->report->lock_us = got.lock_max_us;
    }
    return ok();
}

static rc verify_reading(struct at *a, struct err *e) {
    TRY(sconn_exec(a->c, "BEGIN", e));
    rc r = verify_sections(a, e);
    sconn_rollback(a->c);
    return r;
}

static rc read_phase(struct at *a, enum phase *out, struct err *e) {
    struct records r = {0};
    TRY(history_read(a->c->db, &r, e));
    const struct record *found = records_find(&r, a->m->version);
    *out = found ? found->phase : PHASE_NONE;
    records_deinit(&r);
    return ok();
}

static rc prepare_step(struct at *a, struct err *e) {
    enum phase phase;
    if (a->step == STEP_VERIFY) return verify_reading(a, e);
    if (a->step != STEP_BACKFILL) return ok();
    TRY(read_phase(a, &phase, e));
    if (!is_its_turn(a->m, phase, a->step)) return ok(); /* its transaction says so */
    if (phase == PHASE_NONE) TRY(record_backfill(a, e));
    return run_backfills(a, e);
}

/* Pages that were written, as frames of the log. */
static int64_t wal_bytes(struct sconn *c, bool reset) {
    int pages = 0, highest = 0;
    int64_t size = 0;
    struct err e;
    sqlite3_db_status(c->db, SQLITE_DBSTATUS_CACHE_WRITE, &pages, &highest, reset);
    return is_ok(sconn_int(c, "PRAGMA page_size", &size, &e)) ? pages * (size + 24) : 0;
}

/* A statement says where it is; of all else the step is named. */
static rc name_step(const struct at *a, rc r, struct err *e) {
    if (is_ok(r) || (e && strncmp(e->text, a->m->name, strlen(a->m->name)) == 0)) return r;
    return err_prefix(e, r, "%s: %s", a->m->name, names[a->step]);
}

rc step_run(struct sconn *c, const struct migration *m, enum step step, const struct run_options *o,
            struct step_report *out, struct err *e) {
    struct step_report report = {.step = step};
    struct at a = {.c = c, .m = m, .step = step, .report = &report};
    (void)o;
    (void)wal_bytes(c, true);
    rc r = prepare_step(&a, e);
    records_deinit(&a.records); /* of another transaction */
    if (is_ok(r)) r = transact(&a, e);
    leave(&a);
    report.wal_bytes = wal_bytes(c, false);
    if (is_ok(r)) *out = report;
    return name_step(&a, r, e);
}
