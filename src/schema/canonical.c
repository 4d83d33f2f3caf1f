/* See the header.
 *
 * Why texts, and not only what SQLite makes of them (table_xinfo and the like): a CHECK, the body
 * of a trigger, an expression of an index are nowhere but there.
 *
 * Why words in double quotes are looked at one by one: SQLite takes "active" for a string where no
 * column is called so, and then its case and its quotes count.
 *
 * Invariant: two texts that SQLite reads differently do not come out alike, but for a column whose
 * name is one of SQLite's own words, if it is once in quotes and once stands for that word.
 */
#include "schema/canonical.h"

#include "schema/file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct words {
    char **at;
    size_t count, capacity;
    bool failed;
};

static void words_deinit(struct words *w) {
    for (size_t i = 0; i < w->count; i++) free(w->at[i]);
    free(w->at);
}

static bool has_room(struct words *w) {
    if (w->count < w->capacity) return true;
    size_t capacity = w->capacity ? w->capacity * 2 : 64;
    char **at = realloc(w->at, capacity * sizeof *at);
    if (!at) return false;
    w->at = at;
    w->capacity = capacity;
    return true;
}

/* Takes the text; NULL: there was no memory for it. */
static void add(struct words *w, char *text) {
    if (text && has_room(w)) {
        w->at[w->count++] = text;
        return;
    }
    w->failed = true;
    free(text);
}

static bool is(const struct words *w, size_t i, const char *word) {
    return i < w->count && strcmp(w->at[i], word) == 0;
}

static bool is_one_of(const struct words *w, size_t i, const char *const *list) {
    for (; *list; list++)
        if (is(w, i, *list)) return true;
    return false;
}

/* ---- words ---- */

static char *in_capitals(const char *text, size_t n) {
    char *out = strndup(text, n);
    for (char *c = out; c && *c; c++)
        if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
    return out;
}

static bool is_plain(const char *name) {
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '$' && !(*c & 0x80)) return false;
    return *name && !isdigit((unsigned char)*name);
}

static char *quoted(char *name) {
    size_t n = strlen(name);
    char *out = malloc(n + 3);
    if (out) {
        out[0] = out[n + 1] = '"';
        memcpy(out + 1, name, n);
        out[n + 2] = 0;
    }
    free(name);
    return out;
}

/* As ALTER TABLE writes them anew. */
static char *as_string(char *text) {
    size_t n = strlen(text), at = 0;
    char *out = malloc(2 * n + 3);
    if (out) {
        out[at++] = '\'';
        for (size_t i = 0; i < n; i++) {
            if (text[i] == '\'') out[at++] = '\'';
            out[at++] = text[i];
        }
        out[at++] = '\'';
        out[at] = 0;
    }
    free(text);
    return out;
}

/* Behind these there is always a name. */
static const char *const before_names[] = {"CONSTRAINT", "COLLATE", "AS", ".", NULL};

static char *unquoted(struct words *w, struct token t, canonical_known *known, void *arg) {
    char *name = token_identifier(t), *capitals;
    if (!name) return NULL;
    bool sure = *t.at != '"' || (w->count && is_one_of(w, w->count - 1, before_names));
    if (!sure && !known(arg, name)) return as_string(name);
    capitals = in_capitals(name, strlen(name));
    free(name);
    return capitals && !is_plain(capitals) ? quoted(capitals) : capitals;
}

/* `raw`: a virtual table's arguments are its module's business. */
static void read_words(const char *sql, canonical_known *known, void *arg, struct words *w) {
    bool raw = false;
    for (const char *at = sql; !w->failed;) {
        struct token t = token_next(&at);
        if (t.length == 0) return;
        if (*t.at == '\'' || raw) add(w, strndup(t.at, t.length));
        else if (*t.at == '"' || *t.at == '`' || *t.at == '[') add(w, unquoted(w, t, known, arg));
        else add(w, in_capitals(t.at, t.length));
        if (!raw && !w->failed && is(w, 1, "VIRTUAL") && is(w, w->count - 1, "USING")) raw = true;
    }
}

/* ---- what is written ---- */

static void put(struct buf *out, const char *word) {
    buf_text(out, word);
    buf_u8(out, ' ');
}

static void put_range(struct buf *out, const struct words *w, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) put(out, w->at[i]);
}

