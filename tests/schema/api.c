/* The public functions over a schema: what they take, what they give, whom they keep out. */
#include "handle.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

static const hf_migration one[] = {{"1_user", "CREATE TABLE user(id INTEGER PRIMARY KEY, name);"},
                                   {NULL, NULL}};
static const hf_migration two[] = {{"1_user", "CREATE TABLE user(id INTEGER PRIMARY KEY, name);"},
                                   {"2_split",
                                    "-- holdfast:expand\nALTER TABLE user ADD COLUMN first;\n"
                                    "-- holdfast:contract\nALTER TABLE user DROP COLUMN name;\n"
                                    "-- holdfast:revert\nALTER TABLE user DROP COLUMN first;\n"},
                                   {NULL, NULL}};

static pthread_mutex_t events_lock = PTHREAD_MUTEX_INITIALIZER;
static char events[2000]; /* guarded by events_lock; what fits */

static void note_word(const char *word) {
    strncat(events, word, sizeof events - 1 - strlen(events));
}

static void note_event(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg;
    pthread_mutex_lock(&events_lock);
    note_word(name);
    for (int i = 0; i < count; i++) {
        note_word(" ");
        note_word(pairs[i]);
    }
    note_word("\n");
    pthread_mutex_unlock(&events_lock);
}

static hf_schema *opened(const hf_migration *migrations, const char *app) {
    hf_schema_options o = {
        .size = sizeof o, .migrations = migrations, .app = app, .event = note_event};
    hf_schema *s;
    FINE(hf_schema_open(schema_path, NULL, &o, &s));
    return s;
}

/* A member of what a function gave. */
static json_t *parsed(char *text) {
    json_t *o = json_loads(text, 0, NULL);
    ck_assert_msg(json_is_object(o), "%s", text);
    hf_free(text);
    return o;
}

static size_t count_of(char *text, const char *key) {
    json_t *o = parsed(text), *list = json_object_get(o, key);
    ck_assert_msg(json_is_array(list), "no %s", key);
    size_t n = json_array_size(list);
    json_decref(o);
    return n;
}

static size_t applied(hf_schema *s, const hf_schema_run *run) {
    char *json;
    FINE(hf_schema_apply(s, run, &json));
    return count_of(json, "applied");
}

/* ---- what they take ---- */

static const struct {
    const char *what;
    hf_schema_options options;
    bool no_size;
    int code;
    const char *words;
} openings[] = {
    {"size", {.dir = "x"}, true, HF_USAGE, "hf_schema_options: its member `size` is not set"},
    {"both", {.dir = "x", .migrations = one}, false, HF_USAGE, ".dir or .migrations"},
    {"timeout", {.migrations = one, .timeout_ms = -1}, false, HF_USAGE, "timeout_ms"},
    {"lock", {.migrations = one, .lock_ms = -1}, false, HF_USAGE, "lock_ms"},
    {"target", {.migrations = one, .target_ms = INT64_MAX}, false, HF_USAGE, "target_ms"},
    {"wait", {.migrations = one, .wait_ms = -5}, false, HF_USAGE, "wait_ms"},
    {"dir", {.dir = "/nowhere/at/all"}, false, HF_NOTFOUND, "/nowhere/at/all"},
    {"name",
     {.migrations = (hf_migration[]){{"user", "SELECT 1;"}, {NULL, NULL}}},
     false,
     HF_CORRUPT,
     "user"},
    {"twice",
     {.migrations = (hf_migration[]){{"1_a", "SELECT 1;"}, {"1_b", "SELECT 1;"}, {NULL, NULL}}},
     false,
     HF_CONFLICT,
     "1"},
    {"word",
     {.migrations = (hf_migration[]){{"1_a", "-- holdfast:expnd\nSELECT 1;"}, {NULL, NULL}}},
     false,
     HF_CORRUPT,
     "1_a.sql:1"},
    {"noise",
     {.migrations = (hf_migration[]){{"noise/1_a", "CREATE TABLE a(x);"}, {NULL, NULL}}},
     false,
     HF_USAGE,
     "noise"},
};

