/* Rows without parents: see the header.
 *
 * Counted by table, since a sum hides that one table has lost what another has gained. A table that
 * is new may be an old one with another name: all new ones together have at most what those had
 * that are gone.
 */
#include "schema/parents.h"

#include <string.h>

#define NO_KEY (-1) /* "foreign key mismatch": its parent has no such key */

static rc count_of(struct sconn *c, const char *table, json_int_t *out, struct err *e) {
    char *sql = sqlite3_mprintf("PRAGMA foreign_key_check(\"%w\")", table);
    sqlite3_stmt *st = NULL;
    int code = sql ? sqlite3_prepare_v2(c->db, sql, -1, &st, NULL) : SQLITE_NOMEM;
    *out = 0;
    if (code == SQLITE_OK)
        while ((code = sqlite3_step(st)) == SQLITE_ROW) ++*out;
    if (code == SQLITE_ERROR) *out = NO_KEY;
    rc r = code == SQLITE_DONE || code == SQLITE_ERROR ? ok() : sconn_error(c, code, NULL, 0, e);
    sqlite3_finalize(st);
    sqlite3_free(sql);
    return r;
}

rc parents_read(struct sconn *c, json_t **out, struct err *e) {
    json_t *tables AUTO(rows_free) = NULL, *counts AUTO(rows_free) = json_object();
    if (!counts) return err_set(e, RC_NOMEM, "no memory");
    TRY(rows_ask(c,
                 sqlite3_mprintf("SELECT DISTINCT m.name FROM sqlite_master AS m, "
                                 "pragma_foreign_key_list(m.name) WHERE m.type='table'"),
                 &tables, e));
    for (size_t i = 0; i < json_array_size(tables); i++) {
        json_int_t n;
        TRY(count_of(c, rows_cell(tables, i, 0), &n, e));
        if (json_object_set_new_nocheck(counts, rows_cell(tables, i, 0), json_integer(n)))
            return err_set(e, RC_NOMEM, "no memory");
    }
    json_decref(*out);
    *out = json_incref(counts);
    return ok();
}

/* ---- compared ---- */

static rc orphans(struct sconn *c, const char *table, json_int_t n, struct err *e) {
    json_t *first AUTO(rows_free) = NULL;
    if (n == NO_KEY)
        return err_set(e, RC_CONFLICT, "table %s would refer to what is no key of its parent",
                       table);
    TRY(rows_ask(
        c, sqlite3_mprintf("SELECT rowid, parent FROM pragma_foreign_key_check(%Q) LIMIT 1", table),
        &first, e));
    const char *row = rows_cell(first, 0, 0), *parent = rows_cell(first, 0, 1);
    return err_set(e, RC_CONFLICT,
                   "%lld rows would lose their parents: table %s, row %s, whose parent in %s is "
                   "not there",
                   (long long)n, table, row ? row : "?", parent ? parent : "?");
}

static bool is_worse(json_int_t is, json_int_t was) {
    return was != NO_KEY && (is == NO_KEY || is > was);
}

/* What the tables that are gone leave to new ones. */
static json_int_t left_by_gone(json_t *before, json_t *now) {
    json_int_t left = 0;
    const char *table;
    json_t *was;
    json_object_foreach(before, table, was) {
        if (json_object_get(now, table)) continue;
        if (json_integer_value(was) == NO_KEY) return NO_KEY;
        left += json_integer_value(was);
    }
    return left;
}

rc parents_compare(struct sconn *c, json_t *before, struct err *e) {
    json_t *now AUTO(rows_free) = NULL, *n;
    const char *table;
    TRY(parents_read(c, &now, e));
    json_int_t left = left_by_gone(before, now);
    json_object_foreach(now, table, n) {
        json_int_t is = json_integer_value(n);
        json_t *known = json_object_get(before, table);
        json_int_t was = known ? json_integer_value(known) : left;
        if (is_worse(is, was)) return orphans(c, table, is == NO_KEY ? is : is - was, e);
        if (!known && left != NO_KEY) left -= is;
    }
    return ok();
}
