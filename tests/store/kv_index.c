/* Indexes by a path: that they are used, what they refuse, and that they are in nobody's way. */
#include "kv_box.h"

static int find_in(hf_store *s, int scope, const hf_find *o, struct seen *seen) {
    hf_tx *t;
    FINE(hf_begin(s, scope, "find", &t));
    int code = hf_kv_find(t, o, see, seen);
    hf_rollback(t);
    return code;
}

static void finds(hf_store *s, const char *prefix, const char *path, hf_value equals,
                  const char *expected) {
    struct seen seen = {0};
    hf_find o = {.size = sizeof o, .prefix = prefix, .path = path, .equals = equals};
    int code = find_in(s, HF_READ, &o, &seen);
    ck_assert_msg(code == HF_OK, "%s", hf_errmsg());
    ck_assert_str_eq(seen.text, expected);
}

static const char *const seen_only[] = {"seen/", NULL};

static hf_store *filled(void) {
    hf_store *s;
    hf_store_options o = {.size = sizeof o, .noise = "", .noise_prefixes = seen_only};
    FINE(hf_store_open_temp(&o, &s));
    FINE(write_sql(s, HF_MAIN,
                   "INSERT INTO DBX VALUES "
                   "('node/1', '{\"ip\": \"10.0.0.1\", \"up\": true, \"n\": 1, \"r\": 0.5}'),"
                   "('node/2', '{\"ip\": \"10.0.0.2\", \"up\": false, \"n\": 2, \"it''s\": 3}'),"
                   "('node/3', 'not json'), ('node/4', x'7b7d'), ('node/5', NULL),"
                   "('nodf', '{\"ip\": \"10.0.0.1\"}'), ('other', '{\"ip\": \"10.0.0.2\"}')"));
    return s;
}

START_TEST(a_find_uses_the_index_that_was_declared) {
    hf_store *s = filled();
    FINE(hf_kv_index(s, "node/", "$.ip", 0));
    finds(s, "node/", "$.ip", hf_text("10.0.0.1"),
          "node/1={\"ip\": \"10.0.0.1\", \"up\": true, \"n\": 1, \"r\": 0.5} ");
    finds(s, "node/", "$.ip", hf_text("10.0.0.9"), "");
    FINE(hf_put(s, "node/9", hf_json("{\"ip\":\"10.0.0.9\"}")));
    finds(s, "node/", "$.ip", hf_text("10.0.0.9"), "node/9={\"ip\":\"10.0.0.9\"} ");
    FINE(hf_put(s, "node/9", hf_json("{\"ip\":\"10.0.0.8\"}")));
    finds(s, "node/", "$.ip", hf_text("10.0.0.9"), "");
    FINE(hf_delete(s, "node/9"));
    finds(s, "node/", "$.ip", hf_text("10.0.0.8"), "");
    FINE(hf_store_close(s));
}
END_TEST

