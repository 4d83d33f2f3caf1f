/* The text of a spec, read and written.
 *
 * Why so strict: a word that was mistyped and passed over would be a column that is not NOT NULL,
 * or a key that is rejected later, in somebody's production. What is not understood is an error.
 */
#include "promote/spec.h"

#include "base/nearest.h"
#include "store/kv.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const type_names[] = {"TEXT", "INT", "REAL", "BOOL", NULL};

const char *column_type_name(enum column_type t) {
    return type_names[t];
}

void buf_say(struct buf *b, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    char *text = sqlite3_vmprintf(fmt, args);
    va_end(args);
    if (text) buf_text(b, text);
    else b->failed = true;
    sqlite3_free(text);
}

/* ---- lines and words ---- */

struct line {
    const char *file, *at, *end;
    int number;
    struct err *e;
};

static rc wrong(const struct line *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
static rc wrong(const struct line *l, const char *fmt, ...) {
    char words[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    return err_set(l->e, RC_CORRUPT, "%s:%d: %s", l->file, l->number, words);
}

static rc no_memory(struct err *e) {
    return err_set(e, RC_NOMEM, "no memory for a spec");
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static void skip_blanks(struct line *l) {
    while (l->at < l->end && is_blank(*l->at)) l->at++;
}

/* The next word, up to a blank outside of quotes; *out NULL: there is none. free(*out). */
static rc next_word(struct line *l, char **out) {
    bool quoted = false;
    skip_blanks(l);
    const char *from = l->at;
    *out = NULL;
    for (; l->at < l->end && (quoted || !is_blank(*l->at)); l->at++) {
        if (*l->at == '"') quoted = !quoted;
        else if (*l->at == '\\' && quoted && l->at + 1 < l->end) l->at++;
    }
    if (quoted) return wrong(l, "a quote is not closed");
    if (l->at == from) return ok();
    *out = strndup(from, (size_t)(l->at - from));
    return *out ? ok() : no_memory(l->e);
}

static void free_text(char **text) {
    free(*text);
}

/* The value behind "name=", without its quotes. */
static rc take_value(struct line *l, const char *name, const char *value, char **out) {
    size_t size = strlen(value);
    bool quoted = value[0] == '"';
    if (*out) return wrong(l, "%s= is there twice", name);
    char *copy = *out = malloc(size + 1);
    if (!copy) return no_memory(l->e);
    for (size_t i = quoted; i < size; i++) {
        if (quoted && value[i] == '"') {
            if (i + 1 != size) return wrong(l, "%s=: there is something behind its quotes", name);
            break;
        }
        if (quoted && value[i] == '\\') i++;
        else if (value[i] == '"') return wrong(l, "%s=: a quote in the middle: quote all", name);
        *copy++ = value[i];
    }
    *copy = 0;
    return ok();
}

/* ---- names ---- */

static bool begins(const char *text, const char *with) {
    return sqlite3_strnicmp(text, with, (int)strlen(with)) == 0;
}

rc spec_check_name(const char *name, struct err *e) {
    static const char *const ours[] = {"sqlite_", "holdfast", "hf_", "kv_"};
    static const char *const taken[] = {"DBX", "rowid", "oid", "_rowid_"};
    size_t n = strlen(name);
    if (n > LIMIT_SPEC_NAME)
        return err_set(e, RC_CORRUPT, "%.40s...: longer than %u bytes", name, LIMIT_SPEC_NAME);
    for (size_t i = 0; i < n; i++)
        if (!isalpha((unsigned char)name[i]) && name[i] != '_' &&
            !(i && isdigit((unsigned char)name[i])))
            return err_set(e, RC_CORRUPT, "'%s': a name is letters, digits and underscores", name);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (begins(name, ours[i]))
            return err_set(e, RC_CORRUPT, "%s: names that begin with %s are Holdfast's or SQLite's",
                           name, ours[i]);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (sqlite3_stricmp(name, taken[i]) == 0)
            return err_set(e, RC_CORRUPT, "%s: this name is taken", name);
    return n ? ok() : err_set(e, RC_CORRUPT, "a name is empty");
}

static rc take_name(struct line *l, const char *word, const char *what,
                    char out[LIMIT_SPEC_NAME + 1]) {
    struct err why;
    if (!is_ok(spec_check_name(word, &why))) return wrong(l, "%s %s", what, why.text);
    memcpy(out, word, strlen(word) + 1);
    return ok();
}

static struct column *find_column(struct spec *s, const char *name) {
    for (size_t i = 0; i < s->count; i++)
        if (sqlite3_stricmp(s->column[i].name, name) == 0) return &s->column[i];
    return NULL;
}

/* ---- the lines ---- */

/* "prefix=", "key=" or "db=" of the first line. */
static rc take_pair(struct line *l, const char *word, char **prefix, char **key, char **db) {
    const struct {
        const char *name;
        char **value;
    } known[] = {{"prefix", prefix}, {"key", key}, {"db", db}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i].name);
        if (strncmp(word, known[i].name, n) == 0 && word[n] == '=')
            return take_value(l, known[i].name, word + n + 1, known[i].value);
    }
    return wrong(l, "'%s': known are prefix=, key= and db=", word);
}

/* "-- holdfast:promote NAME prefix=P key=K [db=main|noise]"; K is read when all columns are. */
static rc take_head(struct line *l, struct spec *s, char **key) {
    char *name AUTO(free_text) = NULL, *db AUTO(free_text) = NULL;
    if (s->name[0]) return wrong(l, "a second " SPEC_MARK ": a spec is of one table");
    TRY(next_word(l, &name));
    if (name) TRY(take_name(l, name, "the table", s->name));
    for (;;) {
        char *word AUTO(free_text) = NULL;
        TRY(next_word(l, &word));
        if (!word) break;
        TRY(take_pair(l, word, &s->prefix, key, &db));
    }
    if (!s->prefix || !*key) return wrong(l, "it is: -- " SPEC_MARK " NAME prefix=P key=P{id}");
    if (db && strcmp(db, "main") != 0 && strcmp(db, "noise") != 0)
        return wrong(l, "db=%s: it is main or noise", db);
    s->noise = db && strcmp(db, "noise") == 0;
    struct err why;
    if (!s->prefix[0]) return wrong(l, "prefix=: it is empty");
    if (!is_ok(kv_check_key(s->prefix, "prefix", &why))) return wrong(l, "%s", why.text);
    return ok();
}

static rc take_type(struct line *l, const char *word, enum column_type *out) {
    for (int i = 0; type_names[i]; i++)
        if (sqlite3_stricmp(word, type_names[i]) == 0) {
            *out = (enum column_type)i;
            return ok();
        }
    return wrong(l, "type %s: it is TEXT, INT, REAL or BOOL", word);
}

/* A path of names, and at least one. */
static rc take_path(struct line *l, const char *word, struct column *c) {
    char path[LIMIT_JSON_PATH];
    struct err why;
    if (!is_ok(kv_path(word, path, &why))) return wrong(l, "%s", why.text);
    bool quoted = false;
    for (const char *p = path; *p; p++) {
        if (*p == '"') quoted = !quoted;
        if (*p == '[' && !quoted)
            return wrong(l, "%s: a step into an array: let the array stay in the rest", path);
    }
    if (!path[1]) return wrong(l, "$ is the whole value: a column is a part of it");
    c->path = strdup(path);
    return c->path ? ok() : no_memory(l->e);
}

static rc take_flag(struct line *l, const char *word, struct column *c) {
    static const char *const names[] = {"notnull", "index", "unique", NULL};
    bool *flag = strcmp(word, "notnull") == 0 ? &c->notnull
                 : strcmp(word, "index") == 0 ? &c->index
                                              : NULL;
    if (!flag && strcmp(word, "unique") == 0)
        return wrong(l, "unique: it would let puts fail; make the index when the keys are retired");
    const char *near = flag ? NULL : nearest_name(word, names);
    if (!flag && near) return wrong(l, "'%s': did you mean %s?", word, near);
    if (!flag) return wrong(l, "'%s': known are notnull and index", word);
    if (*flag) return wrong(l, "%s is there twice", word);
    if (!c->path) return wrong(l, "%s: a key column is not null, and indexed", word);
    *flag = true;
    return ok();
}

/* "-- col NAME TYPE key" or "-- col NAME TYPE PATH [notnull] [index]" */
static rc take_column(struct line *l, struct spec *s) {
    if (s->count == LIMIT_SPEC_COLUMNS) return wrong(l, "more than %u columns", LIMIT_SPEC_COLUMNS);
    struct column *c = &s->column[s->count];
    char *name AUTO(free_text) = NULL, *type AUTO(free_text) = NULL, *from AUTO(free_text) = NULL;
    TRY(next_word(l, &name));
    TRY(next_word(l, &type));
    TRY(next_word(l, &from));
    if (!from) return wrong(l, "it is: -- col NAME TYPE key, or -- col NAME TYPE $.path");
    char taken[LIMIT_SPEC_NAME + 1];
    TRY(take_name(l, name, "column", taken));
    if (find_column(s, taken)) return wrong(l, "column %s is there twice", taken);
    TRY(take_type(l, type, &c->type));
    if (strcmp(from, "key") != 0) TRY(take_path(l, from, c));
    memcpy(c->name, taken, sizeof taken);
    s->count++; /* the path is freed with it */
    if (!c->path && c->type != COLUMN_TEXT && c->type != COLUMN_INT)
        return wrong(l, "column %s: of a key it is TEXT or INT", c->name);
    for (;;) {
        char *word AUTO(free_text) = NULL;
        TRY(next_word(l, &word));
        if (!word) return ok();
        TRY(take_flag(l, word, c));
    }
}

static rc take_rest(struct line *l, struct spec *s) {
    char *name AUTO(free_text) = NULL, *more AUTO(free_text) = NULL;
    if (s->rest[0]) return wrong(l, "a second rest");
    TRY(next_word(l, &name));
    TRY(next_word(l, &more));
    if (!name || more) return wrong(l, "it is: -- rest NAME");
    return take_name(l, name, "the rest", s->rest);
}

static rc take_line(struct line *l, struct spec *s, char **key) {
    skip_blanks(l);
    if (l->at == l->end) return ok();
    if (l->end - l->at >= 3 && strncmp(l->at, "---", 3) == 0) return ok();
    if (memchr(l->at, 0, (size_t)(l->end - l->at))) return wrong(l, "there is a NUL in it");
    char *dashes AUTO(free_text) = NULL, *word AUTO(free_text) = NULL;
    TRY(next_word(l, &dashes));
    TRY(next_word(l, &word));
    if (!dashes || strcmp(dashes, "--") != 0 || !word)
        return wrong(l, "each line begins with --, and a remark with ---");
    if (strcmp(word, SPEC_MARK) == 0) return take_head(l, s, key);
    if (!s->name[0]) return wrong(l, "it begins with: -- " SPEC_MARK " NAME prefix=P key=P{id}");
    if (strcmp(word, "col") == 0) return take_column(l, s);
    if (strcmp(word, "rest") == 0) return take_rest(l, s);
    return wrong(l, "'%s': known are col and rest; a remark begins with ---", word);
}

/* ---- the key, and all together ---- */

static rc take_part(const struct line *l, struct spec *s, const char *name, size_t n) {
    char text[LIMIT_SPEC_NAME + 1];
    if (s->part_count == LIMIT_SPEC_PARTS)
        return wrong(l, "key=: it has more than %u parts", LIMIT_SPEC_PARTS);
    snprintf(text, sizeof text, "%.*s", (int)n, name);
    struct column *c = n <= LIMIT_SPEC_NAME ? find_column(s, text) : NULL;
    if (!c || c->path) return wrong(l, "key=: {%.*s} is not a column of the key", (int)n, name);
    size_t at = (size_t)(c - s->column);
    for (size_t i = 0; i < s->part_count; i++)
        if (s->part[i] == at) return wrong(l, "key=: {%s} is there twice", c->name);
    s->part[s->part_count++] = at;
    return ok();
}

static rc take_key(const struct line *l, struct spec *s, const char *key) {
    if (strncmp(key, s->prefix, strlen(s->prefix)) != 0)
        return wrong(l, "key=%s: it does not begin with the prefix %s", key, s->prefix);
    for (const char *at = key;;) {
        size_t n = strcspn(at, "{}");
        char **literal = &s->literal[s->part_count];
        if (s->part_count && !n && at[0])
            return wrong(l, "key=: two parts need something between them");
        if (!(*literal = strndup(at, n))) return no_memory(l->e);
        at += n;
        if (!*at) break;
        size_t name = strcspn(at + 1, "{}");
        if (*at == '}' || at[1 + name] != '}')
            return wrong(l, "key=%s: a part is the name of a column in braces", key);
        TRY(take_part(l, s, at + 1, name));
        at += name + 2;
    }
    if (!s->part_count) return wrong(l, "key=%s: it has no part, like {id}", key);
    if (strlen(s->literal[0]) < strlen(s->prefix))
        return wrong(l, "key=%s: the prefix has a part in it", key);
    struct err why;
    if (!is_ok(kv_check_key(key, "key", &why))) return wrong(l, "key=: %s", why.text);
    return ok();
}

static bool is_within(const char *path, const char *outer) {
    size_t n = strlen(outer);
    return strncmp(path, outer, n) == 0 && (path[n] == 0 || path[n] == '.');
}

static rc check_whole(const struct line *l, struct spec *s) {
    if (!s->rest[0]) return wrong(l, "it needs a line: -- rest extra");
    if (find_column(s, s->rest)) return wrong(l, "rest %s: a column has this name", s->rest);
    for (size_t i = 0; i < s->count; i++) {
        const struct column *a = &s->column[i];
        bool used = a->path != NULL;
        for (size_t k = 0; k < s->part_count; k++) used |= s->part[k] == i;
        if (!used) return wrong(l, "column %s: key= has no part {%s}", a->name, a->name);
        for (size_t k = 0; a->path && k < s->count; k++)
            if (k != i && s->column[k].path && is_within(s->column[k].path, a->path))
                return wrong(l, "%s of %s lies within %s of %s", s->column[k].path,
                             s->column[k].name, a->path, a->name);
    }
    return ok();
}

static rc parse(struct line *l, const char *text, size_t size, struct spec *s) {
    char *key AUTO(free_text) = NULL;
    int head = 1;
    if (size > LIMIT_SPEC) return wrong(l, "longer than %u bytes", LIMIT_SPEC);
    if (!utf8_valid(text, size)) return wrong(l, "not UTF-8");
    for (const char *at = text, *end = text + size; at < end; at = l->end + 1) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        l->number++;
        l->at = at;
        l->end = newline ? newline : end;
        bool had = key != NULL;
        TRY(take_line(l, s, &key));
        if (key && !had) head = l->number;
    }
    l->number = head;
    if (!s->name[0]) return wrong(l, "it begins with: -- " SPEC_MARK " NAME prefix=P key=P{id}");
    TRY(take_key(l, s, key));
    return check_whole(l, s);
}

