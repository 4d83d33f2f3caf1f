/* SQLite counts; this makes columns of what it counted.
 *
 * What is in an array is not counted: no column can come of it. A member that only few objects
 * have, or that is now this and now that, is left in the rest, where nothing is lost.
 *
 * The spec is made as a text and read again, so that what is proposed is what is accepted; then the
 * rows that it would give are counted by the very SQL of its migrations.
 */
#include "promote/analyze.h"

#include "promote/look.h"
#include "promote/projection.h"
#include "store/kv.h"
#include "store/status.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LIMIT_SQL (4u << 20)
#define MEMBERS_MOST 300
#define REST_NAME "extra"
#define COLUMN_SHARE 50 /* percent of the objects that have it */
#define TYPE_SHARE 95   /* percent of those, that are of its type */

struct member {
    char path[LIMIT_JSON_PATH], column[LIMIT_SPEC_NAME + 1];
    int64_t present, nulls, texts, integers, reals, bools, others, beyond;
    bool chosen;
    enum column_type type;
};

struct work {
    struct reading *r;
    const struct analysis *given;
    json_t *report, *members;
    struct member *member;
    size_t count;
    int64_t keys, objects;
    char key[LIMIT_KV_KEY + 1], key_type[8];
    bool more; /* members than are counted */
    struct spec *spec;
};

/* ---- which file, and what the keys look like ---- */

static void put_under(struct buf *sql, const char *prefix) {
    char upper[LIMIT_KV_KEY + 8];
    buf_say(sql, "Key >= %Q AND Key < ", prefix);
    if (kv_upper(prefix, upper)) buf_say(sql, "%Q", upper);
    else buf_text(sql, "x''");
    buf_text(sql, " AND Value IS NOT NULL");
}

static rc count_keys(struct reading *r, const char *prefix, int64_t *out, struct err *e) {
    struct buf sql AUTO(buf_deinit) = {0};
    buf_init(&sql, LIMIT_SQL);
    *out = 0;
    if (!r->has_keys) return ok();
    buf_text(&sql, "SELECT count(*) FROM DBX WHERE ");
    put_under(&sql, prefix);
    return reading_count(r, &sql, out, e);
}

static rc find_file(struct work *w, struct reading *files, size_t count, struct err *e) {
    const char *prefix = w->given->prefix;
    for (size_t i = 0; i < count; i++) {
        int64_t keys;
        TRY(count_keys(&files[i], prefix, &keys, e));
        if (!keys) continue;
        if (w->r)
            return err_set(
                e, RC_CONFLICT,
                "%s has keys in main and in noise: no trigger of SQLite reaches from one "
                "file into the other; ask for a longer prefix",
                prefix);
        w->r = &files[i];
        w->keys = keys;
    }
    return w->r ? ok() : err_set(e, RC_NOTFOUND, "%s: no key under it", prefix);
}

/* As most keys are: so many parts, between slashes. */
static rc guess_key(struct work *w, struct err *e) {
    sqlite3_stmt *st AUTO(end_query) = NULL;
    struct buf sql AUTO(buf_deinit) = {0};
    bool row;
    const char *prefix = w->given->prefix;
    buf_init(&sql, LIMIT_SQL);
    buf_say(&sql,
            "SELECT length(rest) - length(replace(rest, '/', '')), count(*),\n"
            "       sum(CAST(CAST(rest AS INTEGER) AS TEXT) = rest)\n"
            "  FROM (SELECT substr(Key, length(%Q) + 1) AS rest FROM DBX WHERE ",
            prefix);
    put_under(&sql, prefix);
    buf_text(&sql, ") GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1");
    TRY(reading_ask(w->r, &sql, &st, e));
    TRY(reading_next(w->r, st, &row, e));
    int slashes = sqlite3_column_int(st, 0);
    bool numbers = sqlite3_column_int64(st, 1) == sqlite3_column_int64(st, 2);
    if (slashes >= (int)LIMIT_SPEC_PARTS) slashes = (int)LIMIT_SPEC_PARTS - 1;
    size_t n = (size_t)snprintf(w->key, sizeof w->key, "%s%s", prefix, slashes ? "" : "{id}");
    for (int i = 0; slashes && i <= slashes && n < sizeof w->key; i++)
        n += (size_t)snprintf(w->key + n, sizeof w->key - n, "%s{id%d}", i ? "/" : "", i + 1);
    snprintf(w->key_type, sizeof w->key_type, "%s", numbers && !slashes ? "INT" : "TEXT");
    if (n < sizeof w->key) return ok();
    return err_set(e, RC_USAGE, "prefix '%.80s...': too long to make a key of it", prefix);
}