/* The plan of the library's own query, as text in the store's file would run it. */
START_TEST(the_plan_searches_the_index) {
    hf_store *s = filled();
    hf_tx *t;
    sqlite3_stmt *st;
    char name[64], sql[1024];
    FINE(hf_kv_index(s, "node/", "$.ip", 0));
    FINE(hf_begin(s, HF_READ, "plan", &t));
    FINE(hf_query(t, &st,
                  "SELECT name, sql FROM sqlite_master WHERE name LIKE 'hf\\_kv\\_%' ESCAPE '\\'",
                  ""));
    ck_assert_int_eq(hf_step(t, st), HF_ROW);
    snprintf(name, sizeof name, "%s", sqlite3_column_text(st, 0));
    snprintf(sql, sizeof sql,
             "CREATE INDEX %s ON DBX(json_extract(Value,'$.ip')) WHERE "
             "typeof(Value)='text' AND json_valid(Value) AND Key>='node/' AND Key<'node0'",
             name);
    ck_assert_str_eq((const char *)sqlite3_column_text(st, 1), sql);
    ck_assert_int_eq(hf_step(t, st), HF_OK);
    FINE(hf_query(t, &st,
                  "EXPLAIN QUERY PLAN SELECT Key, Value FROM DBX WHERE typeof(Value)='text' "
                  "AND json_valid(Value) AND Key>='node/' AND Key<'node0' AND "
                  "json_extract(Value,'$.ip')='10.0.0.1'",
                  ""));
    ck_assert_int_eq(hf_step(t, st), HF_ROW);
    snprintf(sql, sizeof sql, "SEARCH DBX USING INDEX %s (<expr>=?)", name);
    ck_assert_str_eq((const char *)sqlite3_column_text(st, 3), sql);
    hf_rollback(t);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(numbers_and_truths_are_found) {
    hf_store *s = filled();
    FINE(hf_kv_index(s, "node/", "$.n", 0));
    FINE(hf_kv_index(s, "node/", "$.up", 0));
    FINE(hf_kv_index(s, "node/", "$.r", HF_UNIQUE));
    hf_find o = {.size = sizeof o, .prefix = "node/"};
    static const struct {
        const char *path;
        hf_value equals;
        int count;
    } rows[] = {
        {"$.n", {.type = HF_INT, .i = 2}, 1},
        {"$.n", {.type = HF_REAL, .r = 2.0}, 1},
        {"$.up", {.type = HF_INT, .i = 1}, 1},
        {"$.up", {.type = HF_INT, .i = 0}, 1},
        {"$.r", {.type = HF_REAL, .r = .5}, 1},
        {"$.n", {.type = HF_INT, .i = 3}, 0},
        {"$.n", {.type = HF_TEXT, .data = "2", .bytes = 1}, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct seen seen = {0};
        o.path = rows[i].path;
        o.equals = rows[i].equals;
        FINE(find_in(s, HF_READ, &o, &seen));
        ck_assert_int_eq(seen.count, rows[i].count);
    }
    FINE(hf_store_close(s));
}
END_TEST

static const struct {
    const char *path, *same; /* NULL: refused */
} paths[] = {
    {"$", "$"},
    {"$.ip", "$.\"ip\""},
    {"$.a.b", "$.\"a\".b"},
    {"$.a[0]", "$.a[00]"},
    {"$[#-1]", "$[#-01]"},
    {"$.\"a b\"", "$.\"a b\""},
    {"$.x-y", "$.\"x-y\""},
    {"$.it's", "$.\"it's\""},
    {"$.\xc3\xbc", "$.\"\xc3\xbc\""},
    {"$.1", "$.\"1\""},
    {"$.\"a.b\"[3]._c9", "$.\"a.b\"[3].\"_c9\""},
    {NULL, NULL},
    {"", NULL},
    {"ip", NULL},
    {".ip", NULL},
    {"$ip", NULL},
    {"$.", NULL},
    {"$..a", NULL},
    {"$.a.", NULL},
    {"$.\"\"", NULL},
    {"$.\"a", NULL},
    {"$.\"a\"b", NULL},
    {"$.a\"b", NULL},
    {"$.\"a\\u0062\"", NULL},
    {"$.a b", NULL},
    {"$.a\n", NULL},
    {"$.a[", NULL},
    {"$.a[]", NULL},
    {"$.a[x]", NULL},
    {"$.a[-1]", NULL},
    {"$.a[#]", NULL},
    {"$.a[1", NULL},
    {"$.a[1]]", NULL},
    {"$.a[1]b", NULL},
    {"$.a[9999999999]", NULL},
    {"$.*", NULL},
    {"$.a') OR 1=1 --\"", NULL},
    {"$.\xff", NULL},
};

START_TEST(a_path_has_one_spelling_or_is_refused) {
    hf_store *s = filled();
    const char *path = paths[_i].path;
    if (paths[_i].same) {
        FINE(hf_kv_index(s, "node/", path, HF_ABSENT));
        FINE(hf_kv_index(s, "node/", paths[_i].same, 0)); /* is there: nothing is asked */
        finds(s, "node/", paths[_i].same, hf_text("nobody has this"), "");
        ck_assert_int_eq(number(s, "SELECT count(*) FROM sqlite_master WHERE name GLOB 'hf_kv_*'"),
                         1);
        FINE(hf_kv_unindex(s, "node/", paths[_i].same));
    } else {
        struct seen seen = {0};
        hf_find o = {.size = sizeof o, .prefix = "node/", .path = path, .equals = hf_int(1)};
        const char *says = path ? "not a path into JSON" : "path: it is NULL";
        if (path && strcmp(path, "$.*") == 0) { /* a member called "*": odd, and harmless */
            FINE(hf_kv_index(s, "node/", path, HF_ABSENT));
            return;
        }
        SAYS(hf_kv_index(s, "node/", path, HF_ABSENT), HF_USAGE, says);
        SAYS(hf_kv_unindex(s, "node/", path), HF_USAGE, says);
        SAYS(find_in(s, HF_READ, &o, &seen), HF_USAGE, says);
    }
    ck_assert_int_eq(number(s, "SELECT count(*) FROM sqlite_master WHERE name GLOB 'hf_kv_*'"), 0);
    FINE(hf_store_close(s));
}
END_TEST

/* Each name takes two bytes more in the one spelling; what is bounded is that. */
START_TEST(a_path_of_any_length_that_is_taken_is_used) {
    hf_store *s = filled();
    char path[2048] = "$";
    for (int i = 0; i < 255; i++) strcat(path, ".+");
    FINE(hf_kv_index(s, "node/", path, HF_ABSENT));
    finds(s, "node/", path, hf_text("nobody has this"), "");
    int64_t made = number(s, "SELECT schema_version FROM pragma_schema_version");
    FINE(hf_kv_index(s, "node/", path, HF_ABSENT));
    ck_assert_int_eq(number(s, "SELECT schema_version FROM pragma_schema_version"), made);
    FINE(hf_kv_unindex(s, "node/", path));
    strcat(path, ".+");
    SAYS(hf_kv_index(s, "node/", path, HF_ABSENT), HF_USAGE, "longer than 1023 bytes");
    for (int i = 0; i < 512; i++) strcat(path, "a");
    SAYS(hf_kv_index(s, "node/", path, HF_ABSENT), HF_USAGE, "longer than 1023 bytes");
    FINE(hf_store_close(s));
}
END_TEST

static const struct {
    const char *prefix, *key;
} odd_prefixes[] = {
    {"", "k"},
    {"it's/", "it's/1"},
    {"');DROP TABLE DBX;--", "');DROP TABLE DBX;--1"},
    {" AND Key>='x'", " AND Key>='x'1"},
    {"\"q\"", "\"q\"1"},
    {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"
                         "1"},
    {"\xed\x9f\xbf", "\xed\x9f\xbf"
                     "1"}, /* U+D7FF: the next is no half of a pair */
    {"z\xc3\xbf", "z\xc3\xbf"
                  "1"},
    {"%s%n", "%s%n1"},
};

START_TEST(any_prefix_can_be_indexed_and_is_known_again) {
    char dir[TEMP_PATH], value[8] = "{\"a\":1}";
    temp_dir(dir);
    hf_store *s;
    hf_store_options o = {.size = sizeof o, .event = take_event};
    FINE(hf_store_open(below(dir, "a.db"), &o, &s));
    FINE(hf_put(s, odd_prefixes[_i].key, hf_json(value)));
    FINE(hf_kv_index(s, odd_prefixes[_i].prefix, "$.a", 0));
    FINE(hf_store_close(s));
    FINE(hf_store_open(below(dir, "a.db"), &o, &s));
    ck_assert_msg(event.count == 0, "%s %s", event.name, event.text);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM sqlite_master WHERE "
                               "instr(CAST(sql AS BLOB), x'eda080')"),
                     0);
    struct seen seen = {0};
    hf_find f = {
        .size = sizeof f, .prefix = odd_prefixes[_i].prefix, .path = "$.a", .equals = hf_int(1)};
    FINE(find_in(s, HF_READ, &f, &seen));
    ck_assert_int_eq(seen.count, 1);
    FINE(hf_kv_unindex(s, odd_prefixes[_i].prefix, "$.\"a\""));
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(values_that_are_not_json_are_in_nobodys_way) {
    hf_store *s = filled();
    FINE(hf_kv_index(s, "node/", "$.ip", HF_UNIQUE));
    FINE(hf_put(s, "node/1", hf_text("{broken")));
    FINE(hf_put(s, "node/6", hf_blob("\x00\xff", 2)));
    FINE(hf_put(s, "node/7", hf_blob("{\"ip\":1", 7)));
    FINE(hf_put(s, "node/8", hf_text("")));
    FINE(
        write_sql(s, HF_MAIN, "UPDATE DBX SET Value = CAST(x'ff7b' AS TEXT) WHERE Key = 'node/2'"));
    finds(s, "node/", "$.ip", hf_text("10.0.0.1"), "");
    FINE(write_sql(s, HF_MAIN, "UPDATE DBX SET Value = NULL WHERE Key = 'node/2'"));
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_unique_index_refuses_the_second_and_says_why) {
    hf_store *s = filled();
    FINE(hf_kv_index(s, "node/", "$.ip", HF_UNIQUE));
    SAYS(hf_put(s, "node/9", hf_json("{\"ip\":\"10.0.0.1\"}")), HF_CONFLICT,
         "'node/9': another key under 'node/' has the same $.ip, and the index is unique");
    has(s, "node/9", NULL);
    FINE(hf_put(s, "node/1", hf_json("{\"ip\":\"10.0.0.1\"}"))); /* itself */
    FINE(hf_put(s, "node/8", hf_json("{\"ip\":null}")));         /* nulls may be the same */
    FINE(hf_put(s, "node/9", hf_json("{\"ip\":null}")));
    FINE(hf_put(s, "elsewhere", hf_json("{\"ip\":\"10.0.0.1\"}")));
    FINE(hf_store_close(s));
}
END_TEST

static const struct {
    int code, flags;
    const char *prefix, *path, *says;
} refusals[] = {
    {HF_NOTFOUND, 0, "node/", "$.no", "no value under 'node/' has $.no"},
    {HF_NOTFOUND, HF_UNIQUE, "node/", "$.ip.deeper", "no value under 'node/' has $.ip.deeper"},
    {HF_CONFLICT, HF_UNIQUE, "", "$.ip", "'node/2' and 'other' have the same"},
    {HF_USAGE, 4, "node/", "$.ip", "flags 4"},
    {HF_USAGE, 0, NULL, "$.ip", "prefix: it is NULL"},
    {HF_USAGE, 0, "\xff", "$.ip", "not UTF-8"},
};

START_TEST(an_index_that_cannot_be_leaves_nothing) {
    hf_store *s;
    hf_store_options o = {.size = sizeof o};
    FINE(hf_store_open_temp(&o, &s));
    FINE(write_sql(s, HF_MAIN,
                   "INSERT INTO DBX VALUES ('node/1', '{\"ip\":1}'), ('node/2', '{\"ip\":2}'),"
                   "('other', '{\"ip\":2}')"));
    SAYS(hf_kv_index(s, refusals[_i].prefix, refusals[_i].path, refusals[_i].flags),
         refusals[_i].code, refusals[_i].says);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM sqlite_master WHERE name GLOB 'hf_kv_*'"), 0);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(an_index_over_nothing_yet_can_be_made) {
    hf_store *s = kv_store();
    FINE(hf_kv_index(s, "new/", "$.a", HF_UNIQUE));
    FINE(hf_put(s, "new/1", hf_json("{\"a\":1}")));
    finds(s, "new/", "$.a", hf_int(1), "new/1={\"a\":1} ");
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(an_index_of_noise_is_in_noise) {
    hf_store *s = kv_store();
    FINE(hf_kv_index(s, "seen/", "$.a", 0));
    FINE(hf_put(s, "seen/1", hf_json("{\"a\":1}")));
    finds(s, "seen/", "$.a", hf_int(1), "seen/1={\"a\":1} ");
    ck_assert_int_eq(
        number(s, "SELECT count(*) FROM noise.sqlite_master WHERE name GLOB 'hf_kv_*'"), 1);
    struct seen seen = {0};
    hf_find o = {.size = sizeof o, .prefix = "seen/", .path = "$.a", .equals = hf_int(1)};
    FINE(find_in(s, HF_NOISE, &o, &seen));
    SAYS(find_in(s, HF_MAIN, &o, &seen), HF_USAGE, "it lives in noise");
    FINE(hf_kv_unindex(s, "seen/", "$.a"));
    FINE(hf_store_close(s));
}
END_TEST

/* Two stores on one file: the second sees no write by the first's redeclaration. */
START_TEST(declaring_again_writes_nothing) {
    hf_store *s = filled();
    FINE(hf_kv_index(s, "node/", "$.ip", 0));
    int64_t before = number(s, "SELECT data_version FROM pragma_data_version"),
            schema = number(s, "SELECT schema_version FROM pragma_schema_version");
    FINE(hf_kv_index(s, "node/", "$.\"ip\"", HF_ABSENT));
    ck_assert_int_eq(number(s, "SELECT data_version FROM pragma_data_version"), before);
    ck_assert_int_eq(number(s, "SELECT schema_version FROM pragma_schema_version"), schema);
    SAYS(hf_kv_index(s, "node/", "$.ip", HF_UNIQUE), HF_CONFLICT,
         "is there and is not unique: hf_kv_unindex it first");
    FINE(hf_kv_unindex(s, "node/", "$.ip"));
    SAYS(hf_kv_unindex(s, "node/", "$.ip"), HF_NOTFOUND, "no index on $.ip of 'node/'");
    FINE(hf_kv_index(s, "node/", "$.ip", HF_UNIQUE));
    SAYS(hf_kv_index(s, "node/", "$.ip", 0), HF_CONFLICT, "is there and is unique");
    FINE(hf_store_close(s));
}
END_TEST

static const struct {
    hf_find find;
    int code;
    const char *says;
} bad_finds[] = {
#define F(...)                                                                                     \
    { .size = sizeof(hf_find), __VA_ARGS__ }
    {F(.prefix = "node/", .path = "$.n", .equals = {.type = HF_INT}), HF_NOTFOUND,
     "no index on $.n of 'node/'; declared for it: $.ip"},
    {F(.prefix = "node/1", .path = "$.ip", .equals = {.type = HF_INT}), HF_NOTFOUND,
     "no index on $.ip of 'node/1'; declared for it: none"},
    {F(.prefix = "node/", .path = "$.ip", .equals = {.type = HF_NULL}), HF_USAGE, "equals is"},
    {F(.prefix = "node/", .path = "$.ip", .equals = {.type = HF_JSON, .data = "1", .bytes = 1}),
     HF_USAGE, "equals is"},
    {F(.prefix = "node/", .path = "$.ip", .equals = {.type = HF_BLOB, .data = "1", .bytes = 1}),
     HF_USAGE, "equals is"},
    {F(.prefix = "node/", .path = "$.ip", .equals = {.type = HF_TEXT}), HF_USAGE, "null pointer"},
    {F(.prefix = "node/", .path = "$.ip", .limit = -1), HF_USAGE, "limit -1"},
    {F(.path = "$.ip"), HF_USAGE, "prefix: it is NULL"},
    {F(.prefix = "node/"), HF_USAGE, "path: it is NULL"},
    {{.size = 0}, HF_USAGE, "`size` is not set"},
};

START_TEST(a_find_never_scans_it_refuses) {
    hf_store *s = filled();
    struct seen seen = {0};
    FINE(hf_kv_index(s, "node/", "$.ip", 0));
    SAYS(find_in(s, HF_READ, &bad_finds[_i].find, &seen), bad_finds[_i].code, bad_finds[_i].says);
    ck_assert_int_eq(seen.count, 0);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(an_index_spoilt_by_sql_is_told_refused_and_made_anew) {
    char dir[TEMP_PATH], sql[300];
    temp_dir(dir);
    hf_store *s;
    hf_store_options o = {.size = sizeof o, .event = take_event};
    FINE(hf_store_open(below(dir, "a.db"), &o, &s));
    FINE(hf_put(s, "node/1", hf_json("{\"ip\":1}")));
    FINE(hf_kv_index(s, "node/", "$.ip", 0));
    hf_tx *t;
    sqlite3_stmt *st;
    FINE(hf_begin(s, HF_MAIN, "spoil", &t));
    FINE(hf_query(t, &st, "SELECT name FROM sqlite_master WHERE name GLOB 'hf_kv_*'", ""));
    ck_assert_int_eq(hf_step(t, st), HF_ROW);
    snprintf(sql, sizeof sql, "DROP INDEX %s; CREATE INDEX %s ON DBX(Value) WHERE Key>'x'",
             sqlite3_column_text(st, 0), sqlite3_column_text(st, 0));
    ck_assert_int_eq(hf_step(t, st), HF_OK);
    FINE(hf_exec(t, sql));
    FINE(hf_commit(t));
    FINE(hf_store_close(s));
    FINE(hf_store_open(below(dir, "a.db"), &o, &s));
    ck_assert_str_eq(event.name, "kv.index_unused");
    struct seen seen = {0};
    hf_find f = {.size = sizeof f, .prefix = "node/", .path = "$.ip", .equals = hf_int(1)};
    SAYS(find_in(s, HF_READ, &f, &seen), HF_UNFIT, "cannot be used");
    FINE(hf_kv_index(s, "node/", "$.ip", 0));
    FINE(find_in(s, HF_READ, &f, &seen));
    ck_assert_int_eq(seen.count, 1);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(an_index_within_a_transaction_of_this_thread_is_refused) {
    hf_store *s = filled();
    hf_tx *t;
    FINE(hf_begin(s, HF_MAIN, "outer", &t));
    SAYS(hf_kv_index(s, "node/", "$.ip", 0), HF_USAGE, "inside of 'outer'");
    SAYS(hf_kv_unindex(s, "node/", "$.ip"), HF_USAGE, "inside of 'outer'");
    hf_rollback(t);
    FINE(hf_store_close(s));
}
END_TEST

int main(void) {
    Suite *s = suite_create("kv_index");
    TCase *t = tcase_create("kv_index");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_test(t, a_find_uses_the_index_that_was_declared);
    tcase_add_test(t, the_plan_searches_the_index);
    tcase_add_test(t, numbers_and_truths_are_found);
    ADD_ROWS(t, a_path_has_one_spelling_or_is_refused, paths);
    ADD_ROWS(t, any_prefix_can_be_indexed_and_is_known_again, odd_prefixes);
    tcase_add_test(t, a_path_of_any_length_that_is_taken_is_used);
    tcase_add_test(t, values_that_are_not_json_are_in_nobodys_way);
    tcase_add_test(t, a_unique_index_refuses_the_second_and_says_why);
    ADD_ROWS(t, an_index_that_cannot_be_leaves_nothing, refusals);
    tcase_add_test(t, an_index_over_nothing_yet_can_be_made);
    tcase_add_test(t, an_index_of_noise_is_in_noise);
    tcase_add_test(t, declaring_again_writes_nothing);
    ADD_ROWS(t, a_find_never_scans_it_refuses, bad_finds);
    tcase_add_test(t, an_index_spoilt_by_sql_is_told_refused_and_made_anew);
    tcase_add_test(t, an_index_within_a_transaction_of_this_thread_is_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