START_TEST(what_cannot_be_opened_is_named_and_nothing_is_given) {
    hf_schema_options o = openings[_i].options;
    hf_schema *s = (hf_schema *)&o;
    if (!openings[_i].no_size) o.size = sizeof o;
    SAYS(hf_schema_open(schema_path, NULL, &o, &s), openings[_i].code, openings[_i].words);
    ck_assert_ptr_eq(s, &o);
}
END_TEST

START_TEST(arguments_that_cannot_be_are_named) {
    hf_schema *s;
    char *json = NULL;
    SAYS(hf_schema_open(NULL, NULL, NULL, &s), HF_USAGE, "NULL");
    SAYS(hf_schema_open(schema_path, NULL, NULL, NULL), HF_USAGE, "NULL");
    SAYS(hf_schema_open(below(schema_dir, "none.db"), NULL, NULL, &s), HF_NOTFOUND,
         "no such database");
    SAYS(hf_schema_open(schema_path, below(schema_dir, "none.db"), NULL, &s), HF_NOTFOUND,
         "none.db");
    SAYS(hf_schema_open(schema_path, schema_path, NULL, &s), HF_USAGE, "the same file");
    SAYS(hf_schema_open(schema_dir, NULL, NULL, &s), HF_USAGE, "not a regular file");
    SAYS(hf_schema_of(NULL, NULL, &s), HF_USAGE, "NULL");
    SAYS(hf_schema_apply(NULL, NULL, &json), HF_USAGE, "NULL");
    SAYS(hf_schema_join(NULL), HF_USAGE, "NULL");
    SAYS(hf_schema_status(NULL, &json), HF_USAGE, "NULL");
    ck_assert_ptr_null(json);
}
END_TEST

static const struct {
    hf_schema_run run;
    bool no_size;
    const char *words;
} runs[] = {
    {{.version = 1}, true, "hf_schema_run: its member `size` is not set"},
    {{.phase = "contract"}, false, "'contract' is no phase to stop at"},
    {{.phase = "expan"}, false, "did you mean expand?"},
    {{.phase = ""}, false, "is no phase"},
    {{.version = -1}, false, "-1 is not a version"},
    {{.no_restore_point = 1, .need_restore_point = 1}, false, "need_restore_point"},
};

START_TEST(a_run_that_cannot_be_does_nothing) {
    hf_schema *s = opened(one, "a test");
    hf_schema_run o = runs[_i].run;
    char *json = NULL;
    int64_t before = seen_by_others("PRAGMA main.data_version");
    if (!runs[_i].no_size) o.size = sizeof o;
    SAYS(hf_schema_apply(s, &o, &json), HF_USAGE, runs[_i].words);
    ck_assert_ptr_null(json);
    ck_assert_int_eq(seen_by_others("PRAGMA main.data_version"), before);
    ck_assert_int_eq(applied(s, NULL), 1); /* the handle is of use as before */
    hf_schema_close(s);
}
END_TEST

START_TEST(without_migrations_it_can_be_looked_and_not_changed) {
    hf_schema *s = opened(one, NULL);
    char *json;
    ck_assert_int_eq(applied(s, NULL), 1);
    hf_schema_close(s);
    FINE(hf_schema_open(schema_path, NULL, NULL, &s));
    SAYS(hf_schema_apply(s, NULL, NULL), HF_USAGE, "no migrations");
    SAYS(hf_schema_revert(s, NULL, NULL), HF_USAGE, "no migrations");
    SAYS(hf_schema_down(s, NULL, NULL), HF_USAGE, "no migrations");
    SAYS(hf_schema_baseline(s, NULL, NULL), HF_USAGE, "no migrations");
    SAYS(hf_schema_rehearse(s, NULL, NULL), HF_USAGE, "no migrations");
    SAYS(hf_schema_plan(s, NULL), HF_USAGE, "no migrations");
    SAYS(hf_schema_drift(s, NULL), HF_USAGE, "no migrations");
    SAYS(hf_schema_lint(s, NULL), HF_USAGE, "no migrations");
    SAYS(hf_schema_join(s), HF_USAGE, "knows no schema");
    FINE(hf_schema_history(s, &json));
    ck_assert_int_eq(count_of(json, "steps"), 1);
    FINE(hf_schema_clients(s, &json));
    ck_assert_int_eq(count_of(json, "clients"), 0);
    hf_schema_close(s);
}
END_TEST

