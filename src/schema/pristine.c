/* The schema that the files say: they are run in memory, as far as the database has recorded.
 *
 * Why run, and not a text that is kept beside them: a kept text is one more thing that is edited by
 * hand, and nobody sees that it is wrong.
 *
 * Verifications are left out: what they look at is not there. Backfills are run: rows that a
 * migration itself put in must be as a NOT NULL or a unique index of the contract wants them. DBX
 * is the store's, and is made first where the database has one.
 */
#include "schema/apply.h"
#include "schema/shape.h"

#include <stdlib.h>

/* What shape_of_files asks the database itself. */
static rc read_database(hf_schema *s, bool noise, struct records *records, int64_t *has_dbx,
                        struct err *e) {
    struct sconn c;
    TRY(sconn_open_reading(s, noise, &c, e));
    rc r = history_read(c.db, records, e);
    if (is_ok(r))
        r = sconn_int(&c,
                      "SELECT count(*) FROM sqlite_master WHERE type = 'table' "
                      "AND name = 'DBX' COLLATE NOCASE",
                      has_dbx, e);
    sconn_close(&c);
    return r;
}

/* A view of `m`, but for its list of sections, which is the caller's to free. */
static rc without_verify(const struct migration *m, struct migration *out, struct err *e) {
    *out = *m;
    out->count = 0;
    out->sections = malloc((m->count + 1) * sizeof *out->sections);
    if (!out->sections) return err_set(e, RC_NOMEM, "no memory");
    for (size_t i = 0; i < m->count; i++)
        if (m->sections[i].kind != SECTION_VERIFY) out->sections[out->count++] = m->sections[i];
    return ok();
}

static bool was_done(enum step step, enum phase recorded) {
    return step == STEP_EXPAND     ? recorded >= PHASE_EXPANDED
           : step == STEP_SYNC     ? recorded >= PHASE_SYNCED
           : step == STEP_BACKFILL ? recorded >= PHASE_BACKFILLED
                                   : recorded == PHASE_DONE;
}

static bool has_steps(const struct migration *m) {
    return migration_has(m, SECTION_ORDINARY) || migration_has(m, SECTION_EXPAND) ||
           migration_has(m, SECTION_SYNC) || migration_has(m, SECTION_BACKFILL) ||
           migration_has(m, SECTION_CONTRACT);
}

static rc run_to(struct sconn *c, const struct migration *m, enum phase recorded, struct err *e) {
    static const struct run_options options = {.rehearsing = true, .no_soak = true};
    enum phase at = PHASE_NONE;
    enum step step;
    while (has_steps(m) && step_next(m, at, &step) && was_done(step, recorded)) {
        struct step_report report;
        TRY(step_run(c, m, step, &options, &report, e));
        at = step_phase(m, step);
    }
    return ok();
}

/* Most likely a schema that was there before the first file was, and is in none of them. */
static rc not_of_nothing(rc r, struct err *e) {
    bool lacks = r.code == RC_USAGE || r.code == RC_NOTFOUND;
    if (lacks || r.code == RC_CONFLICT) r.code = RC_CORRUPT; /* a conflict is what drift tells */
    r = err_prefix(e, r, "the files, run on an empty database");
    if (!lacks) return r;
    return err_prefix(e, r,
                      "the files do not make the whole schema (put what was there before them into"
                      " one of its own, and record that with 'holdfast schema baseline')");
}

static rc run_files(struct sconn *c, const struct records *records, struct err *e) {
    const struct set *set = &c->schema->set;
    for (size_t i = 0; i < set->count; i++) {
        const struct record *record = records_find(records, set->at[i]->version);
        struct migration m;
        if (set->at[i]->noise != c->noise || !record) continue;
        TRY(without_verify(set->at[i], &m, e));
        rc r = run_to(c, &m, record->phase, e);
        free(m.sections);
        if (!is_ok(r)) return not_of_nothing(r, e);
    }
    return ok();
}

rc shape_of_files(hf_schema *s, bool noise, struct shape **out, struct err *e) {
    struct records records AUTO(records_deinit) = {0};
    struct sconn c;
    int64_t has_dbx = 0;
    TRY(read_database(s, noise, &records, &has_dbx, e));
    TRY(sconn_open_at(s, ":memory:", noise, &c, e));
    rc r = has_dbx ? sconn_exec(&c, "CREATE TABLE DBX(Key TEXT PRIMARY KEY, Value TEXT)", e) : ok();
    if (is_ok(r)) r = run_files(&c, &records, e);
    if (is_ok(r)) r = shape_read(c.db, out, e);
    sconn_close(&c);
    return r;
}
