/* What stands behind "-- holdfast:".
 *
 *     WORD [name=value | name="quoted value" | name]... [-- what a reader should know]
 *
 * Inside of quotes \" is a quote and \\ a backslash; every other backslash is itself.
 */
#include "schema/file_parts.h"

#include "base/nearest.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MOST 10000000
#define TARGET_MOST_MS 60000
#define SOAK_MOST_MS ((int64_t)3650 * 86400000)

struct arg {
    char *name;  /* owns both */
    char *value; /* NULL: a bare word */
};
struct args {
    struct arg *at;
    size_t count;
};

static void args_deinit(struct args *a) {
    for (size_t i = 0; i < a->count; i++) free(a->at[i].name);
    free(a->at);
}

static bool is_blank(char c) {
    return isspace((unsigned char)c);
}

/* One, with its quotes taken off. False: a quote is open. */
static bool take_arg(struct token *rest, char *to, struct arg *out) {
    bool quoted = false;
    *out = (struct arg){.name = to};
    for (; rest->length && (quoted || !is_blank(*rest->at)); rest->at++, rest->length--) {
        char c = *rest->at;
        bool escapes =
            quoted && c == '\\' && rest->length > 1 && (rest->at[1] == '"' || rest->at[1] == '\\');
        if (escapes) {
            rest->at++, rest->length--;
            c = *rest->at;
        } else if (c == '"') {
            quoted = !quoted;
            continue;
        } else if (c == '=' && !quoted && !out->value) {
            c = 0;
            out->value = to + 1;
        }
        *to++ = c;
    }
    *to = 0;
    return !quoted;
}

static bool is_comment(struct token rest) {
    return rest.length >= 2 && memcmp(rest.at, "--", 2) == 0 &&
           (rest.length == 2 || is_blank(rest.at[2]));
}

static rc read_args(struct parser *p, struct token rest, int line, struct args *out) {
    for (;;) {
        while (rest.length && is_blank(*rest.at)) rest.at++, rest.length--;
        if (!rest.length || is_comment(rest)) return ok();
        struct arg *more = realloc(out->at, (out->count + 1) * sizeof *more);
        if (!more) return no_memory(p);
        out->at = more;
        char *text = malloc(rest.length + 1);
        if (!text) return no_memory(p);
        bool closed = take_arg(&rest, text, &more[out->count]);
        out->count++;
        if (!closed) return fault(p, line, "a quote has no end");
        if (!*text) return fault(p, line, "a name is missing before '='");
    }
}

rc unknown_word(struct parser *p, int line, const char *before, const char *word,
                const char *const *known) {
    const char *near = nearest_name(word, known);
    if (near) return fault(p, line, "%s'%.60s' is unknown: is '%s' meant?", before, word, near);
    char all[200] = "";
    for (size_t n = 0; *known && n < sizeof all; known++)
        n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", n ? ", " : "", *known);
    return fault(p, line, "%s'%.60s' is unknown; known: %s", before, word, *all ? all : "nothing");
}

/* ---- arguments of sections ---- */

static rc give_text(struct parser *p, const struct arg *a, char **out) {
    *out = strdup(a->value);
    return *out ? ok() : no_memory(p);
}

static rc give_count(struct parser *p, int line, const struct arg *a, int64_t most, int64_t *out) {
    size_t digits = strspn(a->value, "0123456789");
    *out = digits && digits < 10 && !a->value[digits] ? strtoll(a->value, NULL, 10) : 0;
    if (*out >= 1 && *out <= most) return ok();
    return fault(p, line, "%s=%.40s: a number from 1 to %lld", a->name, a->value, (long long)most);
}

/* "5ms", "30s", "1h". */
static rc give_time(struct parser *p, int line, const struct arg *a, int64_t most, int64_t *out) {
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    size_t digits = strspn(a->value, "0123456789");
    int64_t n = digits && digits < 10 ? strtoll(a->value, NULL, 10) : -1;
    for (size_t i = 0; n >= 0 && i < sizeof units / sizeof *units; i++) {
        if (strcmp(a->value + digits, units[i].name) != 0 || n > most / units[i].ms) continue;
        *out = n * units[i].ms;
        return ok();
    }
    return fault(p, line, "%s=%.40s: a time like 5ms, 30s, 1h or 2d", a->name, a->value);
}

enum arg_name { TABLE, KEY, WHERE, BATCH, TARGET, EXPECT, SOAK, COMPATIBLE, LOSSY, NAMES };
static const char *const arg_names[NAMES] = {"table",  "key",  "where",      "batch", "target",
                                             "expect", "soak", "compatible", "lossy"};