static rc take_key(struct work *w, struct err *e) {
    snprintf(w->key_type, sizeof w->key_type, "TEXT");
    if (!w->given->key) return guess_key(w, e);
    if ((size_t)snprintf(w->key, sizeof w->key, "%s", w->given->key) < sizeof w->key) return ok();
    return err_set(e, RC_USAGE, "-key: longer than %u bytes", LIMIT_KV_KEY);
}

/* ---- members ---- */

static rc count_objects(struct work *w, int64_t *longest, struct err *e) {
    sqlite3_stmt *st AUTO(end_query) = NULL;
    struct buf sql AUTO(buf_deinit) = {0};
    bool row;
    buf_init(&sql, LIMIT_SQL);
    buf_text(&sql, "SELECT sum(CASE WHEN typeof(Value) = 'text' AND json_valid(Value) THEN "
                   "json_type(Value) = 'object' ELSE 0 END), max(length(Value)) FROM DBX WHERE ");
    put_under(&sql, w->given->prefix);
    TRY(reading_ask(w->r, &sql, &st, e));
    TRY(reading_next(w->r, st, &row, e));
    w->objects = sqlite3_column_int64(st, 0);
    *longest = sqlite3_column_int64(st, 1);
    return ok();
}

static void put_member_query(struct work *w, struct buf *sql) {
    buf_text(sql,
             "SELECT * FROM (\n"
             "SELECT fullkey, count(*), sum(type = 'null'), sum(type = 'text'),\n"
             "       sum(type = 'integer'), sum(type = 'real'), sum(type IN ('true', 'false')),\n"
             "       sum(type IN ('object', 'array')),\n"
             "       sum(type = 'integer' AND typeof(atom) = 'real'),\n"
             "       min(CASE WHEN type IN ('integer', 'real') THEN atom END),\n"
             "       max(CASE WHEN type IN ('integer', 'real') THEN atom END),\n"
             "       max(CASE WHEN type = 'text' THEN length(atom) END), avg(t.id) AS place\n"
             "  FROM (SELECT CASE WHEN typeof(Value) = 'text' AND json_valid(Value) THEN\n"
             "                 CASE json_type(Value) WHEN 'object' THEN Value END END AS object\n"
             "          FROM DBX WHERE ");
    put_under(sql, w->given->prefix);
    buf_say(sql,
            "), json_tree(object) AS t\n"
            " WHERE fullkey <> '$' AND fullkey NOT LIKE '%%[%%'\n"
            " GROUP BY fullkey ORDER BY 2 DESC, 1 LIMIT %d) ORDER BY place, 1",
            MEMBERS_MOST + 1);
}

/* The type that nearly all have. */
static bool choose_type(struct member *m, int64_t objects) {
    const int64_t counts[] = {m->texts, m->integers - m->beyond, m->integers - m->beyond + m->reals,
                              m->bools};
    int64_t values = m->present - m->nulls;
    if (values * 100 < objects * COLUMN_SHARE || !values) return false;
    for (int t = COLUMN_TEXT; t <= COLUMN_BOOL; t++) {
        m->type = (enum column_type)t;
        if (counts[t] * 100 >= values * TYPE_SHARE) return true;
    }
    return false;
}

static bool is_taken(const struct work *w, const struct member *m, const char *name) {
    char part[LIMIT_SPEC_NAME + 3];
    snprintf(part, sizeof part, "{%s}", name);
    if (strcasestr(w->key, part) || strcasecmp(name, REST_NAME) == 0) return true;
    for (const struct member *o = w->member; o < m; o++)
        if (o->chosen && strcasecmp(o->column, name) == 0) return true;
    return false;
}

/* "$.user.\"first name\"" -> "user_first_name" */
static void name_column(const struct work *w, struct member *m) {
    char plain[LIMIT_SPEC_NAME - 13]; /* room for "v_" and a number */
    size_t n = 0;
    for (const char *p = m->path + 2; *p && n < sizeof plain - 1; p++)
        if (*p != '"') plain[n++] = isalnum((unsigned char)*p) ? *p : '_';
    plain[n] = 0;
    const char *before = is_ok(spec_check_name(plain, NULL)) ? "" : "v_";
    snprintf(m->column, sizeof m->column, "%s%s", before, plain);
    for (int i = 2; is_taken(w, m, m->column); i++)
        snprintf(m->column, sizeof m->column, "%s%s_%d", before, plain, i);
}

