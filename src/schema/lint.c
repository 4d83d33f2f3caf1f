/* What is wrong, or dangerous, in a migration that was parsed. Its rules:
 *
 *     errors: apply refuses the set before anything of it runs
 *     transaction    BEGIN, COMMIT, END, ROLLBACK, SAVEPOINT, RELEASE: a step is one already
 *     pragma         a setting belongs to a connection, and the runner has set its own
 *     attach         ATTACH, DETACH: one file is all that a migration sees
 *     vacuum         it cannot be undone with the step
 *     explain        does nothing
 *     extension      load_extension()
 *     database       a name in another file; TEMP
 *     history        Holdfast's own tables are written to
 *     parameter      one that nothing gives a value; a backfill without :lo and :hi
 *     backfill       what is no INSERT, UPDATE or DELETE
 *     verify         what is no query
 *     expand         something is taken away while older programs go on
 *     syntax         what SQLite says
 *     empty          nothing would be run, and the file could not be filled later
 *
 *     warnings: what a reviewer should see
 *     add-column     works on an empty table only: NOT NULL, STORED, a default that is no constant
 *     no-down        something is taken away, and there is no section down
 *     no-revert      expand or sync, and no section revert
 *     unverified     a contract behind a backfill or sync that nothing has verified
 *     rewrite        holds the write lock for as long as the table is large
 *     replace        REPLACE deletes rows, and their children, and no DELETE trigger sees it
 *     unique         rows, or older programs, that have doubles fail
 *     json-index     makes each later write of what is not JSON fail
 *     if-not-exists  what is there may be another
 *     sync           what is no trigger stays behind
 *     store          DBX is the store's own table
 *     passed-over    of dbmate's and goose's files: what is not run
 *     empty          one of theirs has nothing to run; a section revert or down
 *
 * All but `syntax` go by words, and know no schema: what they miss the runner's authorizer, or
 * SQLite, refuses while it can be rolled back.
 */
#include "schema/lint.h"

#include "schema/deeds.h"
#include "store/kv.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FINDINGS_MOST 1000 /* of one file, of each kind */

struct linter {
    const struct migration *m;
    lint_each *each;
    void *arg;
    sqlite3 *db;     /* in memory, empty; NULL: no memory for it */
    json_t *created; /* by the migration so far */
    bool faulty;     /* the statement has an error */
    int told[2];     /* warnings, errors */
    bool no_memory;
};

/* A text of the migration as words show it: no longer than `most` bytes, and no half characters. */
static int shown(const char *text, size_t n, size_t most) {
    n = n < most ? n : most;
    while (!utf8_valid(text, n)) n--;
    return (int)n;
}

static void PRINTF_LIKE(5, 6)
    tell(struct linter *l, int line, bool error, const char *rule, const char *fmt, ...) {
    struct finding f = {.migration = l->m, .line = line, .error = error, .rule = rule};
    va_list args;
    l->faulty |= error;
    if (l->told[error] == FINDINGS_MOST) return;
    l->told[error]++;
    va_start(args, fmt);
    vsnprintf(f.words, sizeof f.words, fmt, args);
    va_end(args);
    for (char *c = f.words; *c; c++)
        if ((unsigned char)*c < ' ') *c = ' ';
    f.words[shown(f.words, strlen(f.words), sizeof f.words)] = 0; /* SQLite's may be too long */
    l->each(l->arg, &f);
}

static int line_at(const struct statement *s, const char *at) {
    int line = s->line;
    for (const char *c = s->sql; c < at; c++) line += *c == '\n';
    return line;
}

/* Of an identifier, in quotes or not. */
static bool name_is(struct token t, const char *name) {
    char plain[64];
    return token_plain(t, plain, sizeof plain) == strlen(name) && strcasecmp(plain, name) == 0;
}

/* ---- errors ---- */

