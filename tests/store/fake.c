/* A destination and a clock that do as they are told; and replication of a store, which they are
 * made for. */
#include "app.h"

#include <pthread.h>
#include <stdatomic.h>

#define EVENTS 2000 /* of an hour of levels, wherever in the hour it begins */

static hf_store *store;
static char *events[EVENTS];
static atomic_int event_count;

static void see(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg;
    char text[1200] = "";
    snprintf(text, sizeof text, "%s", name);
    for (int i = 0; i + 1 < count; i += 2) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, " %s=%s", pairs[i], pairs[i + 1]);
    }
    int at = event_count;
    if (at == EVENTS) return;
    events[at] = strdup(text);
    event_count = at + 1;
}

static int seen(const char *text) {
    int n = 0;
    for (int i = 0; i < event_count; i++) n += strstr(events[i], text) != NULL;
    return n;
}

static int insert(hf_tx *tx, void *arg) {
    return hf_run(tx, "INSERT INTO t VALUES (?)", "i", (int64_t)(intptr_t)arg);
}

static int put(int64_t x) {
    return hf_write(store, HF_MAIN, "put", insert, (void *)(intptr_t)x);
}

static char path[TEMP_PATH + 32];

static void open_store(void) {
    hf_store_options o = {.size = sizeof o, .main_schema = "CREATE TABLE IF NOT EXISTS t(x)"};
    HF(hf_store_open(path, &o, &store));
}

static void setup(void) {
    temp_dir(app_dir);
    setenv("RUNTIME_DIRECTORY", app_dir, 1);
    snprintf(path, sizeof path, "%s/store.db", app_dir);
    HF(hf_fake_new(&fake));
    urls[0] = hf_fake_url(fake);
    open_store();
}

static void teardown(void) {
    HF(hf_store_close(store));
    hf_fake_free(fake);
}

#define REPLICATE(...)                                                                             \
    HF(hf_store_replicate(                                                                         \
        store, urls,                                                                               \
        &(hf_replicate_options){.size = sizeof(hf_replicate_options), .event = see, __VA_ARGS__}))

static int64_t in_the_replica(const char *query) {
    static int count;
    char to[TEMP_PATH + 32];
    int restored;
    sqlite3 *db;
    snprintf(to, sizeof to, "%s/restored-%d.db", app_dir, count++);
    HF(hf_restore_if_missing(to, urls, NULL, &restored));
    ck_assert_int_eq(restored, 1);
    ck_assert_int_eq(sqlite3_open(to, &db), SQLITE_OK);
    int64_t n = number(db, query);
    sqlite3_close(db);
    return n;
}

/* ---- time ---- */

START_TEST(an_hour_of_levels_passes_in_a_moment) {
    hf_fake_stop_clock(fake);
    REPLICATE(.interval_ms = 1000);
    for (int second = 0; second < 3700; second += 20) {
        HF(put(second));
        HF(hf_wait(store, NULL, &(hf_wait_options){.size = sizeof(hf_wait_options), .flush = 1}));
        hf_fake_advance(fake, 20000);
    }
    HF(put(7777));
    HF(hf_wait(store, NULL, &(hf_wait_options){.size = sizeof(hf_wait_options), .flush = 1}));
    for (int i = 0; i < event_count; i++)
        if (getenv("SHOW")) puts(events[i]);
    ck_assert_int_ge(seen("compact") - seen("compact.retry"), 20);
    ck_assert_int_ge(seen("level=3"), 1);
    ck_assert_int_eq(in_the_replica("SELECT max(x) FROM t"), 7777);
    ck_assert_int_eq(in_the_replica("SELECT count(*) FROM t"), 186);
}
END_TEST

