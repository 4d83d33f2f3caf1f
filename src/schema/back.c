/* revert and down: the way back of one migration, the newest of its file.
 *
 * Why programs that know it must be gone: they use what is taken away. They are not refused
 * afterwards; started again they would apply it again.
 */
#include "schema/lint.h"
#include "schema/run.h"

#include <inttypes.h>

static rc check_lossy(const struct migration *m, const struct run_options *o, struct err *e) {
    for (size_t i = 0; i < m->count; i++)
        if (m->sections[i].kind == SECTION_DOWN && m->sections[i].lossy && !o->accept_lossy)
            return err_set(e, RC_USAGE,
                           "%s:%d: its way back loses data: accept that (-accept-lossy)", m->name,
                           m->sections[i].line);
    return ok();
}

static rc check_down(const struct run *r, const struct migration *m, struct err *e) {
    if (run_phase(r, m) != PHASE_DONE)
        return err_set(e, RC_USAGE, "%s: it is %s, and not done: revert it", m->name,
                       phase_name(run_phase(r, m)));
    if (!migration_has(m, SECTION_DOWN))
        return err_set(e, RC_USAGE, "%s: it has no section 'down'", m->name);
    return check_lossy(m, r->options, e);
}

/* A sync alone is undone by dropping its triggers. */
static rc check_revert(const struct run *r, const struct migration *m, struct err *e) {
    bool done = run_phase(r, m) == PHASE_DONE;
    if (m->form != FORM_PHASED || (done && migration_has(m, SECTION_CONTRACT)))
        return err_set(e, RC_USAGE, "%s: it is done, and can only go down", m->name);
    if (migration_has(m, SECTION_REVERT)) return ok();
    if (!migration_has(m, SECTION_EXPAND) && !migration_has(m, SECTION_BACKFILL)) return ok();
    return err_set(e, RC_USAGE, "%s: it has no section 'revert'", m->name);
}

/* For down the newest of all: one that is not done stands in the way of those before it. */
static const struct record *newest_of(const struct records *all, enum step step) {
    for (size_t i = all->count; i-- > 0;)
        if (step == STEP_DOWN || all->at[i].phase != PHASE_DONE) return &all->at[i];
    return NULL;
}

static rc find_newest(const struct run *r, enum step step, int64_t *version, struct err *e) {
    const struct record *a = newest_of(&r->side[0].records, step),
                        *b = newest_of(&r->side[1].records, step);
    if (!a || (b && b->version > a->version)) a = b;
    if (!a)
        return err_set(e, RC_NOTFOUND, "%s: no migration is %s", r->schema->path,
                       step == STEP_DOWN ? "done" : "between its begin and its end");
    *version = a->version;
    return ok();
}

static rc check_last(const struct run *r, const struct migration *m, struct err *e) {
    const struct records *all = &r->side[m->noise].records;
    const struct record *last = &all->at[all->count - 1];
    if (last->version == m->version) return ok();
    return err_set(e, RC_CONFLICT, "%s: %" PRId64 " (%s) was built on it: undo that first", m->name,
                   last->version, last->name);
}

static rc find(const struct run *r, enum step step, const struct migration **out, struct err *e) {
    int64_t version = r->options->to_version;
    if (!version) TRY(find_newest(r, step, &version, e));
    const struct migration *m = set_find(&r->schema->set, version);
    if (!m) return err_set(e, RC_NOTFOUND, "%" PRId64 ": there is no such file", version);
    if (run_phase(r, m) == PHASE_NONE)
        return err_set(e, RC_NOTFOUND, "%s: it is not applied", m->name);
    TRY(check_last(r, m, e));
    TRY(step == STEP_DOWN ? check_down(r, m, e) : check_revert(r, m, e));
    TRY(lint_check(m, e));
    *out = m;
    return ok();
}

static rc begin_and_step(struct run *r, enum step step, struct err *e) {
    const struct migration *m = NULL;
    bool waits;
    TRY(run_begin(r, e));
    TRY(find(r, step, &m, e));
    ENSURE(m);
    TRY(run_step(r, m, step, &waits, e));
    if (!waits) return ok();
    return err_set(e, RC_CONFLICT, "%s: %s", m->name,
                   json_string_value(json_object_get(json_array_get(r->waits, 0), "why")));
}

static rc go_back(hf_schema *s, const struct run_options *o, enum step step, json_t **out,
                  struct err *e) {
    struct run r = {.schema = s, .options = o};
    rc result = begin_and_step(&r, step, e);
    run_end(&r);
    if (is_ok(result)) result = run_json(&r, out, e);
    run_deinit(&r);
    return result;
}

rc revert_run(hf_schema *s, const struct run_options *o, json_t **out, struct err *e) {
    return go_back(s, o, STEP_REVERT, out, e);
}

rc down_run(hf_schema *s, const struct run_options *o, json_t **out, struct err *e) {
    return go_back(s, o, STEP_DOWN, out, e);
}
