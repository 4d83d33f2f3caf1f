/* What every store promises, asked of each: on files, in memory, behind faults that never come, and
 * in the bucket that scripts/test says, if it does.
 */
#include "../os/temp.h"

#include "base/limits.h"
#include "object/object.h"
#include "stores/stores.h"

#include <pthread.h>

#define TIME 1795382699618
#define KEY "ltx/0/0000000000000001-0000000000000001.ltx"

enum kind { ON_FILES, IN_MEMORY, BEHIND_FAULTS, IN_A_BUCKET, KINDS };

static struct env *env;
static struct store *store;
static char root[TEMP_PATH]; /* the case's own directory; in a bucket the prefix */

static enum fault never(void *arg, const char *op, const char *key) {
    (void)arg, (void)op, (void)key;
    return FAULT_NONE;
}

/* Below a prefix that no other case has: its temporary directory's name. */
static void open_bucket(void) {
    char url[1024];
    snprintf(url, sizeof url, "s3://%s%s?endpoint=%s&region=%s", getenv("HOLDFAST_TEST_S3_BUCKET"),
             root, getenv("HOLDFAST_TEST_S3"), getenv("AWS_REGION"));
    OK(store_open(env, url, &store, e));
}

/* Each case begins with this: its number is the kind. */
static void begin(int kind) {
    struct store *inner;
    OK(env_new_system(1, &env, e));
    temp_dir(root);
    if (kind == ON_FILES) OK(store_open(env, below(root, "root"), &store, e));
    if (kind == IN_MEMORY) OK(store_new_mem(env, &store, e));
    if (kind == IN_A_BUCKET) open_bucket();
    if (kind != BEHIND_FAULTS) return;
    OK(store_new_mem(env, &inner, e));
    OK(store_new_fault(inner, never, NULL, &store, e));
}

static void end(void) {
    store_free(store);
    env_free_system(env);
}

static void put(const char *key, const char *words) {
    OK(store->ops->put(store, key, words, strlen(words), TIME, e));
}

static void expect(const char *key, const char *words) {
    char got[64] = {0};
    struct object_info info;
    OK(store->ops->stat(store, key, &info, e));
    ck_assert_uint_eq(info.size_bytes, strlen(words));
    OK(store->ops->get(store, key, 0, got, strlen(words), e));
    ck_assert_str_eq(got, words);
}

static void expect_absent(const char *key) {
    struct object_info info;
    CODE(store->ops->stat(store, key, &info, e), RC_NOTFOUND);
}

static void upload(const char *words, struct object_upload **out) {
    OK(store->ops->upload_open(store, KEY, 1 << 20, out, e));
    OK(store->ops->upload_write(*out, words, strlen(words), e));
}

/* The list as "name:size," in the order of names. */
struct names {
    char text[512];
    char sorted[8][64];
    int count;
};

static rc collect(void *arg, const struct object_info *info, struct err *e) {
    struct names *n = arg;
    (void)e;
    ck_assert_int_lt(n->count, 8);
    snprintf(n->sorted[n->count++], 64, "%s:%d", info->name, (int)info->size_bytes);
    return ok();
}

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

static void join_sorted(struct names *n) {
    qsort(n->sorted, (size_t)n->count, sizeof *n->sorted, by_name);
    for (int i = 0; i < n->count; i++) {
        if (i) strcat(n->text, " ");
        strcat(n->text, n->sorted[i]);
    }
}

static void expect_list(const char *dir, const char *names) {
    struct names n = {0};
    OK(store->ops->list(store, dir, collect, &n, e));
    join_sorted(&n);
    ck_assert_str_eq(n.text, names);
}

START_TEST(a_put_can_be_read_back_with_its_time) {
    begin(_i);
    struct object_info info;
    put(KEY, "bytes");
    expect(KEY, "bytes");
    OK(store->ops->stat(store, KEY, &info, e));
    ck_assert_int_eq(info.time_ms, TIME);
    ck_assert_str_eq(info.name, "0000000000000001-0000000000000001.ltx");
    int64_t early = _i == IN_A_BUCKET ? 1 : -1500; /* a bucket knows nothing before 1970 */
    OK(store->ops->put(store, "empty", NULL, 0, early, e));
    OK(store->ops->stat(store, "empty", &info, e));
    ck_assert_int_eq(info.time_ms, early);
    ck_assert_uint_eq(info.size_bytes, 0);
    end();
}
END_TEST

START_TEST(bytes_are_copied) {
    begin(_i);
    char words[] = "bytes";
    put(KEY, words);
    words[0] = 'X';
    expect(KEY, "bytes");
    end();
}
END_TEST

