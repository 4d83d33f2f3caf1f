/* A migration as a text: sections, directives, statements. See the header.
 *
 * Why directives are strict: what is no directive is a comment, and a DROP behind a "contract" that
 * was mistyped would run while old programs go on. So a word that is unknown, one that does not
 * begin its line, one in a statement that has no end yet, and a section out of order are errors.
 *
 * Invariants
 *  1. A statement is what sqlite3_complete() calls one, and the only one in its text.
 *  2. Sections stand in the order in which they run; sections[0] is SECTION_ORDINARY but of a
 *     phased file, which has none.
 *  3. CR LF is LF before anything is looked at: what has one hash has one meaning.
 */
#include "schema/file_parts.h"

#include "base/nearest.h"
#include "object/sigv4.h"
#include "store/kv.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define VERSION_DIGITS 18 /* of an int64_t */

/* ---- errors ---- */

rc fault(struct parser *p, int line, const char *fmt, ...) {
    char words[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    return err_set(p->e, RC_CORRUPT, "%s%s:%d: %s", p->m->noise ? "noise/" : "", p->m->name, line,
                   words);
}

rc no_memory(struct parser *p) {
    return err_set(p->e, RC_NOMEM, "%s: no memory", p->m->name);
}

/* Asked for places in the order of the text. */
static int line_of(struct parser *p, const char *at) {
    for (; p->line_at < at; p->line_at++) p->line += *p->line_at == '\n';
    return p->line;
}

/* ---- sections ---- */

const char *section_name(enum section_kind kind) {
    static const char *const names[] = {"ordinary", "expand",   "sync",   "backfill",
                                        "verify",   "contract", "revert", "down"};
    return names[kind];
}

struct section *section_now(struct parser *p) {
    return &p->m->sections[p->m->count - 1];
}

static rc section_put(struct parser *p, enum section_kind kind, int line) {
    struct migration *m = p->m;
    struct section *more = realloc(m->sections, (m->count + 1) * sizeof *more);
    if (!more) return no_memory(p);
    m->sections = more;
    more[m->count++] = (struct section){.kind = kind, .line = line};
    return ok();
}

static rc section_end(struct parser *p) {
    const struct section *s = section_now(p);
    TRY(statement_finish(p));
    if (s->kind == SECTION_BACKFILL && (s->count != 1 || s->statements[0].rebuild))
        return fault(p, s->line, "a backfill has one statement; this one has %zu", s->count);
    if (s->kind == SECTION_VERIFY && !s->count)
        return fault(p, s->line, "a verify section without a query verifies nothing");
    return ok();
}

static rc check_order(struct parser *p, enum section_kind kind, int line) {
    const struct migration *m = p->m;
    for (size_t i = 0; i < m->count; i++) {
        const struct section *s = &m->sections[i];
        bool repeats = kind == SECTION_BACKFILL || kind == SECTION_VERIFY;
        if (s->kind == kind && !repeats)
            return fault(p, line, "a second section '%s'; the first is in line %d",
                         section_name(kind), s->line);
        if (s->kind > kind)
            return fault(p, line, "'%s' stands before '%s' (line %d): sections stand as they run",
                         section_name(kind), section_name(s->kind), s->line);
    }
    return ok();
}

rc section_begin(struct parser *p, enum section_kind kind, int line) {
    struct migration *m = p->m;
    TRY(section_end(p));
    if (m->form == FORM_ORDINARY && kind != SECTION_DOWN && m->count == 1) {
        const struct section *first = &m->sections[0];
        if (first->count)
            return fault(p, first->statements[0].line,
                         "a statement before the first section, which is '%s' in line %d",
                         section_name(kind), line);
        m->form = FORM_PHASED;
        m->count = 0;
    }
    TRY(check_order(p, kind, line));
    return section_put(p, kind, line);
}

/* ---- statements ---- */

void rebuild_free(struct rebuild *r) {
    if (!r) return;
    for (size_t i = 0; i < r->op_count; i++) {
        free(r->ops[i].column);
        free(r->ops[i].value);
    }
    free(r->ops);
    free(r->table);
    free(r->create);
    free(r);
}

/* Memory grows by doubling: `count` is a power of two when there is no room left. */
static bool append(struct statement **all, size_t *count, struct statement s) {
    if ((*count & (*count - 1)) == 0) {
        struct statement *more = realloc(*all, (*count ? 2 * *count : 1) * sizeof *more);
        if (!more) return false;
        *all = more;
    }
    (*all)[(*count)++] = s;
    return true;
}

rc statement_add(struct parser *p, char *sql, struct rebuild *r, int line) {
    struct migration *m = p->m;
    struct section *s = section_now(p);
    struct statement one = {sql, r, line};
    bool passed = sql && (m->form == FORM_DBMATE || m->form == FORM_GOOSE) && passes_over(m, sql);
    if (passed ? append(&m->passed, &m->passed_count, one) : append(&s->statements, &s->count, one))
        return ok();
    free(sql);
    rebuild_free(r);
    return no_memory(p);
}

/* CREATE TABLE of that name, and no IF NOT EXISTS, TEMP or AS SELECT. */
static bool creates_table(const char *sql, const char *table) {
    char name[256];
    const char *at = sql;
    if (!token_is(token_next(&at), "CREATE") || !token_is(token_next(&at), "TABLE")) return false;
    return token_plain(token_next(&at), name, sizeof name) == strlen(table) &&
           strcasecmp(name, table) == 0 && token_is(token_next(&at), "(");
}

static rc statement_end(struct parser *p) {
    size_t n = (size_t)(p->statement_end - p->statement);
    const bool closed = p->statement_end[-1] == ';';
    char *sql = malloc(n + 2);
    if (!sql) return no_memory(p);
    memcpy(sql, p->statement, n);
    memcpy(sql + n, closed ? "" : ";", closed ? 1 : 2);
    p->statement = NULL;
    p->part = PART_START;
    struct rebuild *r = p->rebuild;
    if (!r) return statement_add(p, sql, NULL, p->statement_line);
    p->rebuild = NULL;
    r->create = sql;
    if (creates_table(sql, r->table)) return statement_add(p, NULL, r, p->rebuild_line);
    rc bad = fault(p, p->statement_line,
                   "the rebuild in line %d changes nothing by itself, so CREATE TABLE %.60s (...) "
                   "has to follow it",
                   p->rebuild_line, r->table);
    rebuild_free(r);
    return bad;
}

rc statement_finish(struct parser *p) {
    if (p->statement && (p->part == PART_TRIGGER || p->part == PART_SEMI))
        return fault(p, p->statement_line, "the trigger that begins here has no 'END;'");
    if (p->statement) TRY(statement_end(p));
    if (p->rebuild)
        return fault(p, p->rebuild_line,
                     "this rebuild changes nothing: drop=, notnull=, add=, ... or a CREATE TABLE "
                     "behind it");
    return ok();
}

static rc read_token(struct parser *p, struct token t) {
    bool ends;
    if (!p->statement) {
        if (token_is(t, ";")) return ok();
        p->statement = t.at;
        p->statement_line = line_of(p, t.at);
    }
    p->statement_end = t.at + t.length;
    p->part = part_next(p->part, t, &ends);
    return ends ? statement_end(p) : ok();
}

/* ---- comments ---- */

void word_take(struct token *rest, char out[WORD_SIZE]) {
    size_t n = 0, blanks = 0;
    while (blanks < rest->length && isspace((unsigned char)rest->at[blanks])) blanks++;
    rest->at += blanks;
    rest->length -= blanks;
    while (n < rest->length && !isspace((unsigned char)rest->at[n])) n++;
    snprintf(out, WORD_SIZE, "%.*s", (int)(n < WORD_SIZE ? n : WORD_SIZE - 1), rest->at);
    rest->at += n;
    rest->length -= n;
}

static bool begins_line(const struct parser *p, const char *at) {
    while (at > p->text && strchr(" \t\r\f", at[-1])) at--;
    return at == p->text || at[-1] == '\n';
}

typedef rc read_directive(struct parser *, struct token rest, int line);

static bool take_prefix(struct token *rest, const char *prefix) {
    size_t n = strlen(prefix);
    if (rest->length < n || strncasecmp(rest->at, prefix, n) != 0) return false;
    rest->at += n;
    rest->length -= n;
    return true;
}

/* Who reads this comment; NULL: nobody, it is one. */
static read_directive *reader_of(struct token *rest) {
    rest->at += 2; /* "--" */
    rest->length -= 2;
    while (rest->length && isblank((unsigned char)*rest->at)) rest->at++, rest->length--;
    if (take_prefix(rest, "holdfast:promote ")) return NULL; /* a view's spec: see promote/spec.h */
    if (take_prefix(rest, "holdfast:")) return holdfast_directive;
    if (take_prefix(rest, "migrate:")) return dbmate_directive;
    if (take_prefix(rest, "+goose")) return goose_directive;
    return NULL;
}

/* "contract soak=1h", "down lossy", "rebuild user drop=name": nothing that a sentence would
 * have. */
static bool reads_as_directive(struct token rest) {
    static const char *const words[] = {"expand",     "sync",     "backfill", "verify",
                                        "contract",   "revert",   "down",     "rebuild",
                                        "compatible", "breaking", NULL};
    char word[WORD_SIZE], more[WORD_SIZE];
    if (rest.length && *rest.at == ':') return true;
    word_take(&rest, word);
    struct token first = {word, strlen(word)};
    if (!token_is_one(first, words)) return false;
    if (token_is(first, "rebuild")) word_take(&rest, more); /* a table */
    for (word_take(&rest, more); *more; word_take(&rest, more))
        if (!strchr(more, '=') && strcmp(more, "lossy") != 0 && strcmp(more, "compatible") != 0)
            return false;
    return true;
}

/* "holdfsat:contract", "holdfast :contract" or "holdfast contract" */
static bool is_mistyped(struct token rest) {
    static const char *const ours[] = {"holdfast", NULL};
    char word[WORD_SIZE];
    word_take(&rest, word);
    char *colon = strchr(word, ':');
    if (colon && !colon[1]) return false;
    if (colon) *colon = 0;
    if (!nearest_name(word, ours)) return false;
    while (rest.length && isblank((unsigned char)*rest.at)) rest.at++, rest.length--;
    return colon || reads_as_directive(rest);
}

static rc read_comment(struct parser *p, struct token comment) {
    struct token rest = comment;
    read_directive *read = reader_of(&rest);
    int line = line_of(p, comment.at);
    if (!read && is_mistyped(rest)) return fault(p, line, "is 'holdfast:' meant?");
    if (!read) return ok();
    if (!begins_line(p, comment.at))
        return fault(p, line, "a directive stands at the start of its line");
    if (p->statement && read == holdfast_directive)
        return fault(p, line,
                     "a directive in the statement that begins in line %d: is a ';' missing there?",
                     p->statement_line);
    return read(p, rest, line);
}

/* ---- the whole ---- */

static rc read_all(struct parser *p) {
    for (;;) {
        struct lexed x = lex(p->at);
        switch (x.kind) {
        case LEX_END: return section_end(p);
        case LEX_BLANK:
        case LEX_BLOCK_COMMENT: break;
        case LEX_LINE_COMMENT: TRY(read_comment(p, x.text)); break;
        case LEX_TOKEN: TRY(read_token(p, x.text)); break;
        case LEX_OPEN:
            return fault(p, line_of(p, x.text.at), "the %s that begins here has no end",
                         *x.text.at == '/' ? "comment" : "literal");
        }
        p->at += x.text.length;
    }
}

static rc check_whole(struct parser *p) {
    struct migration *m = p->m;
    const bool foreign = m->form == FORM_DBMATE || m->form == FORM_GOOSE;
    const struct section *last = &m->sections[m->count - 1];
    if (p->block_line) return fault(p, p->block_line, "StatementBegin without StatementEnd");
    if (foreign && !p->up) return fault(p, 1, "there is no section 'up'");
    /* Their templates have an empty one, which nobody filled in: it brings nothing back. */
    if (foreign && last->kind == SECTION_DOWN && !last->count) m->count--;
    if (m->form != FORM_PHASED) return ok();
    if (m->sections[0].kind > SECTION_CONTRACT)
        return fault(p, m->sections[0].line, "there is nothing that it would undo");
    if (m->effect != EFFECT_JUDGED)
        return fault(p, p->effect_line,
                     "this is for a file without sections; of this one say "
                     "'contract compatible', or nothing");
    return ok();
}

/* The text with CR LF as LF, and without what no SQL has. */
static rc take_text(struct parser *p, const char *text, size_t size, char **out) {
    if (size > LIMIT_MIGRATION)
        return err_set(p->e, RC_CORRUPT, "%s: %zu bytes; at most %u", p->m->name, size,
                       LIMIT_MIGRATION);
    char *copy = malloc(size + 1);
    size_t n = 0;
    if (!copy) return no_memory(p);
    for (size_t i = 0; i < size; i++)
        if (text[i] != '\r' || i + 1 == size || text[i + 1] != '\n') copy[n++] = text[i];
    copy[n] = 0;
    *out = copy;
    p->text = p->at = p->line_at = copy;
    p->line = 1;
    if (n > 1 && (memcmp(copy, "\xff\xfe", 2) == 0 || memcmp(copy, "\xfe\xff", 2) == 0))
        return fault(p, 1, "this is UTF-16; UTF-8 is read");
    if (strlen(copy) != n) return fault(p, line_of(p, copy + strlen(copy)), "a zero byte");
    for (const char *line = copy, *end; *line; line = end + (*end == '\n')) {
        end = line + strcspn(line, "\n");
        if (!utf8_valid(line, (size_t)(end - line)))
            return fault(p, line_of(p, line), "this is not UTF-8");
    }
    if (!sha256_hex(copy, n, p->m->sha256)) return no_memory(p);
    if (strncmp(copy, "\xef\xbb\xbf", 3) == 0) p->text = p->at = p->line_at = copy + 3;
    p->line_at = p->text;
    p->line = 1;
    if (!p->text[strspn(p->text, " \t\n\f\r")])
        return err_set(p->e, RC_CORRUPT, "%s%s: it is empty", p->m->noise ? "noise/" : "",
                       p->m->name);
    return ok();
}

static rc parse(struct parser *p, const char *text, size_t size) {
    char *copy = NULL;
    rc r = take_text(p, text, size, &copy);
    if (is_ok(r)) r = section_put(p, SECTION_ORDINARY, 1);
    if (is_ok(r)) r = read_all(p);
    if (is_ok(r)) r = check_whole(p);
    rebuild_free(p->rebuild);
    free(copy);
    return r;
}

rc migration_parse(const char *name, bool noise, const char *text, size_t size,
                   struct migration **out, struct err *e) {
    int64_t version;
    if (!migration_version(name, &version))
        return err_set(e, RC_CORRUPT,
                       "%s%.200s: a migration is called VERSION_NAME.sql: digits, an underscore, "
                       "and no blanks",
                       noise ? "noise/" : "", name);
    struct migration *m = calloc(1, sizeof *m);
    if (m) m->name = strdup(name);
    if (!m || !m->name) {
        migration_free(m);
        return err_set(e, RC_NOMEM, "%.200s: no memory", name);
    }
    m->version = version;
    m->noise = noise;
    rc r = parse(&(struct parser){.m = m, .e = e}, text, size);
    if (is_ok(r)) *out = m;
    else migration_free(m);
    return r;
}

static void statements_free(struct statement *all, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(all[i].sql);
        rebuild_free(all[i].rebuild);
    }
    free(all);
}

