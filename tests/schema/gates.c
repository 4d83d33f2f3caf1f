/* Who is waited for, and the way back. */
#include "engine.h"

#include "schema/lock.h"

#include <sys/wait.h>

static void setup(void) {
    make_files();
    event_count = 0;
}

/* ---- gates ---- */

START_TEST(a_contract_waits_for_its_soak_time) {
    json_t *answer;
    struct run_options o = {.no_soak = true};
    with_rows();
    RUNS(run_with(apply_run, soaking, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "2 expand, 2 sync, 2 backfill, 2 verify");
    ck_assert_msg(strstr(why_waits(answer), "another 59 min") != NULL ||
                      strstr(why_waits(answer), "another 1 h 0 min"),
                  "%s", why_waits(answer));
    json_decref(answer);
    /* The clock was set back by a day: it soaks anew, and no longer. */
    sql(app, "UPDATE holdfast_migration SET phase_ms = phase_ms + 86400000 WHERE version = 2");
    RUNS(run_with(apply_run, soaking, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "");
    ck_assert_str_eq(why_waits(answer), "it soaks for another 1 h 0 min");
    json_decref(answer);
    sql(app, "UPDATE holdfast_migration SET phase_ms = phase_ms - 86400000 WHERE version = 2");
    sql(app, "UPDATE holdfast_migration SET phase_ms = phase_ms - 3540000 WHERE version = 2");
    RUNS(run_with(apply_run, soaking, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "");
    json_decref(answer);
    sql(app, "UPDATE holdfast_migration SET phase_ms = phase_ms - 60000 WHERE version = 2");
    RUNS(run_with(apply_run, soaking, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "2 contract");
    json_decref(answer);
    make_files();
    with_rows();
    RUNS(run_with(apply_run, soaking, &o, &answer), RC_OK);
    ck_assert_str_eq(why_waits(answer), "");
    json_decref(answer);
    ROWS(app, PHASES, "1|done;2|done");
}
END_TEST

START_TEST(a_contract_asks_the_verification_again) {
    with_rows();
    to_phase(split, PHASE_VERIFIED);
    sql(app, "UPDATE user SET first = 'wrong' WHERE id = 4");
    refuses(split, RC_CONFLICT, "the verification gives 1 and not 0");
    ROWS(app, PHASES, "1|done;2|verified");
    ROWS(app, "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'", "1");
    sql(app, "UPDATE user SET first = name");
    applies(split);
    ROWS(app, PHASES, "1|done;2|done");
}
END_TEST

/* Another program, from its hello to its end. */
struct other {
    pid_t pid;
    int in, out;
};

static void start_client(struct other *o, const hf_migration *list) {
    int to[2], from[2];
    char byte;
    ck_assert_int_eq(pipe(to) | pipe(from), 0);
    o->pid = fork();
    if (o->pid == 0) {
        hf_schema *s = open_schema(list);
        struct err why;
        close(to[1]);
        rc r = clients_join(s, set_newest(&s->set), &s->presence, &why);
        if (write(from[1], is_ok(r) ? "y" : "n", 1) != 1 || read(to[0], &byte, 1) != 1) _exit(1);
        _exit(0);
    }
    close(to[0]);
    close(from[1]);
    o->in = to[1];
    o->out = from[0];
    ck_assert_int_eq(read(o->out, &byte, 1), 1);
    ck_assert_int_eq(byte, 'y');
}

static void end_client(struct other *o) {
    int status;
    ck_assert_int_eq(write(o->in, "x", 1), 1);
    close(o->in);
    close(o->out);
    ck_assert_int_eq(waitpid(o->pid, &status, 0), o->pid);
    ck_assert_int_eq(status, 0);
}

START_TEST(a_contract_waits_for_older_programs_and_not_for_its_own) {
    struct other older, same;
    json_t *answer;
    with_rows();
    start_client(&older, first);
    start_client(&same, split);
    RUNS(run_with(apply_run, split, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "2 expand, 2 sync, 2 backfill, 2 verify");
    ck_assert_ptr_nonnull(strstr(why_waits(answer), "a test"));
    json_decref(answer);
    RUNS(run_with(apply_run, split, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "");
    json_decref(answer);
    end_client(&older);
    RUNS(run_with(apply_run, split, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "2 contract");
    json_decref(answer);
    end_client(&same);
}
END_TEST

START_TEST(a_program_that_was_killed_is_waited_for_no_more) {
    struct other older;
    int status;
    with_rows();
    start_client(&older, first);
    to_phase(split, PHASE_VERIFIED);
    kill(older.pid, SIGKILL);
    ck_assert_int_eq(waitpid(older.pid, &status, 0), older.pid);
    applies(split);
    ROWS(app, PHASES, "1|done;2|done");
}
END_TEST

START_TEST(assumed_gone_is_gone) {
    struct other older;
    struct run_options o = {.assume_gone = true};
    with_rows();
    start_client(&older, first);
    RUNS(run_with(apply_run, split, &o, NULL), RC_OK);
    ROWS(app, PHASES, "1|done;2|done");
    end_client(&older);
}
END_TEST

static const struct gated {
    const char *title;
    hf_migration file;
    bool waits;
} gated[] = {
    {"a table is dropped", {"2_a.sql", "DROP TABLE post;"}, true},
    {"a column is renamed", {"2_a.sql", "ALTER TABLE post RENAME COLUMN text TO words;"}, true},
    {"the file says so", {"2_a.sql", "-- holdfast:breaking\nUPDATE post SET text = 1;"}, true},
    {"a table is made", {"2_a.sql", "CREATE TABLE a(x);"}, false},
    {"the file says not", {"2_a.sql", "-- holdfast:compatible\nDROP TABLE post;"}, false},
    {"its own table", {"2_a.sql", "CREATE TABLE a(x); DROP TABLE a;"}, false},
    {"a contract that is compatible",
     {"2_a.sql", "-- holdfast:contract compatible\nDROP TABLE post;"},
     false},
    {"a contract", {"2_a.sql", "-- holdfast:contract\nDROP TABLE post;"}, true},
};

START_TEST(what_breaks_older_programs_waits_for_them_and_refuses_them_afterwards) {
    const struct gated *g = &gated[_i];
    const hf_migration list[] = {FIRST, g->file, END};
    struct other older;
    json_t *answer;
    with_rows();
    start_client(&older, first);
    RUNS(run_with(apply_run, list, NULL, &answer), RC_OK);
    ck_assert_msg((why_waits(answer)[0] != 0) == g->waits, "%s: %s", g->title, why_waits(answer));
    json_decref(answer);
    ROWS(app, "SELECT count(*) FROM holdfast_migration", g->waits ? "1" : "2");
    end_client(&older);
    applies(list);
    ROWS(app, "SELECT min_version FROM holdfast_schema", g->waits ? "2" : "0");
    if (g->waits) refuses(first, RC_UNFIT, "its schema is newer");
    else applies(first);
}
END_TEST

START_TEST(of_noise_programs_are_asked_too) {
    static const hf_migration list[] = {
        FIRST, {"noise/2_seen.sql", "-- holdfast:breaking\nCREATE TABLE seen(x);"}, END};
    struct other older;
    json_t *answer;
    with_rows();
    start_client(&older, first);
    RUNS(run_with(apply_run, list, NULL, &answer), RC_OK);
    ck_assert_ptr_nonnull(strstr(why_waits(answer), "a test"));
    json_decref(answer);
    ROWS(noise, "SELECT name FROM sqlite_master WHERE name = 'seen'", "");
    end_client(&older);
    applies(list);
    ROWS(noise, "SELECT min_version FROM holdfast_schema", "2");
    ROWS(app, "SELECT min_version FROM holdfast_schema", "0");
    refuses(first, RC_UNFIT, "app-noise.db: its schema is newer: 2");
}
END_TEST

/* Of each event: may a program come to be a client now? */
static void try_the_gate(void *arg, const char *name, const char *const *pairs, int count) {
    struct lock *lock;
    (void)name, (void)pairs, (void)count;
    OK(lock_open(store_env(), app, &lock, e));
    OK(lock_take(lock, LOCK_GATE, true, e));
    lock_close(lock);
    ++*(int *)arg;
}

START_TEST(no_event_is_told_while_the_gate_is_held) {
    struct run_options o = {0};
    json_t *answer;
    int told = 0;
    with_rows();
    hf_schema *s = open_schema(split);
    s->options.event = try_the_gate;
    s->options.event_arg = &told;
    OK(apply_run(s, &o, &answer, e));
    json_decref(answer);
    schema_close(s);
    ck_assert_int_eq(told, 5);
}
END_TEST

/* As a function of the contract's own SQL: may a program come to be a client while it runs? */
static void may_come(sqlite3_context *context, int n, sqlite3_value **values) {
    struct lock *lock;
    struct err why;
    (void)n, (void)values;
    OK(lock_open(store_env(), app, &lock, e));
    rc r = lock_take(lock, LOCK_GATE, true, &why);
    lock_close(lock);
    sqlite3_result_int(context, is_ok(r));
}

static int add_may_come(sqlite3 *db, char **words, const struct sqlite3_api_routines *api) {
    (void)words, (void)api;
    return sqlite3_create_function(db, "may_come", 0, SQLITE_UTF8, NULL, may_come, NULL, NULL);
}

START_TEST(nobody_comes_in_while_a_contract_runs) {
    static const hf_migration list[] = {
        FIRST,
        {"2_a.sql", "-- holdfast:expand\nALTER TABLE user ADD COLUMN came;\n"
                    "UPDATE user SET came = may_come();\n"
                    "-- holdfast:contract\nUPDATE user SET came = may_come() WHERE id > 1;\n"},
        END};
    with_rows();
    sqlite3_auto_extension((void (*)(void))add_may_come);
    applies(list);
    sqlite3_reset_auto_extension();
    ROWS(app, "SELECT id, came FROM user WHERE id < 3", "1|1;2|0");
}
END_TEST

START_TEST(nothing_is_held_behind_a_run) {
    struct run_options o = {0};
    json_t *answer;
    struct other older;
    with_rows();
    start_client(&older, first);
    hf_schema *s = open_schema(split);
    for (int i = 0; i < 2; i++) { /* it waits; it is done */
        struct lock *lock;
        OK(apply_run(s, &o, &answer, e));
        ck_assert_int_eq(why_waits(answer)[0] == 0, i);
        json_decref(answer);
        OK(lock_open(store_env(), app, &lock, e));
        OK(lock_take(lock, LOCK_GATE, true, e));
        OK(lock_take(lock, LOCK_TURN, false, e));
        lock_close(lock);
        if (i == 0) end_client(&older);
    }
    schema_close(s);
}
END_TEST

START_TEST(status_says_who_is_waited_for) {
    json_t *answer;
    struct other older;
    with_rows();
    to_phase(split, PHASE_VERIFIED);
    unlink(below(dir, "app.db-schema"));
    for (int i = 0; i < 3; i++) {
        if (i == 1) start_client(&older, first);
        if (i == 2) end_client(&older);
        hf_schema *s = open_schema(split);
        OK(status_run(s, &answer, e));
        ck_assert_int_eq(strstr(why_waits(answer), "a test") != NULL, i == 1);
        json_decref(answer);
        schema_close(s);
        if (i == 0) ck_assert_uint_eq(file_bytes(app, "-schema"), 0);
        if (i == 0) ck_assert_int_ne(access(below(dir, "app.db-schema"), F_OK), 0);
    }
}
END_TEST

/* ---- the turn ---- */

static struct lock *hold_turn(void) {
    struct lock *lock;
    OK(lock_open(store_env(), app, &lock, e));
    OK(lock_take(lock, LOCK_TURN, false, e));
    return lock;
}

START_TEST(the_turn_is_waited_for_by_who_has_something_to_do) {
    struct run_options o = {0};
    json_t *answer;
    with_rows();
    struct lock *lock = hold_turn();
    applies(first); /* nothing to do: it is not even asked for */
    ck_assert_int_eq(events_with("schema.turn"), 0);
    hf_schema *s = open_schema(split);
    s->options.timeout_ms = 250;
    CODE(apply_run(s, &o, &answer, e), RC_TIMEOUT);
    says("another process has been changing the schema");
    CODE(revert_run(s, &o, &answer, e), RC_TIMEOUT);
    ck_assert_int_eq(events_with("schema.turn"), 2);
    ROWS(app, PHASES, "1|done");
    lock_close(lock);
    OK(apply_run(s, &o, &answer, e));
    json_decref(answer);
    schema_close(s);
    ROWS(app, PHASES, "1|done;2|done");
}
END_TEST

static void stop_it(void *arg, const char *name, const char *const *pairs, int count) {
    (void)pairs, (void)count;
    if (strcmp(name, "schema.turn") == 0) atomic_store(&(*(hf_schema **)arg)->stop, true);
}

START_TEST(one_who_waits_for_the_turn_can_be_told_to_stop) {
    struct run_options o = {0};
    json_t *answer;
    applies(first);
    struct lock *lock = hold_turn();
    hf_schema *s = open_schema(split);
    s->options.event = stop_it;
    s->options.event_arg = &s;
    CODE(apply_run(s, &o, &answer, e), RC_CANCELLED);
    schema_close(s);
    lock_close(lock);
}
END_TEST

/* Whoever had the turn was a newer program, and has taken something away. */
static void be_newer(void *arg, const char *name, const char *const *pairs, int count) {
    struct lock **held = arg;
    (void)pairs, (void)count;
    if (strcmp(name, "schema.turn") != 0) return;
    sql(app, "INSERT INTO holdfast_migration VALUES (9, '9_b.sql', '', '', 'done', 0, 1, NULL);"
             "UPDATE holdfast_schema SET min_version = 9");
    lock_close(*held);
}

START_TEST(what_was_changed_while_the_turn_was_waited_for_is_seen) {
    struct run_options o = {0};
    json_t *answer;
    with_rows();
    struct lock *lock = hold_turn();
    hf_schema *s = open_schema(split);
    s->options.event = be_newer;
    s->options.event_arg = &lock;
    CODE(apply_run(s, &o, &answer, e), RC_UNFIT);
    says("its schema is newer: 9");
    schema_close(s);
    ROWS(app, PHASES, "1|done;9|done");
}
END_TEST

/* ---- the way back ---- */

START_TEST(the_way_down_drops_the_triggers_of_a_sync_without_contract) {
    static const hf_migration list[] = {
        FIRST,
        {"2_a.sql", "-- holdfast:expand\nCREATE TABLE log(x);\n"
                    "-- holdfast:sync\nCREATE TRIGGER logs AFTER INSERT ON user BEGIN\n"
                    "  INSERT INTO log VALUES (new.id); END;\n"
                    "-- holdfast:verify\nSELECT 0;\n"
                    "-- holdfast:revert\nDROP TABLE log;\n-- holdfast:down\nDROP TABLE log;"},
        END};
    with_rows();
    applies(list);
    sql(app, "INSERT INTO user(name) VALUES ('f')");
    ROWS(app, "SELECT * FROM log", "6"); /* it lives on: nothing has ended it */
    struct run_options of_2 = {.to_version = 2};
    RUNS(run_with(_i ? down_run : revert_run, list, &of_2, NULL), RC_OK);
    ROWS(app, "SELECT name FROM sqlite_master WHERE name IN ('log', 'logs')", "");
    sql(app, "INSERT INTO user(name) VALUES ('g')");
    ROWS(app, PHASES, "1|done");
}
END_TEST

START_TEST(down_undoes_what_is_done_and_lets_older_programs_in_again) {
    struct run_options lossy = {.accept_lossy = true};
    json_t *answer;
    with_rows();
    applies(split);
    refuses(first, RC_UNFIT, "newer");
    RUNS(run_with(down_run, split, NULL, NULL), RC_USAGE);
    says("its way back loses data");
    RUNS(run_with(down_run, split, &lossy, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "2 down");
    json_decref(answer);
    ROWS(app, PHASES, "1|done");
    ROWS(app, "SELECT id, name FROM user", "1|a;2|b;3|c;4|d;5|e");
    ROWS(app, "SELECT min_version FROM holdfast_schema", "0");
    applies(first);
}
END_TEST

START_TEST(down_leaves_those_out_whom_another_migration_has_broken) {
    static const hf_migration list[] = {
        FIRST,
        {"2_a.sql", "-- holdfast:breaking\nUPDATE post SET text = 'a';"},
        {"3_b.sql", "CREATE TABLE b(x);"},
        {"4_c.sql", "-- holdfast:breaking\nDROP TABLE b;\n-- holdfast:down\nCREATE TABLE b(x);"},
        END};
    with_rows();
    applies(list);
    ROWS(app, "SELECT min_version FROM holdfast_schema", "4");
    RUNS(run_with(down_run, list, NULL, NULL), RC_OK);
    ROWS(app, PHASES, "1|done;2|done;3|done");
    ROWS(app, "SELECT min_version FROM holdfast_schema", "2");
    refuses(first, RC_UNFIT, "its schema is newer: 2");
}
END_TEST

START_TEST(the_way_back_is_the_newest_first_and_says_what_it_lacks) {
    static const hf_migration list[] = {
        FIRST,
        {"2_a.sql", "CREATE TABLE a(x);\n-- holdfast:down\nDROP TABLE a;"},
        {"3_b.sql", "-- holdfast:expand\nCREATE TABLE b(x);\n-- holdfast:revert\nDROP TABLE b;"},
        {"4_c.sql", "-- holdfast:expand\nCREATE TABLE c(x);\n-- holdfast:verify\nSELECT 0;"},
        END};
    struct run_options of_1 = {.to_version = 1}, of_2 = {.to_version = 2}, of_3 = {.to_version = 3},
                       of_4 = {.to_version = 4}, of_9 = {.to_version = 9};
    to_phase(list, PHASE_EXPANDED);
    ROWS(app, PHASES, "1|done;2|done;3|done;4|expanded");
    RUNS(run_with(revert_run, list, NULL, NULL), RC_USAGE);
    says("4_c.sql: it has no section 'revert'");
    RUNS(run_with(revert_run, list, &of_3, NULL), RC_CONFLICT);
    says("4 (4_c.sql) was built on it");
    RUNS(run_with(down_run, list, &of_4, NULL), RC_USAGE);
    says("it is expanded, and not done");
    RUNS(run_with(down_run, list, NULL, NULL), RC_USAGE);
    says("4_c.sql: it is expanded, and not done: revert it");
    RUNS(run_with(down_run, list, &of_9, NULL), RC_NOTFOUND);
    applies(list);
    RUNS(run_with(revert_run, list, NULL, NULL), RC_NOTFOUND);
    says("no migration is between its begin and its end");
    RUNS(run_with(down_run, list, NULL, NULL), RC_USAGE);
    says("4_c.sql: it has no section 'down'");
    sql(app, "DROP TABLE c; DELETE FROM holdfast_migration WHERE version = 4");
    RUNS(run_with(down_run, list, &of_4, NULL), RC_NOTFOUND);
    says("it is not applied");
    RUNS(run_with(revert_run, list, &of_3, NULL), RC_OK); /* it has no contract */
    RUNS(run_with(revert_run, list, &of_2, NULL), RC_USAGE);
    says("can only go down");
    RUNS(run_with(down_run, list, NULL, NULL), RC_OK);
    RUNS(run_with(down_run, list, &of_1, NULL), RC_USAGE);
    says("it has no section 'down'");
    ROWS(app, PHASES, "1|done");
    ROWS(app, "SELECT name FROM sqlite_master WHERE name IN ('a', 'b')", "");
}
END_TEST

START_TEST(the_way_back_waits_for_programs_that_know_it) {
    struct other newer;
    struct run_options gone = {.assume_gone = true};
    with_rows();
    to_phase(split, PHASE_VERIFIED);
    start_client(&newer, split);
    RUNS(run_with(revert_run, split, NULL, NULL), RC_CONFLICT);
    says("is running, and knows it");
    ROWS(app, PHASES, "1|done;2|verified");
    RUNS(run_with(revert_run, split, &gone, NULL), RC_OK);
    ROWS(app, PHASES, "1|done");
    end_client(&newer);
}
END_TEST

START_TEST(the_way_back_waits_for_a_program_of_which_nothing_is_known) {
    struct lock *lock;
    with_rows();
    to_phase(split, PHASE_VERIFIED);
    OK(lock_open(store_env(), app, &lock, e));
    OK(lock_take(lock, LOCK_CLIENT, false, e)); /* and no row */
    RUNS(run_with(revert_run, split, NULL, NULL), RC_CONFLICT);
    says("a program is running of which nothing is known");
    ROWS(app, PHASES, "1|done;2|verified");
    lock_close(lock);
    RUNS(run_with(revert_run, split, NULL, NULL), RC_OK);
    ROWS(app, PHASES, "1|done");
}
END_TEST

START_TEST(only_triggers_that_sync_made_are_dropped_whatever_they_are_called) {
    static const hf_migration list[] = {
        FIRST,
        {"2_a.sql",
         "-- holdfast:expand\nALTER TABLE user ADD COLUMN n;\n-- holdfast:sync\n"
         "CREATE TRIGGER IF NOT EXISTS kept AFTER INSERT ON user BEGIN SELECT 1; END;\n"
         "CREATE TRIGGER \"with \"\"quotes\"\" and\nlines; -- x\" AFTER INSERT ON user BEGIN "
         "SELECT 2; "
         "END;\nDROP TRIGGER changed;\nCREATE TRIGGER changed AFTER INSERT ON user BEGIN SELECT 3; "
         "END;\nCREATE TRIGGER \xc3\xa9t\xc3\xa9 AFTER DELETE ON user BEGIN SELECT 4; END;\n"
         "-- holdfast:contract\nALTER TABLE user DROP COLUMN n;\n"
         "-- holdfast:revert\nALTER TABLE user DROP COLUMN n;\n"},
        END};
    applies(first);
    sql(app, "CREATE TRIGGER kept AFTER INSERT ON user BEGIN SELECT 1; END;"
             "CREATE TRIGGER changed AFTER INSERT ON user BEGIN SELECT 1; END");
    to_phase(list, PHASE_SYNCED);
    ROWS(app, "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'", "4");
    if (_i == 0) applies(list);
    else RUNS(run_with(revert_run, list, NULL, NULL), RC_OK);
    ROWS(app, "SELECT name FROM sqlite_master WHERE type = 'trigger'", "kept");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("schema/gates");
    TCase *t = tcase_create("gates");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, a_contract_waits_for_its_soak_time);
    tcase_add_test(t, a_contract_asks_the_verification_again);
    tcase_add_test(t, a_contract_waits_for_older_programs_and_not_for_its_own);
    tcase_add_test(t, a_program_that_was_killed_is_waited_for_no_more);
    tcase_add_test(t, assumed_gone_is_gone);
    ADD_ROWS(t, what_breaks_older_programs_waits_for_them_and_refuses_them_afterwards, gated);
    tcase_add_test(t, of_noise_programs_are_asked_too);
    tcase_add_test(t, down_undoes_what_is_done_and_lets_older_programs_in_again);
    tcase_add_test(t, the_way_back_is_the_newest_first_and_says_what_it_lacks);
    tcase_add_test(t, the_way_back_waits_for_programs_that_know_it);
    tcase_add_test(t, the_way_back_waits_for_a_program_of_which_nothing_is_known);
    tcase_add_test(t, down_leaves_those_out_whom_another_migration_has_broken);
    tcase_add_loop_test(t, only_triggers_that_sync_made_are_dropped_whatever_they_are_called, 0, 2);
    tcase_add_test(t, the_turn_is_waited_for_by_who_has_something_to_do);
    tcase_add_test(t, one_who_waits_for_the_turn_can_be_told_to_stop);
    tcase_add_test(t, what_was_changed_while_the_turn_was_waited_for_is_seen);
    tcase_add_test(t, nothing_is_held_behind_a_run);
    tcase_add_test(t, no_event_is_told_while_the_gate_is_held);
    tcase_add_test(t, nobody_comes_in_while_a_contract_runs);
    tcase_add_test(t, status_says_who_is_waited_for);
    tcase_add_loop_test(t, the_way_down_drops_the_triggers_of_a_sync_without_contract, 0, 2);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
