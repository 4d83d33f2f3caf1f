/* drift: what the database has and what its migrations say that it has. */
#include "schema/run.h"
#include "schema/shape.h"

#include <string.h>

struct differences {
    const struct set *set;
    json_t *list;
    bool noise;
};

/* Where dbmate and goose have noted what they did, before their files were read by us. */
static bool is_of_another_tool(const struct set *set, const char *name) {
    static const struct {
        enum form form;
        const char *table;
    } histories[] = {{FORM_DBMATE, "schema_migrations"}, {FORM_GOOSE, "goose_db_version"}};
    for (size_t i = 0; i < set->count; i++)
        for (size_t k = 0; k < sizeof histories / sizeof *histories; k++)
            if (set->at[i]->form == histories[k].form && strcmp(name, histories[k].table) == 0)
                return true;
    return false;
}

static rc add_one(void *arg, const char *type, const char *name, const char *what,
                  const char *should, const char *is, struct err *e) {
    struct differences *d = arg;
    if (!should && is_of_another_tool(d->set, name)) return ok();
    return json_add(d->list,
                    json_pack("{ss ss ss ss ss? ss?}", "database", database_name(d->noise), "type",
                              type, "name", name, "what", what, "should", should, "is", is),
                    e);
}

static rc compare_with(struct run *r, struct differences *d, const struct shape *should,
                       struct err *e) {
    struct shape *is = NULL;
    TRY(shape_read(r->side[d->noise].c.db, &is, e));
    rc result = shape_compare(should, is, add_one, d, e);
    shape_free(is);
    return result;
}

/* A store makes tables in noise by itself (hf_store_options.noise_schema): where no migration is of
 * noise, the files say nothing of what should be there. */
static bool says_anything(const struct run *r, bool noise) {
    const struct set *set = &r->schema->set;
    for (size_t i = 0; i < set->count; i++)
        if (set->at[i]->noise == noise) return true;
    return !noise;
}

static rc compare_file(struct run *r, struct differences *d, struct err *e) {
    struct shape *should = NULL;
    if (!r->side[d->noise].c.db || !says_anything(r, d->noise)) return ok();
    TRY(shape_of_files(r->schema, d->noise, &should, e));
    rc result = compare_with(r, d, should, e);
    shape_free(should);
    return result;
}

static rc compare_files(struct run *r, json_t *list, struct err *e) {
    struct differences d = {.set = &r->schema->set, .list = list};
    TRY(run_look(r, e));
    TRY(run_check(r, e));
    TRY(compare_file(r, &d, e));
    d.noise = true;
    return compare_file(r, &d, e);
}

rc drift_run(hf_schema *s, bool *differs, json_t **out, struct err *e) {
    struct run_options o = {0};
    struct run r = {.schema = s, .options = &o};
    json_t *list = json_array();
    rc result = list ? compare_files(&r, list, e) : err_set(e, RC_NOMEM, "no memory for an answer");
    bool any = json_array_size(list) > 0;
    json_t *all = json_pack("{sb so}", "differs", any, "objects", list);
    if (is_ok(result) && !all) result = err_set(e, RC_NOMEM, "no memory for an answer");
    run_deinit(&r);
    if (is_ok(result)) {
        *differs = any;
        *out = all;
    } else json_decref(all);
    return result;
}