static void lint_first_word(struct linter *l, const struct statement *s) {
    static const struct {
        const char *word, *rule, *why;
    } refused[] = {
        {"BEGIN", "transaction", "a step is one transaction already"},
        {"COMMIT", "transaction", "a step is one transaction already"},
        {"END", "transaction", "a step is one transaction already"},
        {"ROLLBACK", "transaction", "a step is one transaction already"},
        {"SAVEPOINT", "transaction", "a step is one transaction already"},
        {"RELEASE", "transaction", "a step is one transaction already"},
        {"PRAGMA", "pragma", "a migration changes no settings"},
        {"ATTACH", "attach", "a migration is of one file"},
        {"DETACH", "attach", "a migration is of one file"},
        {"VACUUM", "vacuum", "it cannot run in a transaction, and a step is one"},
        {"EXPLAIN", "explain", "it does nothing"},
    };
    const char *at = s->sql;
    struct token t = token_next(&at);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (token_is(t, refused[i].word))
            tell(l, s->line, true, refused[i].rule, "%s: %s", refused[i].word, refused[i].why);
}

/* Words behind which the name of an object stands, maybe with that of its database. */
static const char *const before_object[] = {"FROM",   "JOIN", "INTO",    "UPDATE",   "TABLE",
                                            "INDEX",  "VIEW", "TRIGGER", "EXISTS",   "REPLACE",
                                            "IGNORE", "FAIL", "ABORT",   "ROLLBACK", NULL};

/* A name that only another connection knows: "noise.sensor". As the name of a table in an
 * expression, "noise.level", it is fine. */
static void lint_names(struct linter *l, const struct statement *s) {
    const char *at = s->sql;
    struct token before = {0}, two_before = {0}, t = token_next(&at);
    for (; t.length; two_before = before, before = t, t = token_next(&at)) {
        const char *next = at;
        if (token_is(before, "CREATE") && (token_is(t, "TEMP") || token_is(t, "TEMPORARY")))
            tell(l, line_at(s, t.at), true, "database", "TEMP: it would be gone with the runner");
        if (token_is(t, "load_extension"))
            tell(l, line_at(s, t.at), true, "extension", "a migration loads no code");
        if (!token_is(token_next(&next), ".")) continue;
        bool object = token_is_one(before, before_object) && !token_is(two_before, "DISTINCT");
        token_next(&next);
        if (!object && !token_is(token_next(&next), ".")) continue;
        if (name_is(t, "temp") || name_is(t, "noise") || (l->m->noise && name_is(t, "main")))
            tell(l, line_at(s, t.at), true, "database",
                 "%.*s.: a migration of %s names what is in its own file, without the file's name",
                 shown(t.at, t.length, 20), t.at, l->m->noise ? "noise" : "main");
    }
}

static bool is_history(struct token t) {
    char plain[64];
    token_plain(t, plain, sizeof plain);
    return strncasecmp(plain, "holdfast_", 9) == 0 &&
           !name_is(t, "holdfast_reject"); /* promote's */
}

static void lint_target(struct linter *l, const struct statement *s, struct token name) {
    const char *at = s->sql;
    struct token first = token_next(&at);
    if (is_history(name))
        tell(l, line_at(s, name.at), true, "history", "%.*s: such tables are written by Holdfast",
             shown(name.at, name.length, 60), name.at);
    if (name_is(name, "DBX") && (token_is(first, "DROP") || token_is(first, "ALTER")))
        tell(l, line_at(s, name.at), false, "store", "DBX is the table of the store's keys");
}

/* The names of what is written to. */
static void lint_targets(struct linter *l, const struct statement *s) {
    static const char *const between[] = {"OR", "REPLACE",  "IGNORE", "FAIL",   "ABORT",
                                          "IF", "ROLLBACK", "NOT",    "EXISTS", NULL};
    const char *at = s->sql;
    struct token before = {0}, t = token_next(&at);
    bool expects = false;
    for (; t.length; before = t, t = token_next(&at)) {
        const char *next = at;
        if (expects && !token_is_one(t, between)) {
            expects = token_is(token_next(&next), ".") || token_is(t, ".");
            if (!expects) lint_target(l, s, t);
        }
        expects |= token_is(t, "INTO") || token_is(t, "TABLE") || token_is(t, "UPDATE") ||
                   (token_is(t, "FROM") && token_is(before, "DELETE"));
    }
}