START_TEST(nothing_happens_while_time_stands_still) {
    REPLICATE(.interval_ms = 1000);
    HF(hf_wait(store, NULL, NULL));
    hf_fake_stop_clock(fake);
    HF(put(1));
    uint64_t puts = hf_fake_puts(fake);
    hf_source *source = hf_store_source(store);
    for (int i = 0; i < 20; i++) { /* each is a step of the run, and time in which it could put */
        char *json;
        HF(hf_source_status(source, &json));
        hf_free(json);
    }
    ck_assert_uint_eq(hf_fake_puts(fake), puts); /* within the interval */
    hf_fake_advance(fake, 1000);
    HF(hf_wait(store, NULL, NULL));
    ck_assert_uint_eq(hf_fake_puts(fake), puts + 1);
}
END_TEST

static void *wait_for_half_an_hour(void *arg) {
    (void)arg;
    hf_wait_options o = {.size = sizeof o, .timeout_ms = 1800000};
    return (void *)(intptr_t)hf_wait(store, NULL, &o);
}

START_TEST(a_deadline_passes_when_time_is_moved) {
    pthread_t thread;
    void *code;
    hf_fake_stop_clock(fake);
    REPLICATE(.interval_ms = 1000);
    hf_fake_fail(fake, HF_FAULT_REFUSE, -1);
    HF(put(1));
    pthread_create(&thread, NULL, wait_for_half_an_hour, NULL);
    while (pthread_tryjoin_np(thread, &code) != 0) {
        hf_fake_advance(fake, 60000);
        sched_yield();
    }
    ck_assert_int_eq((int)(intptr_t)code, HF_TIMEOUT);
    hf_fake_fail(fake, HF_FAULT_NONE, 0);
}
END_TEST

START_TEST(an_end_in_standing_time_ends) {
    hf_fake_stop_clock(fake);
    REPLICATE(.drain_ms = 30000);
    HF(hf_wait(store, NULL, NULL));
    hf_fake_fail(fake, HF_FAULT_REFUSE, -1);
    HF(put(1));
    HF_FAILS(hf_store_close(store), HF_TIMEOUT, "not all of it was shipped within 30 s");
    hf_fake_fail(fake, HF_FAULT_NONE, 0);
    open_store();
}
END_TEST

/* ---- a store ---- */

START_TEST(a_close_ships_what_is_left) {
    REPLICATE(.interval_ms = 60000);
    HF(put(1));
    HF(put(2));
    HF(hf_store_close(store));
    ck_assert_int_eq(in_the_replica("SELECT count(*) FROM t"), 2);
    open_store();
}
END_TEST

START_TEST(a_close_without_a_destination_says_what_is_lacking) {
    REPLICATE(.drain_ms = 50);
    HF(hf_wait(store, NULL, NULL));
    hf_fake_fail(fake, HF_FAULT_REFUSE, -1);
    HF(put(1));
    HF_FAILS(hf_store_close(store), HF_TIMEOUT, urls[0]);
    ck_assert_int_eq(seen("stop.not_all_shipped"), 1);
    open_store(); /* it was closed all the same */
}
END_TEST

START_TEST(a_commit_wakes_the_run) {
    REPLICATE(.interval_ms = 1);
    HF(hf_wait(store, NULL, NULL));
    for (int i = 0; i < 5; i++) {
        struct timespec quiet = {0, 60000000}; /* until it sleeps for long */
        nanosleep(&quiet, NULL);
        uint64_t puts = hf_fake_puts(fake);
        HF(put(i));
        while (hf_fake_puts(fake) == puts) sched_yield(); /* the case's time limit */
    }
}
END_TEST

START_TEST(to_wait_within_a_transaction_is_refused) {
    hf_tx *tx;
    REPLICATE(.interval_ms = 1);
    HF(hf_begin(store, HF_MAIN, "a test", &tx));
    HF_FAILS(hf_wait(store, NULL, NULL), HF_USAGE, "inside of a transaction");
    hf_rollback(tx);
    HF(hf_wait(store, NULL, NULL));
}
END_TEST

