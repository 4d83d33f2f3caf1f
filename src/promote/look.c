/* Status, verification and rejects.
 *
 * There is no registry of promotions: a migration that was applied by another tool, or on a
 * restored copy, is as true as any. The views carry their spec as a comment, which SQLite keeps,
 * and what rung it is, is which triggers are there.
 *
 * Whether two values are equal as JSON is asked in another way than the triggers work, member by
 * member in order of their paths, so that the one finds the other's mistakes.
 */
#include "promote/look.h"

#include "promote/projection.h"
#include "store/status.h"

#include <stdlib.h>
#include <string.h>

#define LIMIT_SQL (4u << 20)
#define EXAMPLES 20
#define REASONS 1000

/* ---- which rung ---- */

static rc has_object(struct reading *r, const char *name, const char *suffix, bool *has,
                     struct err *e) {
    struct buf sql AUTO(buf_deinit) = {0};
    int64_t n;
    buf_init(&sql, LIMIT_SQL);
    buf_say(&sql, "SELECT count(*) FROM sqlite_master WHERE name = '%q%q' COLLATE NOCASE", name,
            suffix);
    TRY(reading_count(r, &sql, &n, e));
    *has = n > 0;
    return ok();
}

static rc has_indexes(struct reading *r, const struct spec *s, bool *has, struct err *e) {
    bool any = false;
    *has = false;
    for (size_t i = 0; i < s->count; i++) {
        struct buf ignored AUTO(buf_deinit) = {0};
        char name[32];
        if (!s->column[i].index) continue;
        buf_init(&ignored, LIMIT_SQL);
        TRY(put_index(&ignored, s, &s->column[i], name, e));
        TRY(has_object(r, name, "", &any, e));
        if (!any) return ok();
    }
    *has = any;
    return ok();
}

static rc find_rung(struct reading *r, const struct spec *s, enum rung *out, struct err *e) {
    static const struct {
        const char *suffix;
        enum rung rung;
    } signs[] = {{"_retired_insert", RUNG_RETIRED},
                 {"_put_insert", RUNG_TABLE},
                 {"_kv_insert", RUNG_SHADOW},
                 {"_v", RUNG_VIEW}};
    bool has;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        TRY(has_object(r, s->name, signs[i].suffix, &has, e));
        *out = signs[i].rung;
        if (has) return ok();
    }
    TRY(has_indexes(r, s, &has, e));
    *out = has ? RUNG_INDEX : RUNG_NONE;
    return ok();
}

/* ---- counts ---- */

struct counts {
    enum rung rung;
    int64_t keys, rows, rejects;
    bool has_table;
};

static rc count(struct reading *r, const struct spec *s, struct counts *out, struct err *e) {
    struct buf keys AUTO(buf_deinit) = {0}, rows AUTO(buf_deinit) = {0},
                    rejects AUTO(buf_deinit) = {0};
    bool has_rejects;
    *out = (struct counts){0};
    buf_init(&keys, LIMIT_SQL);
    buf_init(&rows, LIMIT_SQL);
    buf_init(&rejects, LIMIT_SQL);
    TRY(find_rung(r, s, &out->rung, e));
    out->has_table = out->rung >= RUNG_SHADOW;
    TRY(has_object(r, "holdfast_reject", "", &has_rejects, e));
    buf_text(&keys, "SELECT count(*) FROM DBX WHERE Value IS NOT NULL AND ");
    put_range(&keys, s, "Key");
    buf_text(&rows, "SELECT count(*) FROM ");
    put_name(&rows, s->name);
    buf_say(&rejects, "SELECT count(*) FROM holdfast_reject WHERE name = %Q", s->name);
    if (r->has_keys) TRY(reading_count(r, &keys, &out->keys, e));
    if (out->has_table) TRY(reading_count(r, &rows, &out->rows, e));
    if (has_rejects) TRY(reading_count(r, &rejects, &out->rejects, e));
    return ok();
}

static json_t *pack_rows(const struct counts *c) {
    return c->has_table ? json_integer(c->rows) : json_null();
}

/* ---- status ---- */

/* The comment lines that a view begins with, as the spec that they are. */
static void take_lines(const char *sql, struct buf *out) {
    for (const char *line = strchr(sql, '\n'); line; line = strchr(line + 1, '\n')) {
        const char *at = line + 1;
        at += strspn(at, " ");
        if (strncmp(at, "-- ", 3) != 0) return;
        buf_put(out, at, strcspn(at, "\n"));
        buf_u8(out, '\n');
    }
}