START_TEST(a_conflict_leaves_the_old_object) {
    begin(_i);
    struct object_info info;
    put(KEY, "old");
    CODE(store->ops->put(store, KEY, "newer", 5, TIME + 5, e), RC_CONFLICT);
    says("0000000000000001-0000000000000001.ltx");
    CODE(store->ops->put(store, KEY, "old", 3, TIME, e), RC_CONFLICT); /* the same bytes too */
    expect(KEY, "old");
    OK(store->ops->stat(store, KEY, &info, e));
    ck_assert_int_eq(info.time_ms, TIME);
    expect_list("ltx/0", "0000000000000001-0000000000000001.ltx:3");
    end();
}
END_TEST

static const struct {
    uint64_t at;
    size_t n;
    enum rc_code code;
} ranges[] = {
    {0, 10, RC_OK},
    {3, 4, RC_OK},
    {9, 1, RC_OK},
    {10, 0, RC_OK},
    {0, 11, RC_CORRUPT},
    {9, 2, RC_CORRUPT},
    {10, 1, RC_CORRUPT},
    {11, 1, RC_CORRUPT},
    {3, 16, RC_CORRUPT},
    {1u << 31, 1, RC_CORRUPT},
    {1ull << 40, 16, RC_CORRUPT},
};

START_TEST(a_get_is_exact_or_an_error) {
    begin(_i);
    put(KEY, "0123456789");
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        char got[16];
        CODE(store->ops->get(store, KEY, ranges[i].at, got, ranges[i].n, e), ranges[i].code);
        if (ranges[i].code == RC_OK)
            ck_assert_mem_eq(got, &"0123456789"[ranges[i].at], ranges[i].n);
    }
    end();
}
END_TEST

START_TEST(what_is_absent_is_not_found) {
    begin(_i);
    char got[4];
    struct object_info info = {.size_bytes = 77};
    CODE(store->ops->get(store, KEY, 0, got, 4, e), RC_NOTFOUND);
    says("0000000000000001");
    if (_i != IN_A_BUCKET) /* which is not asked for nothing */
        CODE(store->ops->get(store, KEY, 0, got, 0, e), RC_NOTFOUND);
    CODE(store->ops->stat(store, KEY, &info, e), RC_NOTFOUND);
    ck_assert_uint_eq(info.size_bytes, 77);
    put(KEY, "x");
    CODE(store->ops->get(store, "ltx/0/0", 0, got, 1, e), RC_NOTFOUND);
    CODE(store->ops->stat(store, "ltx/0", &info, e), RC_NOTFOUND); /* a directory is no object */
    CODE(store->ops->stat(store, KEY "/x", &info, e), RC_NOTFOUND);
    end();
}
END_TEST

START_TEST(a_list_has_what_is_directly_below) {
    begin(_i);
    expect_list("ltx/0", "");
    expect_list("", "");
    put("owner.json", "{}");
    put("ltx/0/b", "22");
    put("ltx/0/a", "1");
    put("ltx/0/sub/c", "333");
    put("ltx/00/d", "4444");
    put("ltx/1/e", "55555");
    expect_list("ltx/0", "a:1 b:2");
    expect_list("ltx/0/sub", "c:3");
    expect_list("ltx", "");
    expect_list("lt", "");
    expect_list("", "owner.json:2");
    expect_list("owner.json", "");
    end();
}
END_TEST

static rc collect_dir(void *arg, const char *name, struct err *e) {
    return collect(arg, &(struct object_info){name, 0, 0}, e);
}

static void expect_dirs(const char *dir, const char *names) {
    struct names n = {0};
    OK(store->ops->list_dirs(store, dir, collect_dir, &n, e));
    join_sorted(&n);
    ck_assert_str_eq(n.text, names);
}

START_TEST(a_list_of_directories_has_each_once) {
    begin(_i);
    expect_dirs("", "");
    expect_dirs("gone", "");
    put("owner.json", "{}");
    put("g/b/wal/1", "1");
    put("g/b/wal/2", "1");
    put("g/b/snapshots/1", "1");
    put("g/a/1", "1");
    put("g/ab/1", "1");
    put("g/file", "1");
    put("gg/c/1", "1");
    expect_dirs("", "g:0 gg:0");
    expect_dirs("g", "a:0 ab:0 b:0");
    expect_dirs("g/b", "snapshots:0 wal:0");
    expect_dirs("g/b/wal", "");
    expect_dirs("g/file", "");
    end();
}
END_TEST

static rc stop_dir(void *arg, const char *name, struct err *e) {
    ++*(int *)arg;
    return err_set(e, RC_NOTFOUND, "enough at %s", name);
}

START_TEST(a_list_of_directories_stops_at_the_first_error) {
    begin(_i);
    int calls = 0;
    put("d/a/1", "1");
    put("d/b/1", "1");
    CODE(store->ops->list_dirs(store, "d", stop_dir, &calls, e), RC_NOTFOUND);
    says("enough at");
    ck_assert_int_eq(calls, 1);
    end();
}
END_TEST

