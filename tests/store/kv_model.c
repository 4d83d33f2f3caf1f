/* Random operations on keys against a naive model in memory: values, files, order, cursors, a
 * unique index and what a watch tells. The seed is printed; HOLDFAST_TEST_SEED=N repeats it. */
#include "kv_box.h"

#include <semaphore.h>
#include <time.h>

#define KEYS 60
#define STEPS 1500

struct entry {
    char key[24], value[64];
    bool there;
};

static struct entry model[KEYS], before[KEYS];
static struct entry told[KEYS]; /* as the watch would have it */
static uint64_t state;
static sem_t settled;

static uint32_t roll(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

/* Sorted as bytes; some are prefixes of others, some live in noise. */
static int by_key(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static void name_keys(void) {
    static const char *const parts[] = {
        "a", "a/", "a/b", "node/load/", "node/", "seen/", "\xc3\xa4", "\xf0\x9f\x98\x80", "Z", "~"};
    for (int i = 0; i < KEYS; i++)
        snprintf(model[i].key, sizeof model[i].key, "%s%d", parts[i % 10], i / 10);
    qsort(model, KEYS, sizeof *model, by_key);
    memcpy(told, model, sizeof model);
}

static bool in_noise(const char *key) {
    return strncmp(key, "seen/", 5) == 0 || strncmp(key, "node/load/", 10) == 0;
}

static struct entry *find(struct entry *in, const char *key) {
    for (int i = 0; i < KEYS; i++)
        if (strcmp(in[i].key, key) == 0) return &in[i];
    ck_abort_msg("%s", key);
    return NULL;
}

static void follow(void *arg, const hf_change *c) {
    (void)arg;
    if (strcmp(c->key, "end") == 0 || strcmp(c->key, "seen/end") == 0) {
        sem_post(&settled);
        return;
    }
    struct entry *e = find(told, c->key);
    e->there = c->value != NULL;
    snprintf(e->value, sizeof e->value, "%s", c->value ? c->value : "");
}

/* Another key of "a/": the index over it is unique. */
static bool is_taken(const struct entry *e, const char *value) {
    if (strncmp(e->key, "a/", 2) != 0) return false;
    for (int i = 0; i < KEYS; i++)
        if (&model[i] != e && model[i].there && strncmp(model[i].key, "a/", 2) == 0 &&
            strcmp(model[i].value, value) == 0)
            return true;
    return false;
}

static void set(struct entry *e, const char *value) {
    e->there = value != NULL;
    snprintf(e->value, sizeof e->value, "%s", value ? value : "");
}

static void step(hf_tx *t) {
    struct entry *e = &model[roll(KEYS)];
    char value[64], *got, sql[200];
    snprintf(value, sizeof value, "{\"n\":%u}", roll(12));
    int expected, code;
    hf_value old = hf_json(e->value);
    switch (roll(6)) {
    case 0:
    case 1:
        expected = is_taken(e, value) ? HF_CONFLICT : HF_OK;
        ck_assert_int_eq(hf_kv_put(t, e->key, hf_json(value)), expected);
        if (!expected) set(e, value);
        break;
    case 2:
        ck_assert_int_eq(hf_kv_delete(t, e->key), e->there ? HF_OK : HF_NOTFOUND);
        set(e, NULL);
        break;
    case 3:
        code = hf_kv_get(t, e->key, &got, NULL);
        ck_assert_int_eq(code, e->there ? HF_OK : HF_NOTFOUND);
        if (code) break;
        ck_assert_str_eq(got, e->value);
        hf_free(got);
        break;
    case 4: { /* right and wrong expectations */
        bool right = roll(2);
        const hf_value *expect = e->there == right ? &old : NULL;
        expected = !right ? HF_CONFLICT : is_taken(e, value) ? HF_CONFLICT : HF_OK;
        ck_assert_int_eq(hf_kv_swap(t, e->key, expect, hf_json(value)), expected);
        if (!expected) set(e, value);
        break;
    }
    default: /* plain SQL; the key is of ours, and has no quote */
        if (is_taken(e, value)) break;
        snprintf(sql, sizeof sql, "REPLACE INTO %s.DBX VALUES ('%s', '%s')",
                 in_noise(e->key) ? "noise" : "main", e->key, value);
        FINE(hf_exec(t, sql));
        set(e, value);
    }
}

struct expectation {
    int at;
    const char *prefix;
    int64_t left;
};

static int next_of(struct expectation *x) {
    while (x->at < KEYS && (!model[x->at].there || (x->prefix ? strncmp(model[x->at].key, x->prefix,
                                                                        strlen(x->prefix)) != 0
                                                              : in_noise(model[x->at].key))))
        x->at++;
    return x->at;
}

static int compare(void *arg, const hf_pair *p) {
    struct expectation *x = arg;
    int i = next_of(x);
    ck_assert_msg(i < KEYS, "'%s' is too much", p->key);
    ck_assert_str_eq(p->key, model[i].key);
    ck_assert_str_eq(p->value, model[i].value);
    x->at++;
    x->left--;
    return 0;
}

static void scan_all(hf_store *s) {
    static const char *const prefixes[] = {NULL,    "a", "a/", "node/load/",
                                           "seen/", "Z", "~",  "none"};
    hf_tx *t;
    FINE(hf_begin(s, HF_READ, "scan", &t));
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        const char *after = roll(2) ? model[roll(KEYS)].key : NULL;
        hf_scan o = {.size = sizeof o,
                     .prefix = prefixes[i],
                     .after = after,
                     .limit = roll(2) * (1 + roll(5))};
        struct expectation x = {.prefix = prefixes[i], .left = o.limit ? o.limit : KEYS};
        while (after && x.at < KEYS && strcmp(model[x.at].key, after) <= 0) x.at++;
        FINE(hf_kv_scan(t, &o, compare, &x));
        ck_assert_msg(x.left == 0 || next_of(&x) == KEYS, "a scan ends before '%s'",
                      model[x.at].key);
    }
    FINE(hf_commit(t));
}

static int count(void *arg, const hf_pair *p) {
    const struct entry *e = find(model, p->key);
    ck_assert(e->there && strncmp(e->key, "a/", 2) == 0);
    ck_assert_str_eq(e->value, p->value);
    ++*(int *)arg;
    return 0;
}

static void find_all(hf_store *s) {
    hf_tx *t;
    FINE(hf_begin(s, HF_READ, "find", &t));
    for (int n = 0; n < 12; n++) {
        int found = 0, expected = 0;
        char value[64];
        hf_find o = {.size = sizeof o, .prefix = "a/", .path = "$.n", .equals = hf_int(n)};
        snprintf(value, sizeof value, "{\"n\":%d}", n);
        for (int i = 0; i < KEYS; i++)
            expected += model[i].there && strncmp(model[i].key, "a/", 2) == 0 &&
                        strcmp(model[i].value, value) == 0;
        FINE(hf_kv_find(t, &o, count, &found));
        ck_assert_int_eq(found, expected);
    }
    FINE(hf_commit(t));
}

/* Each watch of each file has told all that was committed. */
static void compare_told(hf_store *s) {
    hf_tx *t;
    FINE(hf_begin(s, HF_BOTH, "end", &t));
    FINE(hf_kv_put(t, "end", hf_json("1")));
    FINE(hf_kv_put(t, "seen/end", hf_json("1")));
    FINE(hf_commit(t));
    sem_wait(&settled);
    sem_wait(&settled);
    for (int i = 0; i < KEYS; i++) {
        ck_assert_msg(told[i].there == model[i].there, "%s", model[i].key);
        if (model[i].there) ck_assert_str_eq(told[i].value, model[i].value);
    }
    FINE(hf_begin(s, HF_BOTH, "end", &t));
    FINE(hf_kv_delete(t, "end"));
    FINE(hf_kv_delete(t, "seen/end"));
    FINE(hf_commit(t));
    sem_wait(&settled);
    sem_wait(&settled);
}

static void transaction(hf_store *s) {
    hf_tx *t;
    FINE(hf_begin(s, HF_BOTH, "steps", &t));
    memcpy(before, model, sizeof model);
    for (uint32_t n = 1 + roll(8); n > 0; n--) {
        struct entry saved[KEYS];
        memcpy(saved, model, sizeof model);
        bool nested = roll(5) == 0;
        if (nested) FINE(hf_exec(t, "SAVEPOINT s"));
        step(t);
        if (!nested) continue;
        if (roll(2)) {
            FINE(hf_exec(t, "ROLLBACK TO s"));
            memcpy(model, saved, sizeof model);
        }
        FINE(hf_exec(t, "RELEASE s"));
    }
    if (roll(4)) FINE(hf_commit(t));
    else {
        hf_rollback(t);
        memcpy(model, before, sizeof model);
    }
}

START_TEST(random_operations_agree_with_a_model) {
    const char *text = getenv("HOLDFAST_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : (uint64_t)time(NULL) * 1000 + (uint64_t)_i;
    hf_store *s = kv_store();
    hf_watch *w[3];
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    state = seed;
    name_keys();
    sem_init(&settled, 0, 0);
    FINE(hf_kv_index(s, "a/", "$.n", HF_UNIQUE));
    FINE(hf_kv_watch(s, NULL, follow, NULL, &w[0]));
    FINE(hf_kv_watch(s, "seen/", follow, NULL, &w[1]));
    FINE(hf_kv_watch(s, "node/load/", follow, NULL, &w[2]));
    for (int i = 0; i < STEPS / 4; i++) {
        transaction(s);
        if (i % 10) continue;
        scan_all(s);
        find_all(s);
        compare_told(s);
    }
    FINE(hf_store_close(s));
}
END_TEST

int main(void) {
    Suite *s = suite_create("kv_model");
    TCase *t = tcase_create("kv_model");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_loop_test(t, random_operations_agree_with_a_model, 0, 3);
    suite_add_tcase(s, t);
    return run_suite(s);
}
