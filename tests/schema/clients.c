/* Who has the database open, what each of them knows, and whom a contract waits for. */
#include "handle.h"

#include "schema/clients.h"
#include "schema/lock.h"

#include "vfs.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define MANY 200

/* A program that knows the migrations up to `version`, from 1 to 9. */
static hf_schema *program(int version, const char *app, const char *noise) {
    static const hf_migration all[] = {{"1_a", "CREATE TABLE a(x);"}, {"2_b", "CREATE TABLE b(x);"},
                                       {"3_c", "CREATE TABLE c(x);"}, {"4_d", "CREATE TABLE d(x);"},
                                       {"5_e", "CREATE TABLE e(x);"}, {"6_f", "CREATE TABLE f(x);"},
                                       {"7_g", "CREATE TABLE g(x);"}, {"8_h", "CREATE TABLE h(x);"},
                                       {"9_i", "CREATE TABLE i(x);"}};
    hf_migration known[10] = {{NULL, NULL}};
    hf_schema_options o = {.size = sizeof o, .migrations = known, .app = app, .timeout_ms = 50000};
    hf_schema *s;
    memcpy(known, all, (size_t)version * sizeof *known);
    FINE(hf_schema_open(schema_path, noise, &o, &s));
    return s;
}

static hf_schema *joined(int version, const char *app) {
    hf_schema *s = program(version, app, NULL);
    FINE(hf_schema_join(s));
    return s;
}

static json_t *clients_of(hf_schema *s) {
    char *text;
    FINE(hf_schema_clients(s, &text));
    json_t *o = json_loads(text, 0, NULL);
    ck_assert_msg(json_is_array(json_object_get(o, "clients")), "%s", text);
    hf_free(text);
    return o;
}

static int alive(hf_schema *s) {
    json_t *o = clients_of(s), *c;
    size_t i;
    int n = 0;
    json_array_foreach(json_object_get(o, "clients"), i, c) n +=
        json_is_true(json_object_get(c, "alive"));
    json_decref(o);
    return n;
}

static struct err e;

static void blocked(hf_schema *s, int64_t version, const char *words) {
    rc r = clients_check(s, version, &e);
    ck_assert_msg(r.code == RC_CONFLICT, "%s: %s", rc_name(r.code), is_ok(r) ? "" : e.text);
    ck_assert_msg(strstr(e.text, words) != NULL, "'%s' is not in: %s", words, e.text);
}

static void free_for(hf_schema *s, int64_t version) {
    rc r = clients_check(s, version, &e);
    ck_assert_msg(is_ok(r), "%s", e.text);
}

/* A process that has joined, and lives until it is killed. */
static pid_t process(int version, const char *app) {
    int ready[2];
    char c;
    ck_assert_int_eq(pipe(ready), 0);
    others_close();
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        joined(version, app);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &c, 1), 1);
    close(ready[0]);
    others_open();
    return pid;
}