static bool lies_within_one(const struct work *w, const struct member *m) {
    for (size_t i = 0; i < w->count; i++) {
        const struct member *o = &w->member[i];
        size_t n = strlen(o->path), k = strlen(m->path);
        if (!o->chosen || o == m) continue;
        if (n < k && strncmp(o->path, m->path, n) == 0 && m->path[n] == '.') return true;
        if (k < n && strncmp(o->path, m->path, k) == 0 && o->path[k] == '.') return true;
    }
    return false;
}

static json_t *pack_member(struct work *w, const struct member *m, sqlite3_stmt *st) {
    bool numbers = sqlite3_column_type(st, 9) != SQLITE_NULL;
    int64_t missing =
        m->present < w->objects ? w->objects - m->present : 0; /* some have it twice */
    return json_pack(
        "{s:s, s:o, s:o, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I}, s:I, s:o, s:o, s:I}", "path",
        m->path, "column", m->chosen ? json_string(m->column) : json_null(), "type",
        m->chosen ? json_string(column_type_name(m->type)) : json_null(), "present",
        (json_int_t)m->present, "missing", (json_int_t)missing, "nulls", (json_int_t)m->nulls,
        "types", "text", (json_int_t)m->texts, "integer", (json_int_t)m->integers, "real",
        (json_int_t)m->reals, "bool", (json_int_t)m->bools, "other", (json_int_t)m->others,
        "beyond_64_bits", (json_int_t)m->beyond, "least",
        numbers ? json_words(text_at(st, 9)) : json_null(), "greatest",
        numbers ? json_words(text_at(st, 10)) : json_null(), "longest",
        (json_int_t)sqlite3_column_int64(st, 11));
}

static rc take_member(struct work *w, sqlite3_stmt *st, struct err *e) {
    struct member *m = &w->member[w->count];
    if (!is_ok(kv_path(text_at(st, 0), m->path, NULL)) || strchr(m->path, '[')) return ok();
    if (w->count == MEMBERS_MOST) {
        w->more = true;
        return ok();
    }
    w->count++;
    m->present = sqlite3_column_int64(st, 1);
    m->nulls = sqlite3_column_int64(st, 2);
    m->texts = sqlite3_column_int64(st, 3);
    m->integers = sqlite3_column_int64(st, 4);
    m->reals = sqlite3_column_int64(st, 5);
    m->bools = sqlite3_column_int64(st, 6);
    m->others = sqlite3_column_int64(st, 7);
    m->beyond = sqlite3_column_int64(st, 8);
    m->chosen = choose_type(m, w->objects) && !lies_within_one(w, m);
    if (m->chosen) name_column(w, m);
    return json_array_append_new(w->members, pack_member(w, m, st)) == 0
               ? ok()
               : err_set(e, RC_NOMEM, "no memory for the answer");
}

static rc take_members(struct work *w, struct err *e) {
    sqlite3_stmt *st AUTO(end_query) = NULL;
    struct buf sql AUTO(buf_deinit) = {0};
    buf_init(&sql, LIMIT_SQL);
    put_member_query(w, &sql);
    TRY(reading_ask(w->r, &sql, &st, e));
    for (bool row = true;;) {
        TRY(reading_next(w->r, st, &row, e));
        if (!row) return ok();
        TRY(take_member(w, st, e));
    }
}

/* ---- the spec ---- */

static void put_key_columns(struct work *w, struct buf *b) {
    for (const char *at = strchr(w->key, '{'); at; at = strchr(at + 1, '{')) {
        int n = (int)strcspn(at + 1, "{}");
        if (n) buf_say(b, "-- col %.*s %s key\n", n, at + 1, w->key_type);
    }
}

