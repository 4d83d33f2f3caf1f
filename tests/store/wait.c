/* Waiting in the process: what it costs, what it promises, and how it ends when it cannot. */
#include "app.h"

#include <pthread.h>
#include <stdatomic.h>

#define WAITERS 1000
#define LONG_MS 3600000

static hf_source *source;

static void attach(const hf_replicate_options *o) {
    HF(hf_attach(app, urls, o, &source));
    HF(hf_source_wait(source, NULL, NULL));
}

static void setup(void) {
    app_setup();
    hf_replicate_options o = {.size = sizeof o, .interval_ms = 50, .drain_ms = 1};
    attach(&o);
}

static void teardown(void) {
    hf_fake_slow(fake, 0);
    hf_fake_fail(fake, HF_FAULT_NONE, 0);
    hf_detach(source);
    app_teardown();
}

/* The next put is kept until hf_fake_slow(fake, 0). */
static void keep_a_put_on_its_way(void) {
    uint64_t puts = hf_fake_puts(fake);
    hf_fake_slow(fake, LONG_MS);
    sql("INSERT INTO t VALUES ('on its way')");
    while (hf_fake_puts(fake) == puts) sched_yield();
}

/* ---- what it costs ---- */

static int flush;

static void *wait_in_thread(void *arg) {
    (void)arg;
    hf_wait_options o = {.size = sizeof o, .flush = flush};
    int code = hf_source_wait(source, NULL, &o);
    return (void *)(intptr_t)code;
}

START_TEST(a_thousand_threads_cost_one_put) {
    pthread_t threads[WAITERS];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 * 1024);
    flush = _i;
    keep_a_put_on_its_way();
    sql("INSERT INTO t VALUES ('waited for')");
    uint64_t before = hf_fake_puts(fake);
    for (int i = 0; i < WAITERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], &small, wait_in_thread, NULL), 0);
    hf_fake_slow(fake, 0);
    for (int i = 0; i < WAITERS; i++) {
        void *code;
        pthread_join(threads[i], &code);
        ck_assert_int_eq((int)(intptr_t)code, HF_OK);
    }
    printf("%d threads, flush %d: %d put beyond the one on its way\n", WAITERS, flush,
           (int)(hf_fake_puts(fake) - before));
    ck_assert_uint_eq(hf_fake_puts(fake) - before, 1);
}
END_TEST

static atomic_int told, told_ok;
static void count_it(void *arg, int code, const char *words) {
    (void)arg, (void)words;
    told_ok += code == HF_OK;
    told++;
}

START_TEST(a_thousand_that_are_called_back_cost_one_put) {
    hf_wait_options o = {.size = sizeof o, .flush = _i};
    keep_a_put_on_its_way();
    sql("INSERT INTO t VALUES ('waited for')");
    uint64_t before = hf_fake_puts(fake);
    for (int i = 0; i < WAITERS; i++) HF(hf_source_wait_async(source, NULL, &o, count_it, NULL));
    ck_assert_int_eq(told, 0);
    hf_fake_slow(fake, 0);
    while (told < WAITERS) sched_yield();
    ck_assert_int_eq(told_ok, WAITERS);
    ck_assert_uint_eq(hf_fake_puts(fake) - before, 1);
}
END_TEST

START_TEST(to_wait_for_what_is_safe_costs_nothing) {
    uint64_t before = hf_fake_puts(fake);
    hf_wait_options o = {.size = sizeof o, .flush = 1};
    for (int i = 0; i < 100; i++) HF(hf_source_wait(source, NULL, &o));
    ck_assert_uint_eq(hf_fake_puts(fake), before);
}
END_TEST

/* ---- what it promises ---- */

static int64_t restored_rows(const char *url, int round) {
    char path[TEMP_PATH + 64];
    const char *from[] = {url, NULL};
    int restored = 0;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/restored-%d.db", app_dir, round);
    HF(hf_restore_if_missing(path, from, NULL, &restored));
    ck_assert_int_eq(restored, 1);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    int64_t n = number(db, "SELECT max(x) FROM t");
    sqlite3_close(db);
    return n;
}