/* The release before the first migration: later ones must not take away what it needs. */
START_TEST(who_has_no_migrations_yet_can_join) {
    static const hf_migration none[] = {{NULL, NULL}}, drop[] = {{"1_t", "CREATE TABLE t(a);"},
                                                                 {"2_drop", "DROP TABLE t;"},
                                                                 {NULL, NULL}};
    hf_schema *s = opened(none, "the first"), *next = opened(drop, "the second");
    FINE(hf_schema_join(s));
    ck_assert_int_eq(applied(next, NULL), 1); /* the other one waits */
    hf_schema_close(s);
    ck_assert_int_eq(applied(next, NULL), 1);
    s = opened(none, "the first");
    SAYS(hf_schema_join(s), HF_UNFIT, "newer");
    hf_schema_close(s);
    hf_schema_close(next);
}
END_TEST

/* ---- what they give ---- */

START_TEST(each_start_of_a_program_applies_what_is_new_and_writes_nothing_else) {
    hf_schema *s = opened(one, "a test");
    ck_assert_int_eq(applied(s, NULL), 1);
    ck_assert_msg(strstr(events, "schema.step") && strstr(events, "version 1"), "%s", events);
    hf_schema_close(s);
    int64_t before = seen_by_others("PRAGMA main.data_version");
    for (int i = 0; i < 5; i++) {
        s = opened(one, "a test");
        ck_assert_int_eq(applied(s, NULL), 0);
        FINE(hf_schema_apply(s, NULL, NULL));
        hf_schema_close(s);
    }
    ck_assert_int_eq(seen_by_others("PRAGMA main.data_version"), before);
    s = opened(two, "a test");
    ck_assert_int_eq(applied(s, NULL), 2);
    hf_schema_close(s);
    ck_assert_int_eq(seen_by_others("SELECT min_version FROM holdfast_schema"), 2);
}
END_TEST

START_TEST(a_run_ends_at_the_phase_that_was_asked_for_and_can_be_reverted) {
    hf_schema *s = opened(two, "a test");
    hf_schema_run run = {.size = sizeof run, .phase = "expand"};
    char *json;
    ck_assert_int_eq(applied(s, &run), 2);
    FINE(hf_schema_status(s, &json));
    json_t *o = parsed(json), *second = json_array_get(json_object_get(o, "migrations"), 1);
    ck_assert_str_eq(json_string_value(json_object_get(second, "phase")), "expanded");
    json_decref(o);
    FINE(hf_schema_revert(s, NULL, &json));
    ck_assert_int_eq(count_of(json, "applied"), 1);
    ck_assert_int_eq(seen_by_others("SELECT count(*) FROM pragma_table_info('user')"), 2);
    FINE(hf_schema_plan(s, &json));
    ck_assert_int_eq(count_of(json, "steps"), 2);
    hf_schema_close(s);
}
END_TEST

START_TEST(what_differs_is_given_with_the_error) {
    hf_schema *s = opened(one, "a test");
    char *json = NULL;
    ck_assert_int_eq(applied(s, NULL), 1);
    FINE(hf_schema_drift(s, &json));
    ck_assert_int_eq(count_of(json, "objects"), 0);
    by_others("CREATE TABLE by_hand(x)");
    SAYS(hf_schema_drift(s, &json), HF_CONFLICT, "not what the migrations say");
    ck_assert_int_eq(count_of(json, "objects"), 1);
    SAYS(hf_schema_drift(s, NULL), HF_CONFLICT, "not what the migrations say");
    hf_schema_close(s);
    const hf_migration bad[] = {one[0], {"2_bad", "CREATE TABLE a(x);\nCOMMIT;"}, {NULL, NULL}};
    s = opened(bad, "a test");
    SAYS(hf_schema_lint(s, &json), HF_CORRUPT, "errors in the migrations");
    ck_assert_int_eq(count_of(json, "findings"), 1);
    SAYS(hf_schema_apply(s, NULL, NULL), HF_CORRUPT, "2_bad.sql:2");
    hf_schema_close(s);
}
END_TEST

