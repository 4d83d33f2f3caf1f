/* Restore points: who replicates, what they hold, and that retention leaves them. */
#include "replicated.h"

#include "replica/notes.h"

#include <signal.h>
#include <sys/wait.h>

static json_t *pins(void) {
    struct store *store = destination();
    json_t *all;
    OK(note_read(store, "holdfast/pins.json", &all, e));
    store_free(store);
    return all;
}

/* ---- who replicates ---- */

START_TEST(nobody_replicates) {
    struct restore_point p;
    struct restore_point *points;
    size_t count;
    bool there = true;
    OK(safety_find(&box, &there, e));
    ck_assert(!there);
    CODE(safety_wait(&box, false, 1000, e), RC_NOTFOUND);
    says("nobody replicates");
    CODE(restore_point_make(&conn, "before-1-a", &p, e), RC_NOTFOUND);
    CODE(restore_points(&box, NULL, &points, &count, e), RC_NOTFOUND);
}
END_TEST

START_TEST(this_process_does) {
    bool there = false;
    REPLICATE();
    OK(safety_find(&box, &there, e));
    ck_assert(there);
    hf_fake_fail(fake, HF_FAULT_REFUSE, -1);
    sql("INSERT INTO t VALUES (1)");
    CODE(safety_wait(&box, true, 50, e), RC_TIMEOUT);
    hf_fake_fail(fake, HF_FAULT_NONE, 0);
    OK(safety_wait(&box, true, 10000, e));
    end_replication();
    OK(safety_find(&box, &there, e));
    ck_assert(!there);
}
END_TEST