static void lint_parameters(struct linter *l, const struct section *s, const struct statement *st) {
    const bool backfill = s->kind == SECTION_BACKFILL;
    bool lo = false, hi = false;
    const char *at = st->sql;
    for (struct token t = token_next(&at); t.length; t = token_next(&at)) {
        if (!strchr("?:@$#", *t.at) || (t.length == 1 && *t.at != '?')) continue;
        const bool is_lo = t.length == 3 && memcmp(t.at, ":lo", 3) == 0;
        const bool is_hi = t.length == 3 && memcmp(t.at, ":hi", 3) == 0;
        lo |= is_lo;
        hi |= is_hi;
        if (!backfill || (!is_lo && !is_hi))
            tell(l, line_at(st, t.at), true, "parameter", "%.*s: nothing gives it a value",
                 shown(t.at, t.length, 60), t.at);
    }
    if (backfill && (!lo || !hi))
        tell(l, st->line, true, "parameter",
             "a backfill is run for a part of the table at a time: WHERE %.*s > :lo AND %.*s <= "
             ":hi",
             shown(s->key, strlen(s->key), 60), s->key, shown(s->key, strlen(s->key), 60), s->key);
}

/* Does a word stand in it outside of parentheses? */
static bool has_top(const char *sql, const char *word) {
    int depth = 0;
    for (struct token t = token_next(&sql); t.length; t = token_next(&sql)) {
        depth += token_is(t, "(") - token_is(t, ")");
        if (depth <= 0 && token_is(t, word)) return true;
    }
    return false;
}

static bool writes_rows(const char *sql) {
    static const char *const verbs[] = {"INSERT", "UPDATE", "DELETE", "REPLACE", NULL};
    const char *at = sql;
    struct token first = token_next(&at);
    if (!token_is(first, "WITH")) return token_is_one(first, verbs);
    for (size_t i = 0; verbs[i]; i++)
        if (has_top(at, verbs[i])) return true;
    return false;
}

static void lint_kind(struct linter *l, const struct section *s, const struct statement *st) {
    static const char *const queries[] = {"SELECT", "VALUES", "WITH", NULL};
    const char *at = st->sql;
    struct token first = token_next(&at);
    if (s->kind == SECTION_BACKFILL && !writes_rows(st->sql))
        tell(l, st->line, true, "backfill", "a backfill is an INSERT, an UPDATE or a DELETE");
    if (s->kind == SECTION_VERIFY && (!token_is_one(first, queries) || writes_rows(st->sql)))
        tell(l, st->line, true, "verify", "what verifies is a query, with one value");
    if (s->kind == SECTION_SYNC && !token_is(deed_of(st->sql).kind, "TRIGGER"))
        tell(l, st->line, false, "sync", "no trigger: contract does not take it away");
}

/* A view or trigger that the section makes again. */
static bool is_made_again(const struct section *s, size_t k) {
    struct deed d = deed_of(s->statements[k].sql);
    char key[DEED_KEY_SIZE], other[DEED_KEY_SIZE];
    if (!token_is(d.kind, "VIEW") && !token_is(d.kind, "TRIGGER")) return false;
    if (!deed_key(d.kind, d.name, key)) return false;
    while (++k < s->count) {
        if (!s->statements[k].sql) continue;
        d = deed_of(s->statements[k].sql);
        if (d.verb == CREATES && deed_key(d.kind, d.name, other) && strcmp(key, other) == 0)
            return true;
    }
    return false;
}

static void lint_additive(struct linter *l, const struct section *s, size_t k) {
    const struct statement *st = &s->statements[k];
    if ((s->kind != SECTION_EXPAND && s->kind != SECTION_SYNC) || !statement_breaks(st)) return;
    if (deed_is_own(l->created, st) || (st->sql && is_made_again(s, k))) return;
    tell(l, st->line, true, "expand",
         "older programs go on in '%s', and this takes something away from them: it belongs into "
         "'contract'",
         section_name(s->kind));
}

/* ---- SQLite's own words ---- */

int statement_error_line(sqlite3 *db, const struct statement *s) {
#if SQLITE_VERSION_NUMBER >= 3038000
    int offset = sqlite3_error_offset(db);
    if (s->sql && offset > 0 && (size_t)offset <= strlen(s->sql))
        return line_at(s, s->sql + offset);
#else
    (void)db;
#endif
    return s->line;
}

