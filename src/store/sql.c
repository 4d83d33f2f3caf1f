/* SQL in a transaction: prepare, bind, step.
 *
 * Parameters of hf_run are bound where they lie, as it returns after the last step; those of
 * hf_query are copied.
 */
#include "store/parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* An error may have ended the transaction: what it was is kept, since all that follows fails. */
static rc step_error(hf_tx *t, int code, const char *sql, struct err *e) {
    rc r = conn_error(t->conn, code, sql, e);
    if (sqlite3_get_autocommit(t->conn->db) && !t->gone) {
        t->gone = true;
        t->words = *e;
    }
    return r;
}

static rc use(hf_tx *t, const char *sql, bool own, struct stmt **out, struct err *e) {
    TRY(tx_check(t, e));
    if (!sql) return err_set(e, RC_USAGE, "'%s': the SQL is NULL", t->why);
    TRY(cache_get(t->conn, sql, own, out, e));
    (*out)->next_used = t->used;
    t->used = *out;
    return ok();
}

static struct stmt **find_used(hf_tx *t, const sqlite3_stmt *it) {
    struct stmt **at = &t->used;
    while (*at && (*at)->it != it) at = &(*at)->next_used;
    return at;
}

static void give_back(hf_tx *t, struct stmt **at) {
    struct stmt *s = *at;
    *at = s->next_used;
    cache_put(t->conn, s);
}

rc tx_step(hf_tx *t, sqlite3_stmt *it, bool *row, struct err *e) {
    TRY(tx_check(t, e));
    struct stmt **at = find_used(t, it);
    if (!*at)
        return err_set(e, RC_USAGE, "'%s': this statement is at its end, or another's: hf_query",
                       t->why);
    t->conn->own = (*at)->own;
    int code = sqlite3_step(it);
    t->conn->own = false;
    *row = code == SQLITE_ROW;
    if (*row) return ok();
    rc r = code == SQLITE_DONE ? ok() : step_error(t, code, (*at)->sql, e);
    give_back(t, at);
    return r;
}

rc tx_prepare(hf_tx *t, const char *sql, sqlite3_stmt **out, struct err *e) {
    struct stmt *s;
    TRY(use(t, sql, true, &s, e));
    *out = s->it;
    return ok();
}

void tx_release(hf_tx *t, sqlite3_stmt *it) {
    struct stmt **at = find_used(t, it);
    if (*at) give_back(t, at);
}

static rc exec(hf_tx *t, const char *sql, bool own, struct err *e) {
    TRY(tx_check(t, e));
    if (!sql) return err_set(e, RC_USAGE, "'%s': the SQL is NULL", t->why);
    struct conn *c = t->conn;
    c->own = own;
    c->denied = NULL;
    int code = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    c->own = false;
    return code == SQLITE_OK ? ok() : step_error(t, code, sql, e);
}

rc tx_exec(hf_tx *t, const char *sql, struct err *e) {
    return exec(t, sql, true, e);
}

static int bind_one(sqlite3_stmt *it, int i, char type, va_list *ap, sqlite3_destructor_type keep) {
    switch (type) {
    case 'i': return sqlite3_bind_int64(it, i, va_arg(*ap, int64_t));
    case 'd': return sqlite3_bind_double(it, i, va_arg(*ap, double));
    case 's': return sqlite3_bind_text(it, i, va_arg(*ap, const char *), -1, keep);
    case 'b': {
        const void *data = va_arg(*ap, const void *);
        size_t n = va_arg(*ap, size_t);
        if (data) return sqlite3_bind_blob64(it, i, data, n, keep);
        return n ? SQLITE_MISUSE : sqlite3_bind_null(it, i);
    }
    case 'n': return sqlite3_bind_null(it, i);
    default: return SQLITE_RANGE;
    }
}

static rc bind(hf_tx *t, struct stmt *s, const char *types, va_list *ap,
               sqlite3_destructor_type keep, struct err *e) {
    int wanted = sqlite3_bind_parameter_count(s->it), given = types ? (int)strlen(types) : 0;
    if (wanted != given)
        return err_set(e, RC_USAGE, "%.500s: it has %d parameters, and \"%s\" gives %d", s->sql,
                       wanted, types ? types : "", given);
    for (int i = 0; i < given; i++) {
        int code = bind_one(s->it, i + 1, types[i], ap, keep);
        if (code == SQLITE_RANGE || code == SQLITE_MISUSE)
            return err_set(e, RC_USAGE,
                           "%.500s: parameter %d: '%c' is none of i d s b n, or its "
                           "blob is NULL with a length",
                           s->sql, i + 1, types[i]);
        if (code != SQLITE_OK) return conn_error(t->conn, code, s->sql, e);
    }
    return ok();
}

static rc run(hf_tx *t, const char *sql, const char *types, va_list *ap, struct err *e) {
    struct stmt *s;
    bool row = false;
    TRY(use(t, sql, false, &s, e));
    rc r = sqlite3_column_count(s->it)
               ? err_set(e, RC_USAGE, "%.500s: it returns rows: use hf_query", sql)
               : bind(t, s, types, ap, SQLITE_STATIC, e);
    if (is_ok(r)) return tx_step(t, s->it, &row, e);
    tx_release(t, s->it);
    return r;
}

static rc query(hf_tx *t, sqlite3_stmt **out, const char *sql, const char *types, va_list *ap,
                struct err *e) {
    struct stmt *s;
    if (!out) return err_set(e, RC_USAGE, "hf_query: where to put the statement is NULL");
    TRY(use(t, sql, false, &s, e));
    rc r = bind(t, s, types, ap, SQLITE_TRANSIENT, e);
    if (is_ok(r)) *out = s->it;
    else tx_release(t, s->it);
    return r;
}

int hf_exec(hf_tx *t, const char *sql) {
    struct err e;
    return done(exec(t, sql, false, &e), &e);
}

int hf_run(hf_tx *t, const char *sql, const char *types, ...) {
    struct err e;
    va_list ap;
    va_start(ap, types);
    rc r = run(t, sql, types, &ap, &e);
    va_end(ap);
    return done(r, &e);
}

int hf_query(hf_tx *t, sqlite3_stmt **out, const char *sql, const char *types, ...) {
    struct err e;
    va_list ap;
    va_start(ap, types);
    rc r = query(t, out, sql, types, &ap, &e);
    va_end(ap);
    return done(r, &e);
}

int hf_step(hf_tx *t, sqlite3_stmt *it) {
    struct err e;
    bool row = false;
    rc r = tx_step(t, it, &row, &e);
    return is_ok(r) && row ? HF_ROW : done(r, &e);
}

int64_t hf_changes(hf_tx *t) {
    struct err e;
    if (!is_ok(tx_check(t, &e))) return 0;
#if SQLITE_VERSION_NUMBER >= 3037000
    return sqlite3_changes64(t->conn->db);
#else
    return sqlite3_changes(t->conn->db);
#endif
}

sqlite3 *hf_sqlite(hf_tx *t) {
    struct err e;
    rc r = tx_check(t, &e);
    if (done(r, &e)) return NULL;
    t->lent = true;
    return t->conn->db;
}