/* By its socket, and then no more: it was killed. */
START_TEST(another_process_does) {
    int ready[2];
    char byte;
    bool there = false;
    struct restore_point p;
    snprintf(replica, sizeof replica, "%s/100%% replica", app_dir); /* a name that is no URL */
    urls[0] = replica;
    sconn_close(&conn);
    sqlite3_close(app);
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        hf_replicate_options o = {.size = sizeof o, .interval_ms = 1, .socket = 1};
        app_open();
        int code = hf_attach(app, urls, &o, &source);
        if (code != HF_OK) fprintf(stderr, "%s\n", hf_errmsg());
        if (code != HF_OK || write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    app_open();
    OK(sconn_open(&box, false, &conn, e));
    sql("INSERT INTO t VALUES (42)");
    OK(safety_find(&box, &there, e));
    ck_assert(there);
    OK(safety_wait(&box, true, 10000, e));
    OK(restore_point_make(&conn, "before-1-a", &p, e));
    ck_assert_int_eq(of_restored(p.txid, "SELECT count(*) FROM t WHERE x = 42"), 1);
    ck_assert_msg(strstr(p.url, "/100% replica") != NULL, "%s", p.url);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    OK(safety_find(&box, &there, e));
    ck_assert(!there);
    CODE(safety_wait(&box, true, 1000, e), RC_NOTFOUND);
}
END_TEST

/* ---- restore points ---- */

START_TEST(a_restore_point_holds_what_was_committed_before_it) {
    struct restore_point p;
    REPLICATE();
    for (int i = 1; i <= 5; i++) {
        char name[40], text[60];
        snprintf(text, sizeof text, "INSERT INTO t VALUES (%d)", i);
        sql(text);
        snprintf(name, sizeof name, "before-%d-run", i);
        OK(restore_point_make(&conn, name, &p, e));
        sql("INSERT INTO t VALUES (-1)");
        ck_assert_str_eq(p.name, name);
        ck_assert_str_eq(p.url, urls[0]);
        ck_assert_int_eq(of_restored(p.txid, "SELECT max(x) FROM t"), i);
        ck_assert_int_eq(of_restored(p.txid, "SELECT count(*) FROM t"), 2 * i - 1);
    }
    end_replication();
}
END_TEST

START_TEST(a_restore_point_is_at_each_destination) {
    struct restore_point p;
    hf_fake *second;
    HF(hf_fake_new(&second));
    urls[1] = hf_fake_url(second);
    REPLICATE();
    OK(restore_point_make(&conn, "before-1-run", &p, e));
    for (int i = 0; i < 2; i++) {
        struct restore_point *points;
        size_t count;
        OK(restore_points(&box, urls[i], &points, &count, e));
        ck_assert_uint_eq(count, 1);
        ck_assert_str_eq(points[0].name, "before-1-run");
        free(points);
    }
    hf_fake_fail(second, HF_FAULT_REFUSE, -1);
    sql("INSERT INTO t VALUES (1)");
    box.options.wait_ms = 50;
    CODE(restore_point_make(&conn, "before-2-run", &p, e), RC_TIMEOUT);
    hf_fake_fail(second, HF_FAULT_NONE, 0);
    end_replication();
    hf_fake_free(second);
}
END_TEST

START_TEST(pins_of_others_are_left_and_old_pairs_go) {
    struct restore_point p;
    struct store *store;
    struct restore_point *points;
    size_t count, others = 0, i;
    json_t *pin;
    REPLICATE();
    store = destination();
    json_t *given = json_pack("[{s:i, s:s, s:[i]}, {s:i, s:s}]", "txid", 1, "why", "mine", "more",
                              7, "txid", 1, "name", "golden");
    OK(note_write(store, "holdfast/pins.json", given, e));
    json_decref(given);
    for (int run = 1; run <= 13; run++) {
        char name[40];
        snprintf(name, sizeof name, "before-%d-run", run);
        OK(restore_point_make(&conn, name, &p, e));
        if (run == 5) continue; /* it was killed */
        snprintf(name, sizeof name, "after-%d-run", run);
        OK(restore_point_make(&conn, name, &p, e));
    }
    OK(restore_points(&box, NULL, &points, &count, e));
    ck_assert_uint_eq(count, 19);
    ck_assert_str_eq(points[0].name, "after-13-run");
    ck_assert_str_eq(points[1].name, "before-13-run");
    ck_assert_str_eq(points[18].name, "before-4-run");
    free(points);
    json_t *all = pins();
    json_array_foreach(all, i, pin) {
        const char *why = json_string_value(json_object_get(pin, "why"));
        others += why && strcmp(why, "mine") == 0 &&
                  json_integer_value(json_array_get(json_object_get(pin, "more"), 0)) == 7;
        others += json_string_value(json_object_get(pin, "name")) &&
                  strcmp(json_string_value(json_object_get(pin, "name")), "golden") == 0;
    }
    ck_assert_uint_eq(others, 2);
    ck_assert_uint_eq(json_array_size(all), 21);
    json_decref(all);
    OK(restore_point_make(&conn, "after-13-run", &p,
                          e)); /* again: it takes the place of the first */
    all = pins();
    ck_assert_uint_eq(json_array_size(all), 21);
    json_decref(all);
    store_free(store);
    end_replication();
}
END_TEST

static const char *const broken_pins[] = {"{}", "not json", "7"};
START_TEST(pins_that_cannot_be_read_are_not_written_over) {
    struct restore_point p;
    struct restore_point *points;
    size_t count;
    char found[16] = "";
    REPLICATE();
    struct store *store = destination();
    OK(store->ops->put_note(store, "holdfast/pins.json", broken_pins[_i], strlen(broken_pins[_i]),
                            e));
    CODE(restore_point_make(&conn, "before-1-run", &p, e), RC_CORRUPT);
    CODE(restore_points(&box, NULL, &points, &count, e), RC_CORRUPT);
    OK(store->ops->get(store, "holdfast/pins.json", 0, found, strlen(broken_pins[_i]), e));
    ck_assert_str_eq(found, broken_pins[_i]);
    store_free(store);
    end_replication();
}
END_TEST

/* Retention that had read the pins before: it takes the newest state when the pin is written. */
static struct env raced;
static struct env_files raced_files;
static rc rename_and_take(struct env *env, const char *from, const char *to, bool replace,
                          struct err *e) {
    char command[TEMP_PATH * 2];
    snprintf(command, sizeof command, "cd '%s/ltx/0' && rm \"$(ls | tail -1)\"", replica);
    if (strstr(to, "pins.json")) ck_assert_int_eq(system(command), 0);
    return store_env()->files->rename(env, from, to, replace, e);
}

START_TEST(a_state_that_retention_has_just_taken_is_no_restore_point) {
    struct restore_point p;
    to_directory();
    for (int i = 0; i < 10; i++) {
        sql("INSERT INTO t VALUES (1)");
        OK(safety_wait(&box, true, 10000, e));
    }
    raced = *store_env();
    raced_files = *raced.files;
    raced_files.rename = rename_and_take;
    raced.files = &raced_files;
    box.env = &raced;
    CODE(restore_point_make(&conn, "before-1-run", &p, e), RC_NOTFOUND);
    says("restore point before-1-run at file://");
    end_replication();
}
END_TEST

static int level0_count(struct store *store) {
    struct listing l = {0};
    int n = 0;
    OK(replica_list(store, &l, NULL, e));
    for (size_t i = 0; i < l.count; i++) n += l.files[i].level == 0;
    listing_deinit(&l);
    return n;
}

static uint64_t newest(struct store *store) {
    struct listing l = {0};
    struct plan plan = {0};
    OK(replica_list(store, &l, NULL, e));
    OK(plan_make(&l, (struct target){0}, &plan, e));
    uint64_t txid = plan.txid;
    plan_deinit(&plan);
    listing_deinit(&l);
    return txid;
}

START_TEST(retention_leaves_a_restore_point) {
    struct restore_point p;
    struct plan plan = {0};
    struct listing l = {0};
    REPLICATE(.keep_level0_ms = 1, .keep_snapshots_ms = 1, .level_ms = {0, 1000, 5000, 20000},
              .snapshot_ms = 60000);
    hf_fake_stop_clock(fake);
    struct store *store = destination();
    sql("INSERT INTO t VALUES (1)");
    OK(restore_point_make(&conn, "before-1-run", &p, e));
    sql("INSERT INTO t VALUES (2)");
    OK(safety_wait(&box, true, 10000, e));
    uint64_t not_pinned = newest(store);
    ck_assert_uint_gt(not_pinned, p.txid);
    for (int i = 0; i < 30; i++) {
        sql("INSERT INTO t VALUES (3)");
        OK(safety_wait(&box, true, 10000, e));
        hf_fake_advance(fake, 120000);
    }
    for (int looks = 0; level0_count(store) > 10; looks++) {
        ck_assert_int_lt(looks, 100000);
        hf_fake_advance(fake, 20000);
    }
    OK(replica_list(store, &l, NULL, e));
    CODE(plan_make(&l, (struct target){.txid = not_pinned}, &plan, e), RC_NOTFOUND);
    listing_deinit(&l);
    ck_assert_int_eq(of_restored(p.txid, "SELECT max(x) FROM t"), 1);
    store_free(store);
    end_replication();
}
END_TEST

int main(void) {
    Suite *s = suite_create("schema/safety");
    TCase *t = tcase_create("restore points");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, box_setup, box_teardown);
    tcase_add_test(t, nobody_replicates);
    tcase_add_test(t, this_process_does);
    tcase_add_test(t, another_process_does);
    tcase_add_test(t, a_restore_point_holds_what_was_committed_before_it);
    tcase_add_test(t, a_restore_point_is_at_each_destination);
    tcase_add_test(t, pins_of_others_are_left_and_old_pairs_go);
    ADD_ROWS(t, pins_that_cannot_be_read_are_not_written_over, broken_pins);
    tcase_add_test(t, retention_leaves_a_restore_point);
    tcase_add_test(t, a_state_that_retention_has_just_taken_is_no_restore_point);
    suite_add_tcase(s, t);
    return run_suite(s);
}