static int prepare(sqlite3 *db, const char *sql) {
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    sqlite3_finalize(st);
    return code;
}

/* ALTER TABLE and CREATE TRIGGER are not read on where they name a table that is not there: one is
 * put up, in a transaction. */
static bool put_up_missing(sqlite3 *db, const char *sql) {
    static const char missing[] = "no such table: ";
    const char *name = sqlite3_errmsg(db);
    if (strncmp(name, missing, sizeof missing - 1) != 0) return false;
    name += sizeof missing - 1;
    if (strncmp(name, "main.", 5) == 0) name += 5;
    char *text = sqlite3_mprintf(has_top(sql, "INSTEAD") ? "BEGIN; CREATE VIEW \"%w\" AS SELECT 1"
                                                         : "BEGIN; CREATE TABLE \"%w\"(a)",
                                 name);
    bool done = text && sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK;
    sqlite3_free(text);
    return done;
}

/* 'near "x": syntax error', and not a name that says so. */
static bool is_of_syntax(const char *said) {
    static const char error[] = "\": syntax error";
    size_t n = strlen(said);
    return strcmp(said, "incomplete input") == 0 ||
           strncmp(said, "unrecognized token: ", 20) == 0 ||
           (strncmp(said, "near \"", 6) == 0 && n > sizeof error &&
            strcmp(said + n - (sizeof error - 1), error) == 0);
}

/* Only its syntax: tables are not there. `part` stands in "before" and "after". */
static void lint_syntax(struct linter *l, const struct statement *s, const char *before,
                        const char *part, const char *after) {
    char *sql = l->db ? sqlite3_mprintf("%s%s%s", before, part, after) : NULL;
    l->no_memory |= !sql;
    if (!sql) return;
    int code = prepare(l->db, sql);
    if (code == SQLITE_ERROR && put_up_missing(l->db, sql)) code = prepare(l->db, sql);
    const char *said = sqlite3_errmsg(l->db);
    l->no_memory |= code == SQLITE_NOMEM;
    if (code == SQLITE_ERROR && is_of_syntax(said))
        tell(l, statement_error_line(l->db, s), true, "syntax", "%s", said);
    if (!sqlite3_get_autocommit(l->db)) sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_free(sql);
}

static void lint_rebuild(struct linter *l, const struct statement *s) {
    const struct rebuild *r = s->rebuild;
    if (r->create) lint_syntax(l, s, "", r->create, "");
    for (size_t i = 0; i < r->op_count; i++) {
        const struct rebuild_op *op = &r->ops[i];
        if (op->kind == REBUILD_DEFAULT || op->kind == REBUILD_FILL)
            lint_syntax(l, s, "SELECT (", op->value, "\n)");
        if (op->kind == REBUILD_TYPE) lint_syntax(l, s, "CREATE TABLE t(c ", op->value, "\n)");
        if (op->kind == REBUILD_ADD) lint_syntax(l, s, "CREATE TABLE t(", op->value, "\n)");
    }
    if (strcasecmp(r->table, "DBX") == 0)
        tell(l, s->line, false, "store", "DBX is the table of the store's keys");
    if (strncasecmp(r->table, "holdfast_", 9) == 0)
        tell(l, s->line, true, "history", "%.*s: such tables are Holdfast's",
             shown(r->table, strlen(r->table), 60), r->table);
    tell(l, s->line, false, "rewrite",
         "%.*s is written anew: others cannot write for as long as that takes",
         shown(r->table, strlen(r->table), 60), r->table);
}

/* ---- warnings ---- */

/* What SQLite accepts on an empty table, and on no other. */
static void lint_add_column(struct linter *l, const struct statement *s, const char *at) {
    bool required = false, given = false, variable = false, stored = false;
    int depth = 0;
    for (struct token before = {0}, t = token_next(&at); t.length;
         before = t, t = token_next(&at)) {
        const bool behind_default = token_is(before, "DEFAULT");
        if (depth == 0) {
            required |= token_is(before, "NOT") && token_is(t, "NULL");
            given |= token_is(t, "DEFAULT");
            variable |=
                behind_default && (token_is(t, "(") || strncasecmp(t.at, "CURRENT_", 8) == 0);
            stored |= token_is(t, "STORED");
        }
        depth += token_is(t, "(") - token_is(t, ")");
    }
    if (required && !given && !stored)
        tell(l, s->line, false, "add-column", "NOT NULL without a default fails where rows are");
    if (variable)
        tell(l, s->line, false, "add-column", "a default that is no constant fails where rows are");
    if (stored)
        tell(l, s->line, false, "add-column", "STORED fails where rows are; VIRTUAL does not");
}

