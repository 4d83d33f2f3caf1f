/* baseline: a database that was made otherwise is called done up to a version; nothing of the
 * migrations is run.
 *
 * Each file is one transaction. Killed between the two, the second run finds the first file as it
 * wants it, and does the other.
 */
#include "schema/run.h"

#include <inttypes.h>
#include <string.h>

static bool breaks(const struct migration *m) {
    bool contract = migration_has(m, SECTION_CONTRACT);
    return m->form == FORM_PHASED ? contract && step_breaks(m, STEP_CONTRACT)
                                  : step_breaks(m, STEP_ORDINARY);
}

static bool is_meant(const struct migration *m, bool noise, int64_t version) {
    return m->noise == noise && m->version <= version;
}

/* Are the records those of a baseline already? *none: there are none at all. */
static rc check_records(const struct run *r, bool noise, int64_t version, bool *done,
                        struct err *e) {
    const struct side *side = &r->side[noise];
    size_t meant = 0, there = 0;
    for (size_t i = 0; i < r->schema->set.count; i++) {
        const struct migration *m = r->schema->set.at[i];
        if (!is_meant(m, noise, version)) continue;
        meant++;
        there += run_phase(r, m) == PHASE_DONE;
    }
    *done = there == meant && side->records.count == meant;
    if (*done || !side->records.count) return ok();
    return err_set(e, RC_CONFLICT, "%s: it has a history already, of %zu migrations, the last %s",
                   side->c.path, side->records.count,
                   side->records.at[side->records.count - 1].name);
}

static rc record(struct run *r, const struct migration *m, struct err *e) {
    struct sconn *c = &r->side[m->noise].c;
    struct record new = {.version = m->version,
                         .name = m->name,
                         .phase = PHASE_DONE,
                         .phase_ms = r->schema->env->unix_ms(r->schema->env),
                         .breaking = breaks(m)};
    struct step_row row = {.version = m->version, .step = "baseline"};
    memcpy(new.sha256, m->sha256, sizeof m->sha256);
    memcpy(new.chain, m->chain, sizeof m->chain);
    TRY(history_put(c, &new, e));
    TRY(history_log(c, &row, e));
    if (new.breaking) TRY(history_set_min(c, m->version, e));
    return json_add(r->applied,
                    json_pack("{ss sI ss}", "database", database_name(m->noise), "version",
                              (json_int_t)m->version, "name", m->name),
                    e);
}

static rc in_transaction(struct run *r, bool noise, int64_t version, struct err *e) {
    const struct set *set = &r->schema->set;
    TRY(history_prepare(&r->side[noise].c, e));
    for (size_t i = 0; i < set->count; i++)
        if (is_meant(set->at[i], noise, version)) TRY(record(r, set->at[i], e));
    return ok();
}

static rc record_file(struct run *r, bool noise, int64_t version, struct err *e) {
    struct sconn *c = &r->side[noise].c;
    bool done;
    if (!c->db) return ok();
    TRY(check_records(r, noise, version, &done, e));
    if (done) return ok();
    TRY(sconn_begin(c, e));
    rc result = in_transaction(r, noise, version, e);
    if (is_ok(result)) return sconn_commit(c, NULL, e);
    sconn_rollback(c);
    return result;
}

static rc begin_and_record(struct run *r, int64_t version, struct err *e) {
    TRY(run_begin(r, e));
    TRY(record_file(r, false, version, e));
    return record_file(r, true, version, e);
}

rc baseline_run(hf_schema *s, int64_t version, json_t **out, struct err *e) {
    struct run_options o = {.no_restore_point = true};
    struct run r = {.schema = s, .options = &o};
    if (!version) return err_set(e, RC_USAGE, "baseline: name the version up to which all is done");
    if (!set_find(&s->set, version))
        return err_set(e, RC_NOTFOUND, "%" PRId64 ": there is no such file", version);
    rc result = begin_and_record(&r, version, e);
    run_end(&r);
    json_t *all = is_ok(result) ? json_pack("{sO}", "recorded", r.applied) : NULL;
    run_deinit(&r);
    if (is_ok(result) && !all) return err_set(e, RC_NOMEM, "no memory for an answer");
    if (all) *out = all;
    return result;
}