static rc make_spec(struct work *w, struct err *e) {
    struct buf b AUTO(buf_deinit) = {0};
    size_t chosen = 0;
    buf_init(&b, LIMIT_SPEC);
    buf_say(&b, "-- " SPEC_MARK " %s", w->given->name);
    spec_print_value(&b, "prefix", w->given->prefix);
    spec_print_value(&b, "key", w->key);
    buf_text(&b, w->r->noise ? " db=noise\n" : "\n");
    put_key_columns(w, &b);
    for (size_t i = 0; i < w->count && chosen < LIMIT_SPEC_COLUMNS - LIMIT_SPEC_PARTS; i++) {
        const struct member *m = &w->member[i];
        if (!m->chosen) continue;
        chosen++;
        buf_say(&b, "-- col %s %s %s%s\n", m->column, column_type_name(m->type), m->path,
                m->present == w->objects && !m->nulls ? " notnull" : "");
    }
    buf_text(&b, "-- rest " REST_NAME "\n");
    TRY(buf_check(&b, "a spec", e));
    struct err why; /* what is wrong is the prefix, the name or the key that were given */
    rc r = spec_parse("the spec", (const char *)b.bytes, b.size, &w->spec, &why);
    return is_ok(r) ? r : err_set(e, r.code == RC_CORRUPT ? RC_USAGE : r.code, "%s", why.text);
}

/* ---- all together ---- */

static rc check_given(const struct analysis *a, struct err *e) {
    struct err why;
    if (!is_ok(spec_check_name(a->name, &why))) return err_set(e, RC_USAGE, "-name: %s", why.text);
    if (!a->prefix[0]) return err_set(e, RC_USAGE, "the prefix is empty");
    for (const char *p = a->prefix; *p; p++)
        if ((unsigned char)*p < 32)
            return err_set(e, RC_USAGE, "the prefix has a control character in it");
    return kv_check_key(a->prefix, "prefix", e);
}

static int64_t sum_keys(const json_t *why) {
    int64_t n = 0;
    for (size_t i = 0; i < json_array_size(why); i++)
        n += json_integer_value(json_object_get(json_array_get(why, i), "keys"));
    return n;
}

static rc print_spec(struct work *w, char **out, struct err *e) {
    struct buf b AUTO(buf_deinit) = {0};
    buf_init(&b, LIMIT_SPEC);
    spec_print(w->spec, "", &b);
    buf_u8(&b, 0);
    TRY(buf_check(&b, "a spec", e));
    *out = strdup((const char *)b.bytes);
    return *out ? ok() : err_set(e, RC_NOMEM, "no memory for a spec");
}

static rc fill_report(struct work *w, int64_t longest, const char *text, struct err *e) {
    struct round_trip values;
    json_t *why, *part;
    TRY(look_round_trip(w->r, w->spec, false, &values, e));
    TRY(look_reasons(w->r, w->spec, &why, e));
    part = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:O, s:b, s:I, s:o, s:{s:I, s:I, s:I}, s:s}", "name",
        w->spec->name, "database", w->r->noise ? "noise" : "main", "prefix", w->spec->prefix, "key",
        w->key, "keys", (json_int_t)w->keys, "objects", (json_int_t)w->objects, "longest",
        (json_int_t)longest, "members", w->members, "more_members", w->more, "rejects",
        (json_int_t)sum_keys(why), "why", why, "values", "bytes", (json_int_t)values.bytes,
        "semantic", (json_int_t)values.semantic, "lossy", (json_int_t)values.lossy, "spec", text);
    return packed(part, &w->report, e);
}

static rc look(struct work *w, struct reading *files, size_t count, char **spec, struct err *e) {
    int64_t longest;
    TRY(check_given(w->given, e));
    TRY(find_file(w, files, count, e));
    TRY(take_key(w, e));
    TRY(count_objects(w, &longest, e));
    TRY(take_members(w, e));
    TRY(make_spec(w, e));
    TRY(print_spec(w, spec, e));
    return fill_report(w, longest, *spec, e);
}

rc analyze(struct reading *files, size_t count, const struct analysis *given, json_t **report,
           char **spec, struct err *e) {
    struct work w = {.given = given, .members = json_array()};
    char *text = NULL;
    w.member = calloc(MEMBERS_MOST + 1, sizeof *w.member);
    rc r = w.member && w.members ? look(&w, files, count, &text, e)
                                 : err_set(e, RC_NOMEM, "no memory to analyze");
    if (is_ok(r)) {
        *report = w.report;
        *spec = text;
    } else {
        free(text);
    }
    spec_free(w.spec);
    json_decref(w.members);
    free(w.member);
    return r;
}