/* Few where time is short: what goes wrong is tried again after a while. $ROUNDS: so many. */
static int rounds(int few) {
    const char *given = getenv("ROUNDS");
    return given ? (int)strtol(given, NULL, 10) : few;
}

static const int faults[] = {HF_FAULT_NONE, HF_FAULT_REFUSE, HF_FAULT_LOST};

START_TEST(what_was_waited_for_is_restored_from_a_fake) {
    char insert[64];
    int n = rounds(_i ? 10 : 50);
    sql("DELETE FROM t");
    for (int i = 1; i <= n; i++) {
        hf_wait_options o = {.size = sizeof o, .flush = i % 2};
        hf_fake_fail(fake, faults[_i], i % 3);
        snprintf(insert, sizeof insert, "INSERT INTO t VALUES (%d)", i);
        sql(insert);
        HF(hf_source_wait(source, NULL, &o));
        ck_assert_int_eq(restored_rows(urls[0], i), i);
    }
}
END_TEST

START_TEST(what_was_waited_for_is_restored_from_a_copy_of_a_directory) {
    char replica[TEMP_PATH + 16], copy[TEMP_PATH + 32], command[2200], insert[64];
    hf_detach(source);
    snprintf(replica, sizeof replica, "%s/replica", app_dir);
    urls[0] = replica;
    hf_replicate_options o = {.size = sizeof o, .interval_ms = 1, .level_ms = {0, 20, 100, 300}};
    attach(&o);
    for (int i = 1, n = rounds(30); i <= n; i++) {
        snprintf(insert, sizeof insert, "INSERT INTO t VALUES (%d)", i);
        sql(insert);
        HF(hf_source_wait(source, NULL, NULL));
        snprintf(copy, sizeof copy, "%s/copy-%d", app_dir, i);
        snprintf(command, sizeof command, "cp -r '%s' '%s'", replica, copy);
        ck_assert_int_eq(system(command), 0);
        ck_assert_int_eq(restored_rows(copy, i), i);
    }
}
END_TEST

START_TEST(a_place_is_waited_for_and_not_what_came_after_it) {
    hf_place place;
    hf_wait_options o = {.size = sizeof o, .timeout_ms = 10000};
    sql("INSERT INTO t VALUES (1)");
    HF(hf_position_of(app, &place));
    HF(hf_source_wait(source, &place, &o));
    keep_a_put_on_its_way();
    HF(hf_source_wait(source, &place, &o)); /* it is safe already */
    o.timeout_ms = 50;
    HF_FAILS(hf_source_wait(source, NULL, &o), HF_TIMEOUT, urls[0]);
}
END_TEST

START_TEST(a_commit_of_the_other_connection_is_waited_for_too) {
    sqlite3 *other;
    ck_assert_int_eq(sqlite3_open(app_path, &other), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(other, "INSERT INTO t VALUES (7)", NULL, NULL, NULL), SQLITE_OK);
    HF(hf_source_wait(source, NULL, NULL));
    ck_assert_int_eq(restored_rows(urls[0], 0), 7);
    sqlite3_close(other);
}
END_TEST

/* ---- how it ends ---- */

START_TEST(time_runs_out) {
    hf_wait_options o = {.size = sizeof o, .timeout_ms = 30, .flush = 1};
    hf_fake_fail(fake, HF_FAULT_REFUSE, -1);
    sql("INSERT INTO t VALUES (1)");
    do { /* until its first shipment has been refused */
        HF_FAILS(hf_source_wait(source, NULL, &o), HF_TIMEOUT, "1 pages");
    } while (!strstr(hf_errmsg(), "1 pages; "));
    hf_fake_fail(fake, HF_FAULT_NONE, 0);
    HF(hf_source_wait(source, NULL, NULL));
}
END_TEST