START_TEST(a_place_of_a_transaction_is_waited_for) {
    hf_tx *tx;
    hf_place place, nothing;
    REPLICATE(.interval_ms = 1);
    HF(hf_begin(store, HF_MAIN, "a test", &tx));
    HF(hf_run(tx, "INSERT INTO t VALUES (5)", ""));
    HF(hf_position(tx, &place));
    HF(hf_commit(tx));
    HF(hf_wait(store, &place, NULL));
    ck_assert_int_eq(in_the_replica("SELECT count(*) FROM t WHERE x = 5"), 1);
    hf_fake_fail(fake, HF_FAULT_REFUSE, -1);
    HF(put(6));
    HF(hf_begin(store, HF_READ, "a test", &tx));
    HF(hf_position(tx, &nothing));
    HF(hf_commit(tx));
    HF(hf_wait(store, &nothing, NULL)); /* nothing was written: there is nothing to wait for */
    hf_fake_fail(fake, HF_FAULT_NONE, 0);
}
END_TEST

static void close_in_callback(void *arg, int code, const char *words) {
    (void)words;
    int said = code == HF_OK ? hf_store_close(store) : code;
    ck_assert_ptr_nonnull(strstr(hf_errmsg(), "called by a callback of the replication"));
    atomic_store((atomic_int *)arg, said);
}

/* It is the thread whose end would be waited for. */
START_TEST(a_callback_of_the_replication_does_not_close_the_store) {
    atomic_int said = -1;
    REPLICATE(.interval_ms = 1);
    HF(put(1));
    HF(hf_wait_async(store, NULL, NULL, close_in_callback, &said));
    while (said == -1) sched_yield();
    ck_assert_int_eq(said, HF_USAGE);
    HF(put(2));
    HF(hf_wait(store, NULL, NULL));
}
END_TEST

START_TEST(a_store_is_replicated_once) {
    ck_assert_ptr_null(hf_store_source(store));
    HF_FAILS(hf_wait(store, NULL, NULL), HF_USAGE, "hf_store_replicate");
    REPLICATE(.interval_ms = 1);
    ck_assert_ptr_nonnull(hf_store_source(store));
    HF_FAILS(hf_store_replicate(store, urls, NULL), HF_BUSY, "already");
    HF_FAILS(hf_detach(hf_store_source(store)), HF_USAGE, "hf_store_close");
    HF(hf_wait(store, NULL, NULL));
}
END_TEST

START_TEST(a_main_that_is_replaced_ends_it_with_words) {
    char other[TEMP_PATH + 48];
    int code;
    REPLICATE(.interval_ms = 1);
    HF(put(1));
    HF(hf_wait(store, NULL, NULL));
    snprintf(other, sizeof other, "%s-gone", path);
    ck_assert_int_eq(rename(path, other), 0);
    do code = hf_wait(store, NULL, NULL);
    while (code == HF_OK);
    do HF_FAILS(hf_wait(store, NULL, NULL), HF_CANCELLED, "replaced");
    while (!strstr(hf_errmsg(), "close the store and open it anew"));
    HF_FAILS(hf_store_replicate(store, urls, NULL), HF_BUSY, "has ended");
    ck_assert_ptr_nonnull(strstr(hf_errmsg(), "close the store and open it anew"));
    HF_FAILS(hf_store_close(store), HF_CANCELLED, "close the store and open it anew");
    ck_assert_int_eq(seen("replication.ended"), 1);
    ck_assert_int_eq(rename(other, path), 0);
    open_store();
}
END_TEST

