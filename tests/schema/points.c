/* The restore points of a run: before its first step on main, and behind its last. */
#include "engine.h"

#include "object/object.h"

static hf_source *source;
static sqlite3 *application;
static char url[TEMP_PATH * 2];

static void replicate(void) {
    hf_replicate_options o = {.size = sizeof o, .interval_ms = 1, .drain_ms = 10000};
    const char *urls[] = {url, NULL};
    snprintf(url, sizeof url, "%s/replica", dir);
    application = open_raw(app);
    ck_assert_msg(hf_attach(application, urls, &o, &source) == HF_OK, "%s", hf_errmsg());
}

static void setup(void) {
    make_files();
    event_count = 0;
    applies(first);
    sql(app, ROWS_OF_USER);
}

static void teardown(void) {
    if (source) ck_assert_int_eq(hf_detach(source), HF_OK);
    source = NULL;
    sqlite3_close(application);
    application = NULL;
}

/* The names of the pins, the newest first: "after-2, before-2". */
static const char *points(void) {
    static char text[1000];
    struct restore_point *all;
    size_t count;
    hf_schema *s = open_schema(first);
    int at = 0;
    text[0] = 0;
    OK(restore_points(s, url, &all, &count, e));
    for (size_t i = 0; i < count; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%s%.*s", i ? ", " : "",
                       (int)(strrchr(all[i].name, '-') - all[i].name), all[i].name);
    free(all);
    schema_close(s);
    return text;
}

START_TEST(a_run_on_a_main_that_is_replicated_has_two_points) {
    json_t *answer;
    replicate();
    RUNS(run_with(apply_run, split, NULL, &answer), RC_OK);
    json_t *point = json_object_get(answer, "restore_point");
    const char *name = json_string_value(json_object_get(point, "name"));
    ck_assert_ptr_nonnull(name);
    ck_assert_int_eq(strncmp(name, "before-2-", 9), 0);
    const char *after = json_string_value(json_object_get(json_object_get(point, "after"), "name"));
    ck_assert_ptr_nonnull(after);
    ck_assert_str_eq(name + strlen("before"), after + strlen("after"));
    json_decref(answer);
    ck_assert_str_eq(points(), "after-2, before-2");
    ck_assert_int_eq(events_with("schema.restore_point"), 2);
    RUNS(run_with(apply_run, split, NULL, &answer), RC_OK); /* nothing to do */
    ck_assert(json_is_null(json_object_get(answer, "restore_point")));
    json_decref(answer);
    ck_assert_str_eq(points(), "after-2, before-2");
    ROWS(app, "SELECT sum(others) FROM holdfast_step", "0");
}
END_TEST

START_TEST(what_is_restored_from_the_first_point_is_the_database_before) {
    json_t *answer;
    replicate();
    RUNS(run_with(apply_run, split, NULL, &answer), RC_OK);
    json_decref(answer);
    hf_schema *s = open_schema(split);
    OK(undo_run(s, NULL, false, &answer, e));
    json_decref(answer);
    schema_close(s);
    ROWS(app, PHASES, "1|done");
    ROWS(app, "SELECT * FROM user", "1|a;2|b;3|c;4|d;5|e");
    ROWS(app, "SELECT name FROM pragma_table_info('user')", "id;name");
    applies(split);
    ROWS(app, PHASES, "1|done;2|done");
}
END_TEST

START_TEST(a_contract_that_waits_leaves_no_point) {
    json_t *answer;
    struct run_options o = {.to_phase = PHASE_VERIFIED};
    RUNS(run_with(apply_run, soaking, &o, NULL), RC_OK);
    replicate();
    for (int i = 0; i < 3; i++) {
        RUNS(run_with(apply_run, soaking, NULL, &answer), RC_OK);
        ck_assert_uint_eq(json_array_size(json_object_get(answer, "waits")), 1);
        ck_assert(json_is_null(json_object_get(answer, "restore_point")));
        json_decref(answer);
    }
    ck_assert_str_eq(points(), "");
}
END_TEST

/* An older program that starts when the first point is there. */
static hf_schema *older;
static void start_older(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg, (void)pairs, (void)count;
    if (older || strcmp(name, "schema.restore_point") != 0) return;
    older = open_schema(first);
    OK(clients_join(older, 1, &older->presence, e));
}

START_TEST(who_comes_while_a_point_is_made_is_waited_for) {
    struct run_options to_verified = {.to_phase = PHASE_VERIFIED}, o = {0};
    json_t *answer;
    RUNS(run_with(apply_run, split, &to_verified, NULL), RC_OK);
    replicate();
    hf_schema *s = open_schema(split);
    s->options.event = start_older;
    OK(apply_run(s, &o, &answer, e));
    ck_assert_ptr_nonnull(older);
    ck_assert_str_eq(applied(answer), "");
    ck_assert_ptr_nonnull(strstr(why_waits(answer), "a test"));
    json_decref(answer);
    schema_close(s);
    ROWS(app, PHASES, "1|done;2|verified");
    schema_close(older);
    applies(split);
    ROWS(app, PHASES, "1|done;2|done");
}
END_TEST

