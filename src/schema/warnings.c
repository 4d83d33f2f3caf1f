/* What a rehearsal cannot show: see the header.
 *
 * SQLite adds a STORED column to an empty table, and refuses it on one with rows; NOT NULL without
 * a default, a UNIQUE index and a rebuild are the same. A rehearsal on no rows says nothing.
 */
#include "schema/warnings.h"

#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

static rc ask_each(struct sconn *c, sqlite3_stmt *st, json_t *empty, struct err *e) {
    int code;
    while ((code = sqlite3_step(st)) == SQLITE_ROW) {
        const char *table = (const char *)sqlite3_column_text(st, 0);
        char *sql = sqlite3_mprintf("SELECT NOT EXISTS(SELECT 1 FROM main.\"%w\")", table);
        int64_t none = 0;
        rc r = table && sql ? sconn_int(c, sql, &none, e) : err_set(e, RC_NOMEM, "no memory");
        sqlite3_free(sql);
        TRY(r);
        if (none && json_object_set_new(empty, table, json_true()) != 0)
            return err_set(e, RC_NOMEM, "no memory");
    }
    return code == SQLITE_DONE ? ok() : sconn_error(c, code, NULL, 0, e);
}

rc empty_tables(struct sconn *c, json_t **out, struct err *e) {
    sqlite3_stmt *st = NULL;
    json_t *empty = json_object();
    if (!empty) return err_set(e, RC_NOMEM, "no memory");
    int code = sqlite3_prepare_v2(c->db,
                                  "SELECT name FROM main.sqlite_master WHERE type = 'table' "
                                  "AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
                                  -1, &st, NULL);
    rc r = code == SQLITE_OK ? ask_each(c, st, empty, e) : sconn_error(c, code, NULL, 0, e);
    sqlite3_finalize(st);
    if (is_ok(r)) *out = empty;
    else json_decref(empty);
    return r;
}

/* In the name that the database has for it, whose case may be another. */
static bool is_empty(json_t *empty, const char *table) {
    for (void *at = json_object_iter(empty); at; at = json_object_iter_next(empty, at))
        if (sqlite3_stricmp(json_object_iter_key(at), table) == 0) return true;
    return false;
}

/* ---- statements ---- */

/* The name behind this word, that of its database passed over; NULL: none, or no memory. */
static char *name_behind(const char *at) {
    struct token name = token_next(&at);
    const char *ahead = at;
    if (name.length && token_is(token_next(&ahead), ".")) name = token_next(&ahead);
    return name.length ? token_identifier(name) : NULL;
}

static bool has_word(const char *at, const char *word) {
    for (struct token t = token_next(&at); t.length; t = token_next(&at))
        if (token_is(t, word)) return true;
    return false;
}

/* ALTER TABLE t ADD ... STORED or NOT NULL. */
static char *risky_alter(const char *at) {
    if (!token_is(token_next(&at), "TABLE") || !has_word(at, "ADD")) return NULL;
    return has_word(at, "STORED") || has_word(at, "NOT") ? name_behind(at) : NULL;
}

/* CREATE UNIQUE INDEX i ON t. */
static char *risky_create(const char *at) {
    if (!token_is(token_next(&at), "UNIQUE")) return NULL;
    for (struct token t = token_next(&at); t.length; t = token_next(&at))
        if (token_is(t, "ON")) return name_behind(at);
    return NULL;
}

static char *risky_table(const struct statement *s) {
    const char *at = s->sql;
    if (!at) return strdup(s->rebuild->table);
    struct token first = token_next(&at);
    return token_is(first, "ALTER")    ? risky_alter(at)
           : token_is(first, "CREATE") ? risky_create(at)
                                       : NULL;
}

static rc warn(const struct migration *m, int line, const char *table, json_t *warnings,
               struct err *e) {
    json_t *w = json_pack("{s:s, s:i, s:o}", "name", m->name, "line", line, "words",
                          json_sprintf("table %s has no row in the copy: that this went well "
                                       "proves nothing",
                                       table));
    return json_array_append_new(warnings, w) == 0 ? ok() : err_set(e, RC_NOMEM, "no memory");
}

static rc warn_of_section(const struct migration *m, const struct section *s, json_t *empty,
                          json_t *warnings, struct err *e) {
    if (s->kind == SECTION_BACKFILL && s->table && is_empty(empty, s->table))
        return warn(m, s->line, s->table, warnings, e);
    for (size_t i = 0; s->kind != SECTION_BACKFILL && i < s->count; i++) {
        char *table = risky_table(&s->statements[i]);
        rc r = table && is_empty(empty, table) ? warn(m, s->statements[i].line, table, warnings, e)
                                               : ok();
        free(table);
        TRY(r);
    }
    return ok();
}

static enum section_kind kind_of(enum step step) {
    switch (step) {
    case STEP_ORDINARY: return SECTION_ORDINARY;
    case STEP_EXPAND: return SECTION_EXPAND;
    case STEP_SYNC: return SECTION_SYNC;
    case STEP_BACKFILL: return SECTION_BACKFILL;
    case STEP_VERIFY: return SECTION_VERIFY;
    case STEP_CONTRACT: return SECTION_CONTRACT;
    case STEP_REVERT: return SECTION_REVERT;
    default: return SECTION_DOWN;
    }
}

int step_line(const struct migration *m, enum step step) {
    const struct section *s = migration_section(m, kind_of(step), NULL);
    return s ? s->line : 1;
}

rc warn_of_empty(const struct migration *m, enum step step, json_t *empty, json_t *warnings,
                 struct err *e) {
    for (size_t i = 0; i < m->count; i++)
        if (m->sections[i].kind == kind_of(step))
            TRY(warn_of_section(m, &m->sections[i], empty, warnings, e));
    return ok();
}
