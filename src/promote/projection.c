/* Keys and values to columns, and back.
 *
 * A member of the value that has a column is taken out of it; what is left is the rest (extra), in
 * its own words: numbers of any size, members that nobody declared, and a null under a column's
 * path, so that null and missing stay two things. Back: the columns that are not NULL are set into
 * the rest.
 *
 * A value fits if that way there and back gives the same JSON, so that is what kv_why asks. Read
 * SQLite's functions closely for each of its lines:
 *   - json_valid, typeof and json_type come first, in one CASE: json_extract fails on what is no
 *     JSON, and a put would with it. Of a text with a NUL they see the part before it.
 *   - of two members of one name json_extract sees the first, json_remove takes away one;
 *     "n\u0061me" is name to some versions of SQLite and not to others. So those that json_each
 *     counts must be as many as json_type finds.
 *   - an integer beyond 64 bits becomes a REAL; a string ends at \u0000; half a surrogate pair
 *     becomes what is no UTF-8, which GLOB reads as U+FFFD, and replace does not.
 *   - json_set writes a REAL with 15 digits; 17 are needed.
 *
 * '$[0]' is a place that no object has: json_remove and json_set pass it over. It stands for "not
 * this one", as both take a list of fixed length.
 *
 * Rejected: json_patch for the way back (it drops nulls, at any depth); a registry of promotions
 * with a flag "now writing" (a crash, or a rollback to a savepoint, in between, and it lies).
 */
#include "promote/projection.h"

#include "store/kv_index.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS_A_LINE 6
#define PATHS_A_CALL 20 /* a function of SQLite takes 100 arguments */

static bool is_member(const struct column *c) {
    return c->path != NULL;
}

void put_name(struct buf *b, const char *name) {
    bool keyword = sqlite3_keyword_check(name, (int)strlen(name)) != 0;
    buf_say(b, keyword ? "\"%s\"" : "%s", name);
}

static void put_column(struct buf *b, const char *row, const struct column *c) {
    buf_text(b, row);
    put_name(b, c->name);
}

void put_columns(struct buf *b, const struct spec *s, int which, const char *row,
                 const char *indent) {
    size_t n = 0;
    for (size_t i = 0; i <= s->count; i++) {
        int kind = i == s->count ? REST : is_member(&s->column[i]) ? MEMBERS : KEY_COLUMNS;
        if (!(which & kind)) continue;
        if (n) buf_text(b, ",");
        if (n && n % COLUMNS_A_LINE == 0) buf_say(b, "\n%s", indent);
        else if (n) buf_text(b, " ");
        buf_text(b, row);
        put_name(b, i == s->count ? s->rest : s->column[i].name);
        n++;
    }
}

void put_same(struct buf *b, const struct spec *s, int which, const char *left, const char *is,
              const char *right, const char *indent) {
    buf_text(b, "(");
    put_columns(b, s, which, left, indent);
    buf_say(b, ") %s (", is);
    put_columns(b, s, which, right, indent);
    buf_text(b, ")");
}

/* ---- keys ---- */

void put_range(struct buf *b, const struct spec *s, const char *key) {
    char upper[LIMIT_KV_KEY + 8];
    buf_say(b, "%s >= %Q AND %s < ", key, s->prefix, key);
    if (kv_upper(s->prefix, upper)) buf_say(b, "%Q", upper);
    else buf_text(b, "x''");
}

void put_key(struct buf *b, const struct spec *s, const char *row) {
    for (size_t i = 0; i < s->part_count; i++) {
        buf_say(b, "%s%Q || ", i ? " || " : "", s->literal[i]);
        put_column(b, row, &s->column[s->part[i]]);
    }
    if (s->literal[s->part_count][0]) buf_say(b, " || %Q", s->literal[s->part_count]);
}