static void lint_index(struct linter *l, const struct statement *s) {
    bool unique = false, json = false, guarded = false;
    const char *at = s->sql;
    token_next(&at);
    for (struct token t = token_next(&at); t.length; t = token_next(&at)) {
        unique |= token_is(t, "UNIQUE");
        json |= token_is(t, "json_extract") || token_is(t, "->") || token_is(t, "->>");
        guarded |= token_is(t, "json_valid");
    }
    if (unique)
        tell(l, s->line, false, "unique",
             "fails if there are doubles, and so do writes of older programs that make some");
    if (json && !guarded)
        tell(l, s->line, false, "json-index",
             "each later write of what is not JSON fails: WHERE json_valid(...)");
}

static void lint_rewrite(struct linter *l, const struct section *s, const struct statement *st,
                         const struct deed *d) {
    const char *at = st->sql;
    struct token first = token_next(&at);
    const bool whole = token_is(first, "UPDATE") && !has_top(st->sql, "WHERE");
    const bool copies =
        (token_is(first, "INSERT") || token_is(first, "REPLACE")) && has_top(st->sql, "SELECT");
    const bool drops = d->verb == ALTERS && token_is(d->then, "DROP");
    if (s->kind == SECTION_BACKFILL || (!whole && !copies && !drops)) return;
    tell(l, st->line, false, "rewrite",
         drops ? "the table is written anew: others cannot write for as long as that takes"
               : "others cannot write for as long as this takes: a backfill does it in parts");
}

static void lint_replace(struct linter *l, const struct statement *s) {
    const char *at = s->sql;
    for (struct token before = {0}, t = token_next(&at); t.length;
         before = t, t = token_next(&at)) {
        const char *next = at;
        if (!token_is(t, "REPLACE")) continue;
        const struct token then = token_next(&next);
        const bool calls = then.length == 1 && *then.at == '('; /* the function */
        if (!token_is(then, "INTO") && (!token_is(before, "OR") || calls)) continue;
        tell(l, line_at(s, t.at), false, "replace",
             "it deletes rows without DELETE triggers: INSERT ... ON CONFLICT DO UPDATE does not");
        return;
    }
}

static void lint_warnings(struct linter *l, const struct section *s, const struct statement *st) {
    struct deed d = deed_of(st->sql);
    if (d.verb == ALTERS && token_is(d.then, "ADD"))
        lint_add_column(l, st, d.then.at + d.then.length);
    if (d.verb == CREATES && token_is(d.kind, "INDEX")) lint_index(l, st);
    if (d.verb == CREATES && token_is(d.kind, "TABLE") && d.maybe)
        tell(l, st->line, false, "if-not-exists", "what is there already may be another table");
    lint_rewrite(l, s, st, &d);
    lint_replace(l, st);
}

/* ---- the whole ---- */

static void lint_statement(struct linter *l, const struct section *s, size_t k) {
    const struct statement *st = &s->statements[k];
    l->faulty = false;
    lint_additive(l, s, k);
    if (st->rebuild) {
        lint_rebuild(l, st);
        return;
    }
    lint_first_word(l, st);
    if (l->faulty) return;
    lint_names(l, st);
    lint_targets(l, st);
    lint_parameters(l, s, st);
    lint_kind(l, s, st);
    if (!l->faulty) lint_syntax(l, st, "", st->sql, "");
    if (!l->faulty && s->kind < SECTION_REVERT) lint_warnings(l, s, st);
}

static void lint_section(struct linter *l, const struct section *s) {
    if (s->where)
        lint_syntax(l, &(struct statement){.line = s->line}, "SELECT 1 WHERE (", s->where, "\n)");
    for (size_t k = 0; k < s->count; k++) {
        lint_statement(l, s, k);
        if (s->kind < SECTION_REVERT) l->no_memory |= !deed_remember(l->created, &s->statements[k]);
    }
}

