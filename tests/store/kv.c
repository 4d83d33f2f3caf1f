/* Keys and values of one thread: what is kept, in which file, in which order, and what is
 * refused. */
#include "kv_box.h"

#include "store/limits.h"

START_TEST(what_is_put_is_got_and_deleted) {
    hf_store *s = kv_store();
    FINE(hf_put(s, "a", hf_json("{\"n\": 1.10, \"big\": 12345678901234567890}")));
    has(s, "a", "{\"n\": 1.10, \"big\": 12345678901234567890}");
    FINE(hf_put(s, "a", hf_text("not {json")));
    has(s, "a", "not {json");
    FINE(hf_put(s, "a", hf_text("")));
    has(s, "a", "");
    FINE(hf_delete(s, "a"));
    has(s, "a", NULL);
    SAYS(hf_delete(s, "a"), HF_NOTFOUND, "'a': no such key");
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_blob_is_kept_with_its_zeros) {
    hf_store *s = kv_store();
    char *value;
    size_t n;
    FINE(hf_put(s, "b", hf_blob("x\0y\xff", 4)));
    FINE(hf_get(s, "b", &value, &n));
    ck_assert_uint_eq(n, 4);
    ck_assert_mem_eq(value, "x\0y\xff", 5);
    hf_free(value);
    FINE(hf_put(s, "b", hf_blob(NULL, 0)));
    FINE(hf_get(s, "b", &value, NULL));
    ck_assert_str_eq(value, "");
    hf_free(value);
    FINE(hf_store_close(s));
}
END_TEST

static char long_key[LIMIT_KV_KEY + 2];