/* In characters, as substr counts. */
static int length(const char *text) {
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* What of the key is behind the literal before part `i`. */
static void put_behind(struct buf *b, const struct spec *s, size_t i, const char *key) {
    buf_text(b, "substr(");
    if (i == 0) {
        buf_say(b, "%s, %d)", key, length(s->literal[0]) + 1);
        return;
    }
    put_behind(b, s, i - 1, key);
    buf_text(b, ", instr(");
    put_behind(b, s, i - 1, key);
    buf_say(b, ", %Q) + %d)", s->literal[i], length(s->literal[i]));
}

static void put_part(struct buf *b, const struct spec *s, size_t i, const char *key) {
    bool is_int = s->column[s->part[i]].type == COLUMN_INT, ends = s->literal[i + 1][0] != 0;
    buf_text(b, is_int ? "CAST(" : "");
    buf_text(b, ends ? "substr(" : "");
    put_behind(b, s, i, key);
    if (ends) {
        buf_text(b, ", 1, instr(");
        put_behind(b, s, i, key);
        buf_say(b, ", %Q) - 1)", s->literal[i + 1]);
    }
    buf_text(b, is_int ? " AS INTEGER)" : "");
}

void put_row_of(struct buf *b, const struct spec *s, const char *key) {
    for (size_t i = 0; i < s->part_count; i++) {
        put_name(b, s->column[s->part[i]].name);
        buf_text(b, " = ");
        put_part(b, s, i, key);
        buf_text(b, " AND ");
    }
    put_key(b, s, "");
    buf_say(b, " = %s", key);
}

/* ---- paths: "$.user.name" has the steps user, of $, and name, of $.user ---- */

struct step {
    const char *path;
    size_t before, end; /* of the container, and with the step */
    const char *name;
    size_t length;
};

/* The step behind `at` characters of the path; false: it has no more. */
static bool step_at(const char *path, size_t at, struct step *out) {
    if (!path[at]) return false;
    bool quoted = path[at + 1] == '"';
    const char *name = path + at + 1 + quoted;
    size_t n = strcspn(name, quoted ? "\"" : ".");
    *out = (struct step){path, at, (size_t)(name - path) + n + quoted, name, n};
    return true;
}

static bool same_text(const char *a, size_t n, const char *b, size_t m) {
    return n == m && memcmp(a, b, n) == 0;
}

/* Steps of all columns, one after the other, each step once. `at` begins as zeros. */
struct steps {
    size_t column, at;
};
static bool seen_before(const struct spec *s, size_t column, const struct step *it) {
    struct step other;
    for (size_t i = 0; i < column; i++)
        for (size_t at = 1; is_member(&s->column[i]) && step_at(s->column[i].path, at, &other);
             at = other.end)
            if (same_text(it->path, it->end, other.path, other.end)) return true;
    return false;
}

static bool next_step(const struct spec *s, struct steps *all, struct step *out) {
    for (; all->column < s->count; all->column++, all->at = 0) {
        const struct column *c = &s->column[all->column];
        if (!all->at) all->at = 1;
        while (is_member(c) && step_at(c->path, all->at, out)) {
            all->at = out->end;
            if (!seen_before(s, all->column, out)) return true;
        }
    }
    return false;
}

/* ---- does a value fit? ---- */

static void put_path(struct buf *b, const char *path, size_t n) {
    buf_say(b, "'%.*q'", (int)n, path);
}

/* Is it the first step of its container? */
static bool is_first(const struct spec *s, const struct step *it) {
    struct steps all = {0, 0};
    struct step other;
    while (next_step(s, &all, &other))
        if (same_text(it->path, it->before, other.path, other.before))
            return same_text(it->path, it->end, other.path, other.end);
    return false;
}

/* The members of a container that columns, or what contains them, stand for. */
static void put_names(struct buf *b, const struct spec *s, const struct step *of, bool as_types) {
    struct steps all = {0, 0};
    struct step it;
    size_t n = 0;
    while (next_step(s, &all, &it)) {
        if (!same_text(it.path, it.before, of->path, of->before)) continue;
        if (n++) buf_text(b, as_types ? "\n            + " : ", ");
        if (!as_types) put_path(b, it.name, it.length);
        if (as_types) buf_text(b, "(json_type(kv_object, ");
        if (as_types) put_path(b, it.path, it.end);
        if (as_types) buf_text(b, ") IS NOT NULL)");
    }
}

static void put_containers(struct buf *b, const struct spec *s) {
    struct steps all = {0, 0};
    struct step it;
    while (next_step(s, &all, &it)) {
        if (!is_first(s, &it)) continue;
        buf_text(b, "         WHEN (SELECT count(*) FROM json_each(kv_object, ");
        put_path(b, it.path, it.before);
        buf_text(b, ")\n                WHERE key IN (");
        put_names(b, s, &it, false);
        buf_text(b, "))\n           <> ");
        put_names(b, s, &it, true);
        buf_say(b, "\n           THEN 'a member of %.*q is there twice, or spelled with escapes'\n",
                (int)it.before, it.path);
    }
}

static void put_fits(struct buf *b, const struct column *c) {
    static const char *const types[] = {"'text'", "'integer'", "'real', 'integer'",
                                        "'true', 'false'"};
#define WHEN "         WHEN "
    const char *p = c->path;
    if (c->notnull)
        buf_say(b,
                WHEN "json_type(kv_object, %Q) IS NULL THEN '%q is missing'\n" WHEN
                     "json_type(kv_object, %Q) = 'null' THEN '%q is null'\n",
                p, p, p, p);
    buf_say(b,
            WHEN "json_type(kv_object, %Q) NOT IN (%s, 'null')\n"
                 "           THEN '%q is ' || json_type(kv_object, %Q) || ', not %s'\n",
            p, types[c->type], p, p, column_type_name(c->type));
    if (c->type == COLUMN_INT)
        buf_say(b,
                WHEN "typeof(json_extract(kv_object, %Q)) = 'real' "
                     "THEN '%q is beyond 64 bits'\n",
                p, p);
    if (c->type == COLUMN_REAL)
        buf_say(b,
                WHEN "json_type(kv_object, %Q) = 'integer'\n"
                     "                AND typeof(json_extract(kv_object, %Q)) = 'real'\n"
                     "           OR CAST(printf('%%!.17g', json_extract(kv_object, %Q)) AS REAL)\n"
                     "                <> json_extract(kv_object, %Q)\n"
                     "           THEN '%q is not kept by a REAL'\n",
                p, p, p, p, p);
#undef WHEN
}

/* Of a text that has escapes: does any column's string end early, or hold half a character? */
static void put_texts_fit(struct buf *b, const struct spec *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct column *c = &s->column[i];
        if (!is_member(c) || c->type != COLUMN_TEXT) continue;
        buf_say(b,
                "%sinstr(json_extract(kv_object, %Q, %Q), '\\u0000')\n"
                "              OR replace(json_extract(kv_object, %Q), char(65533), '') "
                "GLOB '*' || char(65533) || '*'",
                n++ ? "\n              OR " : "         WHEN instr(kv_value, '\\u') AND (", c->path,
                c->path, c->path);
    }
    if (n) buf_text(b, ")\n           THEN 'a string has a NUL or half a character in it'\n");
}