static rc add_status(struct reading *r, const struct spec *s, json_t *array, struct err *e) {
    struct counts c;
    struct buf key AUTO(buf_deinit) = {0};
    json_t *one;
    buf_init(&key, LIMIT_SPEC);
    spec_print_key(s, &key);
    buf_u8(&key, 0);
    TRY(buf_check(&key, "a key", e));
    TRY(count(r, s, &c, e));
    TRY(packed(json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:I}", "name", s->name, "database",
                         r->noise ? "noise" : "main", "prefix", s->prefix, "key",
                         (const char *)key.bytes, "rung", rung_name(c.rung), "keys",
                         (json_int_t)c.keys, "rows", pack_rows(&c), "rejects",
                         (json_int_t)c.rejects),
               &one, e));
    return json_array_append_new(array, one) == 0 ? ok() : err_set(e, RC_NOMEM, "no memory");
}

static bool is_listed(const json_t *array, const char *name) {
    for (size_t i = 0; i < json_array_size(array); i++)
        if (sqlite3_stricmp(json_string_value(json_object_get(json_array_get(array, i), "name")),
                            name) == 0)
            return true;
    return false;
}

rc look_status(struct reading *r, json_t *array, struct err *e) {
    sqlite3_stmt *st AUTO(end_query) = NULL;
    struct buf sql AUTO(buf_deinit) = {0};
    json_t *own = json_array();
    buf_init(&sql, LIMIT_SQL);
    if (!own) return err_set(e, RC_NOMEM, "no memory");
    buf_text(&sql, "SELECT sql FROM sqlite_master WHERE type = 'view' AND sql LIKE '%-- " SPEC_MARK
                   " %' AND (name LIKE '%\\_kv' ESCAPE '\\' OR name LIKE '%\\_v' ESCAPE '\\')\n"
                   "ORDER BY name");
    rc did = reading_ask(r, &sql, &st, e);
    for (bool row = true; is_ok(did) && row;) {
        struct buf text AUTO(buf_deinit) = {0};
        struct spec *s = NULL;
        buf_init(&text, LIMIT_SPEC);
        did = reading_next(r, st, &row, e);
        if (!is_ok(did) || !row) break;
        take_lines(text_at(st, 0), &text);
        /* not ours, or somebody wrote a view that looks like one */
        if (!is_ok(spec_parse(r->path, (const char *)text.bytes, text.size, &s, NULL))) continue;
        if (!is_listed(own, s->name)) did = add_status(r, s, own, e);
        spec_free(s);
    }
    if (is_ok(did) && json_array_extend(array, own) != 0) did = err_set(e, RC_NOMEM, "no memory");
    json_decref(own);
    return did;
}

/* ---- rejects ---- */

rc look_rejects(struct reading *r, const char *name, json_t *array, struct err *e) {
    sqlite3_stmt *st AUTO(end_query) = NULL;
    struct buf sql AUTO(buf_deinit) = {0};
    bool row = true, has;
    buf_init(&sql, LIMIT_SQL);
    TRY(has_object(r, "holdfast_reject", "", &has, e));
    if (!has) return ok();
    buf_text(&sql, "SELECT name, key, why, at_ms FROM holdfast_reject");
    if (name) buf_say(&sql, " WHERE name = %Q COLLATE NOCASE", name);
    buf_text(&sql, " ORDER BY name, key");
    TRY(reading_ask(r, &sql, &st, e));
    for (;;) {
        TRY(reading_next(r, st, &row, e));
        if (!row) return ok();
        json_t *one;
        TRY(packed(json_pack("{s:s, s:s, s:o, s:o, s:I}", "name", text_at(st, 0), "database",
                             r->noise ? "noise" : "main", "key", json_words(text_at(st, 1)), "why",
                             json_words(text_at(st, 2)), "at_ms",
                             (json_int_t)sqlite3_column_int64(st, 3)),
                   &one, e));
        if (json_array_append_new(array, one) != 0) return err_set(e, RC_NOMEM, "no memory");
    }
}

/* ---- what the spec says of the keys ---- */

