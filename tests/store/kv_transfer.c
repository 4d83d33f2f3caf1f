/* Import and export: each value keeps its bytes, a file that is not right changes nothing. */
#include "kv_box.h"

#include <sys/resource.h>

static char dir[TEMP_PATH];

static const char *file_of(const char *name, const void *bytes, size_t n) {
    const char *path = below(dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
    return path;
}

static const char *text_file(const char *text) {
    return file_of("in.json", text, strlen(text));
}

static char *content(const char *path) {
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    char *text = calloc(1, 1 << 20);
    ck_assert_uint_lt(fread(text, 1, (1 << 20) - 1, f), (1 << 20) - 1);
    fclose(f);
    return text;
}

/* What the store exports now. */
static void exports(hf_store *s, const hf_transfer *o, const char *expected) {
    const char *path = below(dir, "out.json");
    FINE(hf_kv_export(s, path, o));
    char *text = content(path);
    ck_assert_str_eq(text, expected);
    free(text);
    ck_assert_int_eq(unlink(path), 0);
}

START_TEST(values_keep_their_bytes) {
    hf_store *s = kv_store();
    temp_dir(dir);
    FINE(hf_kv_import(
        s,
        text_file(" {\"b\" :1.10 ,\n\"a\":12345678901234567890,\"c\":{ \"x\" : [1,2 ], "
                  "\"y\":\"}\\\"]\"},\"d\":\"\\u00e4/\\/\",\"\\u00e4\\\"k\":null,"
                  "\"e\":[[],{}],\"f\":-1E+400,\"seen/g\":true} \n"),
        NULL));
    has(s, "b", "1.10");
    has(s, "a", "12345678901234567890");
    has(s, "c", "{ \"x\" : [1,2 ], \"y\":\"}\\\"]\"}");
    has(s, "d", "\"\\u00e4/\\/\"");
    has(s, "\xc3\xa4\"k", "null");
    has(s, "e", "[[],{}]");
    has(s, "f", "-1E+400");
    ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.DBX"), 1);
    exports(
        s, NULL,
        "{\n\"a\": 12345678901234567890,\n\"b\": 1.10,\n\"c\": { \"x\" : [1,2 ], \"y\":\"}\\\"]\"},"
        "\n\"d\": \"\\u00e4/\\/\",\n\"e\": [[],{}],\n\"f\": -1E+400,\n\"seen/g\": true,\n"
        "\"\xc3\xa4\\\"k\": null\n}\n");
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(what_was_exported_is_exported_again_the_same) {
    hf_store *s = kv_store(), *copy = kv_store();
    temp_dir(dir);
    FINE(hf_put(s, "text", hf_text("it's \"text\"\n\x01 \xf0\x9f\x98\x80")));
    FINE(hf_put(s, "zero", (hf_value){.type = HF_TEXT, .data = "a\0b", .bytes = 3}));
    FINE(hf_put(s, "looks", hf_text("{}")));
    FINE(hf_put(s, "json", hf_json("{\"a\":\n [1]}")));
    FINE(hf_put(s, "empty", hf_text("")));
    FINE(hf_put(s, "seen/1", hf_json("1")));
    FINE(write_sql(s, HF_MAIN, "INSERT INTO DBX VALUES ('none', NULL)"));
    const char *first = below(dir, "first"), *second = below(dir, "second");
    FINE(hf_kv_export(s, first, NULL));
    FINE(hf_kv_import(copy, first, NULL));
    FINE(hf_kv_export(copy, second, NULL));
    char *a = content(first), *b = content(second);
    ck_assert_str_eq(a, b);
    ck_assert_str_eq(
        a, "{\n\"empty\": \"\",\n\"json\": {\"a\":\n [1]},\n\"looks\": {},\n\"seen/1\": 1,\n"
           "\"text\": \"it's \\\"text\\\"\\n\\u0001 \xf0\x9f\x98\x80\",\n"
           "\"zero\": \"a\\u0000b\"\n}\n");
    free(a), free(b);
    FINE(hf_store_close(s));
    FINE(hf_store_close(copy));
}
END_TEST

START_TEST(strings_become_text_if_asked_for) {
    hf_store *s = kv_store();
    char *value;
    size_t n;
    temp_dir(dir);
    hf_transfer o = {.size = sizeof o, .text = 1};
    FINE(hf_kv_import(
        s, text_file("{\"a\":\"x\\n\\ud83d\\ude00\",\"b\":[\"y\"],\"z\":\"a\\u0000b\"}"), &o));
    has(s, "a", "x\n\xf0\x9f\x98\x80");
    has(s, "b", "[\"y\"]");
    FINE(hf_get(s, "z", &value, &n));
    ck_assert_uint_eq(n, 3);
    hf_free(value);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_prefix_is_put_before_each_key) {
    hf_store *s = kv_store();
    temp_dir(dir);
    hf_transfer o = {.size = sizeof o, .prefix = "p/"};
    FINE(hf_put(s, "p", hf_json("0")));
    FINE(hf_put(s, "p/b", hf_json("0")));
    SAYS(hf_kv_import(s, text_file("{\"a\":1,\"b\":2}"), &o), HF_CONFLICT,
         "byte 7: the key 'p/b' was there already (and `replace` is not set)");
    has(s, "p/a", NULL);
    o.replace = 1;
    FINE(hf_put(s, "p/c", hf_json("0")));
    FINE(hf_kv_import(s, text_file("{\"a\":1,\"b\":2}"), &o));
    scans(s, NULL, NULL, 0, "p=0 p/a=1 p/b=2 ");
    o.replace = 0;
    exports(s, &o, "{\n\"p/a\": 1,\n\"p/b\": 2\n}\n");
    o.prefix = "seen/";
    FINE(hf_kv_import(s, text_file("{\"a\":1}"), &o));
    ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.DBX"), 1);
    o.prefix = "x/";
    exports(s, &o, "{}\n");
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(replace_without_a_prefix_replaces_all) {
    hf_store *s = kv_store();
    temp_dir(dir);
    FINE(hf_put(s, "a", hf_json("1")));
    FINE(hf_put(s, "seen/a", hf_json("1")));
    FINE(hf_kv_import(s, text_file("{}"),
                      &(hf_transfer){.size = sizeof(hf_transfer), .replace = 1}));
    exports(s, NULL, "{}\n");
    FINE(hf_store_close(s));
}
END_TEST

#define DEEP "\x01" /* stands for 100,000 brackets */
static const struct {
    int code;
    const char *text, *says;
} bad[] = {
    {HF_CORRUPT, "", "byte 0: it is empty"},
    {HF_CORRUPT, " \n", "byte 2: it is empty"},
    {HF_CORRUPT, "[]", "byte 0: not an object"},
    {HF_CORRUPT, "\"a\"", "byte 0: not an object"},
    {HF_CORRUPT, "\xef\xbb\xbf{}", "byte 0: not an object"},
    {HF_CORRUPT, "{", "byte 1: it ends in the middle"},
    {HF_CORRUPT, "{\"a", "byte 3: it ends in the middle"},
    {HF_CORRUPT, "{\"a\"", "byte 4: it ends in the middle"},
    {HF_CORRUPT, "{\"a\":", "byte 5: it ends in the middle"},
    {HF_CORRUPT, "{\"a\":1", "byte 6: it ends in the middle"},
    {HF_CORRUPT, "{\"a\":1,", "byte 7: it ends in the middle"},
    {HF_CORRUPT, "{\"a\":\"x\\\"", "it ends in the middle"},
    {HF_CORRUPT, "{\"a\":[1,2}", "byte 5: 'a': its value is not JSON"},
    {HF_CORRUPT, "{\"a\":1}x", "byte 7: something follows"},
    {HF_CORRUPT, "{\"a\":1}{}", "byte 7: something follows"},
    {HF_CORRUPT, "{}\0", "byte 2: something follows"},
    {HF_CORRUPT, "{\"a\":1,}", "byte 7: a key in quotes"},
    {HF_CORRUPT, "{,}", "byte 1: a key in quotes"},
    {HF_CORRUPT, "{\"a\":1,,\"b\":2}", "byte 7: a key in quotes"},
    {HF_CORRUPT, "{\"a\":1 \"b\":2}", "byte 7: a comma or }"},
    {HF_CORRUPT, "{\"a\":1]", "byte 6: a comma or }"},
    {HF_CORRUPT, "{a:1}", "byte 1: a key in quotes"},
    {HF_CORRUPT, "{'a':1}", "byte 1: a key in quotes"},
    {HF_CORRUPT, "{1:1}", "byte 1: a key in quotes"},
    {HF_CORRUPT, "{\"a\" 1}", "byte 5: a colon"},
    {HF_CORRUPT, "{\"a\":,\"b\":1}", "byte 5: a value is missing"},
    {HF_CORRUPT, "{\"a\":}", "byte 5: a value is missing"},
    {HF_CORRUPT, "{\"ok\":1,\"a\":nul}", "byte 12: 'a': its value is not JSON"},
    {HF_CORRUPT, "{\"a\":01}", "byte 5: 'a'"},
    {HF_CORRUPT, "{\"a\":1.}", "byte 5: 'a'"},
    {HF_CORRUPT, "{\"a\":[1,]}", "byte 5: 'a'"},
    {HF_CORRUPT, "{\"a\":[1}]}", "byte 5: 'a'"},
    {HF_CORRUPT, "{\"a\":{\"b\"}}", "byte 5: 'a'"},
    {HF_CORRUPT, "{\"a\":12\"b\"}", "'a'"},
    {HF_CORRUPT, "{\"a\":12{}}", "'a'"},
    {HF_CORRUPT, "{\"a\":\"\\x\"}", "byte 5: 'a'"},
    {HF_CORRUPT, "{\"a\":\"line\nbreak\"}", "byte 5: 'a'"},
    {HF_CORRUPT, "{\"a\":\"\xff\"}", "byte 5: 'a': its value is not UTF-8"},
    {HF_CORRUPT, "{\"a\":" DEEP "}", "byte 5: 'a': its value is not JSON"},
    {HF_CORRUPT, "{\"\":1}", "byte 1: key: it is empty"},
    {HF_CORRUPT, "{\"a\\u0000b\":1}", "byte 1: a key: \\u0000"},
    {HF_CORRUPT, "{\"\\ud800\":1}", "byte 1: a key: invalid Unicode"},
    {HF_CORRUPT, "{\"\\ud800\\u0041\":1}", "byte 1: a key: invalid Unicode"},
    {HF_CORRUPT, "{\"\xff\":1}", "byte 1: a key: unable to decode byte 0xff"},
    {HF_CORRUPT, "{\"\xc0\x80\":1}", "byte 1: a key"},
    {HF_CORRUPT, "{\"a\tb\":1}", "byte 1: a key: control character"},
    {HF_CONFLICT, "{\"a\":1,\"b\":2,\"a\":1}", "byte 13: the key 'a' is twice in it"},
    {HF_CONFLICT, "{\"a\":1,\"\\u0061\":1}", "byte 7: the key 'a' is twice in it"},
    {HF_CONFLICT, "{\"seen/a\":1,\"seen/a\":1}", "byte 12: the key 'seen/a' is twice in it"},
    {HF_CONFLICT, "{\"new\":1,\"there\":1}", "byte 9: the key 'there' was there already"},
    {HF_CONFLICT, "{\"u/1\":{\"a\":1},\"u/2\":{\"a\":1}}",
     "another key under 'u/' has the same $.a"},
};

START_TEST(a_file_that_is_not_right_changes_nothing) {
    hf_store *s = kv_store();
    temp_dir(dir);
    FINE(hf_put(s, "there", hf_json("0")));
    FINE(hf_put(s, "seen/there", hf_json("0")));
    FINE(hf_kv_index(s, "u/", "$.a", HF_UNIQUE));
    size_t n = strlen(bad[_i].text), deep = strcspn(bad[_i].text, DEEP), brackets = 100000;
    if (strcmp(bad[_i].text, "{}") == 0) n = 3; /* with its NUL */
    char *text = calloc(1, n + 2 * brackets + 1);
    memcpy(text, bad[_i].text, n);
    if (deep < n) {
        memset(text + deep, '[', brackets);
        memset(text + deep + brackets, ']', brackets);
        memcpy(text + deep + 2 * brackets, "}", 1);
        n = deep + 2 * brackets + 1;
    }
    SAYS(hf_kv_import(s, file_of("in.json", text, n), NULL), bad[_i].code, bad[_i].says);
    free(text);
    exports(s, NULL, "{\n\"seen/there\": 0,\n\"there\": 0\n}\n");
    SAYS(hf_kv_import(s, text_file("{\"good\":1, \"bad\":"),
                      &(hf_transfer){.size = sizeof(hf_transfer), .replace = 1}),
         HF_CORRUPT, "byte 17: it ends");
    exports(s, NULL, "{\n\"seen/there\": 0,\n\"there\": 0\n}\n"); /* nothing was deleted either */
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(long_keys_and_values_are_bounded) {
    hf_store *s = kv_store();
    temp_dir(dir);
    char *text = malloc(200100);
    static const struct {
        size_t key, value;
        const char *says; /* NULL: fine */
    } rows[] = {{4096, 1, NULL},
                {10, 190000, NULL},
                {4097, 1, "byte 1: key 'kkk"},
                {100000, 1, "byte 1: a key that is too long"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *at = text;
        *at++ = '{', *at++ = '"';
        memset(at, 'k', rows[i].key), at += rows[i].key;
        *at++ = '"', *at++ = ':', *at++ = '"';
        memset(at, 'v', rows[i].value), at += rows[i].value;
        *at++ = '"', *at++ = '}';
        int code = hf_kv_import(s, file_of("in.json", text, (size_t)(at - text)), NULL);
        if (rows[i].says) SAYS(code, HF_CORRUPT, "byte 1");
        else ck_assert_msg(code == HF_OK, "%s", hf_errmsg());
    }
    ck_assert_int_eq(number(s, "SELECT count(*) FROM DBX"), 2);
    ck_assert_int_eq(number(s, "SELECT max(length(Value)) FROM DBX"), 190002);
    free(text);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(paths_and_options_that_cannot_be_are_refused) {
    hf_store *s = kv_store();
    temp_dir(dir);
    hf_transfer none = {.size = 0}, bad_prefix = {.size = sizeof none, .prefix = "\xff"},
                replace = {.size = sizeof none, .replace = 1};
    const char *in = text_file("{\"a\":1}");
    SAYS(hf_kv_import(s, NULL, NULL), HF_USAGE, "NULL");
    SAYS(hf_kv_import(s, below(dir, "nothing"), NULL), HF_NOTFOUND, "nothing");
    SAYS(hf_kv_import(s, dir, NULL), HF_USAGE, "not a file");
    SAYS(hf_kv_import(s, in, &none), HF_USAGE, "`size` is not set");
    SAYS(hf_kv_import(s, in, &bad_prefix), HF_USAGE, "not UTF-8");
    SAYS(hf_kv_export(s, NULL, NULL), HF_USAGE, "no name");
    SAYS(hf_kv_export(s, "", NULL), HF_USAGE, "no name");
    SAYS(hf_kv_export(s, in, NULL), HF_CONFLICT, "it exists already");
    SAYS(hf_kv_export(s, below(dir, "no/such/dir"), NULL), HF_NOTFOUND, "no/such");
    SAYS(hf_kv_export(s, below(dir, "o"), &bad_prefix), HF_USAGE, "not UTF-8");
    SAYS(hf_kv_export(s, below(dir, "o"), &replace), HF_USAGE, "of an import");
    hf_tx *t;
    FINE(hf_begin(s, HF_MAIN, "outer", &t));
    SAYS(hf_kv_import(s, in, NULL), HF_USAGE, "inside of 'outer'");
    SAYS(hf_kv_export(s, below(dir, "o"), NULL), HF_USAGE, "inside of 'outer'");
    hf_rollback(t);
    struct stat st;
    ck_assert_int_ne(stat(below(dir, "o"), &st), 0);
    FINE(hf_store_close(s));
}
END_TEST

static const struct {
    int code;
    const char *sql, *says;
} no_export[] = {
    {HF_USAGE, "INSERT INTO DBX VALUES ('b', x'00')", "'b': its value is a blob"},
    {HF_CORRUPT, "INSERT INTO DBX VALUES ('b', CAST(x'ff' AS TEXT))", "'b': its text is not UTF-8"},
    {HF_CORRUPT, "INSERT INTO DBX VALUES ('b', CAST(x'22ff22' AS TEXT))",
     "'b': its text is not UTF-8"},
    {HF_CORRUPT, "INSERT INTO DBX VALUES ('b' || char(0) || 'c', 1)", "'b' has a NUL"},
    {HF_CORRUPT, "INSERT INTO DBX VALUES (CAST(x'ff' AS TEXT), 1)", "no key that can be"},
    {HF_CORRUPT, "INSERT INTO DBX VALUES ('', 1)", "no key that can be"},
    {HF_CORRUPT, "INSERT INTO DBX VALUES (x'62', 1)", "a key is not text: 'b'"},
    {HF_CORRUPT, "INSERT INTO DBX VALUES (NULL, 1)", "a key is not text: 'NULL'"},
    {HF_CORRUPT, "INSERT INTO noise.DBX VALUES ('a', 1)", "a key is in main and in noise: 'a'"},
};

START_TEST(what_has_no_form_in_json_is_refused_by_name) {
    hf_store *s = kv_store();
    struct err e;
    temp_dir(dir);
    FINE(hf_put(s, "a", hf_json("1")));
    FINE(write_sql(s, HF_BOTH, no_export[_i].sql));
    SAYS(hf_kv_export(s, below(dir, "o"), NULL), no_export[_i].code, no_export[_i].says);
    struct env *env;
    ck_assert_int_eq(env_new_system(1, &env, &e).code, RC_OK);
    ck_assert_int_eq(entries_of(env, dir), 0); /* no half of a file */
    env_free_system(env);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(an_import_without_room_changes_nothing) {
    char small[TEMP_PATH];
    temp_dir(dir);
    temp_dir(small);
    if (!mount_tmpfs(small, "size=3m", "an_import_without_room_changes_nothing")) return;
    hf_store *s;
    FINE(hf_store_open(below(small, "a.db"), NULL, &s));
    FINE(hf_put(s, "a", hf_json("1")));
    const char *path = below(dir, "big.json");
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 200; i++) fprintf(f, "%s\"k%d\":\"%050000d\"", i ? "," : "{", i, i);
    fputs("}", f);
    fclose(f);
    int code = hf_kv_import(s, path, NULL);
    ck_assert_msg(code == HF_FULL, "%s: %s", hf_strcode(code), hf_errmsg());
    scans(s, NULL, NULL, 0, "a=1 ");
    FINE(hf_put(s, "b", hf_json("2")));
    FINE(hf_store_close(s));
}
END_TEST

static uint64_t last_bytes, last_keys, calls;
static void progress(void *arg, uint64_t bytes, uint64_t of, uint64_t keys) {
    uint64_t size = *(uint64_t *)arg;
    ck_assert(bytes >= last_bytes && keys >= last_keys && of == size && (!size || bytes <= size));
    last_bytes = bytes, last_keys = keys, calls++;
}

static long rss_kib(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

/* Ten times as much takes no more memory (but for a sanitizer, which keeps what was freed). The
 * soak has it with 200 MB. */
START_TEST(a_large_file_goes_in_and_out_in_constant_memory) {
    const char *text = getenv("HOLDFAST_TEST_IMPORT_MB");
    uint64_t mb = text ? strtoull(text, NULL, 10) : 10, none = 0, size;
    temp_dir(dir);
    const char *path = below(dir, "big.json"), *out = below(dir, "out.json");
    long rss[2];
    for (int round = 0; round < 2; round++) {
        uint64_t keys = mb * (round ? 1000 : 100);
        hf_store *s;
        FINE(hf_store_open(below(dir, round ? "2.db" : "1.db"), NULL, &s));
        FILE *f = fopen(path, "w");
        for (uint64_t i = 0; i < keys; i++)
            fprintf(f, "%s\"%08" PRIu64 "\": {\"n\":%" PRIu64 ",\"pad\":\"%0960" PRIu64 "\"}",
                    i ? ",\n" : "{\n", i, i, i);
        fputs("\n}\n", f);
        size = (uint64_t)ftell(f);
        fclose(f);
        last_bytes = last_keys = calls = 0;
        hf_transfer o = {.size = sizeof o, .progress = progress, .progress_arg = &size};
        FINE(hf_kv_import(s, path, &o));
        ck_assert_uint_eq(last_bytes, size);
        ck_assert_uint_eq(last_keys, keys);
        ck_assert_uint_ge(calls, size >> 21);
        last_bytes = last_keys = 0;
        o.progress_arg = &none;
        FINE(hf_kv_export(s, out, &o));
        ck_assert_uint_eq(last_bytes, size);
        char command[3000];
        snprintf(command, sizeof command, "cmp %s %s", path, out);
        ck_assert_int_eq(system(command), 0);
        ck_assert_int_eq(unlink(out), 0);
        FINE(hf_store_close(s));
        rss[round] = rss_kib();
    }
    printf("import and export of %" PRIu64 " MB: %ld KiB at most, of a tenth of it %ld KiB\n",
           size / 1000000, rss[1], rss[0]);
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    ck_assert_int_lt(rss[1], rss[0] + 24 * 1024); /* the page caches, which were not full */
#endif
}
END_TEST

int main(void) {
    Suite *s = suite_create("kv_transfer");
    TCase *t = tcase_create("kv_transfer");
    if (getenv("HOLDFAST_TEST_IMPORT_MB")) tcase_set_timeout(t, 600);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_test(t, values_keep_their_bytes);
    tcase_add_test(t, what_was_exported_is_exported_again_the_same);
    tcase_add_test(t, strings_become_text_if_asked_for);
    tcase_add_test(t, a_prefix_is_put_before_each_key);
    tcase_add_test(t, replace_without_a_prefix_replaces_all);
    ADD_ROWS(t, a_file_that_is_not_right_changes_nothing, bad);
    tcase_add_test(t, long_keys_and_values_are_bounded);
    tcase_add_test(t, paths_and_options_that_cannot_be_are_refused);
    ADD_ROWS(t, what_has_no_form_in_json_is_refused_by_name, no_export);
    tcase_add_test(t, an_import_without_room_changes_nothing);
    tcase_add_test(t, a_large_file_goes_in_and_out_in_constant_memory);
    suite_add_tcase(s, t);
    return run_suite(s);
}