static void put_key_fits(struct buf *b, const struct spec *s) {
    struct buf key AUTO(buf_deinit) = {0};
    buf_init(&key, LIMIT_SPEC);
    spec_print_key(s, &key);
    buf_u8(&key, 0);
    b->failed |= key.failed;
    if (key.failed) return;
    buf_text(b, "         WHEN kv_key <> ");
    put_key(b, s, "");
    for (size_t i = 0; i < s->part_count; i++) {
        const struct column *c = &s->column[s->part[i]];
        if (c->type != COLUMN_TEXT) continue;
        buf_text(b, "\n              OR ");
        put_name(b, c->name);
        buf_text(b, " = '' OR instr(");
        put_name(b, c->name);
        buf_text(b, ", '/') OR instr(");
        put_name(b, c->name);
        buf_text(b, ", char(0))");
    }
    buf_say(b, "\n           THEN 'the key is not like %q'\n", key.bytes);
}

static void put_why(struct buf *b, const struct spec *s) {
    buf_text(b,
             "       CASE\n"
             "         WHEN typeof(kv_value) <> 'text' THEN 'the value is a ' || typeof(kv_value)\n"
             "         WHEN instr(kv_value, char(0)) THEN 'the value has a NUL in it'\n"
             "         WHEN kv_object IS NULL THEN 'the value is not JSON'\n"
             "         WHEN json_type(kv_object) <> 'object' THEN 'the value is JSON, and not an "
             "object'\n");
    put_key_fits(b, s);
    put_containers(b, s);
    for (size_t i = 0; i < s->count; i++)
        if (is_member(&s->column[i])) put_fits(b, &s->column[i]);
    put_texts_fit(b, s);
    buf_text(b, "       END AS kv_why\n");
}

/* ---- there ---- */

static size_t count_members(const struct spec *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++) n += is_member(&s->column[i]);
    return n;
}

/* "name(name(" for as many calls as the members need. */
static void begin_calls(struct buf *b, const struct spec *s, const char *name) {
    for (size_t n = 0; n < count_members(s); n += PATHS_A_CALL) buf_say(b, "%s(", name);
}

/* Before the member that is the n-th. */
static void put_comma(struct buf *b, size_t n) {
    buf_text(b, n && n % PATHS_A_CALL == 0 ? "),\n         " : ",\n         ");
}

static void put_rest_of_value(struct buf *b, const struct spec *s) {
    size_t n = 0;
    begin_calls(b, s, "json_remove");
    buf_text(b, "kv_object");
    for (size_t i = 0; i < s->count; i++) {
        const struct column *c = &s->column[i];
        if (!is_member(c)) continue;
        put_comma(b, n++);
        if (c->notnull) buf_say(b, "%Q", c->path);
        else
            buf_say(b, "CASE json_type(kv_object, %Q) WHEN 'null' THEN '$[0]' ELSE %Q END", c->path,
                    c->path);
    }
    buf_text(b, n ? ") AS " : " AS ");
    put_name(b, s->rest);
}