static const struct {
    const char *key;
    const char *says; /* NULL: fine */
} keys[] = {
    {"a", NULL},
    {"\x7f", NULL},
    {"\xc2\x80\xdf\xbf", NULL},
    {"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", NULL},
    {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", NULL},
    {"new\nline", NULL},
    {NULL, "it is NULL"},
    {"", "it is empty"},
    {long_key, "longer than 4096 bytes"},
    {"\x80", "not UTF-8"},
    {"a\xff", "not UTF-8"},
    {"\xc0\x80", "not UTF-8"}, /* a NUL in two bytes */
    {"\xc1\xbf", "not UTF-8"}, /* overlong */
    {"\xc3", "not UTF-8"},     /* ends early */
    {"\xe2\x82", "not UTF-8"},
    {"\xe0\x9f\xbf", "not UTF-8"}, /* overlong */
    {"\xed\xa0\x80", "not UTF-8"}, /* half of a pair */
    {"\xed\xbf\xbf", "not UTF-8"},
    {"\xf0\x8f\xbf\xbf", "not UTF-8"}, /* overlong */
    {"\xf4\x90\x80\x80", "not UTF-8"}, /* beyond Unicode */
    {"\xf5\x80\x80\x80", "not UTF-8"},
    {"\xe2(\xa1", "not UTF-8"},
};

START_TEST(a_key_is_text_or_refused) {
    hf_store *s = kv_store();
    const char *key = keys[_i].key, *says = keys[_i].says;
    memset(long_key, 'k', LIMIT_KV_KEY + 1);
    if (!says) {
        FINE(hf_put(s, key, hf_json("1")));
        has(s, key, "1");
    } else {
        char *value = (char *)"untouched";
        SAYS(hf_put(s, key, hf_json("1")), HF_USAGE, says);
        SAYS(hf_get(s, key, &value, NULL), HF_USAGE, says);
        SAYS(hf_delete(s, key), HF_USAGE, says);
        ck_assert_str_eq(value, "untouched");
        ck_assert_int_eq(number(s, "SELECT count(*) FROM DBX"), 0);
    }
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(the_longest_key_is_kept) {
    hf_store *s = kv_store();
    memset(long_key, 'k', LIMIT_KV_KEY);
    long_key[LIMIT_KV_KEY] = 0;
    FINE(hf_put(s, long_key, hf_json("1")));
    has(s, long_key, "1");
    FINE(hf_store_close(s));
}
END_TEST

#define V(t, d, n)                                                                                 \
    { .type = t, .data = d, .bytes = n }
static const struct {
    hf_value value;
    const char *says; /* NULL: fine */
} values[] = {
    {V(HF_JSON, "null", 4), NULL},
    {V(HF_JSON, " [1, {\"a\": \"\\u00e4\"}] ", 22), NULL},
    {V(HF_JSON, "1e400", 5), NULL},
    {V(HF_TEXT, "a\0b", 3), NULL},
    {V(HF_JSON, "", 0), "not JSON"},
    {V(HF_JSON, "{", 1), "not JSON"},
    {V(HF_JSON, "{'a': 1}", 8), "not JSON"},
    {V(HF_JSON, "{\"a\": 1,}", 9), "not JSON"},
    {V(HF_JSON, "[1] [2]", 7), "not JSON"},
    {V(HF_JSON, "nul", 3), "not JSON"},
    {V(HF_JSON, "NaN", 3), "not JSON"},
    {V(HF_JSON, "01", 2), "not JSON"},
    {V(HF_JSON, "+1", 2), "not JSON"},
    {V(HF_JSON, "0x10", 4), "not JSON"},
    {V(HF_JSON, "/* */ 1", 7), "not JSON"},
    {V(HF_JSON, "\"\\x\"", 4), "not JSON"},
    {V(HF_JSON, "{}\0garbage", 10), "not JSON"},
    {V(HF_JSON, "\"\xff\"", 3), "not UTF-8"},
    {V(HF_TEXT, "\xed\xa0\x80", 3), "not UTF-8"},
    {V(HF_JSON, NULL, 0), "null pointer"},
    {V(HF_TEXT, NULL, 3), "null pointer"},
    {V(HF_BLOB, NULL, 3), "null pointer"},
    {V(HF_NULL, NULL, 0), "hf_json, hf_text or hf_blob"},
    {V(HF_INT, NULL, 0), "hf_json, hf_text or hf_blob"},
    {V(HF_REAL, NULL, 0), "hf_json, hf_text or hf_blob"},
    {V(99, "x", 1), "hf_json, hf_text or hf_blob"},
};

START_TEST(a_value_is_as_declared_or_refused) {
    hf_store *s = kv_store();
    FINE(hf_put(s, "there", hf_json("1")));
    if (!values[_i].says) {
        FINE(hf_put(s, "new", values[_i].value));
        FINE(hf_put(s, "there", values[_i].value));
    } else {
        SAYS(hf_put(s, "new", values[_i].value), HF_USAGE, values[_i].says);
        SAYS(hf_put(s, "there", values[_i].value), HF_USAGE, "'there'");
        has(s, "new", NULL);
        has(s, "there", "1");
    }
    FINE(hf_store_close(s));
}
END_TEST

/* ---- two files ---- */

static const struct {
    int scope;
    const char *key, *says; /* NULL: fine */
} reaches[] = {
    {HF_MAIN, "node/1", NULL},
    {HF_BOTH, "node/1", NULL},
    {HF_NOISE, "seen/1", NULL},
    {HF_BOTH, "seen/1", NULL},
    {HF_NOISE, "node/load/1", NULL},
    {HF_NOISE, "node/1", "it lives in main: begin with HF_MAIN or HF_BOTH"},
    {HF_NOISE, "node/loa", "it lives in main"},
    {HF_NOISE, "seen", "it lives in main"},
    {HF_MAIN, "seen/1", "it lives in noise: begin with HF_NOISE or HF_BOTH"},
    {HF_MAIN, "seen/", "it lives in noise"},
    {HF_MAIN, "node/load/1", "it lives in noise"},
    {HF_READ, "node/1", "a write in a read transaction: begin it with HF_MAIN"},
    {HF_READ, "seen/1", "a write in a read transaction: begin it with HF_NOISE"},
};

START_TEST(a_key_is_written_in_its_file_or_nowhere) {
    hf_store *s = kv_store();
    hf_tx *t;
    const char *key = reaches[_i].key, *says = reaches[_i].says;
    FINE(hf_begin(s, reaches[_i].scope, "reach", &t));
    if (!says) {
        FINE(hf_kv_put(t, key, hf_json("1")));
        FINE(hf_commit(t));
        has(s, key, "1");
        bool noise = strcmp(key, "node/1") != 0;
        ck_assert_int_eq(number(s, "SELECT count(*) FROM main.DBX"), !noise);
        ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.DBX"), noise);
    } else {
        SAYS(hf_kv_put(t, key, hf_json("1")), HF_USAGE, says);
        SAYS(hf_kv_delete(t, key), HF_USAGE, says);
        SAYS(hf_kv_swap(t, key, NULL, hf_json("1")), HF_USAGE, says);
        FINE(hf_commit(t));
        has(s, key, NULL);
    }
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_read_sees_both_files) {
    hf_store *s = kv_store();
    FINE(hf_put(s, "node/1", hf_json("1")));
    FINE(hf_put(s, "seen/1", hf_json("2")));
    hf_tx *t;
    char *value;
    FINE(hf_begin(s, HF_READ, "both", &t));
    FINE(hf_kv_get(t, "node/1", &value, NULL));
    hf_free(value);
    FINE(hf_kv_get(t, "seen/1", &value, NULL));
    ck_assert_str_eq(value, "2");
    hf_free(value);
    FINE(hf_commit(t));
    FINE(hf_begin(s, HF_MAIN, "main alone", &t));
    SAYS(hf_kv_get(t, "seen/1", &value, NULL), HF_USAGE, "it lives in noise");
    hf_rollback(t);
    FINE(hf_store_close(s));
}
END_TEST

static const struct {
    const char *prefix, *says; /* NULL: fine */
} prefixes[] = {
    {NULL, NULL},
    {"seen/", NULL},
    {"seen/x", NULL},
    {"node/x", NULL},
    {"node/load/", NULL},
    {"", "in both files: under 'seen/' in noise"},
    {"s", "in both files: under 'seen/' in noise"},
    {"seen", "in both files"},
    {"node/", "in both files: under 'node/load/' in noise"},
    {"node/load", "in both files"},
    {"\xff", "not UTF-8"},
};

START_TEST(a_prefix_is_of_one_file_or_refused) {
    hf_store *s = kv_store();
    struct seen seen = {0};
    hf_scan o = {.size = sizeof o, .prefix = prefixes[_i].prefix};
    hf_watch *w;
    if (!prefixes[_i].says) {
        FINE(scan_in(s, HF_READ, &o, &seen));
    } else {
        SAYS(scan_in(s, HF_READ, &o, &seen), HF_USAGE, prefixes[_i].says);
        SAYS(hf_kv_index(s, o.prefix, "$.a", 0), HF_USAGE, prefixes[_i].says);
        SAYS(hf_kv_unindex(s, o.prefix, "$.a"), HF_USAGE, prefixes[_i].says);
        SAYS(hf_kv_watch(s, o.prefix, (void (*)(void *, const hf_change *))abort, NULL, &w),
             HF_USAGE, prefixes[_i].says);
    }
    FINE(hf_store_close(s));
}
END_TEST

static const char *const no_prefixes[] = {"", NULL}, *const bad_prefixes[] = {"\xff", NULL};
static const struct {
    const char *noise, *const *prefixes, *says;
} options[] = {
    {NULL, noise_prefixes, ".noise is not set"},
    {"", no_prefixes, "an empty one"},
    {"", bad_prefixes, "not UTF-8"},
};

START_TEST(noise_prefixes_that_cannot_be_are_refused_at_open) {
    hf_store *s = NULL;
    hf_store_options o = {
        .size = sizeof o, .noise = options[_i].noise, .noise_prefixes = options[_i].prefixes};
    SAYS(hf_store_open_temp(&o, &s), HF_USAGE, options[_i].says);
    ck_assert_ptr_null(s);
}
END_TEST

START_TEST(keys_that_a_new_noise_prefix_hides_are_told_at_open) {
    char dir[TEMP_PATH];
    temp_dir(dir);
    hf_store *s;
    FINE(hf_store_open(below(dir, "a.db"), NULL, &s));
    FINE(hf_put(s, "seen/7", hf_json("1")));
    FINE(hf_store_close(s));
    s = kv_store_at(below(dir, "a.db"));
    ck_assert_str_eq(event.name, "kv.misplaced");
    ck_assert_str_eq(event.text, "prefix seen/ key seen/7 in main ");
    FINE(hf_store_close(s));
}
END_TEST

/* ---- compare and put ---- */

static const hf_value one = V(HF_JSON, "1", 1), two = V(HF_JSON, "2", 1),
                      one_blob = V(HF_BLOB, "1", 1), spaced = V(HF_JSON, "1 ", 2),
                      one_text = V(HF_TEXT, "1", 1), nothing = V(HF_TEXT, "", 0),
                      number_one = {.type = HF_INT, .i = 1}, no_data = V(HF_TEXT, NULL, 1);
static const struct {
    const char *there; /* NULL: no value */
    const hf_value *expected;
    hf_value put;
    int code;
    const char *says;
} swaps[] = {
    {NULL, NULL, V(HF_JSON, "2", 1), HF_OK, ""},
    {"1", &one, V(HF_JSON, "2", 1), HF_OK, ""},
    {"1", &one_text, V(HF_TEXT, "2", 1), HF_OK, ""},
    {"1", NULL, V(HF_JSON, "2", 1), HF_CONFLICT, "has a value already"},
    {"1", &two, V(HF_JSON, "2", 1), HF_CONFLICT, "is another"},
    {"1", &one_blob, V(HF_JSON, "2", 1), HF_CONFLICT, "is another"},
    {"1", &spaced, V(HF_JSON, "2", 1), HF_CONFLICT, "is another"},
    {"1", &nothing, V(HF_JSON, "2", 1), HF_CONFLICT, "is another"},
    {NULL, &one, V(HF_JSON, "2", 1), HF_CONFLICT, "has no value"},
    {NULL, &nothing, V(HF_JSON, "2", 1), HF_CONFLICT, "has no value"},
    {"1", &one, V(HF_JSON, "{", 1), HF_USAGE, "not JSON"},
    {NULL, NULL, V(HF_JSON, "{", 1), HF_USAGE, "not JSON"},
    {"1", &number_one, V(HF_JSON, "2", 1), HF_USAGE, "what is expected"},
    {"1", &no_data, V(HF_JSON, "2", 1), HF_USAGE, "null pointer"},
};

START_TEST(a_swap_puts_only_over_what_is_expected) {
    hf_store *s = kv_store();
    hf_tx *t;
    if (swaps[_i].there) FINE(hf_put(s, "k", hf_json(swaps[_i].there)));
    FINE(hf_begin(s, HF_MAIN, "swap", &t));
    int code = hf_kv_swap(t, "k", swaps[_i].expected, swaps[_i].put);
    if (code) SAYS(code, swaps[_i].code, swaps[_i].says);
    ck_assert_int_eq(code, swaps[_i].code);
    FINE(hf_commit(t));
    has(s, "k", code ? swaps[_i].there : "2");
    FINE(hf_store_close(s));
}
END_TEST

/* ---- scans ---- */

static hf_store *store_of_five(void) {
    hf_store *s = kv_store();
    FINE(write_sql(s, HF_MAIN,
                   "INSERT INTO DBX VALUES ('a', 1), ('a/1', 2), ('a/2', 3), ('a0', 4), ('b', 5), "
                   "('none', NULL)"));
    return s;
}

START_TEST(a_scan_goes_in_the_order_of_bytes) {
    hf_store *s = store_of_five();
    scans(s, NULL, NULL, 0, "a=1 a/1=2 a/2=3 a0=4 b=5 ");
    scans(s, "a", NULL, 0, "a=1 a/1=2 a/2=3 a0=4 ");
    scans(s, "a/", NULL, 0, "a/1=2 a/2=3 ");
    scans(s, "a/", NULL, 1, "a/1=2 ");
    scans(s, "a/", "a/1", 0, "a/2=3 ");
    scans(s, "a/", "a/2", 0, "");
    scans(s, "a/", "b", 0, "");
    scans(s, "a/", "A", 0, "a/1=2 a/2=3 "); /* a cursor before the prefix */
    scans(s, NULL, "a/2", 2, "a0=4 b=5 ");
    scans(s, "c", NULL, 0, "");
    scans(s, "seen/", NULL, 0, "");
    SAYS(hf_delete(s, "none"), HF_NOTFOUND, "'none': no such key");
    FINE(hf_store_close(s));
}
END_TEST

static const struct {
    hf_scan scan;
    const char *says;
} bad_scans[] = {
    {{.size = 0}, "`size` is not set"},
    {{.size = sizeof(hf_scan), .limit = -1}, "limit -1"},
    {{.size = sizeof(hf_scan), .after = "\xff"}, "not UTF-8"},
    {{.size = sizeof(hf_scan), .prefix = "\xff"}, "not UTF-8"},
};

START_TEST(a_scan_that_cannot_be_is_refused) {
    hf_store *s = store_of_five();
    struct seen seen = {0};
    hf_scan o = bad_scans[_i].scan;
    SAYS(scan_in(s, HF_READ, &o, &seen), HF_USAGE, bad_scans[_i].says);
    ck_assert_int_eq(seen.count, 0);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_scan_stops_with_what_its_function_returned) {
    hf_store *s = store_of_five();
    struct seen seen = {.stop_at = 2};
    hf_scan o = {.size = sizeof o};
    ck_assert_int_eq(scan_in(s, HF_READ, &o, &seen), 4711);
    ck_assert_str_eq(seen.text, "a=1 a/1=2 ");
    FINE(hf_store_close(s));
}
END_TEST

static int scan_inside(void *arg, const hf_pair *p) {
    struct seen inner = {0};
    hf_scan o = {.size = sizeof o, .prefix = p->key};
    char *value;
    FINE(hf_kv_scan(arg, &o, see, &inner));
    ck_assert_int_eq(inner.count, strcmp(p->key, "a") == 0 ? 4 : 1);
    FINE(hf_kv_get(arg, p->key, &value, NULL));
    ck_assert_str_eq(value, p->value);
    hf_free(value);
    return 0;
}

START_TEST(a_scan_within_a_scan_disturbs_neither) {
    hf_store *s = store_of_five();
    hf_tx *t;
    hf_scan o = {.size = sizeof o};
    FINE(hf_begin(s, HF_READ, "nested", &t));
    FINE(hf_kv_scan(t, &o, scan_inside, t));
    FINE(hf_commit(t));
    FINE(hf_store_close(s));
}
END_TEST

static int move_to_b(void *arg, const hf_pair *p) {
    char key[64];
    snprintf(key, sizeof key, "b/%s", p->key);
    FINE(hf_kv_put(arg, key, hf_text(p->value)));
    return hf_kv_delete(arg, p->key);
}

START_TEST(a_scan_may_change_what_it_visits) {
    hf_store *s = store_of_five();
    hf_tx *t;
    hf_scan o = {.size = sizeof o, .prefix = "a"};
    FINE(hf_begin(s, HF_MAIN, "move", &t));
    FINE(hf_kv_scan(t, &o, move_to_b, t));
    FINE(hf_commit(t));
    scans(s, NULL, NULL, 0, "b=5 b/a=1 b/a/1=2 b/a/2=3 b/a0=4 ");
    FINE(hf_store_close(s));
}
END_TEST

static const struct {
    const char *prefix, *key;
    bool under;
} borders[] = {
    {"a\xed\x9f\xbf", "a\xed\x9f\xbf\xf4\x8f\xbf\xbf", true}, /* U+D7FF: the next is U+E000 */
    {"a\xed\x9f\xbf", "a\xee\x80\x80", false},
    {"a\x7f", "a\x7fz", true},
    {"a\x7f", "a\xc2\x80", false},
    {"\xdf\xbf", "\xe0\xa0\x80", false},
    {"\xef\xbf\xbf", "\xf0\x90\x80\x80", false},
    {"\xef\xbf\xbf", "\xef\xbf\xbf\xf0\x90\x80\x80", true},
    {"a\xf4\x8f\xbf\xbf", "a\xf4\x8f\xbf\xbfz", true}, /* U+10FFFF: the one before it */
    {"a\xf4\x8f\xbf\xbf", "b", false},
    {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf\xf4\x8f\xbf\xbf", true}, /* nothing is greater */
};

START_TEST(a_prefix_ends_where_its_keys_end) {
    hf_store *s = kv_store();
    struct seen seen = {0};
    hf_scan o = {.size = sizeof o, .prefix = borders[_i].prefix};
    FINE(hf_put(s, borders[_i].key, hf_json("1")));
    FINE(scan_in(s, HF_READ, &o, &seen));
    ck_assert_int_eq(seen.count, borders[_i].under);
    FINE(hf_store_close(s));
}
END_TEST

/* ---- rows of plain SQL ---- */

START_TEST(a_key_with_a_nul_is_said_and_not_cut) {
    hf_store *s = kv_store();
    struct seen seen = {0};
    hf_scan o = {.size = sizeof o};
    FINE(write_sql(s, HF_MAIN, "INSERT INTO DBX VALUES ('a', 1), ('b' || char(0) || 'c', 2)"));
    SAYS(scan_in(s, HF_READ, &o, &seen), HF_CORRUPT, "begins with 'b' has a NUL in it");
    ck_assert_str_eq(seen.text, "a=1 ");
    has(s, "b", NULL);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(rows_without_key_or_value_are_none) {
    hf_store *s = kv_store();
    FINE(write_sql(s, HF_MAIN,
                   "INSERT INTO DBX VALUES (NULL, 1), (x'61', 2), ('n', NULL), (x'', 3)"));
    scans(s, NULL, NULL, 0, "");
    has(s, "n", NULL);
    hf_tx *t;
    FINE(hf_begin(s, HF_MAIN, "swap", &t));
    FINE(hf_kv_swap(t, "n", NULL, hf_json("1")));
    FINE(hf_commit(t));
    has(s, "n", "1");
    FINE(hf_store_close(s));
}
END_TEST

/* ---- tables that are not ours ---- */

static const struct {
    const char *sql, *says;
} tables[] = {
    {"CREATE TABLE DBX(Key TEXT PRIMARY KEY COLLATE NOCASE, Value TEXT)", "is not DBX("},
    {"CREATE TABLE DBX(Key BLOB PRIMARY KEY, Value TEXT)", "is not DBX("},
    {"CREATE TABLE DBX(Key TEXT PRIMARY KEY, Value INTEGER)", "is not DBX("},
    {"CREATE TABLE DBX(Key TEXT, Value TEXT)", "is not DBX("},
    {"CREATE TABLE DBX(Key TEXT PRIMARY KEY)", "is not DBX("},
    {"CREATE VIEW DBX AS SELECT 1 AS Key, 2 AS Value", "is not DBX("},
    {"PRAGMA encoding='UTF-16le'; CREATE TABLE t(x)", "UTF-16le"},
};

START_TEST(another_table_is_left_alone_and_said) {
    char dir[TEMP_PATH];
    sqlite3 *db;
    hf_store *s;
    hf_watch *w;
    temp_dir(dir);
    ck_assert_int_eq(sqlite3_open(below(dir, "a.db"), &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, tables[_i].sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    FINE(hf_store_open(below(dir, "a.db"), NULL, &s));
    SAYS(hf_put(s, "a", hf_json("1")), HF_UNFIT, tables[_i].says);
    SAYS(hf_kv_index(s, "a", "$.x", 0), HF_UNFIT, tables[_i].says);
    SAYS(hf_kv_watch(s, "a", (void (*)(void *, const hf_change *))abort, NULL, &w), HF_UNFIT,
         tables[_i].says);
    FINE(write_sql(s, HF_MAIN, "CREATE TABLE other(x)"));
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_table_of_the_applications_schema_serves) {
    hf_store *s;
    hf_store_options o = {.size = sizeof o,
                          .main_schema = "CREATE TABLE IF NOT EXISTS dbx(key text primary key, "
                                         "value text, since INT) WITHOUT ROWID"};
    FINE(hf_store_open_temp(&o, &s));
    FINE(hf_put(s, "a", hf_json("1")));
    FINE(hf_put(s, "a", hf_json("2")));
    has(s, "a", "2");
    FINE(hf_store_close(s));
}
END_TEST

/* ---- no room ---- */

START_TEST(a_put_without_room_changes_nothing) {
    char dir[TEMP_PATH];
    temp_dir(dir);
    if (!mount_tmpfs(dir, "size=512k", "a_put_without_room_changes_nothing")) return;
    hf_store *s;
    FINE(hf_store_open(below(dir, "a.db"), NULL, &s));
    char *big = malloc(100001);
    memset(big, 'x', 100000);
    big[100000] = 0;
    char key[16];
    int code, puts = 0;
    do {
        snprintf(key, sizeof key, "k%d", puts++);
        code = hf_put(s, key, hf_text(big));
    } while (code == HF_OK && puts < 50);
    ck_assert_msg(code == HF_FULL, "%s: %s", hf_strcode(code), hf_errmsg());
    ck_assert_int_eq(number(s, "SELECT count(*) FROM DBX"), puts - 1);
    has(s, key, NULL);
    FINE(hf_store_close(s));
    free(big);
}
END_TEST

int main(void) {
    Suite *s = suite_create("kv");
    TCase *t = tcase_create("kv");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_test(t, what_is_put_is_got_and_deleted);
    tcase_add_test(t, a_blob_is_kept_with_its_zeros);
    ADD_ROWS(t, a_key_is_text_or_refused, keys);
    tcase_add_test(t, the_longest_key_is_kept);
    ADD_ROWS(t, a_value_is_as_declared_or_refused, values);
    ADD_ROWS(t, a_key_is_written_in_its_file_or_nowhere, reaches);
    tcase_add_test(t, a_read_sees_both_files);
    ADD_ROWS(t, a_prefix_is_of_one_file_or_refused, prefixes);
    ADD_ROWS(t, noise_prefixes_that_cannot_be_are_refused_at_open, options);
    tcase_add_test(t, keys_that_a_new_noise_prefix_hides_are_told_at_open);
    ADD_ROWS(t, a_swap_puts_only_over_what_is_expected, swaps);
    tcase_add_test(t, a_scan_goes_in_the_order_of_bytes);
    ADD_ROWS(t, a_scan_that_cannot_be_is_refused, bad_scans);
    tcase_add_test(t, a_scan_stops_with_what_its_function_returned);
    tcase_add_test(t, a_scan_within_a_scan_disturbs_neither);
    tcase_add_test(t, a_scan_may_change_what_it_visits);
    ADD_ROWS(t, a_prefix_ends_where_its_keys_end, borders);
    tcase_add_test(t, a_key_with_a_nul_is_said_and_not_cut);
    tcase_add_test(t, rows_without_key_or_value_are_none);
    ADD_ROWS(t, another_table_is_left_alone_and_said, tables);
    tcase_add_test(t, a_table_of_the_applications_schema_serves);
    tcase_add_test(t, a_put_without_room_changes_nothing);
    suite_add_tcase(s, t);
    return run_suite(s);
}