START_TEST(another_writer_fences) {
    hf_fake_fence(fake);
    sql("INSERT INTO t VALUES (1)");
    HF_FAILS(hf_source_wait(source, NULL, NULL), HF_FENCED, "another writer took over");
    HF_FAILS(hf_source_wait(source, NULL, NULL), HF_FENCED, "another writer took over");
    HF_FAILS(hf_source_wait_async(source, NULL, NULL, count_it, NULL), HF_FENCED, "FENCED");
    char *json;
    HF(hf_source_status(source, &json));
    ck_assert_msg(strstr(json, "\"state\":\"ended\",\"code\":\"fenced\"") != NULL, "%s", json);
    hf_free(json);
    ck_assert_int_eq(told, 0);
    HF_FAILS(hf_detach(source), HF_FENCED, "another writer took over");
    source = NULL;
}
END_TEST

static void *detach_in_thread(void *arg) {
    (void)arg;
    return (void *)(intptr_t)hf_detach(source);
}

START_TEST(the_run_ends_while_somebody_waits) {
    pthread_t thread;
    void *code;
    hf_source *found;
    hf_fake_fail(fake, HF_FAULT_REFUSE, -1);
    sql("INSERT INTO t VALUES (1)");
    HF(hf_source_find(app_path, &found));
    HF(hf_source_wait_async(found, NULL, NULL, count_it, NULL));
    pthread_create(&thread, NULL, detach_in_thread, NULL);
    ck_assert_int_ne(hf_source_wait(found, NULL, NULL), HF_OK);
    pthread_join(thread, &code);
    ck_assert_int_eq((int)(intptr_t)code, HF_TIMEOUT); /* drain_ms is 1 */
    ck_assert_int_eq(told, 1);
    ck_assert_int_eq(told_ok, 0);
    HF_FAILS(hf_source_wait(found, NULL, NULL), HF_TIMEOUT, "not all of it was shipped");
    hf_source_release(found);
    HF_FAILS(hf_source_find(app_path, &found), HF_NOTFOUND, "not replicated by this process");
    source = NULL;
}
END_TEST

START_TEST(what_is_asked_wrongly_is_said) {
    hf_wait_options o = {.size = sizeof o, .destination = "s3://nobody/here"};
    hf_place strange = {{1, 5, 77, 78}}, wrong = {{9, 0, 0, 0}};
    HF_FAILS(hf_source_wait(source, NULL, &o), HF_NOTFOUND, "no destination s3://nobody/here");
    HF_FAILS(hf_source_wait(source, &strange, NULL), HF_NOTFOUND, "no position");
    HF_FAILS(hf_source_wait(source, &wrong, NULL), HF_USAGE, "no place that hf_position gave");
    HF_FAILS(hf_source_wait(NULL, NULL, NULL), HF_USAGE, "nothing is replicated");
    HF_FAILS(hf_source_wait_async(source, NULL, NULL, NULL, NULL), HF_USAGE, "no function");
    HF_FAILS(hf_position_of(app, NULL), HF_USAGE, "the place is NULL");
    HF_FAILS(hf_source_status(source, NULL), HF_USAGE, "where to put the text");
    HF_FAILS(hf_source_find(NULL, &source), HF_USAGE, "an argument is NULL");
    HF_FAILS(hf_source_find(app_path, NULL), HF_USAGE, "an argument is NULL");
    HF_FAILS(hf_attach(app, urls, NULL, NULL), HF_USAGE, "where to put the handle");
    o.size = 0;
    HF_FAILS(hf_source_wait(source, NULL, &o), HF_USAGE, "size");
}
END_TEST

static void wait_in_callback(void *arg, int code, const char *words) {
    (void)code, (void)words;
    *(int *)arg = hf_source_wait(source, NULL, NULL);
    told++;
}

START_TEST(a_callback_that_would_wait_is_told_not_to) {
    int code = -1;
    HF(hf_source_wait_async(source, NULL, NULL, wait_in_callback, &code));
    while (!told) sched_yield();
    ck_assert_int_eq(code, HF_USAGE);
}
END_TEST

/* ---- several destinations ---- */

static hf_fake *slow_fake;

static void setup_two(void) {
    app_setup();
    HF(hf_fake_new(&slow_fake));
    urls[1] = hf_fake_url(slow_fake);
    urls[2] = NULL;
    hf_replicate_options o = {.size = sizeof o, .interval_ms = 1, .drain_ms = 1};
    attach(&o);
    hf_fake_slow(slow_fake, LONG_MS);
    sql("INSERT INTO t VALUES (1)");
}

