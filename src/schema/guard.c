/* The authorizer while a migration's statements are compiled and run.
 *
 * Why here, when lint has read the text: a trigger's body, a generated statement or a form of SQL
 * that our tokenizer does not know must not end the transaction in which its step is recorded.
 *
 * Why some pragmas may be read: FTS5 and R*Tree ask for two of them when a table is made or
 * written, and pragma_table_info() in a verification is answered by one.
 *
 * Holdfast's own tables are known by their prefix. One is the migrations': holdfast_reject, where a
 * promotion keeps what did not fit.
 */
#include "schema/guard.h"

#include <string.h>

static bool is_own(const char *table) {
    return table && sqlite3_strnicmp(table, "holdfast", 8) == 0 && (!table[8] || table[8] == '_') &&
           sqlite3_strnicmp(table, "holdfast_reject", 15) != 0;
}

static const char own_table[] = "the tables of Holdfast are its own";
static const char temporary[] = "it would be gone with this connection: make it in the database";

static bool is_one_of(const char *name, const char *const *words) {
    while (*words && sqlite3_stricmp(name, *words) != 0) words++;
    return *words != NULL;
}

/* Of those in `plain` a value would be set. */
static bool only_tells(const char *pragma, const char *value) {
    static const char *const always[] = {
        "table_info",  "table_xinfo",      "table_list",        "index_list",  "index_info",
        "index_xinfo", "foreign_key_list", "foreign_key_check", "quick_check", "integrity_check",
        NULL};
    static const char *const plain[] = {"data_version", "page_size",      "page_count",
                                        "user_version", "application_id", NULL};
    return is_one_of(pragma, always) || (!value && is_one_of(pragma, plain));
}

/* `a` and `b`: see sqlite3_set_authorizer. Of "CREATE TABLE temp.x" it is asked as of any other. */
static const char *refused(int action, const char *a, const char *b, const char *schema) {
    switch (action) {
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
        return "the transaction is the runner's: a step and its row of history are one";
    case SQLITE_ATTACH:
    case SQLITE_DETACH: return "a migration is of one database; nor is there VACUUM in one";
    case SQLITE_PRAGMA:
        return only_tells(a, b) ? NULL : "the settings of the connection are the runner's";
    case SQLITE_FUNCTION:
        return sqlite3_stricmp(b, "load_extension") == 0 ? "no extension is loaded here" : NULL;
    case SQLITE_CREATE_TEMP_TABLE:
    case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_TEMP_VIEW: return temporary;
    case SQLITE_CREATE_TABLE:
    case SQLITE_CREATE_VIEW:
    case SQLITE_CREATE_VTABLE:
        if (schema && strcmp(schema, "temp") == 0) return temporary;
        return is_own(a) ? own_table : NULL;
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
    case SQLITE_DROP_TABLE: return is_own(a) ? own_table : NULL;
    case SQLITE_ALTER_TABLE:
    case SQLITE_CREATE_INDEX:
    case SQLITE_CREATE_TRIGGER: return is_own(b) ? own_table : NULL;
    default: return NULL;
    }
}

static int may(void *arg, int action, const char *a, const char *b, const char *schema,
               const char *trigger) {
    struct guard *g = arg;
    const char *why = refused(action, a, b, schema);
    (void)trigger;
    if (!why) return SQLITE_OK;
    g->denied = why;
    return SQLITE_DENY;
}

void guard_set(struct sconn *c, struct guard *g) {
    g->denied = NULL;
    sqlite3_set_authorizer(c->db, may, g);
}

void guard_lift(struct sconn *c) {
    sqlite3_set_authorizer(c->db, NULL, NULL);
}

rc guard_error(struct sconn *c, const struct guard *g, int code, const struct migration *m,
               int line, struct err *e) {
    if (!g->denied) return sconn_error(c, code, m, line, e);
    return err_set(e, RC_USAGE, "%s:%d: %s", m->name, line, g->denied);
}