static rc stop(void *arg, const struct object_info *info, struct err *e) {
    ++*(int *)arg;
    return err_set(e, RC_NOTFOUND, "enough at %s", info->name);
}

START_TEST(a_list_stops_at_the_first_error_and_says_it) {
    begin(_i);
    int calls = 0;
    put("d/a", "1");
    put("d/b", "1");
    CODE(store->ops->list(store, "d", stop, &calls, e), RC_NOTFOUND);
    says("enough at");
    ck_assert_int_eq(calls, 1);
    end();
}
END_TEST

static rc remove_it(void *arg, const struct object_info *info, struct err *e) {
    char key[64];
    (void)arg;
    snprintf(key, sizeof key, "d/%s", info->name);
    return store->ops->remove(store, key, e);
}

START_TEST(a_list_allows_changes_meanwhile) {
    begin(_i);
    put("d/a", "1");
    put("d/b", "1");
    OK(store->ops->list(store, "d", remove_it, NULL, e));
    expect_list("d", "");
    end();
}
END_TEST

START_TEST(a_note_replaces) {
    begin(_i);
    struct object_info info;
    int64_t before = env->unix_ms(env);
    OK(store->ops->put_note(store, "owner.json", "first words", 11, e));
    expect("owner.json", "first words");
    OK(store->ops->put_note(store, "owner.json", "2nd", 3, e));
    expect("owner.json", "2nd");
    expect_list("", "owner.json:3");
    OK(store->ops->stat(store, "owner.json", &info, e));
    ck_assert_int_ge(info.time_ms, before - 1000);
    CODE(store->ops->put(store, "owner.json", "put", 3, TIME, e), RC_CONFLICT);
    end();
}
END_TEST

START_TEST(removing_what_is_absent_is_fine) {
    begin(_i);
    OK(store->ops->remove(store, KEY, e));
    put(KEY, "one");
    OK(store->ops->remove(store, KEY, e));
    expect_absent(KEY);
    OK(store->ops->remove(store, KEY, e));
    put(KEY, "again");
    expect(KEY, "again");
    end();
}
END_TEST

START_TEST(an_upload_is_invisible_until_its_commit) {
    begin(_i);
    struct object_info info;
    struct object_upload *u;
    upload("in ", &u);
    expect_absent(KEY);
    expect_list("ltx/0", "");
    OK(store->ops->upload_write(u, "pieces", 6, e));
    OK(store->ops->upload_write(u, NULL, 0, e));
    expect_absent(KEY);
    OK(store->ops->upload_commit(u, TIME, e));
    expect(KEY, "in pieces");
    OK(store->ops->stat(store, KEY, &info, e));
    ck_assert_int_eq(info.time_ms, TIME);
    end();
}
END_TEST

START_TEST(an_aborted_upload_leaves_nothing) {
    begin(_i);
    struct object_upload *u;
    upload("words", &u);
    store->ops->upload_abort(u);
    store->ops->upload_abort(NULL);
    expect_absent(KEY);
    expect_list("ltx/0", "");
    put(KEY, "free still");
    end();
}
END_TEST

START_TEST(a_commit_conflicts_like_a_put) {
    begin(_i);
    struct object_upload *first, *second;
    upload("first", &first);
    upload("second", &second);
    OK(store->ops->upload_commit(second, TIME, e));
    CODE(store->ops->upload_commit(first, TIME + 1, e), RC_CONFLICT);
    expect(KEY, "second");
    expect_list("ltx/0", "0000000000000001-0000000000000001.ltx:6");
    end();
}
END_TEST

#define RACERS 8
#define ROUNDS 20

struct racer {
    pthread_barrier_t *barrier;
    const char *key;
    char words[8];
    rc result;
    bool by_upload;
};

static rc put_by_upload(struct racer *r) {
    struct err ignored;
    struct object_upload *u;
    TRY(store->ops->upload_open(store, r->key, 1 << 20, &u, &ignored));
    rc written = store->ops->upload_write(u, r->words, strlen(r->words), &ignored);
    pthread_barrier_wait(r->barrier);
    if (is_ok(written)) return store->ops->upload_commit(u, TIME, &ignored);
    store->ops->upload_abort(u);
    return written;
}

static void *race(void *arg) {
    struct racer *r = arg;
    struct err ignored;
    if (r->by_upload) {
        r->result = put_by_upload(r);
        return NULL;
    }
    pthread_barrier_wait(r->barrier);
    r->result = store->ops->put(store, r->key, r->words, strlen(r->words), TIME, &ignored);
    return NULL;
}

