/* apply: what is not done yet, in order.
 *
 * Why a look before the turn: 50 programs that start on a database where all is done must not wait
 * for each other, nor write.
 *
 * Why a migration that stops stops all behind it in its file: they were written for a schema in
 * which it was done. The other file goes on: no SQL reaches from one into the other for good.
 */
#include "schema/lint.h"
#include "schema/run.h"

#include <stdio.h>
#include <string.h>

static bool is_meant(const struct run *r, const struct migration *m) {
    return !r->options->to_version || m->version <= r->options->to_version;
}

/* An ordinary migration that older programs bear counts as an expand, any other as a contract. */
static bool is_allowed(const struct run *r, const struct migration *m, enum step step) {
    static const enum phase as[] = {[STEP_EXPAND] = PHASE_EXPANDED,
                                    [STEP_SYNC] = PHASE_SYNCED,
                                    [STEP_BACKFILL] = PHASE_BACKFILLED,
                                    [STEP_VERIFY] = PHASE_VERIFIED,
                                    [STEP_CONTRACT] = PHASE_DONE};
    enum phase most = r->options->to_phase ? r->options->to_phase : PHASE_DONE;
    if (step == STEP_ORDINARY) step = step_breaks(m, step) ? STEP_CONTRACT : STEP_EXPAND;
    return as[step] <= most;
}

static rc say_behind(struct run *r, const struct migration *m, struct err *e) {
    char why[300];
    const struct migration *first = r->side[m->noise].behind;
    snprintf(why, sizeof why, "it is behind %.200s, which is %s", first->name,
             run_phase(r, first) ? phase_name(run_phase(r, first)) : "not begun");
    return run_wait(r, m, why, e);
}

static rc advance(struct run *r, const struct migration *m, struct err *e) {
    enum step step;
    bool waits = false;
    while (!waits && step_next(m, run_phase(r, m), &step) && is_allowed(r, m, step))
        TRY(run_step(r, m, step, &waits, e));
    if (run_phase(r, m) != PHASE_DONE) r->side[m->noise].behind = m;
    return ok();
}

static rc advance_all(struct run *r, struct err *e) {
    const struct set *set = &r->schema->set;
    for (size_t i = 0; i < set->count; i++) {
        const struct migration *m = set->at[i];
        if (!is_meant(r, m) || run_phase(r, m) == PHASE_DONE) continue;
        TRY(r->side[m->noise].behind ? say_behind(r, m, e) : advance(r, m, e));
    }
    return ok();
}

/* Is there a step that this run may try? */
static bool is_pending(const struct run *r) {
    const struct set *set = &r->schema->set;
    bool behind[2] = {false, false};
    enum step step;
    for (size_t i = 0; i < set->count; i++) {
        const struct migration *m = set->at[i];
        if (!is_meant(r, m) || behind[m->noise] || !step_next(m, run_phase(r, m), &step)) continue;
        if (is_allowed(r, m, step)) return true;
        behind[m->noise] = true;
    }
    return false;
}

/* Of all that may be run, before any of it is. */
static rc check_texts(const struct run *r, struct err *e) {
    const struct set *set = &r->schema->set;
    for (size_t i = 0; i < set->count; i++)
        if (is_meant(r, set->at[i]) && run_phase(r, set->at[i]) != PHASE_DONE)
            TRY(lint_check(set->at[i], e));
    return ok();
}

static rc look(struct run *r, bool *pending, struct err *e) {
    if (!r->schema->has_migrations)
        return err_set(e, RC_USAGE, "no migrations: name their directory, or give an array");
    TRY(run_look(r, e));
    TRY(run_check(r, e));
    TRY(check_texts(r, e));
    *pending = is_pending(r);
    return *pending ? ok() : advance_all(r, e); /* says who waits for whom */
}

static rc begin_and_advance(struct run *r, struct err *e) {
    TRY(run_begin(r, e));
    return advance_all(r, e);
}

/* The table of a database that is older than its migrations. */
static rc name_baseline(const struct run *r, rc result, struct err *e) {
    struct err was;
    if (result.code != RC_USAGE || !e || r->side[0].records.count + r->side[1].records.count > 0 ||
        !strstr(e->text, "already exists"))
        return result;
    was = *e;
    return err_set(e, result.code,
                   "%.700s: if it was there before the migrations, 'holdfast schema baseline' says"
                   " up to which of them",
                   was.text);
}

rc apply_run(hf_schema *s, const struct run_options *o, json_t **out, struct err *e) {
    struct run r = {.schema = s, .options = o};
    bool pending = false;
    rc result = look(&r, &pending, e);
    if (is_ok(result) && pending) {
        result = name_baseline(&r, begin_and_advance(&r, e), e);
        run_end(&r);
    }
    if (is_ok(result)) result = run_json(&r, out, e);
    run_deinit(&r);
    return result;
}