void migration_free(struct migration *m) {
    if (!m) return;
    for (size_t i = 0; i < m->count; i++) {
        struct section *s = &m->sections[i];
        statements_free(s->statements, s->count);
        free(s->table);
        free(s->key);
        free(s->where);
        free(s->expect);
    }
    statements_free(m->passed, m->passed_count);
    free(m->sections);
    free(m->name);
    free(m);
}

const struct section *migration_section(const struct migration *m, enum section_kind kind,
                                        const struct section *from) {
    for (const struct section *s = from ? from : m->sections; s < m->sections + m->count; s++)
        if (s->kind == kind) return s;
    return NULL;
}

bool migration_has(const struct migration *m, enum section_kind kind) {
    return migration_section(m, kind, NULL) != NULL;
}

bool migration_version(const char *name, int64_t *version) {
    size_t digits = strspn(name, "0123456789"), n = strlen(name);
    size_t suffix = n > 4 && strcmp(name + n - 4, ".sql") == 0 ? 4 : 0;
    if (!digits || digits > VERSION_DIGITS || name[digits] != '_') return false;
    if (n > LIMIT_MIGRATION_NAME || n - suffix <= digits + 1 || !utf8_valid(name, n)) return false;
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '/' || *c == '\\') return false;
    int64_t v = strtoll(name, NULL, 10);
    if (v) *version = v;
    return v > 0;
}