/* What each section may have; ended by NAMES. */
static const enum arg_name allowed[][6] = {
    [SECTION_ORDINARY] = {NAMES},
    [SECTION_EXPAND] = {NAMES},
    [SECTION_SYNC] = {NAMES},
    [SECTION_BACKFILL] = {TABLE, KEY, WHERE, BATCH, TARGET, NAMES},
    [SECTION_VERIFY] = {EXPECT, NAMES},
    [SECTION_CONTRACT] = {SOAK, COMPATIBLE, NAMES},
    [SECTION_REVERT] = {NAMES},
    [SECTION_DOWN] = {LOSSY, NAMES},
};

static rc give(struct parser *p, struct section *s, const struct arg *a, enum arg_name name) {
    bool bare = name == COMPATIBLE || name == LOSSY;
    if (bare == !!a->value || (a->value && !*a->value && name != EXPECT))
        return fault(p, s->line, bare ? "'%s' has no value" : "'%s' needs a value: %s=...", a->name,
                     a->name);
    switch (name) {
    case TABLE: return give_text(p, a, &s->table);
    case KEY: return give_text(p, a, &s->key);
    case WHERE: return give_text(p, a, &s->where);
    case EXPECT: return give_text(p, a, &s->expect);
    case BATCH: return give_count(p, s->line, a, BATCH_MOST, &s->batch);
    case TARGET: return give_time(p, s->line, a, TARGET_MOST_MS, &s->target_ms);
    case SOAK: return give_time(p, s->line, a, SOAK_MOST_MS, &s->soak_ms);
    case COMPATIBLE: s->compatible = true; break;
    case LOSSY: s->lossy = true; break;
    case NAMES: break;
    }
    return ok();
}

static rc give_each(struct parser *p, struct section *s, const struct args *args) {
    const char *known[6] = {0};
    const enum arg_name *names = allowed[s->kind];
    for (size_t i = 0; names[i] != NAMES; i++) known[i] = arg_names[names[i]];
    for (size_t i = 0; i < args->count; i++) {
        size_t k = 0;
        while (known[k] && strcmp(known[k], args->at[i].name) != 0) k++;
        if (!known[k]) return unknown_word(p, s->line, "", args->at[i].name, known);
        for (size_t j = 0; j < i; j++)
            if (strcmp(args->at[j].name, known[k]) == 0)
                return fault(p, s->line, "'%s' stands here twice", known[k]);
        TRY(give(p, s, &args->at[i], names[k]));
    }
    return ok();
}

static rc begin(struct parser *p, enum section_kind kind, const struct args *args, int line) {
    TRY(section_begin(p, kind, line));
    struct section *s = section_now(p);
    TRY(give_each(p, s, args));
    if (kind == SECTION_BACKFILL && (!s->table || !s->key))
        return fault(p, line,
                     "a backfill names its table and the key it goes along: "
                     "table=user key=id");
    if (kind == SECTION_VERIFY && !s->expect && !(s->expect = strdup("0"))) return no_memory(p);
    return ok();
}

/* ---- rebuild ---- */

/* How each is written; in the order of enum rebuild_op_kind. */
static const struct {
    const char *name;
    enum { COLUMN, COLUMN_AND_VALUE, DEFINITION, BARE } form;
} ops[] = {
    [REBUILD_DROP] = {"drop", COLUMN},
    [REBUILD_NOTNULL] = {"notnull", COLUMN},
    [REBUILD_NULLABLE] = {"nullable", COLUMN},
    [REBUILD_TYPE] = {"type", COLUMN_AND_VALUE},
    [REBUILD_DEFAULT] = {"default", COLUMN_AND_VALUE},
    [REBUILD_FILL] = {"fill", COLUMN_AND_VALUE},
    [REBUILD_ADD] = {"add", DEFINITION},
    [REBUILD_STRICT] = {"strict", BARE},
    [REBUILD_WITHOUT_ROWID] = {"without-rowid", BARE},
};
#define OPS (sizeof ops / sizeof *ops)