void put_rows_of_keys(struct buf *b, const struct spec *s) {
    buf_text(b, "SELECT kv_key, ");
    put_columns(b, s, KEY_COLUMNS, "", "       ");
    for (size_t i = 0; i < s->count; i++) {
        if (!is_member(&s->column[i])) continue;
        buf_say(b, ",\n       json_extract(kv_object, %Q) AS ", s->column[i].path);
        put_name(b, s->column[i].name);
    }
    buf_text(b, ",\n       ");
    put_rest_of_value(b, s);
    buf_text(b, ",\n");
    put_why(b, s);
    buf_text(b, "  FROM (SELECT Key AS kv_key, Value AS kv_value");
    for (size_t i = 0; i < s->part_count; i++) {
        buf_text(b, ",\n               ");
        put_part(b, s, i, "Key");
        buf_text(b, " AS ");
        put_name(b, s->column[s->part[i]].name);
    }
    buf_text(b, ",\n               CASE WHEN json_valid(Value) THEN Value END AS kv_object\n"
                "          FROM DBX WHERE ");
    put_range(b, s, "Key");
    buf_text(b, " AND Value IS NOT NULL)");
}

/* ---- and back ---- */

static void put_json(struct buf *b, const struct column *c) {
    const char *before = c->type == COLUMN_BOOL   ? "json(CASE "
                         : c->type == COLUMN_REAL ? "json(printf('%!.17g', "
                                                  : "";
    const char *after = c->type == COLUMN_BOOL   ? " WHEN 0 THEN 'false' ELSE 'true' END)"
                        : c->type == COLUMN_REAL ? "))"
                                                 : "";
    buf_text(b, before);
    put_name(b, c->name);
    buf_text(b, after);
}

static void put_value_of_row(struct buf *b, const struct spec *s) {
    size_t n = 0;
    begin_calls(b, s, "json_set");
    put_name(b, s->rest);
    for (size_t i = 0; i < s->count; i++) {
        const struct column *c = &s->column[i];
        if (!is_member(c)) continue;
        put_comma(b, n++);
        if (!c->notnull) buf_text(b, "CASE WHEN ");
        if (!c->notnull) put_name(b, c->name);
        buf_say(b, c->notnull ? "%Q, " : " IS NULL THEN '$[0]' ELSE %Q END, ", c->path);
        put_json(b, c);
    }
    if (n) buf_text(b, ")");
}

void put_values_of_rows(struct buf *b, const struct spec *s) {
    buf_text(b, "SELECT ");
    put_columns(b, s, KEY_COLUMNS, "", "       ");
    buf_text(b, ",\n       ");
    put_key(b, s, "");
    buf_text(b, " AS kv_key,\n       ");
    put_value_of_row(b, s);
    buf_text(b, " AS kv_value\n  FROM ");
    put_name(b, s->name);
}

/* ---- do they agree? ---- */

/* "n.id = p.id AND ..." */
static void put_join(struct buf *b, const struct spec *s) {
    for (size_t i = 0; i < s->part_count; i++) {
        buf_text(b, i ? " AND " : "");
        put_column(b, "n.", &s->column[s->part[i]]);
        buf_text(b, " = ");
        put_column(b, "p.", &s->column[s->part[i]]);
    }
}

/* Each key is looked at once, as this is asked while others write. */
void put_differences(struct buf *b, const struct spec *s) {
    buf_say(b,
            "SELECT p.kv_key, CASE WHEN p.kv_why IS NULL THEN 'the row is not that of the key'\n"
            "       ELSE 'it does not fit, and no reject says so' END AS kv_what\n"
            "  FROM %s_kv AS p LEFT JOIN ",
            s->name);
    put_name(b, s->name);
    buf_text(b, " AS n ON ");
    put_join(b, s);
    buf_text(b, "\n WHERE CASE WHEN p.kv_why IS NULL THEN\n         ");
    put_same(b, s, MEMBERS | REST, "p.", "IS NOT", "n.", "          ");
    buf_say(b,
            "\n       ELSE NOT EXISTS (SELECT 1 FROM holdfast_reject WHERE name = '%s' AND key = "
            "p.kv_key) END\nUNION ALL\nSELECT ",
            s->name);
    put_key(b, s, "n.");
    buf_text(b, ", 'the row has no key'\n  FROM ");
    put_name(b, s->name);
    buf_text(b, " AS n\n WHERE NOT EXISTS (SELECT 1 FROM DBX WHERE Key = ");
    put_key(b, s, "n.");
    buf_say(b,
            " AND Value IS NOT NULL)\n"
            "    OR EXISTS (SELECT 1 FROM holdfast_reject WHERE name = '%s' AND key = ",
            s->name);
    put_key(b, s, "n.");
    buf_say(b,
            ")\nUNION ALL\nSELECT r.key, 'it is called a reject, and is none'\n"
            "  FROM holdfast_reject AS r\n WHERE r.name = '%s' AND NOT EXISTS (SELECT 1 FROM %s_kv "
            "AS p\n                    WHERE p.kv_key = r.key AND p.kv_why IS NOT NULL)",
            s->name, s->name);
}

