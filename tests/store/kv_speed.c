/* What a get costs beside SQLite's own prepared SELECT, over a database that is in the page cache:
 * so little that nobody needs a cache of their own. Alternating, in one run. */
#include "kv_box.h"

#include <time.h>

#define BLOCK 100
#define BLOCKS 150

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

struct times {
    int64_t ns[BLOCK * BLOCKS];
    int count;
};

static int64_t quantile(struct times *t, int percent) {
    qsort(t->ns, (size_t)t->count, sizeof t->ns[0], by_size);
    return t->ns[(int64_t)t->count * percent / 100];
}

static uint32_t dice = 2463534242u;
static const char *any_key(int64_t keys) {
    static char key[32];
    dice ^= dice << 13, dice ^= dice >> 17, dice ^= dice << 5;
    snprintf(key, sizeof key, "node/%08" PRId64, dice % keys);
    return key;
}

/* The whole of what an application would do: bind, step, copy, reset. */
static void get_raw(sqlite3_stmt *st, const char *key, char **value) {
    sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    *value = strdup((const char *)sqlite3_column_text(st, 0));
    sqlite3_reset(st);
}

static void measure(hf_store *s, hf_tx *tx, sqlite3_stmt *raw, int64_t keys, struct times *t,
                    int which) {
    for (int i = 0; i < BLOCK; i++) {
        char *value = NULL;
        const char *key = any_key(keys);
        int64_t begin = now_ns();
        if (which == 0) get_raw(raw, key, &value);
        else if (which == 1) ck_assert_int_eq(hf_get(s, key, &value, NULL), HF_OK);
        else ck_assert_int_eq(hf_kv_get(tx, key, &value, NULL), HF_OK);
        t->ns[t->count++] = now_ns() - begin;
        hf_free(value);
    }
}

START_TEST(a_get_costs_little_more_than_a_select) {
    const char *text = getenv("HOLDFAST_TEST_KEYS");
    int64_t keys = text ? strtoll(text, NULL, 10) : 50000;
    char dir[TEMP_PATH], sql[300];
    temp_dir(dir);
    hf_store *s;
    FINE(hf_store_open(below(dir, "a.db"), NULL, &s));
    snprintf(sql, sizeof sql,
             "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %" PRId64
             ") INSERT INTO DBX SELECT printf('node/%%08d', i), "
             "printf('{\"n\":%%d,\"pad\":\"%%080d\"}', "
             "i, i) FROM n",
             keys);
    FINE(write_sql(s, HF_MAIN, sql));
    sqlite3 *db;
    sqlite3_stmt *raw;
    ck_assert_int_eq(sqlite3_open(below(dir, "a.db"), &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "PRAGMA cache_size=-8192", NULL, NULL, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(db, "SELECT Value FROM DBX WHERE Key=?", -1, &raw, NULL),
                     0);
    static const char *const names[] = {"prepared SELECT", "hf_get", "hf_kv_get, in a transaction"};
    static struct times times[3];
    int64_t p50[3];
    for (int block = 0; block < BLOCKS; block++)
        for (int which = 0; which < 3; which++) {
            hf_tx *tx = NULL;
            if (which == 2) FINE(hf_begin(s, HF_READ, "gets", &tx));
            measure(s, tx, raw, keys, &times[which], which);
            if (tx) FINE(hf_commit(tx));
        }
    for (int which = 0; which < 3; which++) {
        p50[which] = quantile(&times[which], 50);
        printf("%-30s %6.2f us at the median, %6.2f us at p99 (%" PRId64 " keys)\n", names[which],
               (double)p50[which] / 1e3, (double)quantile(&times[which], 99) / 1e3, keys);
    }
    /* Ratios: the machine may be busy. */
    ck_assert_msg(p50[1] < 5000 || p50[1] < 2 * p50[0], "hf_get: %" PRId64 " ns", p50[1]);
    sqlite3_finalize(raw);
    sqlite3_close(db);
    FINE(hf_store_close(s));
}
END_TEST

int main(void) {
    Suite *s = suite_create("kv_speed");
    TCase *t = tcase_create("kv_speed");
    tcase_set_timeout(t, 300);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_test(t, a_get_costs_little_more_than_a_select);
    suite_add_tcase(s, t);
    return run_suite(s);
}