static void begin_with(struct buf *sql, const struct spec *s) {
    buf_init(sql, LIMIT_SQL);
    buf_say(sql, "WITH %s_kv AS (\n", s->name);
    put_rows_of_keys(sql, s);
    buf_text(sql, ")");
}

/* Rows of a query into an array, the first `most` of them; *count: how many there were. */
static rc take_rows(struct reading *r, struct buf *sql, json_t *(*pack)(sqlite3_stmt *),
                    size_t most, json_t **out, int64_t *count, struct err *e) {
    sqlite3_stmt *st AUTO(end_query) = NULL;
    bool row = true;
    *count = 0;
    TRY(packed(json_array(), out, e));
    rc did = reading_ask(r, sql, &st, e);
    while (is_ok(did) && row) {
        did = reading_next(r, st, &row, e);
        if (!is_ok(did) || !row || ++*count > (int64_t)most) continue;
        if (json_array_append_new(*out, pack(st)) != 0)
            did = err_set(e, RC_NOMEM, "no memory for the answer");
    }
    if (!is_ok(did)) {
        json_decref(*out);
        *out = NULL;
    }
    return did;
}

static json_t *pack_reason(sqlite3_stmt *st) {
    return json_pack("{s:o, s:I, s:o}", "why", json_words(text_at(st, 0)), "keys",
                     (json_int_t)sqlite3_column_int64(st, 1), "example",
                     json_words(text_at(st, 2)));
}

rc look_reasons(struct reading *r, const struct spec *s, json_t **out, struct err *e) {
    struct buf sql AUTO(buf_deinit) = {0};
    int64_t n;
    begin_with(&sql, s);
    buf_say(&sql,
            "\nSELECT kv_why, count(*), min(kv_key) FROM %s_kv WHERE kv_why IS NOT NULL\n"
            "GROUP BY kv_why ORDER BY 2 DESC, 1",
            s->name);
    return take_rows(r, &sql, pack_reason, REASONS, out, &n, e);
}

static json_t *pack_difference(sqlite3_stmt *st) {
    return json_pack("{s:o, s:s}", "key", json_words(text_at(st, 0)), "what", text_at(st, 1));
}

/* A value in one spelling: each of its parts with its path, in the order of the paths. Numbers by
 * what they are worth, as 5 and 5.0 are one in JSON. */
static void put_canonical(struct buf *b, const char *value) {
    buf_say(b,
            "(SELECT group_concat(part, char(10)) FROM (SELECT fullkey || ' ' || CASE\n"
            "    WHEN typeof(atom) = 'integer' AND type = 'integer' AND atom\n"
            "      NOT BETWEEN -9007199254740992 AND 9007199254740992 THEN atom\n"
            "    WHEN type IN ('integer', 'real') THEN printf('%%!.17g', atom + 0.0)\n"
            "    WHEN type = 'text' THEN json_quote(atom) ELSE type END AS part\n"
            "  FROM json_tree(%s) ORDER BY 1))",
            value);
}

rc look_round_trip(struct reading *r, const struct spec *s, bool table, struct round_trip *out,
                   struct err *e) {
    sqlite3_stmt *st AUTO(end_query) = NULL;
    struct buf sql AUTO(buf_deinit) = {0};
    bool row;
    begin_with(&sql, s);
    if (!table) { /* the rows that there would be, under the table's name */
        buf_text(&sql, ", ");
        put_name(&sql, s->name);
        buf_text(&sql, " AS (SELECT ");
        put_columns(&sql, s, KEY_COLUMNS | MEMBERS | REST, "", "");
        buf_say(&sql, " FROM %s_kv WHERE kv_why IS NULL)", s->name);
    }
    buf_say(&sql, ", %s_value AS (\n", s->name);
    put_values_of_rows(&sql, s);
    buf_say(&sql, ")\nSELECT count(*), coalesce(sum(v.kv_value = d.Value), 0),\n"
                  "       coalesce(sum(v.kv_value = d.Value OR ");
    put_canonical(&sql, "v.kv_value");
    buf_text(&sql, " = ");
    put_canonical(&sql, "d.Value");
    buf_say(&sql,
            "), 0)\n  FROM %s_value AS v JOIN DBX AS d ON d.Key = v.kv_key AND d.Value IS NOT NULL",
            s->name);
    TRY(reading_ask(r, &sql, &st, e));
    TRY(reading_next(r, st, &row, e));
    int64_t all = sqlite3_column_int64(st, 0), bytes = sqlite3_column_int64(st, 1),
            equal = sqlite3_column_int64(st, 2);
    *out = (struct round_trip){.bytes = bytes, .semantic = equal - bytes, .lossy = all - equal};
    return ok();
}