static bool runs_something(const struct migration *m) {
    for (size_t i = 0; i < m->count && m->sections[i].kind < SECTION_REVERT; i++)
        if (m->sections[i].count) return true;
    return false;
}

static void lint_migration(struct linter *l) {
    const struct migration *m = l->m;
    const struct section *contract = migration_section(m, SECTION_CONTRACT, NULL);
    const int loss = first_break(m, &l->no_memory);
    const bool foreign = m->form == FORM_DBMATE || m->form == FORM_GOOSE;
    const bool sync = migration_has(m, SECTION_SYNC), backfill = migration_has(m, SECTION_BACKFILL);
    for (size_t i = 0; i < m->passed_count; i++)
        tell(l, m->passed[i].line, false, "passed-over",
             "%.*s is not run: the runner does what it is for",
             shown(m->passed[i].sql, strlen(m->passed[i].sql), 60), m->passed[i].sql);
    if (!runs_something(m) && !contract)
        tell(l, 1, !foreign, "empty",
             foreign ? "it has nothing to run" : "it has nothing to run: write it, or remove it");
    for (size_t i = 0; i < m->count; i++)
        if (!foreign && m->sections[i].kind >= SECTION_REVERT && !m->sections[i].count)
            tell(l, m->sections[i].line, false, "empty", "the section '%s' does nothing",
                 section_name(m->sections[i].kind));
    if (contract && (sync || backfill) && !migration_has(m, SECTION_VERIFY))
        tell(l, contract->line, false, "unverified",
             "no section 'verify' says that the backfill is complete");
    if ((sync || migration_has(m, SECTION_EXPAND)) && !migration_has(m, SECTION_REVERT))
        tell(l, m->sections[0].line, false, "no-revert",
             "no section 'revert': before 'contract' there is no way back");
    if (loss && !migration_has(m, SECTION_DOWN))
        tell(l, loss, false, "no-down",
             "something is taken away, and no section 'down' brings it back");
}

rc lint(const struct migration *m, lint_each *each, void *arg, struct err *e) {
    struct linter l = {.m = m, .each = each, .arg = arg, .created = json_object()};
    l.no_memory = sqlite3_open(":memory:", &l.db) != SQLITE_OK || !l.created;
    for (size_t i = 0; i < m->count; i++) lint_section(&l, &m->sections[i]);
    lint_migration(&l);
    sqlite3_close(l.db);
    json_decref(l.created);
    return l.no_memory ? err_set(e, RC_NOMEM, "%s: no memory", m->name) : ok();
}

static void keep_first(void *arg, const struct finding *f) {
    struct finding *first = arg;
    if (f->error && !first->error) *first = *f;
}

rc lint_check(const struct migration *m, struct err *e) {
    struct finding f = {0};
    TRY(lint(m, keep_first, &f, e));
    if (!f.error) return ok();
    return err_set(e, RC_CORRUPT, "%s%s:%d: %s", m->noise ? "noise/" : "", m->name, f.line,
                   f.words);
}

json_t *finding_json(const struct finding *f) {
    char file[LIMIT_MIGRATION_NAME + 8];
    snprintf(file, sizeof file, "%s%s", f->migration->noise ? "noise/" : "", f->migration->name);
    return json_pack("{s:s, s:i, s:s, s:s, s:s}", "file", file, "line", f->line, "severity",
                     f->error ? "error" : "warning", "rule", f->rule, "words", f->words);
}

struct listing {
    json_t *all; /* NULL: no memory */
    bool *errors;
};

static void list(void *arg, const struct finding *f) {
    struct listing *l = arg;
    *l->errors |= f->error;
    if (l->all && json_array_append_new(l->all, finding_json(f)) == 0) return;
    json_decref(l->all);
    l->all = NULL;
}

json_t *lint_json(const struct set *s, bool *errors) {
    struct listing l = {json_array(), errors};
    *errors = false;
    bool whole = true;
    for (size_t i = 0; i < s->count; i++) whole &= is_ok(lint(s->at[i], list, &l, NULL));
    if (whole) return l.all;
    json_decref(l.all);
    return NULL;
}
