/* The text of a CREATE TABLE, changed by words: see the header.
 *
 *     CREATE TABLE name ( column type constraint..., ..., constraint, ... ) STRICT, WITHOUT ROWID
 *
 * Why not made anew from what SQLite tells of a table: it does not tell all of it. CHECK, COLLATE,
 * ON CONFLICT, DEFERRABLE, the names of constraints and every comment are in the text alone.
 *
 * An operation is one cut in the text, from here to there with something else between; the next one
 * reads the text again.
 *
 * Source: https://sqlite.org/lang_createtable.html
 */
#include "schema/rebuild_sql.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ---- */

static bool is_mark(struct token t, char mark) {
    return t.length == 1 && *t.at == mark;
}

static char lower(char c) {
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* The name in quotes of any kind; those inside are doubled, but for brackets. */
static bool names_quoted(struct token t, const char *name) {
    char end = (char)(*t.at == '[' ? ']' : *t.at);
    for (size_t i = 1; i + 1 < t.length; i++, name++) {
        if (t.at[i] == end && *t.at != '[') i++;
        if (lower(t.at[i]) != lower(*name)) return false;
    }
    return !*name;
}

/* As SQLite compares identifiers: letters of ASCII in any case. */
static bool names(struct token t, const char *name) {
    if (!t.length) return false;
    if (strchr("\"'`[", *t.at)) return names_quoted(t, name);
    return strlen(name) == t.length && sqlite3_strnicmp(t.at, name, (int)t.length) == 0;
}

/* token_next before `end`. */
static struct token next_in(const char **at, const char *end) {
    const char *next = *at;
    struct token t = token_next(&next);
    if (!t.length || t.at >= end) return (struct token){end, 0};
    *at = next;
    return t;
}

static struct token peek_in(const char *at, const char *end) {
    return next_in(&at, end);
}

/* Is the word next? Then it is behind us. */
static bool take(const char **at, const char *end, const char *word) {
    if (!token_is(peek_in(*at, end), word)) return false;
    next_in(at, end);
    return true;
}

static void take_parentheses(const char **at, const char *end) {
    int depth = 0;
    if (!is_mark(peek_in(*at, end), '(')) return;
    do {
        struct token t = next_in(at, end);
        if (!t.length) return;
        depth += is_mark(t, '(') - is_mark(t, ')');
    } while (depth);
}

static rc no_memory(struct err *e) {
    return err_set(e, RC_NOMEM, "no memory");
}

static rc splice(const char *sql, const char *from, const char *to, const char *text, char **out,
                 struct err *e) {
    char *made = sqlite3_mprintf("%.*s%s%s", (int)(from - sql), sql, text, to);
    if (!made) return no_memory(e);
    *out = made;
    return ok();
}

/* ---- the outline of a table ---- */

struct outline {
    struct token name;
    const char *open, *close; /* of the body: behind its (, and its ) */
    struct token *items;      /* the columns, then the constraints */
    size_t count, columns;
};

static void outline_deinit(struct outline *o) {
    free(o->items);
}

static bool is_constraint(struct token item) {
    struct token first = token_next(&(const char *){item.at});
    return token_is(first, "constraint") || token_is(first, "primary") ||
           token_is(first, "unique") || token_is(first, "check") || token_is(first, "foreign");
}

static rc add_item(struct outline *o, struct token item, struct err *e) {
    if (!item.length) return err_set(e, RC_USAGE, "CREATE TABLE: nothing before a comma");
    struct token *grown = realloc(o->items, (o->count + 1) * sizeof *grown);
    if (!grown) return no_memory(e);
    o->items = grown;
    o->items[o->count++] = item;
    if (o->columns + 1 == o->count && !is_constraint(item)) o->columns++;
    return ok();
}

static rc read_items(const char *at, struct outline *o, struct err *e) {
    struct token item = {0};
    int depth = 0;
    o->open = at;
    for (;;) {
        struct token t = token_next(&at);
        if (!t.length) return err_set(e, RC_USAGE, "CREATE TABLE: a parenthesis is not closed");
        if (!depth && (is_mark(t, ',') || is_mark(t, ')'))) {
            TRY(add_item(o, item, e));
            item = (struct token){0};
            o->close = t.at;
            if (is_mark(t, ')')) return ok();
            continue;
        }
        depth += is_mark(t, '(') - is_mark(t, ')');
        if (!item.at) item.at = t.at;
        item.length = (size_t)(t.at + t.length - item.at);
    }
}

static rc read_head(const char **at, struct outline *o, struct err *e) {
    struct token t = token_next(at);
    bool create = token_is(t, "create");
    t = token_next(at);
    if (!create || !token_is(t, "table"))
        return err_set(e, RC_USAGE, "a CREATE TABLE is expected, with no TEMP or VIRTUAL");
    const char *behind_if = *at;
    if (token_is(token_next(&behind_if), "if") && token_is(token_next(&behind_if), "not")) {
        token_next(&behind_if);
        *at = behind_if;
    }
    o->name = token_next(at);
    t = token_next(at);
    if (is_mark(t, '.'))
        return err_set(e, RC_USAGE, "CREATE TABLE %.*s.: a name without that of its database",
                       (int)o->name.length, o->name.at);
    if (is_mark(t, '(')) return ok();
    return err_set(e, RC_USAGE, "CREATE TABLE %.*s: its columns are expected", (int)o->name.length,
                   o->name.at);
}

static rc outline_read(const char *sql, struct outline *o, struct err *e) {
    TRY(read_head(&sql, o, e));
    return read_items(sql, o, e);
}

rc create_check(const char *sql, const char *table, struct err *e) {
    struct outline o AUTO(outline_deinit) = {0};
    TRY(outline_read(sql, &o, e));
    if (names(o.name, table)) return ok();
    return err_set(e, RC_USAGE, "the CREATE TABLE is of %.*s, and not of %s", (int)o.name.length,
                   o.name.at, table);
}

/* ---- a column ---- */

enum part_kind { PART_OTHER, PART_NULL, PART_NOT_NULL, PART_DEFAULT };
struct part {
    enum part_kind kind;
    const char *at, *end; /* at NULL: there are no more */
};

static bool starts_part(struct token t, const char *behind, const char *end) {
    static const char *const words[] = {"constraint", "primary", "not",       "null",
                                        "unique",     "check",   "default",   "collate",
                                        "references", "as",      "deferrable"};
    if (token_is(t, "generated")) return token_is(peek_in(behind, end), "always");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (token_is(t, words[i])) return true;
    return false;
}

/* Behind the type, which may be of many words and (10, 2), or of none. */
static const char *behind_type(const char *at, const char *end) {
    const char *behind = at;
    for (;;) {
        const char *next = at;
        struct token t = next_in(&next, end);
        if (!t.length || starts_part(t, next, end)) return behind;
        if (is_mark(t, '(')) take_parentheses(&at, end);
        else at = next;
        behind = at;
    }
}

static void take_default(const char **at, const char *end) {
    if (is_mark(peek_in(*at, end), '(')) {
        take_parentheses(at, end);
        return;
    }
    struct token t = next_in(at, end);
    if (is_mark(t, '+') || is_mark(t, '-')) next_in(at, end);
}

static void take_references(const char **at, const char *end) {
    next_in(at, end);
    take_parentheses(at, end);
    for (;;) {
        if (take(at, end, "match")) {
            next_in(at, end);
        } else if (take(at, end, "on")) {
            next_in(at, end); /* DELETE or UPDATE */
            struct token t = next_in(at, end);
            if (token_is(t, "set") || token_is(t, "no")) next_in(at, end);
        } else {
            return;
        }
    }
}

static void take_deferrable(const char **at, const char *end) {
    if (take(at, end, "initially")) next_in(at, end);
}

static void take_conflict(const char **at, const char *end) {
    if (!take(at, end, "on")) return;
    next_in(at, end);
    next_in(at, end);
}

static enum part_kind take_not(const char **at, const char *end) {
    if (take(at, end, "deferrable")) {
        take_deferrable(at, end);
        return PART_OTHER;
    }
    next_in(at, end);
    take_conflict(at, end);
    return PART_NOT_NULL;
}

static void take_primary(const char **at, const char *end) {
    next_in(at, end);
    if (!take(at, end, "asc")) take(at, end, "desc");
    take_conflict(at, end);
    take(at, end, "autoincrement");
}

static void take_generated(const char **at, const char *end) {
    take_parentheses(at, end);
    if (!take(at, end, "stored")) take(at, end, "virtual");
}

/* Behind its first word. */
static enum part_kind take_part(struct token t, const char **at, const char *end) {
    if (token_is(t, "not")) return take_not(at, end);
    if (token_is(t, "default")) {
        take_default(at, end);
        return PART_DEFAULT;
    }
    if (token_is(t, "null")) {
        take_conflict(at, end);
        return PART_NULL;
    }
    if (token_is(t, "primary")) {
        take_primary(at, end);
    } else if (token_is(t, "references")) {
        take_references(at, end);
    } else if (token_is(t, "deferrable")) {
        take_deferrable(at, end);
    } else if (token_is(t, "collate")) {
        next_in(at, end);
    } else if (token_is(t, "generated") || token_is(t, "as")) {
        take(at, end, "always");
        take(at, end, "as");
        take_generated(at, end);
    } else {
        take_parentheses(at, end); /* CHECK; UNIQUE has none */
        take_conflict(at, end);
    }
    return PART_OTHER;
}

static struct part next_part(const char **at, const char *end) {
    struct token t = next_in(at, end);
    struct part p = {PART_OTHER, t.length ? t.at : NULL, end};
    if (!p.at) return p;
    if (token_is(t, "constraint")) {
        next_in(at, end); /* its name */
        t = peek_in(*at, end);
        if (t.length && !token_is(t, "constraint")) next_in(at, end);
    }
    if (!token_is(t, "constraint")) p.kind = take_part(t, at, end);
    p.end = *at;
    return p;
}

struct column {
    size_t item;
    const char *name_end, *type_end, *end;
    struct part null, not_null, deflt; /* at NULL: it has none */
};

static void read_column(struct token item, struct column *c) {
    const char *at = item.at;
    c->end = item.at + item.length;
    next_in(&at, c->end);
    c->name_end = at;
    c->type_end = at = behind_type(at, c->end);
    for (struct part p; (p = next_part(&at, c->end)).at;) {
        if (p.kind == PART_NULL) c->null = p;
        if (p.kind == PART_NOT_NULL) c->not_null = p;
        if (p.kind == PART_DEFAULT) c->deflt = p;
    }
}

static rc find_column(const struct outline *o, const char *name, struct column *c, struct err *e) {
    for (size_t i = 0; i < o->columns; i++) {
        if (!names(token_next(&(const char *){o->items[i].at}), name)) continue;
        *c = (struct column){.item = i};
        read_column(o->items[i], c);
        return ok();
    }
    return err_set(e, RC_USAGE, "no column '%s' in %.*s", name, (int)o->name.length, o->name.at);
}

/* ---- the values of operations ---- */

/* From its first word to its last: without a comment behind it. Not empty, no more and no less
 * closed than opened, no semicolon, and `comma`s only in parentheses. */
static rc value_read(const char *text, bool comma, struct token *out, struct err *e) {
    struct token all = {0};
    int depth = 0;
    const char *at = text;
    for (struct token t; (t = token_next(&at)).length && depth >= 0;) {
        depth += is_mark(t, '(') - is_mark(t, ')');
        if (is_mark(t, ';') || (!comma && !depth && is_mark(t, ','))) depth = -1;
        if (!all.at) all.at = t.at;
        all.length = (size_t)(t.at + t.length - all.at);
    }
    if (!all.length || depth)
        return err_set(e, RC_USAGE, "'%s': one expression or definition is expected", text);
    *out = all;
    return ok();
}

rc expression_check(const char *text, struct err *e) {
    struct token value;
    return value_read(text, false, &value, e);
}

/* Does it stand behind DEFAULT without parentheses? */
static bool is_literal(struct token value) {
    static const char *const words[] = {"null",         "true",         "false",
                                        "current_time", "current_date", "current_timestamp"};
    const char *at = value.at, *end = value.at + value.length;
    struct token t = next_in(&at, end);
    if (is_mark(t, '(')) {
        at = value.at;
        take_parentheses(&at, end);
        return at == end;
    }
    if (is_mark(t, '-') || is_mark(t, '+')) t = next_in(&at, end);
    if (peek_in(at, end).length || !t.length) return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (token_is(t, words[i])) return true;
    return strchr("'.0123456789", *t.at) || t.at[t.length - 1] == '\''; /* x'00' */
}

/* ---- the operations ---- */

static rc drop_column(const char *sql, const struct outline *o, const struct column *c, char **out,
                      struct err *e) {
    const struct token *item = &o->items[c->item];
    if (o->columns == 1)
        return err_set(e, RC_USAGE, "%.*s would have no column left", (int)o->name.length,
                       o->name.at);
    if (c->item + 1 < o->count) return splice(sql, item->at, item[1].at, "", out, e);
    return splice(sql, item[-1].at + item[-1].length, item->at + item->length, "", out, e);
}

static rc set_not_null(const char *sql, const struct column *c, char **out, struct err *e) {
    if (c->not_null.at) return splice(sql, sql, sql, "", out, e);
    if (c->null.at) return splice(sql, c->null.at, c->null.end, "NOT NULL", out, e);
    return splice(sql, c->type_end, c->type_end, " NOT NULL", out, e);
}

static rc set_nullable(const char *sql, const struct column *c, char **out, struct err *e) {
    const char *from = c->not_null.at;
    if (!from) return splice(sql, sql, sql, "", out, e);
    while (from > c->name_end && strchr(" \t\r\n", from[-1])) from--;
    return splice(sql, from, c->not_null.end, "", out, e);
}

static rc set_type(const char *sql, const struct column *c, const char *type, char **out,
                   struct err *e) {
    struct token t;
    TRY(value_read(type, false, &t, e));
    if (behind_type(t.at, t.at + t.length) != t.at + t.length)
        return err_set(e, RC_USAGE, "'%s' is more than a type", type);
    char *text = sqlite3_mprintf(" %.*s", (int)t.length, t.at);
    rc r = text ? splice(sql, c->name_end, c->type_end, text, out, e) : no_memory(e);
    sqlite3_free(text);
    return r;
}

static rc set_default(const char *sql, const struct column *c, const char *value, char **out,
                      struct err *e) {
    struct token t;
    TRY(value_read(value, false, &t, e));
    const char *from = c->not_null.at ? c->not_null.end : c->type_end, *to = from;
    if (c->deflt.at) from = c->deflt.at, to = c->deflt.end;
    char *text = sqlite3_mprintf(is_literal(t) ? "%sDEFAULT %.*s" : "%sDEFAULT (%.*s)",
                                 c->deflt.at ? "" : " ", (int)t.length, t.at);
    rc r = text ? splice(sql, from, to, text, out, e) : no_memory(e);
    sqlite3_free(text);
    return r;
}

static rc add_column(const char *sql, const struct outline *o, const char *column, char **out,
                     struct err *e) {
    struct token t;
    TRY(value_read(column, false, &t, e));
    if (is_constraint(t)) return err_set(e, RC_USAGE, "'%s': a column is expected", column);
    const struct token *last = &o->items[o->columns - 1];
    char *text = sqlite3_mprintf(", %.*s", (int)t.length, t.at);
    const char *at = last->at + last->length;
    rc r = text ? splice(sql, at, at, text, out, e) : no_memory(e);
    sqlite3_free(text);
    return r;
}

static rc add_option(const char *sql, const struct outline *o, const char *first, const char *words,
                     char **out, struct err *e) {
    const char *at = o->close + 1, *behind = at;
    bool any = false;
    for (struct token t; (t = token_next(&at)).length && !is_mark(t, ';'); any = true) {
        if (token_is(t, first)) return splice(sql, sql, sql, "", out, e);
        behind = at;
    }
    char *text = sqlite3_mprintf("%s %s", any ? "," : "", words);
    rc r = text ? splice(sql, behind, behind, text, out, e) : no_memory(e);
    sqlite3_free(text);
    return r;
}

static rc edit_column(const char *sql, const struct outline *o, const struct rebuild_op *op,
                      char **out, struct err *e) {
    struct column c = {0};
    TRY(find_column(o, op->column, &c, e));
    switch (op->kind) {
    case REBUILD_DROP: return drop_column(sql, o, &c, out, e);
    case REBUILD_NOTNULL: return set_not_null(sql, &c, out, e);
    case REBUILD_NULLABLE: return set_nullable(sql, &c, out, e);
    case REBUILD_TYPE: return set_type(sql, &c, op->value, out, e);
    default: return set_default(sql, &c, op->value, out, e);
    }
}

static rc edit(const char *sql, const struct rebuild_op *op, char **out, struct err *e) {
    struct outline o AUTO(outline_deinit) = {0};
    TRY(outline_read(sql, &o, e));
    if (!o.columns) return err_set(e, RC_USAGE, "CREATE TABLE: no columns");
    switch (op->kind) {
    case REBUILD_FILL: return splice(sql, sql, sql, "", out, e);
    case REBUILD_ADD: return add_column(sql, &o, op->value, out, e);
    case REBUILD_STRICT: return add_option(sql, &o, "strict", "STRICT", out, e);
    case REBUILD_WITHOUT_ROWID: return add_option(sql, &o, "without", "WITHOUT ROWID", out, e);
    default: return edit_column(sql, &o, op, out, e);
    }
}

rc create_edit(const char *sql, const struct rebuild *rebuild, char **out, struct err *e) {
    char *now = sqlite3_mprintf("%s", sql);
    if (!now) return no_memory(e);
    for (size_t i = 0; i < rebuild->op_count; i++) {
        char *next = NULL;
        rc r = edit(now, &rebuild->ops[i], &next, e);
        sqlite3_free(now);
        TRY(r);
        now = next;
    }
    *out = now;
    return ok();
}

/* ---- another name ---- */

/* Takes `table` and its point away where they stand before a column. */
static rc unqualify(char *sql, const char *table, struct err *e) {
    struct outline o AUTO(outline_deinit) = {0};
    TRY(outline_read(sql, &o, e));
    char *to = sql + (o.open - sql);
    const char *from = to, *at = to;
    for (struct token t; (t = next_in(&at, o.close)).length;) {
        const char *behind = at;
        if (!names(t, table) || *t.at == '\'' || !take(&behind, o.close, ".")) continue;
        memmove(to, from, (size_t)(t.at - from));
        to += t.at - from;
        from = at = peek_in(behind, o.close).at;
    }
    memmove(to, from, strlen(from) + 1);
    return ok();
}

rc create_named(const char *sql, const char *table, const char *name, char **out, struct err *e) {
    struct outline o AUTO(outline_deinit) = {0};
    TRY(outline_read(sql, &o, e));
    char *made = sqlite3_mprintf("CREATE TABLE \"%w\"%s", name, o.name.at + o.name.length);
    if (!made) return no_memory(e);
    rc r = unqualify(made, table, e);
    if (is_ok(r)) *out = made;
    else sqlite3_free(made);
    return r;
}

/* ---- questions ---- */

bool sql_has(const char *sql, const char *word) {
    for (struct token t; (t = token_next(&sql)).length;)
        if (token_is(t, word)) return true;
    return false;
}

bool sql_quotes(const char *sql, const char *name) {
    for (struct token t; (t = token_next(&sql)).length;)
        if (*t.at == '"' && names(t, name)) return true;
    return false;
}

bool trigger_watches(const char *sql, const char *column) {
    struct token t;
    do t = token_next(&sql);
    while (t.length && !token_is(t, "update") && !token_is(t, "on"));
    if (!token_is(t, "update") || !token_is(token_next(&sql), "of")) return false;
    while ((t = token_next(&sql)).length && !token_is(t, "on"))
        if (names(t, column)) return true;
    return false;
}
