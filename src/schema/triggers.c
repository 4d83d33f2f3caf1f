/* The triggers that keep old and new in step: which a section made, and how they go.
 *
 * Why two readings are compared, and not what the statements say: a trigger that was there already
 * (IF NOT EXISTS) is not sync's to drop.
 */
#include "schema/statements.h"

#include <stdlib.h>
#include <string.h>

struct triggers {
    json_t *by_name; /* name: text */
};

void triggers_free(struct triggers *t) {
    if (!t) return;
    json_decref(t->by_name);
    free(t);
}

static rc no_memory(struct err *e) {
    return err_set(e, RC_NOMEM, "no memory for the names of triggers");
}

static rc read_into(struct sconn *c, json_t *by_name, struct err *e) {
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(
        c->db, "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'", -1, &st, NULL);
    int failed = 0;
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(st);
        if (code != SQLITE_ROW) break;
        const char *name = (const char *)sqlite3_column_text(st, 0),
                   *sql = (const char *)sqlite3_column_text(st, 1);
        failed |=
            !name || !sql || json_object_set_new_nocheck(by_name, name, json_string_nocheck(sql));
    }
    rc r = code == SQLITE_DONE ? ok() : sconn_error(c, code, NULL, 0, e);
    sqlite3_finalize(st);
    return is_ok(r) && failed ? no_memory(e) : r;
}

rc triggers_read(struct sconn *c, struct triggers **out, struct err *e) {
    struct triggers *t = calloc(1, sizeof *t);
    if (t) t->by_name = json_object();
    rc r = t && t->by_name ? read_into(c, t->by_name, e) : no_memory(e);
    if (is_ok(r)) *out = t;
    else triggers_free(t);
    return r;
}

rc triggers_made(const struct triggers *before, const struct triggers *now, char **out,
                 struct err *e) {
    const char *name;
    json_t *text, *made = json_array();
    int failed = !made;
    json_object_foreach(now->by_name, name, text) {
        const char *was = json_string_value(json_object_get(before->by_name, name));
        if (!was || strcmp(was, json_string_value(text)) != 0)
            failed |= json_array_append_new(made, json_string_nocheck(name));
    }
    char *names = failed ? NULL : json_dumps(made, JSON_COMPACT);
    json_decref(made);
    if (!names) return no_memory(e);
    *out = names;
    return ok();
}

static rc drop_one(struct sconn *c, const char *name, struct err *e) {
    char *sql = sqlite3_mprintf("DROP TRIGGER IF EXISTS \"%w\"", name);
    if (!sql) return no_memory(e);
    rc r = sconn_exec(c, sql, e);
    sqlite3_free(sql);
    return r;
}

rc triggers_drop(struct sconn *c, const char *names, struct err *e) {
    json_t *list = names ? json_loads(names, 0, NULL) : NULL;
    size_t count = json_array_size(list);
    rc r = names && !json_is_array(list)
               ? err_set(e, RC_CORRUPT, "holdfast_migration.triggers: not an array")
               : ok();
    for (size_t i = 0; is_ok(r) && i < count; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name) r = drop_one(c, name, e);
    }
    json_decref(list);
    return r;
}
