/* No memory: the nth allocation of SQLite fails, for each n until none does. Then the call said so,
 * or did its work all the same; what is stored is what it said. */
#include "kv_box.h"

#include <stdatomic.h>

static sqlite3_mem_methods plain;
static atomic_int left; /* allocations until one fails; 0: none does */
static atomic_int fired;

static bool fails(void) {
    int now = atomic_load(&left);
    if (!now || atomic_fetch_sub(&left, 1) != 1) return false;
    atomic_fetch_add(&fired, 1);
    return true;
}

static void *alloc(int n) {
    return fails() ? NULL : plain.xMalloc(n);
}

static void *resize(void *p, int n) {
    return fails() ? NULL : plain.xRealloc(p, n);
}

/* Before the library has begun with SQLite. */
static void take_allocator(void) {
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain), SQLITE_OK);
    sqlite3_mem_methods ours = plain;
    ours.xMalloc = alloc;
    ours.xRealloc = resize;
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK);
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &ours), SQLITE_OK);
}

static char dir[TEMP_PATH];
static int told;

static void count_told(void *arg, const hf_change *c) {
    (void)arg, (void)c;
    __atomic_add_fetch(&told, 1, __ATOMIC_RELAXED);
}

static int get(hf_store *s) {
    char *value;
    int code = hf_get(s, "a/1", &value, NULL);
    if (code == HF_OK) hf_free(value);
    return code;
}
static int put(hf_store *s) {
    return hf_put(s, "a/3", hf_json("{\"n\":3}"));
}
static int put_noise(hf_store *s) {
    return hf_put(s, "seen/1", hf_json("{\"n\":3}"));
}
static int put_again(hf_store *s) {
    return hf_put(s, "a/3", hf_json("{\"n\":1}")) == HF_CONFLICT ? HF_OK : HF_NOMEM;
}
static int delete (hf_store *s) {
    int code = hf_delete(s, "a/2");
    return code == HF_NOTFOUND ? HF_OK : code;
}
static int scan(hf_store *s) {
    struct seen seen = {0};
    hf_scan o = {.size = sizeof o};
    hf_tx *t;
    int code = hf_begin(s, HF_READ, "scan", &t);
    if (code) return code;
    code = hf_kv_scan(t, &o, see, &seen);
    hf_rollback(t);
    return code;
}
static int find(hf_store *s) {
    struct seen seen = {0};
    hf_find o = {.size = sizeof o, .prefix = "a/", .path = "$.n", .equals = hf_int(1)};
    hf_tx *t;
    int code = hf_begin(s, HF_READ, "find", &t);
    if (code) return code;
    code = hf_kv_find(t, &o, see, &seen);
    hf_rollback(t);
    if (code == HF_OK) ck_assert_int_eq(seen.count, 1);
    return code;
}
static int index_and_drop(hf_store *s) {
    int code = hf_kv_index(s, "a/", "$.m", HF_ABSENT);
    return code ? code : hf_kv_unindex(s, "a/", "$.m");
}
static int watch_and_put(hf_store *s) {
    hf_watch *w;
    int code = hf_kv_watch(s, NULL, count_told, NULL, &w);
    if (code) return code;
    code = hf_put(s, "a/4", hf_json("{\"n\":4}"));
    hf_watch_stop(w);
    return code;
}
static int import(hf_store *s) {
    hf_transfer o = {.size = sizeof o, .replace = 1, .prefix = "i/"};
    return hf_kv_import(s, below(dir, "in.json"), &o);
}
static int export(hf_store *s) {
    int code = hf_kv_export(s, below(dir, "out.json"), NULL);
    if (code == HF_OK) ck_assert_int_eq(unlink(below(dir, "out.json")), 0);
    else ck_assert_int_ne(access(below(dir, "out.json"), F_OK), 0);
    return code;
}

static int (*const calls[])(hf_store *) = {get,           put,    put_noise, put_again,
                                           delete,        scan,   find,      index_and_drop,
                                           watch_and_put, import, export};

static int open_and_close(void) {
    hf_store *s = NULL;
    hf_store_options o = {.size = sizeof o, KV_TABLES};
    int code = hf_store_open(below(dir, "a.db"), &o, &s);
    if (code) ck_assert_ptr_null(s);
    else FINE(hf_store_close(s));
    return code;
}

static hf_store *filled(void) {
    temp_dir(dir);
    FILE *f = fopen(below(dir, "in.json"), "w");
    fputs("{\"1\": {\"n\": 1}, \"2\": [2]}", f);
    fclose(f);
    hf_store *s = kv_store_at(below(dir, "a.db"));
    FINE(hf_put(s, "a/1", hf_json("{\"n\":1}")));
    FINE(hf_put(s, "a/2", hf_json("{\"n\":2}")));
    FINE(hf_kv_index(s, "a/", "$.n", HF_UNIQUE));
    return s;
}

static void is_whole(hf_store *s) {
    hf_tx *t;
    sqlite3_stmt *st;
    FINE(hf_begin(s, HF_READ, "check", &t));
    FINE(hf_query(t, &st, "PRAGMA integrity_check", ""));
    ck_assert_int_eq(hf_step(t, st), HF_ROW);
    ck_assert_str_eq((const char *)sqlite3_column_text(st, 0), "ok");
    hf_rollback(t);
    has(s, "a/1", "{\"n\":1}");
}

START_TEST(a_call_without_memory_says_so_and_spoils_nothing) {
    take_allocator();
    hf_store *s = filled();
    int n = 0, failed = 0, code;
    do {
        n += n < 200 ? 1 : n / 40; /* the first ones all, of thousands some */
        atomic_store(&fired, 0);
        atomic_store(&left, n);
        code = calls[_i](s);
        atomic_store(&left, 0);
        ck_assert_msg(code == HF_OK || (fired && code == HF_NOMEM), "allocation %d: %s: %s", n,
                      hf_strcode(code), hf_errmsg());
        failed += code != HF_OK;
        if (fired) is_whole(s);
    } while (fired);
    ck_assert_int_eq(calls[_i](s), HF_OK);
    ck_assert_int_gt(failed, 0);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_store_opens_or_says_that_there_is_no_memory) {
    take_allocator();
    FINE(hf_store_close(filled()));
    int n = 0, code;
    do {
        n += n < 300 ? 3 : n / 40;
        atomic_store(&fired, 0);
        atomic_store(&left, n);
        code = open_and_close();
        atomic_store(&left, 0);
        ck_assert_msg(code == HF_OK || (fired && code == HF_NOMEM), "allocation %d: %s: %s", n,
                      hf_strcode(code), hf_errmsg());
    } while (fired);
}
END_TEST

int main(void) {
    Suite *s = suite_create("kv_faults");
    TCase *t = tcase_create("kv_faults");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    ADD_ROWS(t, a_call_without_memory_says_so_and_spoils_nothing, calls);
    tcase_add_test(t, a_store_opens_or_says_that_there_is_no_memory);
    suite_add_tcase(s, t);
    return run_suite(s);
}