START_TEST(a_machine_is_lost_and_another_goes_on) {
    char second[TEMP_PATH + 32];
    int restored;
    REPLICATE(.interval_ms = 1);
    for (int i = 0; i < 10; i++) HF(put(i));
    HF(hf_wait(store, NULL, NULL));
    snprintf(second, sizeof second, "%s/second.db", app_dir);
    HF(hf_restore_if_missing(second, urls, NULL, &restored));
    ck_assert_int_eq(restored, 1);
    HF(hf_restore_if_missing(second, urls, NULL, &restored));
    ck_assert_int_eq(restored, 0); /* it is there */
    hf_store *first = store;
    snprintf(path, sizeof path, "%s", second);
    open_store();
    REPLICATE(.interval_ms = 1); /* without take_over */
    HF(put(10));
    HF(hf_wait(store, NULL, NULL));
    ck_assert_int_eq(in_the_replica("SELECT count(*) FROM t"), 11);
    hf_store *now = store;
    store = first; /* it comes back */
    HF(put(11));
    HF_FAILS(hf_wait(store, NULL, NULL), HF_FENCED, "another writer took over");
    HF_FAILS(hf_store_close(first), HF_FENCED, "FENCED");
    store = now;
}
END_TEST

START_TEST(no_backup_is_no_error) {
    char nowhere[TEMP_PATH + 32];
    int restored = 7;
    snprintf(nowhere, sizeof nowhere, "%s/new.db", app_dir);
    HF(hf_restore_if_missing(nowhere, urls, NULL, &restored));
    ck_assert_int_eq(restored, 0);
    ck_assert_int_ne(access(nowhere, F_OK), 0);
}
END_TEST

START_TEST(a_backup_that_cannot_be_asked_for_is_not_taken_for_none) {
    char nowhere[TEMP_PATH + 32];
    int restored = 7;
    static const char *closed[] = {"s3://bucket/app?endpoint=http://127.0.0.1:1", NULL};
    snprintf(nowhere, sizeof nowhere, "%s/new.db", app_dir);
    setenv("AWS_ACCESS_KEY_ID", "a", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "b", 1);
    hf_replicate_options o = {.size = sizeof o, .start_ms = 100};
    HF_FAILS(hf_restore_if_missing(nowhere, closed, &o, &restored), HF_TIMEOUT, "did not answer");
    ck_assert_int_eq(restored, 7);
    ck_assert_int_ne(access(nowhere, F_OK), 0);
}
END_TEST

START_TEST(a_fake_counts_and_fails_as_told) {
    REPLICATE(.interval_ms = 1);
    HF(hf_wait(store, NULL, NULL));
    uint64_t puts = hf_fake_puts(fake);
    hf_fake_fail(fake, HF_FAULT_LOST, 2);
    HF(put(1));
    HF(hf_wait(store, NULL, NULL));
    ck_assert_uint_eq(hf_fake_puts(fake) - puts, 3); /* two without an answer, then it is there */
    ck_assert_int_eq(seen("ship.retry"), 2);
}
END_TEST

int main(void) {
    Suite *s = suite_create("store/fake");
    TCase *t = tcase_create("fake");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, an_hour_of_levels_passes_in_a_moment);
    tcase_add_test(t, nothing_happens_while_time_stands_still);
    tcase_add_test(t, a_deadline_passes_when_time_is_moved);
    tcase_add_test(t, an_end_in_standing_time_ends);
    tcase_add_test(t, a_close_ships_what_is_left);
    tcase_add_test(t, a_close_without_a_destination_says_what_is_lacking);
    tcase_add_test(t, a_commit_wakes_the_run);
    tcase_add_test(t, to_wait_within_a_transaction_is_refused);
    tcase_add_test(t, a_place_of_a_transaction_is_waited_for);
    tcase_add_test(t, a_callback_of_the_replication_does_not_close_the_store);
    tcase_add_test(t, a_store_is_replicated_once);
    tcase_add_test(t, a_main_that_is_replaced_ends_it_with_words);
    tcase_add_test(t, a_machine_is_lost_and_another_goes_on);
    tcase_add_test(t, no_backup_is_no_error);
    tcase_add_test(t, a_backup_that_cannot_be_asked_for_is_not_taken_for_none);
    tcase_add_test(t, a_fake_counts_and_fails_as_told);
    suite_add_tcase(s, t);
    return run_suite(s);
}