/* The first `mark` outside of parentheses at or behind `from`, or `to`. */
static size_t find(const struct words *w, size_t from, size_t to, const char *mark) {
    int depth = 0;
    for (size_t i = from; i < to; i++) {
        if (depth == 0 && is(w, i, mark)) return i;
        if (is(w, i, "(")) depth++;
        else if (is(w, i, ")")) depth--;
    }
    return to;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void put_sorted(struct buf *out, struct words *parts, const char *between) {
    if (parts->failed) out->failed = true;
    if (parts->count) qsort(parts->at, parts->count, sizeof *parts->at, by_text);
    for (size_t i = 0; i < parts->count; i++) {
        if (i) buf_text(out, between);
        buf_text(out, parts->at[i]);
    }
}

static char *joined(const struct words *w, size_t from, size_t to) {
    struct buf text AUTO(buf_deinit);
    buf_init(&text, LIMIT_MIGRATION);
    put_range(&text, w, from, to);
    buf_u8(&text, 0);
    return text.failed ? NULL : strdup((const char *)text.bytes);
}

/* ---- a column ---- */

/* Does a constraint begin at i, and not another word of the one before? */
static bool begins(const struct words *w, size_t i) {
    static const char *const starts[] = {"CONSTRAINT", "PRIMARY", "NOT",       "NULL",
                                         "UNIQUE",     "CHECK",   "DEFAULT",   "COLLATE",
                                         "REFERENCES", "AS",      "GENERATED", NULL};
    static const char *const takes_next[] = {"DEFAULT", "COLLATE", "REFERENCES", "CONSTRAINT",
                                             "SET",     "NOT",     "ALWAYS",     NULL};
    if (!is_one_of(w, i, starts) || is_one_of(w, i - 1, takes_next)) return false;
    if (is(w, i, "NOT") && is(w, i + 1, "DEFERRABLE")) return false;
    return !(i >= 2 && is(w, i - 2, "CONSTRAINT")); /* it was only named */
}

static size_t next_constraint(const struct words *w, size_t from, size_t to) {
    int depth = 0;
    for (size_t i = from; i < to; i++) {
        if (depth == 0 && begins(w, i)) return i;
        if (is(w, i, "(")) depth++;
        else if (is(w, i, ")")) depth--;
    }
    return to;
}

static void put_column(struct buf *out, const struct words *w, size_t from, size_t to) {
    struct words parts = {0};
    size_t at = next_constraint(w, from + 1, to);
    put_range(out, w, from, at);
    while (at < to) {
        size_t next = next_constraint(w, at + 1, to);
        if (!is(w, at, "NULL")) add(&parts, joined(w, at, next));
        at = next;
    }
    put_sorted(out, &parts, "");
    words_deinit(&parts);
}

/* ---- a table ---- */

static void put_options(struct buf *out, const struct words *w, size_t from) {
    struct words parts = {0};
    while (from < w->count) {
        size_t to = find(w, from, w->count, ",");
        add(&parts, joined(w, from, to));
        from = to + 1;
    }
    put_sorted(out, &parts, ", ");
    words_deinit(&parts);
}

static void put_table(struct buf *out, const struct words *w, size_t from) {
    static const char *const of_the_table[] = {"CONSTRAINT", "PRIMARY", "UNIQUE",
                                               "CHECK",      "FOREIGN", NULL};
    size_t end = find(w, from + 1, w->count, ")");
    put(out, "(");
    for (size_t at = from + 1; at < end;) {
        size_t to = find(w, at, end, ",");
        if (is_one_of(w, at, of_the_table)) put_range(out, w, at, to);
        else put_column(out, w, at, to);
        if (to < end) put(out, ",");
        at = to + 1;
    }
    put(out, ")");
    put_options(out, w, end + 1);
}

/* Behind the object's name: "CREATE UNIQUE INDEX IF NOT EXISTS main.x" is as long as that. */
static size_t head_end(const struct words *w, size_t *kind) {
    static const char *const kinds[] = {"TABLE", "INDEX", "VIEW", "TRIGGER", NULL};
    size_t i = 0;
    while (i < w->count && !is_one_of(w, i, kinds)) i++;
    *kind = i++;
    if (is(w, i, "IF") && is(w, i + 1, "NOT") && is(w, i + 2, "EXISTS")) i += 3;
    i += is(w, i + 1, ".") ? 3 : 1;
    return i < w->count ? i : w->count;
}

static void put_object(struct buf *out, const struct words *w) {
    size_t kind, from = head_end(w, &kind);
    put_range(out, w, 0, kind < w->count ? kind + 1 : kind);
    if (is(w, kind, "TABLE") && is(w, from, "(") && !is(w, 1, "VIRTUAL")) put_table(out, w, from);
    else put_range(out, w, from, w->count);
}

void canonical(const char *sql, canonical_known *known, void *arg, struct buf *out) {
    struct words w = {0};
    read_words(sql, known, arg, &w);
    if (w.failed) out->failed = true;
    else put_object(out, &w);
    words_deinit(&w);
}
