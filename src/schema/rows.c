/* What a database says of itself, as lists of texts: see the header.
 *
 * Texts are taken as they are: a schema may have bytes in its names that are no UTF-8.
 */
#include "schema/rows.h"

#include "base/nearest.h"

#include <string.h>

static rc no_memory(struct err *e) {
    return err_set(e, RC_NOMEM, "no memory");
}

static json_t *row_of(sqlite3_stmt *st) {
    json_t *row = json_array();
    for (int i = 0; i < sqlite3_column_count(st) && row; i++) {
        const char *text = (const char *)sqlite3_column_text(st, i);
        if (json_array_append_new(row, text ? json_string_nocheck(text) : json_null()) == 0)
            continue;
        json_decref(row);
        row = NULL;
    }
    return row;
}

static rc read_rows(struct sconn *c, const char *sql, json_t *out, struct err *e) {
    sqlite3_stmt *st = NULL;
    rc r = ok();
    int code = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    while (code == SQLITE_ROW && is_ok(r)) {
        if (json_array_append_new(out, row_of(st))) r = no_memory(e);
        else code = sqlite3_step(st);
    }
    if (is_ok(r) && code != SQLITE_DONE) r = sconn_error(c, code, NULL, 0, e);
    sqlite3_finalize(st);
    return r;
}

rc rows_ask(struct sconn *c, char *sql, json_t **out, struct err *e) {
    json_t *rows = json_array();
    rc r = sql && rows ? read_rows(c, sql, rows, e) : no_memory(e);
    sqlite3_free(sql);
    json_decref(is_ok(r) ? *out : rows);
    if (is_ok(r)) *out = rows;
    return r;
}

void rows_free(json_t **rows) {
    json_decref(*rows);
}

const char *rows_cell(const json_t *rows, size_t row, size_t column) {
    return json_string_value(json_array_get(json_array_get(rows, row), column));
}

rc rows_run(struct sconn *c, char *sql, struct err *e) {
    if (!sql) return no_memory(e);
    rc r = sconn_exec(c, sql, e);
    sqlite3_free(sql);
    return r;
}

/* ---- names ---- */

#define NAMES_MOST 200

static const char *nearest_cell(const json_t *rows, const char *typed) {
    const char *names[NAMES_MOST + 1] = {NULL};
    size_t n = 0;
    if (strlen(typed) > NAME_LONGEST) return NULL;
    for (size_t i = 0; i < json_array_size(rows) && n < NAMES_MOST; i++)
        if (strlen(rows_cell(rows, i, 0)) <= NAME_LONGEST) names[n++] = rows_cell(rows, i, 0);
    return nearest_name(typed, names);
}

rc rows_lack(const json_t *rows, const char *what, const char *name, struct err *e) {
    const char *near = nearest_cell(rows, name);
    if (near) return err_set(e, RC_NOTFOUND, "no %s '%s'; did you mean '%s'?", what, name, near);
    return err_set(e, RC_NOTFOUND, "no %s '%s'", what, name);
}

bool rows_has(const json_t *rows, const char *name) {
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (sqlite3_stricmp(rows_cell(rows, i, 0), name) == 0) return true;
    return false;
}

/* ---- columns ---- */

rc rows_columns(struct sconn *c, const char *table, json_t **out, struct err *e) {
    return rows_ask(c,
                    sqlite3_mprintf("SELECT name, hidden, \"notnull\", pk, dflt_value "
                                    "FROM pragma_table_xinfo(%Q) ORDER BY cid",
                                    table),
                    out, e);
}

bool rows_is_generated(const json_t *columns, size_t i) {
    const char *hidden = rows_cell(columns, i, 1);
    return hidden && strcmp(hidden, "0") != 0;
}