static void kill_it(pid_t pid) {
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

/* ---- who is there ---- */

START_TEST(who_joins_is_listed_until_he_closes) {
    hf_schema *a = joined(5, "control 40"), *b = joined(6, NULL), *look = program(6, "look", NULL);
    json_t *o = clients_of(look);
    const json_t *first = json_array_get(json_object_get(o, "clients"), 0);
    ck_assert_int_eq(json_array_size(json_object_get(o, "clients")), 2);
    ck_assert_str_eq(json_string_value(json_object_get(first, "app")), "control 40");
    ck_assert_int_eq(json_integer_value(json_object_get(first, "version")), 5);
    ck_assert_int_eq(json_integer_value(json_object_get(first, "pid")), getpid());
    json_decref(o);
    ck_assert_int_eq(alive(a), 2); /* with itself */
    hf_schema_close(a);
    ck_assert_int_eq(alive(look), 1);
    hf_schema_close(b);
    ck_assert_int_eq(alive(look), 0);
    hf_schema_close(look);
    hf_schema_close(NULL);
}
END_TEST

START_TEST(a_client_that_is_killed_is_gone_at_once_and_its_slot_is_used_again) {
    hf_schema *look = program(6, "look", NULL);
    for (int i = 0; i < 30; i++) {
        pid_t pid = process(5, "control 40");
        ck_assert_int_eq(alive(look), 1);
        blocked(look, 6, "control 40 (pid ");
        kill_it(pid);
        ck_assert_int_eq(alive(look), 0);
        free_for(look, 6);
    }
    ck_assert_int_eq(seen_by_others("SELECT count(*) FROM holdfast_client"), 1);
    hf_schema_close(look);
}
END_TEST

START_TEST(two_hundred_that_come_at_once_have_a_slot_each) {
    hf_schema *look = program(6, "look", NULL);
    pid_t pids[MANY];
    int ready[2];
    char c;
    ck_assert_int_eq(pipe(ready), 0);
    others_close();
    for (int i = 0; i < MANY; i++) {
        pids[i] = fork();
        ck_assert_int_ge(pids[i], 0);
        if (pids[i]) continue;
        joined(5, "one of many");
        if (write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(ready[1]);
    for (int i = 0; i < MANY; i++) ck_assert_int_eq(read(ready[0], &c, 1), 1);
    others_open();
    ck_assert_int_eq(alive(look), MANY);
    ck_assert_int_eq(seen_by_others("SELECT count(*) + max(slot) FROM holdfast_client"),
                     MANY + MANY - 1);
    blocked(look, 6, "; and 197 more");
    free_for(look, 5);
    for (int i = 0; i < MANY; i++) kill_it(pids[i]);
    ck_assert_int_eq(alive(look), 0);
    hf_schema_close(joined(5, "after them"));
    ck_assert_int_eq(seen_by_others("SELECT count(*) FROM holdfast_client"), MANY);
    hf_schema_close(look);
}
END_TEST

START_TEST(no_more_than_there_are_slots) {
    struct lock *l;
    hf_schema *s = program(5, "one too many", NULL);
    rc r = lock_open(s->env, schema_path, &l, &e);
    for (int i = 0; is_ok(r) && i < LOCK_CLIENTS; i++) r = lock_take(l, LOCK_CLIENT + i, false, &e);
    ck_assert_msg(is_ok(r), "%s", e.text);
    SAYS(hf_schema_join(s), HF_BUSY, "4096 programs");
    lock_release(l, LOCK_CLIENT + 4095);
    FINE(hf_schema_join(s));
    lock_close(l);
    hf_schema_close(s);
}
END_TEST

/* ---- for whom a contract waits ---- */

START_TEST(one_that_knows_less_is_named) {
    hf_schema *runner = joined(9, "runner"), *old = joined(5, "control 40"),
              *new = joined(9, "new");
    char words[200];
    snprintf(words, sizeof words, "control 40 (pid %d on ", getpid());
    blocked(runner, 9, words);
    blocked(runner, 9, " knows only 5");
    ck_assert_ptr_null(strstr(e.text, "new"));
    free_for(runner, 5);
    hf_schema_close(old);
    free_for(runner, 9);
    hf_schema_close(new);
    free_for(runner, 10); /* it does not wait for itself */
    hf_schema_close(runner);
}
END_TEST

START_TEST(one_without_a_row_is_waited_for) {
    hf_schema *runner = program(9, "runner", NULL), *lost = joined(9, "lost");
    by_others("DELETE FROM holdfast_client");
    blocked(runner, 9, "a program that is not known (slot 0");
    by_others("DROP TABLE holdfast_client");
    blocked(runner, 9, "a program that is not known");
    ck_assert_int_eq(alive(runner), 1);
    hf_schema_close(lost);
    free_for(runner, 9);
    hf_schema_close(runner);
}
END_TEST

START_TEST(who_lost_his_lock_file_is_waited_for_while_his_process_lives) {
    hf_schema *runner = program(9, "runner", NULL);
    pid_t pid = process(5, "control 40");
    ck_assert_int_eq(unlink(below(schema_dir, "app.db-schema")), 0);
    blocked(runner, 9, "control 40 (pid ");
    blocked(runner, 9, "the lock file was removed");
    hf_schema *next = joined(9, "next"); /* in the same slot of another file */
    blocked(runner, 9, "the lock file was removed");
    kill_it(pid);
    free_for(runner, 9);
    hf_schema_close(next);
    hf_schema_close(runner);
}
END_TEST

START_TEST(rows_that_came_with_a_restored_database_are_of_nobody) {
    pid_t pid = process(9, "control 41"); /* the same number as one that was there before */
    hf_schema *runner = program(9, "runner", NULL);
    char *sql =
        sqlite3_mprintf("INSERT INTO holdfast_client(lock, slot, app, version, pid, host,"
                        " opened_ms) SELECT 'another', 1, 'control 40', 5, pid, host, 1000"
                        " FROM holdfast_client UNION ALL SELECT 'another', 2, 'control 40',"
                        " 5, %d, host, 1000 FROM holdfast_client UNION ALL SELECT 'another',"
                        " 3, 'control 40', 5, pid, 'elsewhere', 1000 FROM holdfast_client",
                        getpid());
    by_others(sql);
    sqlite3_free(sql);
    ck_assert_int_eq(alive(runner), 1);
    free_for(runner, 9);
    hf_schema *next = joined(9, "next");
    ck_assert_int_eq(seen_by_others("SELECT count(*) FROM holdfast_client WHERE lock = 'another'"),
                     1); /* of the number that is in use */
    kill_it(pid);
    free_for(runner, 9);
    hf_schema_close(next);
    hf_schema_close(runner);
}
END_TEST

START_TEST(a_client_whose_lock_file_was_removed_is_told_when_it_asks_for_more) {
    hf_schema *s = program(5, "control 40", NULL);
    ck_assert_int_eq(alive(s), 0); /* it has the file open */
    ck_assert_int_eq(unlink(below(schema_dir, "app.db-schema")), 0);
    SAYS(hf_schema_join(s), HF_CONFLICT, "was removed or replaced");
    hf_schema_close(s);
    hf_schema_close(joined(5, "control 40"));
}
END_TEST

/* ---- rows ---- */

START_TEST(the_row_is_in_noise_where_there_is_one_and_written_once) {
    hf_schema *s = program(5, "control 40", schema_noise);
    int64_t main_before = seen_by_others("PRAGMA main.data_version");
    int64_t noise_before = seen_by_others("PRAGMA noise.data_version");
    FINE(hf_schema_join(s));
    ck_assert_int_eq(seen_by_others("PRAGMA main.data_version"), main_before);
    ck_assert_int_eq(seen_by_others("SELECT count(*) FROM noise.holdfast_client"), 1);
    int64_t noise_after = seen_by_others("PRAGMA noise.data_version");
    ck_assert_int_ne(noise_after, noise_before);
    for (int i = 0; i < 20; i++) ck_assert_int_eq(alive(s), 1);
    ck_assert_int_eq(seen_by_others("PRAGMA noise.data_version"), noise_after);
    hf_schema_close(s);
    ck_assert_int_eq(seen_by_others("PRAGMA noise.data_version"), noise_after);
    ck_assert_int_eq(seen_by_others("PRAGMA main.data_version"), main_before);
}
END_TEST

START_TEST(of_two_rows_of_a_slot_the_later_one_counts) {
    hf_schema *old = joined(5, "in main"); /* slot 0, in main */
    hf_schema_close(old);
    by_others("UPDATE holdfast_client SET opened_ms = opened_ms - 1"); /* not the same moment */
    hf_schema *now = program(9, "in noise", schema_noise), *runner;
    FINE(hf_schema_join(now));
    runner = program(9, "runner", schema_noise);
    free_for(runner, 9);
    by_others("UPDATE holdfast_client SET opened_ms = opened_ms + 100000");
    blocked(runner, 9, "in main");
    hf_schema_close(now);
    free_for(runner, 9);
    hf_schema_close(runner);
}
END_TEST

/* ---- who may not ---- */

#define HISTORY                                                                                    \
    "CREATE TABLE holdfast_schema(one INTEGER PRIMARY KEY, format INTEGER, min_version INTEGER);"  \
    "INSERT INTO holdfast_schema VALUES (1, 1, 6);"

START_TEST(an_older_program_is_refused_before_anything_is_written) {
    by_others(HISTORY);
    int64_t before = seen_by_others("PRAGMA main.data_version");
    hf_schema *s = program(5, "control 40", NULL);
    SAYS(hf_schema_join(s), HF_UNFIT,
         "app.db: its schema is newer: 6 was contracted; this program ('control 40') knows up to 5:"
         " start a newer one");
    ck_assert_int_eq(alive(s), 0);
    ck_assert_int_eq(seen_by_others("PRAGMA main.data_version"), before);
    by_others("UPDATE holdfast_schema SET min_version = 5");
    FINE(hf_schema_join(s));
    hf_schema_close(s);
}
END_TEST

START_TEST(an_older_program_is_refused_for_either_file) {
    hf_schema *s = program(5, "control 40", schema_noise);
    by_others(HISTORY);
    SAYS(hf_schema_join(s), HF_UNFIT, "app.db: its schema is newer");
    by_others("UPDATE holdfast_schema SET min_version = 0;"
              "CREATE TABLE noise.holdfast_schema AS SELECT one, format, 6 AS min_version"
              " FROM main.holdfast_schema");
    SAYS(hf_schema_join(s), HF_UNFIT, "app-noise.db: its schema is newer");
    by_others("DROP TABLE noise.holdfast_schema");
    FINE(hf_schema_join(s));
    SAYS(hf_schema_join(s), HF_USAGE, "joined already");
    hf_schema_close(s);
}
END_TEST

START_TEST(who_comes_during_a_contract_waits_for_its_end) {
    struct lock *contract;
    hf_schema *s = program(5, "control 40", NULL);
    rc r = lock_open(s->env, schema_path, &contract, &e);
    if (is_ok(r)) r = lock_take(contract, LOCK_GATE, false, &e);
    ck_assert_msg(is_ok(r), "%s", e.text);
    s->options.timeout_ms = 20;
    SAYS(hf_schema_join(s), HF_TIMEOUT, "contract");
    ck_assert_int_eq(alive(s), 0);
    lock_close(contract);
    FINE(hf_schema_join(s));
    hf_schema_close(s);
}
END_TEST

/* ---- when the disk fails ---- */

/* Nobody is there, and who comes next is let in. */
static void expect_as_before(const char *when, int n) {
    hf_schema *s = program(5, "next", schema_noise);
    ck_assert_msg(alive(s) == 0, "%s %d: somebody is there", when, n);
    ck_assert_msg(hf_schema_join(s) == HF_OK, "%s %d: %s", when, n, hf_errmsg());
    hf_schema_close(s);
}

static void anew(void) {
    others_close();
    temp_dir(schema_dir);
    snprintf(schema_path, sizeof schema_path, "%s/app.db", schema_dir);
    snprintf(schema_noise, sizeof schema_noise, "%s/app-noise.db", schema_dir);
    others_open();
    others_close();
}

START_TEST(a_disk_that_fails_at_any_effect_leaves_no_client) {
    static const char *const names[] = {"error", "full"};
    int failed = 0;
    take_vfs();
    for (int n = 1;; n++) {
        anew();
        hf_schema *s = program(5, "control 40", schema_noise);
        hf_schema *look = program(5, "look", schema_noise);
        fault_at(_i ? FAULT_FULL : FAULT_IO, n);
        int code = hf_schema_join(s), fired = fault_fired;
        fault_at(FAULT_IO, 0);
        ck_assert_msg(code == HF_OK || code == HF_IO || code == HF_FULL || code == HF_BUSY,
                      "%s %d: %s: %s", names[_i], n, hf_strcode(code), hf_errmsg());
        ck_assert_int_eq(alive(look), code == HF_OK);
        hf_schema_close(look);
        failed += code != HF_OK;
        hf_schema_close(s);
        expect_as_before(names[_i], n);
        others_open();
        if (!fired) break;
    }
    ck_assert_int_gt(failed, 3);
}
END_TEST

START_TEST(one_who_is_killed_at_any_effect_is_no_client) {
    int killed = 0, status;
    take_vfs();
    for (int n = 1;; n++) {
        anew();
        pid_t pid = fork();
        if (pid == 0) {
            fault_at(FAULT_KILL, n);
            hf_schema *s = program(5, "control 40", schema_noise);
            _exit(hf_schema_join(s));
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        expect_as_before("killed at", n);
        others_open();
        if (!WIFSIGNALED(status)) break;
        killed++;
    }
    ck_assert_int_eq(status, 0);
    ck_assert_int_gt(killed, 3);
}
END_TEST

/* ---- in a store ---- */

static int add_row(hf_tx *t, void *arg) {
    (void)arg;
    return hf_exec(t, "INSERT INTO m(v) VALUES (random())");
}

static hf_store *store_of(int version, hf_schema **schema) {
    hf_store_options o = {.size = sizeof o, TABLES};
    hf_migration known[] = {{"5_e", "CREATE TABLE e(x);"}, {NULL, NULL}};
    hf_schema_options so = {.size = sizeof so, .migrations = known, .app = "control 40"};
    hf_store *s;
    if (version == 6) known[0].name = "6_f";
    FINE(hf_store_open(schema_path, &o, &s));
    FINE(hf_schema_of(s, &so, schema));
    return s;
}

START_TEST(the_writes_of_a_store_are_refused_when_its_schema_has_gone_on) {
    hf_schema *schema;
    hf_store *s = store_of(5, &schema);
    FINE(hf_schema_join(schema));
    FINE(hf_write(s, HF_MAIN, "add", add_row, NULL));
    by_others(HISTORY); /* a contract, though it lives */
    int64_t rows = number(s, "SELECT count(*) FROM m");
    SAYS(hf_write(s, HF_MAIN, "add", add_row, NULL), HF_UNFIT, "app.db: its schema is newer: 6");
    SAYS(hf_put(s, "k", hf_text("v")), HF_UNFIT, "start a newer one");
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), rows);
    FINE(write_sql(s, HF_NOISE, "INSERT INTO noise.n VALUES (1, 1)"));
    hf_schema_close(schema);
    FINE(hf_write(s, HF_MAIN, "add", add_row, NULL)); /* who is no client any more is not asked */
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_store_writes_no_row_into_main_and_none_twice) {
    hf_schema *schema;
    hf_store *s = store_of(5, &schema);
    int64_t before = seen_by_others("PRAGMA main.data_version"), noise;
    FINE(hf_schema_join(schema));
    ck_assert_int_eq(seen_by_others("SELECT count(*) FROM noise.holdfast_client"), 1);
    noise = seen_by_others("PRAGMA noise.data_version");
    for (int i = 0; i < 100; i++) FINE(hf_read(s, "read", run_text, (char[]){"SELECT 1 FROM m"}));
    ck_assert_int_eq(seen_by_others("PRAGMA main.data_version"), before);
    for (int i = 0; i < 100; i++) FINE(hf_write(s, HF_MAIN, "add", add_row, NULL));
    ck_assert_int_eq(seen_by_others("PRAGMA noise.data_version"), noise);
    hf_schema *second;
    hf_schema_options o = {.size = sizeof o,
                           .migrations = (hf_migration[]){{"5_e", "SELECT 1;"}, {NULL, NULL}}};
    FINE(hf_schema_of(s, &o, &second));
    SAYS(hf_schema_join(second), HF_USAGE, "another hf_schema of this store");
    ck_assert_int_eq(alive(second), 1);
    hf_schema_close(second);
    FINE(hf_write(s, HF_MAIN, "add", add_row, NULL));
    hf_schema_close(schema);
    FINE(hf_store_close(s));
}
END_TEST

/* ---- forks and threads ---- */

START_TEST(a_handle_is_of_no_use_in_a_child_and_its_close_there_takes_nothing_away) {
    hf_schema *s = joined(5, "parent"), *look = program(9, "look", NULL);
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (hf_schema_join(s) != HF_USAGE) _exit(1);
        if (!strstr(hf_errmsg(), "fork")) _exit(2);
        char *json;
        if (hf_schema_clients(s, &json) != HF_USAGE) _exit(3);
        hf_schema_close(s);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(alive(look), 1);
    hf_schema_close(s);
    ck_assert_int_eq(alive(look), 0);
    hf_schema_close(look);
}
END_TEST

START_TEST(a_child_that_lives_on_does_not_keep_a_parent_that_has_closed) {
    hf_schema *s = joined(5, "parent"), *look = program(9, "look", NULL);
    pid_t pid = fork();
    if (pid == 0)
        for (;;) pause();
    ck_assert_int_eq(alive(look), 1);
    hf_schema_close(s);
    ck_assert_int_eq(alive(look), 0);
    free_for(look, 9);
    kill_it(pid);
    hf_schema_close(look);
}
END_TEST

static void *come_and_go(void *arg) {
    for (int i = 0; i < 40; i++) hf_schema_close(joined(5, "thread"));
    return arg;
}

START_TEST(threads_with_handles_of_their_own_come_and_go) {
    pthread_t threads[4];
    hf_schema *look = program(9, "look", NULL);
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, come_and_go, NULL);
    for (int i = 0; i < 20; i++) ck_assert_int_le(alive(look), 4);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    ck_assert_int_eq(alive(look), 0);
    ck_assert_int_le(seen_by_others("SELECT max(slot) FROM holdfast_client"), 3);
    hf_schema_close(look);
}
END_TEST

static atomic_int said[HF_UNFIT + 1];

static void *use_it(void *handle) {
    for (int i = 0; i < 200; i++) {
        char *json = NULL;
        atomic_fetch_add(&said[hf_schema_clients(handle, &json)], 1);
        hf_free(json);
    }
    return NULL;
}

START_TEST(a_handle_that_two_threads_use_at_once_says_so_and_stays_whole) {
    hf_schema *s = joined(5, "shared");
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, use_it, s);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    ck_assert_int_eq(said[HF_OK] + said[HF_BUSY], 400);
    ck_assert_int_ge(said[HF_OK], 200);
    ck_assert_int_eq(alive(s), 1);
    hf_schema_close(s);
}
END_TEST