START_TEST(what_is_there_already_is_recorded) {
    by_others("CREATE TABLE user(id INTEGER PRIMARY KEY, name)");
    hf_schema *s = opened(one, "a test");
    char *json;
    FINE(hf_schema_baseline(s, NULL, &json));
    ck_assert_int_eq(count_of(json, "recorded"), 1);
    ck_assert_int_eq(applied(s, NULL), 0);
    hf_schema_close(s);
}
END_TEST

/* ---- one at a time ---- */

#define AT_ONCE 16
static atomic_int steps_in_all;

static void *apply_once(void *arg) {
    hf_schema *s = opened(two, "one of many");
    atomic_fetch_add(&steps_in_all, (int)applied(s, NULL));
    hf_schema_close(s);
    return arg;
}

START_TEST(of_many_threads_that_start_at_once_one_applies) {
    pthread_t threads[AT_ONCE];
    for (int i = 0; i < AT_ONCE; i++) pthread_create(&threads[i], NULL, apply_once, NULL);
    for (int i = 0; i < AT_ONCE; i++) pthread_join(threads[i], NULL);
    ck_assert_int_eq(steps_in_all, 3);
    ck_assert_int_eq(seen_by_others("SELECT count(*) FROM holdfast_step"), 3);
}
END_TEST