static rc op_read(struct parser *p, const struct arg *a, int line, struct rebuild_op *out) {
    const char *known[OPS + 1] = {0}, *value = a->value, *colon = value ? strchr(value, ':') : NULL;
    size_t k = 0;
    for (size_t i = 0; i < OPS; i++) known[i] = ops[i].name;
    while (k < OPS && strcmp(ops[k].name, a->name) != 0) k++;
    if (k == OPS) return unknown_word(p, line, "", a->name, known);
    out->kind = (enum rebuild_op_kind)k;
    switch (ops[k].form) {
    case BARE:
        if (value) return fault(p, line, "'%s' has no value", a->name);
        return ok();
    case COLUMN:
        if (!value || !*value) return fault(p, line, "%s=COLUMN", a->name);
        out->column = strdup(value);
        return out->column ? ok() : no_memory(p);
    case COLUMN_AND_VALUE:
        if (!colon || colon == value || !colon[1])
            return fault(p, line, "%s=COLUMN:\"...\"", a->name);
        out->column = strndup(value, (size_t)(colon - value));
        out->value = strdup(colon + 1);
        break;
    case DEFINITION:
        value = value ? value : "";
        out->column = token_identifier(token_next(&(const char *){value}));
        if (out->column && !*out->column) return fault(p, line, "add=\"COLUMN TYPE ...\"");
        out->value = strdup(value);
    }
    return out->column && out->value ? ok() : no_memory(p);
}

static rc rebuild_read(struct parser *p, const struct args *args, int line, struct rebuild *r) {
    if (!args->count || args->at[0].value)
        return fault(p, line, "a rebuild names its table: holdfast:rebuild TABLE ...");
    r->table = strdup(args->at[0].name);
    r->ops = calloc(args->count, sizeof *r->ops);
    if (!r->table || !r->ops) return no_memory(p);
    for (size_t i = 1; i < args->count; i++)
        TRY(op_read(p, &args->at[i], line, &r->ops[r->op_count++]));
    return ok();
}

static bool changes_columns(const struct rebuild *r) {
    for (size_t i = 0; i < r->op_count; i++)
        if (r->ops[i].kind != REBUILD_FILL) return true;
    return false;
}

static rc rebuild_directive(struct parser *p, const struct args *args, int line) {
    const enum section_kind in = section_now(p)->kind;
    if (in == SECTION_SYNC || in == SECTION_BACKFILL || in == SECTION_VERIFY)
        return fault(p, line, "no rebuild in a section '%s'", section_name(in));
    TRY(statement_finish(p));
    struct rebuild *r = calloc(1, sizeof *r);
    if (!r) return no_memory(p);
    rc read = rebuild_read(p, args, line, r);
    if (!is_ok(read)) {
        rebuild_free(r);
        return read;
    }
    if (changes_columns(r)) return statement_add(p, NULL, r, line);
    p->rebuild = r;
    p->rebuild_line = line;
    return ok();
}

static rc effect_directive(struct parser *p, enum effect effect, const struct args *args,
                           int line) {
    if (args->count) return fault(p, line, "nothing stands behind this word");
    if (p->m->effect != EFFECT_JUDGED)
        return fault(p, line, "line %d has said so, or otherwise", p->effect_line);
    p->m->effect = effect;
    p->effect_line = line;
    return ok();
}

/* ---- words ---- */

static rc directive(struct parser *p, const char *word, const struct args *args, int line) {
    static const char *const known[] = {"expand",     "sync",     "backfill", "verify",
                                        "contract",   "revert",   "down",     "rebuild",
                                        "compatible", "breaking", NULL};
    static const enum section_kind kinds[] = {SECTION_EXPAND, SECTION_SYNC,     SECTION_BACKFILL,
                                              SECTION_VERIFY, SECTION_CONTRACT, SECTION_REVERT,
                                              SECTION_DOWN};
    const enum form form = p->m->form;
    if (strcmp(word, "compatible") == 0) return effect_directive(p, EFFECT_COMPATIBLE, args, line);
    if (strcmp(word, "breaking") == 0) return effect_directive(p, EFFECT_BREAKING, args, line);
    size_t k = 0;
    while (known[k] && strcmp(known[k], word) != 0) k++;
    if (!known[k]) return unknown_word(p, line, "holdfast:", word, known);
    if (form == FORM_DBMATE || form == FORM_GOOSE)
        return fault(p, line, "'holdfast:%s' in a file in the form of %s", word,
                     form == FORM_DBMATE ? "dbmate" : "goose");
    if (strcmp(word, "rebuild") == 0) return rebuild_directive(p, args, line);
    return begin(p, kinds[k], args, line);
}

rc holdfast_directive(struct parser *p, struct token rest, int line) {
    char word[WORD_SIZE];
    struct args args AUTO(args_deinit) = {0};
    if (!rest.length || is_blank(*rest.at)) return fault(p, line, "no word behind 'holdfast:'");
    word_take(&rest, word);
    TRY(read_args(p, rest, line, &args));
    return directive(p, word, &args, line);
}