int main(void) {
    Suite *s = suite_create("schema/clients");
    TCase *c = tcase_create("clients");
    tcase_add_unchecked_fixture(c, temp_setup, temp_teardown);
    tcase_add_checked_fixture(c, schema_setup, schema_teardown);
    tcase_add_test(c, who_joins_is_listed_until_he_closes);
    tcase_add_test(c, a_client_that_is_killed_is_gone_at_once_and_its_slot_is_used_again);
    tcase_add_test(c, two_hundred_that_come_at_once_have_a_slot_each);
    tcase_add_test(c, no_more_than_there_are_slots);
    tcase_add_test(c, one_that_knows_less_is_named);
    tcase_add_test(c, one_without_a_row_is_waited_for);
    tcase_add_test(c, who_lost_his_lock_file_is_waited_for_while_his_process_lives);
    tcase_add_test(c, rows_that_came_with_a_restored_database_are_of_nobody);
    tcase_add_test(c, a_client_whose_lock_file_was_removed_is_told_when_it_asks_for_more);
    tcase_add_test(c, the_row_is_in_noise_where_there_is_one_and_written_once);
    tcase_add_test(c, of_two_rows_of_a_slot_the_later_one_counts);
    tcase_add_test(c, an_older_program_is_refused_before_anything_is_written);
    tcase_add_test(c, an_older_program_is_refused_for_either_file);
    tcase_add_test(c, who_comes_during_a_contract_waits_for_its_end);
    tcase_add_loop_test(c, a_disk_that_fails_at_any_effect_leaves_no_client, 0, 2);
    tcase_add_test(c, one_who_is_killed_at_any_effect_is_no_client);
    tcase_add_test(c, the_writes_of_a_store_are_refused_when_its_schema_has_gone_on);
    tcase_add_test(c, a_store_writes_no_row_into_main_and_none_twice);
    tcase_add_test(c, a_handle_is_of_no_use_in_a_child_and_its_close_there_takes_nothing_away);
    tcase_add_test(c, a_child_that_lives_on_does_not_keep_a_parent_that_has_closed);
    tcase_add_test(c, threads_with_handles_of_their_own_come_and_go);
    tcase_add_test(c, a_handle_that_two_threads_use_at_once_says_so_and_stays_whole);
    suite_add_tcase(s, c);
    return run_suite(s);
}