/* ---- verify ---- */

static void put_all_differences(struct buf *sql, const struct spec *s, enum rung rung) {
    begin_with(sql, s);
    buf_text(sql, ", differs AS (\n");
    if (rung == RUNG_RETIRED) { /* no keys but the rejects */
        buf_say(sql, "SELECT Key AS kv_key, 'the key is retired, and there' AS kv_what FROM DBX\n"
                     " WHERE ");
        put_range(sql, s, "Key");
        buf_say(sql,
                " AND Key NOT IN (SELECT key FROM holdfast_reject WHERE name = %Q)\n"
                "UNION ALL\nSELECT key, 'it is called a reject, and is none' FROM holdfast_reject\n"
                " WHERE name = %Q AND key NOT IN (SELECT kv_key FROM %s_kv WHERE kv_why IS NOT "
                "NULL)",
                s->name, s->name, s->name);
    } else {
        put_differences(sql, s);
    }
    buf_text(sql, ")\n");
}

static rc verify_table(struct reading *r, const struct spec *s, enum rung rung, json_t *report,
                       bool *agree, struct err *e) {
    struct buf sql AUTO(buf_deinit) = {0};
    struct round_trip values = {0};
    json_t *differ, *packed_values;
    int64_t n;
    put_all_differences(&sql, s, rung);
    buf_text(&sql, "SELECT kv_key, kv_what FROM differs ORDER BY 1");
    TRY(take_rows(r, &sql, pack_difference, EXAMPLES, &differ, &n, e));
    bool whole = json_object_set_new(report, "differ", differ) == 0;
    if (rung != RUNG_RETIRED) TRY(look_round_trip(r, s, true, &values, e));
    TRY(packed(json_pack("{s:I, s:I, s:I}", "bytes", (json_int_t)values.bytes, "semantic",
                         (json_int_t)values.semantic, "lossy", (json_int_t)values.lossy),
               &packed_values, e));
    whole &= json_object_set_new(report, "values", packed_values) == 0;
    whole &= json_object_set_new(report, "differences", json_integer(n)) == 0;
    *agree = n == 0 && values.lossy == 0;
    return whole ? ok() : err_set(e, RC_NOMEM, "no memory for the answer");
}

static rc verify(struct reading *r, const struct spec *s, json_t *report, bool *agree,
                 struct err *e) {
    struct counts c;
    json_t *why;
    TRY(count(r, s, &c, e));
    TRY(look_reasons(r, s, &why, e));
    bool whole = json_object_set_new(report, "name", json_string(s->name)) == 0;
    whole &= json_object_set_new(report, "database", json_string(r->noise ? "noise" : "main")) == 0;
    whole &= json_object_set_new(report, "rung", json_string(rung_name(c.rung))) == 0;
    whole &= json_object_set_new(report, "keys", json_integer(c.keys)) == 0;
    whole &= json_object_set_new(report, "rows", pack_rows(&c)) == 0;
    whole &= json_object_set_new(report, "rejects", json_integer(c.rejects)) == 0;
    whole &= json_object_set_new(report, "why", why) == 0;
    whole &= json_object_set_new(report, "differences", json_integer(0)) == 0;
    whole &= json_object_set_new(report, "differ", json_array()) == 0;
    whole &= json_object_set_new(report, "values", json_null()) == 0;
    if (!whole) return err_set(e, RC_NOMEM, "no memory for the answer");
    *agree = true;
    return c.has_table ? verify_table(r, s, c.rung, report, agree, e) : ok();
}

rc look_verify(struct reading *r, const struct spec *s, json_t **out, bool *agree, struct err *e) {
    json_t *report;
    if (!r->has_keys) return err_set(e, RC_NOTFOUND, "%s: it has no table DBX", r->path);
    TRY(packed(json_object(), &report, e));
    rc did = verify(r, s, report, agree, e);
    if (is_ok(did)) *out = report;
    else json_decref(report);
    return did;
}