static void race_once(pthread_barrier_t *barrier, const char *key) {
    struct racer racers[RACERS];
    pthread_t threads[RACERS];
    const struct racer *winner = NULL;
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.barrier = barrier, .key = key, .by_upload = i % 2};
        snprintf(racers[i].words, sizeof racers[i].words, "mine %d", i);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < RACERS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < RACERS; i++) {
        if (!is_ok(racers[i].result)) {
            ck_assert_int_eq(racers[i].result.code, RC_CONFLICT);
            continue;
        }
        ck_assert_ptr_null(winner);
        winner = &racers[i];
    }
    ck_assert_ptr_nonnull(winner);
    expect(key, winner->words);
}

START_TEST(of_eight_that_race_exactly_one_wins) {
    begin(_i);
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, RACERS);
    for (int i = 0; i < ROUNDS; i++) {
        char key[32];
        snprintf(key, sizeof key, "d%d/key", i); /* they race for the directory too */
        race_once(&barrier, key);
    }
    pthread_barrier_destroy(&barrier);
    end();
}
END_TEST

static const char *const bad_keys[] = {
    "",     "/",   "/a",    "a/", "a//b",   ".",    "..",      "../a",     "a/../b",
    "a/..", "./a", "a/./b", ".a", "a/.tmp", "a\nb", "a/b\x7f", "\x1b[31m", "a/\x01",
};

static void expect_refused(const char *key) {
    char byte = 0;
    struct object_info info;
    struct object_upload *u;
    CODE(store->ops->put(store, key, "x", 1, TIME, e), RC_USAGE);
    CODE(store->ops->put_note(store, key, "x", 1, e), RC_USAGE);
    CODE(store->ops->get(store, key, 0, &byte, 1, e), RC_USAGE);
    CODE(store->ops->stat(store, key, &info, e), RC_USAGE);
    CODE(store->ops->remove(store, key, e), RC_USAGE);
    CODE(store->ops->upload_open(store, key, 1 << 20, &u, e), RC_USAGE);
    if (!*key) return;
    CODE(store->ops->list(store, key, stop, NULL, e), RC_USAGE);
    CODE(store->ops->list_dirs(store, key, stop_dir, NULL, e), RC_USAGE);
}

START_TEST(a_key_that_leads_elsewhere_is_refused) {
    begin(_i);
    char longest[LIMIT_KEY + 10];
    for (size_t i = 0; i < sizeof bad_keys / sizeof *bad_keys; i++) expect_refused(bad_keys[i]);
    for (size_t i = 0; i < sizeof longest; i++) longest[i] = i % 100 ? 'k' : 'd';
    for (size_t i = 99; i < sizeof longest; i += 100) longest[i] = '/';
    longest[sizeof longest - 1] = 0;
    expect_refused(longest);
    longest[LIMIT_KEY] = 0;
    expect_refused(longest);
    /* The longest there may be; in a bucket with what the root adds to it. */
    longest[LIMIT_KEY - 1 - (_i == IN_A_BUCKET ? strlen(root) : 0)] = 0;
    put(longest, "fits");
    expect(longest, "fits");
    put("a..b/c.d", "dots inside are fine");
    end();
}
END_TEST

int main(void) {
    int kinds = getenv("HOLDFAST_TEST_S3") ? KINDS : IN_A_BUCKET;
    Suite *s = suite_create("stores");
    TCase *t = tcase_create("stores");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_loop_test(t, a_put_can_be_read_back_with_its_time, 0, kinds);
    tcase_add_loop_test(t, bytes_are_copied, 0, kinds);
    tcase_add_loop_test(t, a_conflict_leaves_the_old_object, 0, kinds);
    tcase_add_loop_test(t, a_get_is_exact_or_an_error, 0, kinds);
    tcase_add_loop_test(t, what_is_absent_is_not_found, 0, kinds);
    tcase_add_loop_test(t, a_list_has_what_is_directly_below, 0, kinds);
    tcase_add_loop_test(t, a_list_stops_at_the_first_error_and_says_it, 0, kinds);
    tcase_add_loop_test(t, a_list_of_directories_has_each_once, 0, kinds);
    tcase_add_loop_test(t, a_list_of_directories_stops_at_the_first_error, 0, kinds);
    tcase_add_loop_test(t, a_list_allows_changes_meanwhile, 0, kinds);
    tcase_add_loop_test(t, a_note_replaces, 0, kinds);
    tcase_add_loop_test(t, removing_what_is_absent_is_fine, 0, kinds);
    tcase_add_loop_test(t, an_upload_is_invisible_until_its_commit, 0, kinds);
    tcase_add_loop_test(t, an_aborted_upload_leaves_nothing, 0, kinds);
    tcase_add_loop_test(t, a_commit_conflicts_like_a_put, 0, kinds);
    tcase_add_loop_test(t, of_eight_that_race_exactly_one_wins, 0, kinds);
    tcase_add_loop_test(t, a_key_that_leads_elsewhere_is_refused, 0, kinds);
    suite_add_tcase(s, t);
    return run_suite(s);
}