static void teardown_two(void) {
    hf_fake_slow(slow_fake, 0);
    hf_detach(source);
    hf_fake_free(slow_fake);
    app_teardown();
}

START_TEST(any_does_not_wait_for_the_slow_one) {
    hf_wait_options o = {.size = sizeof o, .destination = "any", .timeout_ms = 10000};
    HF(hf_source_wait(source, NULL, &o));
}
END_TEST

START_TEST(a_name_waits_for_that_one) {
    hf_wait_options o = {.size = sizeof o, .destination = urls[0], .timeout_ms = 10000};
    HF(hf_source_wait(source, NULL, &o));
    o.destination = urls[1];
    o.timeout_ms = 30;
    HF_FAILS(hf_source_wait(source, NULL, &o), HF_TIMEOUT, urls[1]);
    hf_fake_slow(slow_fake, 0);
    o.timeout_ms = 10000;
    HF(hf_source_wait(source, NULL, &o));
}
END_TEST

START_TEST(a_name_is_the_one_that_was_given_or_the_one_that_is_shown) {
    char given[TEMP_PATH + 32], shown[TEMP_PATH + 32];
    hf_wait_options o = {.size = sizeof o, .timeout_ms = 10000};
    hf_fake_slow(slow_fake, 0);
    hf_detach(source);
    snprintf(given, sizeof given, "%s//replica/", app_dir);
    snprintf(shown, sizeof shown, "file://%s/replica", app_dir);
    urls[1] = given;
    attach(&(hf_replicate_options){.size = sizeof(hf_replicate_options)});
    o.destination = given;
    HF(hf_source_wait(source, NULL, &o));
    o.destination = shown;
    HF(hf_source_wait(source, NULL, &o));
    o.destination = "";
    HF_FAILS(hf_source_wait(source, NULL, &o), HF_NOTFOUND, "no destination");
}
END_TEST

START_TEST(all_waits_for_the_slow_one) {
    hf_wait_options o = {.size = sizeof o, .timeout_ms = 30};
    HF_FAILS(hf_source_wait(source, NULL, &o), HF_TIMEOUT, urls[1]);
    hf_fake_slow(slow_fake, 0);
    o.timeout_ms = -1;
    HF(hf_source_wait(source, NULL, &o));
}
END_TEST

int main(void) {
    Suite *s = suite_create("store/wait");
    TCase *t = tcase_create("one destination");
    tcase_set_timeout(t, getenv("ROUNDS") ? 600 : 60);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, a_thousand_threads_cost_one_put, 0, 2);
    tcase_add_loop_test(t, a_thousand_that_are_called_back_cost_one_put, 0, 2);
    tcase_add_test(t, to_wait_for_what_is_safe_costs_nothing);
    tcase_add_loop_test(t, what_was_waited_for_is_restored_from_a_fake, 0, 3);
    tcase_add_test(t, what_was_waited_for_is_restored_from_a_copy_of_a_directory);
    tcase_add_test(t, a_place_is_waited_for_and_not_what_came_after_it);
    tcase_add_test(t, a_commit_of_the_other_connection_is_waited_for_too);
    tcase_add_test(t, time_runs_out);
    tcase_add_test(t, another_writer_fences);
    tcase_add_test(t, the_run_ends_while_somebody_waits);
    tcase_add_test(t, what_is_asked_wrongly_is_said);
    tcase_add_test(t, a_callback_that_would_wait_is_told_not_to);
    suite_add_tcase(s, t);
    t = tcase_create("two destinations");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup_two, teardown_two);
    tcase_add_test(t, any_does_not_wait_for_the_slow_one);
    tcase_add_test(t, a_name_waits_for_that_one);
    tcase_add_test(t, a_name_is_the_one_that_was_given_or_the_one_that_is_shown);
    tcase_add_test(t, all_waits_for_the_slow_one);
    suite_add_tcase(s, t);
    return run_suite(s);
}