START_TEST(noise_alone_leaves_no_point) {
    static const hf_migration list[] = {FIRST, {"noise/2_seen.sql", "CREATE TABLE seen(x);"}, END};
    replicate();
    applies(list);
    ck_assert_str_eq(points(), "");
    ROWS(noise, PHASES, "2|done");
}
END_TEST

START_TEST(the_way_back_has_its_points_too) {
    struct run_options o = {.to_phase = PHASE_SYNCED};
    replicate();
    RUNS(run_with(apply_run, split, &o, NULL), RC_OK);
    RUNS(run_with(revert_run, split, NULL, NULL), RC_OK);
    ck_assert_str_eq(points(), "after-2, before-2, after-2, before-2");
}
END_TEST

START_TEST(who_needs_a_point_and_cannot_have_it_changes_nothing) {
    struct run_options need = {.need_restore_point = true},
                       without = {.need_restore_point = true, .no_restore_point = true};
    RUNS(run_with(apply_run, split, &need, NULL), RC_NOTFOUND);
    says("there is no restore point");
    ROWS(app, PHASES, "1|done");
    RUNS(run_with(apply_run, split, &without, NULL), RC_OK);
    ROWS(app, PHASES, "1|done;2|done");
}
END_TEST

START_TEST(a_new_database_needs_none) {
    struct run_options need = {.need_restore_point = true};
    make_files();
    sql(app, "CREATE TABLE holdfast(name PRIMARY KEY, value); CREATE TABLE DBX(Key, Value)");
    if (_i) sql(app, _i == 1 ? "INSERT INTO DBX VALUES (1, 2)" : "CREATE TABLE mine(x)");
    RUNS(run_with(apply_run, split, &need, NULL), _i ? RC_NOTFOUND : RC_OK);
}
END_TEST

START_TEST(a_point_that_cannot_be_safe_stops_the_run_before_it_begins) {
    struct run_options o = {0};
    json_t *answer;
    char away[TEMP_PATH * 2 + 8];
    replicate();
    ck_assert_int_eq(hf_source_wait(source, NULL, NULL), HF_OK);
    snprintf(away, sizeof away, "%s-away", url);
    ck_assert_int_eq(rename(url, away), 0);
    FILE *f = fopen(url, "w"); /* a file where the directory was */
    fclose(f);
    sql(app, "UPDATE post SET text = 'not safe yet'");
    hf_schema *s = open_schema(split);
    s->options.wait_ms = 300;
    rc r = apply_run(s, &o, &answer, &last_err);
    ck_assert_msg(r.code == RC_TIMEOUT || r.code == RC_IO, "%s: %s", rc_name(r.code),
                  last_err.text);
    says("the restore point");
    schema_close(s);
    ROWS(app, PHASES, "1|done");
    ck_assert_int_eq(unlink(url), 0);
    ck_assert_int_eq(rename(away, url), 0);
    applies(split);
    ROWS(app, PHASES, "1|done;2|done");
}
END_TEST

START_TEST(a_commit_of_others_between_the_point_and_the_first_step_is_noted) {
    replicate();
    hf_schema *s = open_schema(split);
    struct run_options o = {0};
    struct run r = {.schema = s, .options = &o};
    struct restore_point p;
    bool waits;
    OK(run_begin(&r, e));
    OK(restore_point_make(&r.side[0].c, "before-2-x", &p, e));
    r.asked_point = true;
    if (_i) sql(app, "UPDATE post SET text = 'between'");
    OK(run_step(&r, set_find(&s->set, 2), STEP_EXPAND, &waits, e));
    run_end(&r);
    run_deinit(&r);
    schema_close(s);
    ROWS(app, "SELECT others FROM holdfast_step WHERE version = 2", _i ? "1" : "0");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("schema/points");
    TCase *t = tcase_create("points");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_run_on_a_main_that_is_replicated_has_two_points);
    tcase_add_test(t, what_is_restored_from_the_first_point_is_the_database_before);
    tcase_add_test(t, a_contract_that_waits_leaves_no_point);
    tcase_add_test(t, who_comes_while_a_point_is_made_is_waited_for);
    tcase_add_test(t, noise_alone_leaves_no_point);
    tcase_add_test(t, the_way_back_has_its_points_too);
    tcase_add_test(t, who_needs_a_point_and_cannot_have_it_changes_nothing);
    tcase_add_loop_test(t, a_new_database_needs_none, 0, 3);
    tcase_add_test(t, a_point_that_cannot_be_safe_stops_the_run_before_it_begins);
    tcase_add_loop_test(t, a_commit_of_others_between_the_point_and_the_first_step_is_noted, 0, 2);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