rc spec_parse(const char *name, const char *text, size_t size, struct spec **out, struct err *e) {
    struct spec *s = calloc(1, sizeof *s);
    struct line l = {.file = name, .e = e};
    if (!s) return no_memory(e);
    rc r = parse(&l, text, size, s);
    if (is_ok(r)) *out = s;
    else spec_free(s);
    return r;
}

void spec_free(struct spec *s) {
    if (!s) return;
    for (size_t i = 0; i < LIMIT_SPEC_COLUMNS; i++) free(s->column[i].path);
    for (size_t i = 0; i <= LIMIT_SPEC_PARTS; i++) free(s->literal[i]);
    free(s->prefix);
    free(s);
}

/* ---- and written ---- */

void spec_print_value(struct buf *out, const char *name, const char *value) {
    bool plain = !strpbrk(value, " \t\r\"\\");
    buf_say(out, " %s=%s", name, plain ? "" : "\"");
    for (const char *p = value; *p; p++) {
        if (!plain && (*p == '"' || *p == '\\')) buf_u8(out, '\\');
        buf_u8(out, (uint8_t)*p);
    }
    if (!plain) buf_u8(out, '"');
}

void spec_print_key(const struct spec *s, struct buf *out) {
    for (size_t i = 0; i < s->part_count; i++)
        buf_say(out, "%s{%s}", s->literal[i], s->column[s->part[i]].name);
    buf_text(out, s->literal[s->part_count]);
}

void spec_print(const struct spec *s, const char *indent, struct buf *out) {
    struct buf key AUTO(buf_deinit) = {0};
    buf_init(&key, LIMIT_SPEC);
    spec_print_key(s, &key);
    buf_u8(&key, 0);
    out->failed |= key.failed;
    if (key.failed) return;
    buf_say(out, "%s-- " SPEC_MARK " %s", indent, s->name);
    spec_print_value(out, "prefix", s->prefix);
    spec_print_value(out, "key", (const char *)key.bytes);
    buf_say(out, "%s\n", s->noise ? " db=noise" : "");
    int widest = 0;
    for (size_t i = 0; i < s->count; i++)
        if ((int)strlen(s->column[i].name) > widest) widest = (int)strlen(s->column[i].name);
    for (size_t i = 0; i < s->count; i++) {
        const struct column *c = &s->column[i];
        buf_say(out, "%s-- col %-*s %-4s %s%s%s\n", indent, widest, c->name,
                column_type_name(c->type), c->path ? c->path : "key", c->notnull ? " notnull" : "",
                c->index ? " index" : "");
    }
    buf_say(out, "%s-- rest %s\n", indent, s->rest);
}