START_TEST(a_child_of_a_fork_has_no_use_of_a_handle) {
    hf_schema *s = opened(one, "a test");
    int status;
    others_close();
    pid_t pid = fork();
    if (pid == 0) {
        if (hf_schema_apply(s, NULL, NULL) != HF_USAGE || !strstr(hf_errmsg(), "fork")) _exit(1);
        hf_schema_close(s);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    others_open();
    ck_assert_int_eq(applied(s, NULL), 1);
    hf_schema_close(s);
}
END_TEST

START_TEST(who_holds_the_write_lock_for_too_long_is_named) {
    hf_schema_options o = {.size = sizeof o, .migrations = one, .lock_ms = 50};
    hf_schema *s;
    int ready[2];
    char c, words[60];
    FINE(hf_schema_open(schema_path, NULL, &o, &s));
    ck_assert_int_eq(pipe(ready), 0);
    others_close();
    pid_t pid = fork();
    if (pid == 0) {
        others_open();
        by_others("BEGIN IMMEDIATE");
        if (write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    ck_assert_int_eq(read(ready[0], &c, 1), 1);
    snprintf(words, sizeof words, "s for its write lock, held by process %d (", pid);
    SAYS(hf_schema_apply(s, NULL, NULL), HF_BUSY, words);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    others_open();
    ck_assert_int_eq(seen_by_others("SELECT count(*) FROM sqlite_master"), 0);
    ck_assert_int_eq(applied(s, NULL), 1);
    hf_schema_close(s);
}
END_TEST

/* ---- beside a store ---- */

static hf_store *store_with(const hf_migration *migrations, const char *app, hf_schema **schema) {
    hf_store_options o = {.size = sizeof o, .noise = ""};
    hf_schema_options so = {.size = sizeof so, .migrations = migrations, .app = app};
    hf_store *s;
    FINE(hf_store_open(schema_path, &o, &s));
    FINE(hf_schema_of(s, &so, schema));
    FINE(hf_schema_apply(*schema, NULL, NULL));
    FINE(hf_schema_join(*schema));
    return s;
}

START_TEST(a_contract_waits_for_the_store_of_an_older_program) {
    hf_schema *mine, *newer;
    hf_store *old = store_with(one, "control 40", &mine);
    hf_schema_run gone = {.size = sizeof gone, .assume_gone = 1};
    char *json;
    FINE(write_sql(old, HF_MAIN, "INSERT INTO user VALUES (1, 'a')"));
    hf_schema_options o = {.size = sizeof o, .migrations = two, .app = "control 41"};
    FINE(hf_schema_open(schema_path, schema_noise, &o, &newer));
    FINE(hf_schema_apply(newer, NULL, &json));
    ck_assert_msg(strstr(json, "control 40 (pid ") && strstr(json, "knows only 1"), "%s", json);
    ck_assert_int_eq(count_of(json, "waits"), 1);
    FINE(write_sql(old, HF_MAIN, "INSERT INTO user(id, name) VALUES (2, 'b')"));

    ck_assert_int_eq(applied(newer, &gone), 1);
    int64_t before = seen_by_others("PRAGMA main.data_version");
    SAYS(write_sql(old, HF_MAIN, "INSERT INTO user(id) VALUES (3)"), HF_UNFIT,
         "its schema is newer: 2 was contracted; this program ('control 40') knows up to 1");
    SAYS(hf_put(old, "k", hf_text("v")), HF_UNFIT, "start a newer one");
    ck_assert_int_eq(seen_by_others("PRAGMA main.data_version"), before);
    ck_assert_int_eq(number(old, "SELECT count(*) FROM user"), 2); /* reading is its own affair */
    hf_schema_close(mine);
    FINE(hf_store_close(old));

    FINE(hf_store_open(schema_path,
                       &(hf_store_options){.size = sizeof(hf_store_options), .noise = ""}, &old));
    o.migrations = one;
    FINE(hf_schema_of(old, &o, &mine));
    SAYS(hf_schema_apply(mine, NULL, NULL), HF_UNFIT, "2");
    SAYS(hf_schema_join(mine), HF_UNFIT, "its schema is newer");
    hf_schema_close(mine);
    FINE(hf_store_close(old));
    hf_schema_close(newer);
}
END_TEST

static atomic_bool over;

static void *write_on(void *store) {
    for (int i = 0; !atomic_load(&over); i++)
        FINE(write_sql(store, HF_MAIN, "INSERT INTO user(id) VALUES (abs(random()))"));
    return NULL;
}

START_TEST(a_store_goes_on_writing_while_its_schema_is_changed) {
    hf_schema *mine, *newer;
    hf_store *s = store_with(one, "control 40", &mine);
    hf_schema_options o = {.size = sizeof o, .migrations = two, .app = "control 41"};
    hf_schema_run expand = {.size = sizeof expand, .phase = "expand"};
    pthread_t thread;
    FINE(hf_schema_of(s, &o, &newer));
    pthread_create(&thread, NULL, write_on, s);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(applied(newer, &expand), 1);
        hf_schema_run back = {.size = sizeof back, .assume_gone = 1};
        FINE(hf_schema_revert(newer, &back, NULL));
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    hf_schema_close(newer);
    hf_schema_close(mine);
    FINE(hf_store_close(s));
}
END_TEST

int main(void) {
    Suite *s = suite_create("schema/api");
    TCase *c = tcase_create("api");
    tcase_add_unchecked_fixture(c, temp_setup, temp_teardown);
    tcase_add_checked_fixture(c, schema_setup, schema_teardown);
    ADD_ROWS(c, what_cannot_be_opened_is_named_and_nothing_is_given, openings);
    tcase_add_test(c, arguments_that_cannot_be_are_named);
    ADD_ROWS(c, a_run_that_cannot_be_does_nothing, runs);
    tcase_add_test(c, without_migrations_it_can_be_looked_and_not_changed);
    tcase_add_test(c, who_has_no_migrations_yet_can_join);
    tcase_add_test(c, each_start_of_a_program_applies_what_is_new_and_writes_nothing_else);
    tcase_add_test(c, a_run_ends_at_the_phase_that_was_asked_for_and_can_be_reverted);
    tcase_add_test(c, what_differs_is_given_with_the_error);
    tcase_add_test(c, what_is_there_already_is_recorded);
    tcase_add_test(c, of_many_threads_that_start_at_once_one_applies);
    tcase_add_test(c, a_child_of_a_fork_has_no_use_of_a_handle);
    tcase_add_test(c, who_holds_the_write_lock_for_too_long_is_named);
    tcase_add_test(c, a_contract_waits_for_the_store_of_an_older_program);
    tcase_add_test(c, a_store_goes_on_writing_while_its_schema_is_changed);
    suite_add_tcase(s, c);
    return run_suite(s);
}
