/* plan: what apply would do, statement by statement. Nothing is run and no gate is asked.
 *
 * What a statement costs is told by its kind: "schema" changes sqlite_schema alone, whatever the
 * size of the table; "reads" reads all of it; "rewrites" writes all of it anew; "rows" is as long
 * as what it changes.
 */
#include "schema/lint.h"
#include "schema/rebuild.h"
#include "schema/run.h"

#include <stdio.h>

/* ---- what a statement costs ---- */

static bool has_word(const char *at, const char *word) {
    for (struct token t; (t = token_next(&at)).length;)
        if (token_is(t, word)) return true;
    return false;
}

static const char *cost_of_alter(const char *at) {
    if (has_word(at, "RENAME")) return "schema";
    if (has_word(at, "DROP")) return "rewrites";
    return has_word(at, "CHECK") || has_word(at, "GENERATED") ? "reads" : "schema";
}

static const char *cost_of_create(const char *at, struct token what) {
    if (token_is(what, "UNIQUE") || token_is(what, "INDEX")) return "reads";
    return token_is(what, "TABLE") && has_word(at, "SELECT") ? "rows" : "schema";
}

static const char *cost_of(const struct statement *s) {
    const char *at = s->sql;
    if (s->rebuild) return "rewrites";
    struct token verb = token_next(&at), what = token_next(&at);
    if (token_is(verb, "ALTER")) return cost_of_alter(at);
    if (token_is(verb, "CREATE")) return cost_of_create(at, what);
    if (token_is(verb, "DROP")) return token_is(what, "TABLE") ? "rows" : "schema";
    if (token_is(verb, "SELECT") || token_is(verb, "REINDEX") || token_is(verb, "ANALYZE"))
        return "reads";
    return "rows";
}

/* Of a table that an earlier step makes the new form cannot be told yet. */
static json_t *text_of(struct sconn *c, const struct statement *s) {
    char *sql = NULL, words[300];
    if (!s->rebuild) return json_string(s->sql);
    if (!is_ok(rebuild_sql(c, s->rebuild, &sql, NULL))) {
        snprintf(words, sizeof words, "-- holdfast:rebuild %.200s", s->rebuild->table);
        return json_string(words);
    }
    json_t *text = json_string(sql);
    sqlite3_free(sql);
    return text;
}

/* ---- steps ---- */

static const char *way_back(const struct migration *m, enum step step) {
    const struct section *down = migration_section(m, SECTION_DOWN, NULL);
    if (step_phase(m, step) != PHASE_DONE && migration_has(m, SECTION_REVERT)) return "revert";
    if (down) return down->lossy ? "lossy" : "down";
    if (migration_has(m, SECTION_REVERT) && !migration_has(m, SECTION_CONTRACT)) return "revert";
    return "no";
}

static bool is_of(const struct section *section, enum step step) {
    static const enum section_kind kinds[] = {
        [STEP_ORDINARY] = SECTION_ORDINARY, [STEP_EXPAND] = SECTION_EXPAND,
        [STEP_SYNC] = SECTION_SYNC,         [STEP_BACKFILL] = SECTION_BACKFILL,
        [STEP_VERIFY] = SECTION_VERIFY,     [STEP_CONTRACT] = SECTION_CONTRACT};
    return section->kind == kinds[step];
}

static rc add_statements(struct sconn *c, const struct migration *m, enum step step, json_t *list,
                         struct err *e) {
    for (size_t i = 0; i < m->count; i++)
        for (size_t j = 0; is_of(&m->sections[i], step) && j < m->sections[i].count; j++) {
            const struct statement *s = &m->sections[i].statements[j];
            TRY(json_add(
                list,
                json_pack("{si so ss}", "line", s->line, "sql", text_of(c, s), "cost", cost_of(s)),
                e));
        }
    return ok();
}

/* How many rows a backfill has before it; null where its table is not there yet. */
static json_t *rows_of(struct sconn *c, const struct migration *m, enum step step) {
    int64_t all = 0, n;
    for (size_t i = 0; i < m->count; i++) {
        const struct section *section = &m->sections[i];
        if (step != STEP_BACKFILL || section->kind != SECTION_BACKFILL || !section->table) continue;
        char *sql = sqlite3_mprintf("SELECT count(*) FROM \"%w\" WHERE %s", section->table,
                                    section->where ? section->where : "true");
        bool known = sql && is_ok(sconn_int(c, sql, &n, NULL));
        sqlite3_free(sql);
        if (!known) return json_null();
        all += n;
    }
    return step == STEP_BACKFILL ? json_integer(all) : json_null();
}

static rc add_step(struct run *r, const struct migration *m, enum step step, json_t *steps,
                   struct err *e) {
    struct sconn *c = &r->side[m->noise].c;
    const struct section *contract = migration_section(m, SECTION_CONTRACT, NULL);
    json_t *statements = json_array();
    if (!statements) return err_set(e, RC_NOMEM, "no memory for a plan");
    rc result = add_statements(c, m, step, statements, e);
    json_t *item =
        json_pack("{ss sI ss ss sb sI ss so so}", "database", database_name(m->noise), "version",
                  (json_int_t)m->version, "name", m->name, "step", step_name(step), "gated",
                  step_breaks(m, step), "soak_ms",
                  (json_int_t)(step == STEP_CONTRACT ? contract->soak_ms : 0), "reversible",
                  way_back(m, step), "rows", rows_of(c, m, step), "statements", statements);
    rc added = json_add(steps, item, e);
    return is_ok(result) ? added : result;
}

static void add_finding(void *arg, const struct finding *f) {
    json_array_append_new(arg, finding_json(f));
}

static rc add_migration(struct run *r, const struct migration *m, json_t *steps, json_t *findings,
                        struct err *e) {
    enum step step;
    enum phase phase = run_phase(r, m);
    if (phase != PHASE_DONE) TRY(lint(m, add_finding, findings, e));
    for (; step_next(m, phase, &step); phase = step_phase(m, step))
        TRY(add_step(r, m, step, steps, e));
    return ok();
}

static rc add_all(struct run *r, json_t *steps, json_t *findings, struct err *e) {
    TRY(run_look(r, e));
    TRY(run_check(r, e));
    for (size_t i = 0; i < r->schema->set.count; i++)
        TRY(add_migration(r, r->schema->set.at[i], steps, findings, e));
    return ok();
}

rc plan_run(hf_schema *s, json_t **out, struct err *e) {
    struct run_options o = {0};
    struct run r = {.schema = s, .options = &o};
    json_t *steps = json_array(), *findings = json_array();
    rc result = steps && findings ? add_all(&r, steps, findings, e)
                                  : err_set(e, RC_NOMEM, "no memory for a plan");
    json_t *all = json_pack("{so so sI}", "steps", steps, "findings", findings, "ahead",
                            (json_int_t)r.side[0].ahead + (json_int_t)r.side[1].ahead);
    if (is_ok(result) && !all) result = err_set(e, RC_NOMEM, "no memory for a plan");
    run_deinit(&r);
    if (is_ok(result)) *out = all;
    else json_decref(all);
    return result;
}