/* ---- on DBX itself ---- */

static rc index_of(const struct spec *s, const char *path, struct index **out, struct err *e) {
    *out = malloc(sizeof **out);
    if (!*out) return err_set(e, RC_NOMEM, "no memory");
    return index_init(*out, s->noise ? KV_NOISE : KV_MAIN, s->prefix, path, e);
}

rc put_index(struct buf *b, const struct spec *s, const struct column *c, char name[32],
             struct err *e) {
    struct index *x AUTO(index_free) = NULL;
    char *definition AUTO(sql_free) = NULL;
    TRY(index_of(s, c->path, &x, e));
    TRY(index_definition(x, &definition, e));
    memcpy(name, x->name, sizeof x->name);
    buf_say(b, "CREATE INDEX IF NOT EXISTS %s", definition);
    return ok();
}

rc put_indexed(struct buf *b, const struct spec *s, struct err *e) {
    struct index *x AUTO(index_free) = NULL;
    char *terms AUTO(sql_free) = NULL;
    TRY(index_of(s, "$", &x, e));
    TRY(index_terms(x, &terms, e));
    buf_text(b, "SELECT ");
    for (size_t i = 0; i < s->part_count; i++) {
        buf_text(b, i ? ",\n       " : "");
        put_part(b, s, i, "Key");
        buf_text(b, " AS ");
        put_name(b, s->column[s->part[i]].name);
    }
    for (size_t i = 0; i < s->count; i++) {
        if (!is_member(&s->column[i])) continue;
        buf_say(b, ",\n       json_extract(Value,%Q) AS ", s->column[i].path);
        put_name(b, s->column[i].name);
    }
    buf_say(b, "\n  FROM DBX\n WHERE %s", terms);
    return ok();
}

/* ---- the table ---- */

static void put_declaration(struct buf *b, const struct column *c) {
    static const char *const types[] = {"TEXT", "INTEGER", "REAL", "INTEGER"};
    buf_text(b, "  ");
    put_name(b, c->name);
    buf_say(b, " %s%s", types[c->type], c->notnull || !is_member(c) ? " NOT NULL" : "");
    if (is_member(c) && c->type != COLUMN_BOOL && c->type != COLUMN_REAL) return;
    if (!is_member(c) && c->type == COLUMN_INT) return;
    buf_text(b, c->type == COLUMN_REAL ? " CHECK (abs(" : " CHECK (");
    put_name(b, c->name);
    if (c->type == COLUMN_BOOL) buf_text(b, " IN (0, 1))");
    else if (c->type == COLUMN_REAL) buf_text(b, ") <= 1.7976931348623157e308)");
    else {
        buf_text(b, " <> '' AND instr(");
        put_name(b, c->name);
        buf_text(b, ", '/') = 0)");
    }
}

void put_table(struct buf *b, const struct spec *s) {
    buf_text(b, "CREATE TABLE ");
    put_name(b, s->name);
    buf_text(b, "(\n");
    for (size_t i = 0; i < s->count; i++) {
        put_declaration(b, &s->column[i]);
        buf_text(b, ",\n");
    }
    buf_text(b, "  ");
    put_name(b, s->rest);
    buf_text(b, " TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(");
    put_name(b, s->rest);
    buf_text(b, ") AND json_type(");
    put_name(b, s->rest);
    buf_text(b, ") = 'object'),\n  PRIMARY KEY (");
    put_columns(b, s, KEY_COLUMNS, "", "  ");
    buf_text(b, ")");
    if (count_members(s)) buf_text(b, ",\n  CHECK (coalesce(NULL");
    for (size_t i = 0; i < s->count; i++) {
        if (!is_member(&s->column[i])) continue;
        buf_text(b, ",\n    nullif(json_type(");
        put_name(b, s->rest);
        buf_say(b, ", %Q), 'null')", s->column[i].path);
    }
    if (count_members(s)) buf_text(b, ") IS NULL)");
    buf_text(b, "\n) STRICT");
}
