/* A rehearsal: what it finds out, and where its copy comes from. */
#include "rehearse_box.h"

/* ---- what it tells ---- */

START_TEST(each_step_is_measured_and_both_ways_back_are_tried) {
    static const char *const steps[] = {"expand", "sync", "backfill", "verify", "contract"};
    struct noted before = note();
    OPEN({"20260901120000_split", SPLIT CONTRACT REVERT DOWN});
    json_t *all = rehearsed("live");
    ck_assert(json_is_true(json_object_get(all, "ok")));
    ck_assert(json_is_null(json_object_get(all, "error")));
    ck_assert_str_eq(json_string_value(json_object_get(all, "source")), "live");
    ck_assert_int_eq((int)count_of(all, "steps"), 5);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_str_eq(words_at(all, "steps", i, "step"), steps[i]);
        ck_assert_str_eq(words_at(all, "steps", i, "database"), "main");
        ck_assert(json_real_value(part(all, "steps", i, "lock_ms")) > 0);
        ck_assert(json_integer_value(part(all, "steps", i, "wal_bytes")) > 0);
        ck_assert(json_integer_value(part(all, "steps", i, "upload_bytes")) > 0);
    }
    ck_assert_int_eq(json_integer_value(part(all, "steps", 2, "rows")), 3);
    ck_assert(json_is_true(part(all, "revert", 0, "shape_equal")));
    ck_assert(json_is_true(part(all, "revert", 0, "contents_equal")));
    ck_assert(json_is_true(part(all, "down", 0, "shape_equal")));
    ck_assert(json_is_true(part(all, "down", 0, "contents_equal")));
    ck_assert_str_eq(words_at(all, "checks", 0, "integrity"), "ok");
    ck_assert_str_ne(words_at(all, "checks", 0, "shape_before"),
                     words_at(all, "checks", 0, "shape_after"));
    ck_assert_int_eq((int)count_of(all, "warnings"), 0);
    json_decref(all);
    UNTOUCHED(before);
}
END_TEST

START_TEST(step_uploads_what_it_changes_and_not_the_rest) {
    on(path, "CREATE TABLE big(b); INSERT INTO big VALUES (randomblob(500000))");
    OPEN({"1_a", "UPDATE user SET name = 'x' WHERE id = 1;"},
         {"2_b", "UPDATE big SET b = randomblob(500000);"});
    json_t *all = rehearsed("live");
    ck_assert_int_lt(json_integer_value(part(all, "steps", 0, "upload_bytes")), 100000);
    ck_assert_int_gt(json_integer_value(part(all, "steps", 1, "upload_bytes")), 500000);
    ck_assert_int_gt(json_integer_value(part(all, "steps", 1, "wal_bytes")), 500000);
    json_decref(all);
}
END_TEST

START_TEST(log_of_a_backfill_is_that_of_all_its_batches) {
    on(path, "CREATE TABLE big(id INTEGER PRIMARY KEY, b);"
             "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) "
             "INSERT INTO big(b) SELECT randomblob(3000) FROM n");
    OPEN({"1_a", "-- holdfast:backfill table=big key=id batch=20\n"
                 "UPDATE big SET b = randomblob(3000) WHERE id > :lo AND id <= :hi;\n"});
    json_t *all = rehearsed("live");
    ck_assert_int_eq(json_integer_value(part(all, "steps", 0, "rows")), 200);
    ck_assert_int_gt(json_integer_value(part(all, "steps", 0, "wal_bytes")), 600000);
    json_decref(all);
}
END_TEST

START_TEST(nothing_pending_is_nothing_to_do) {
    json_t *all;
    OPEN({"20260901120000_a", "CREATE TABLE a(x);"});
    OK(apply_run(schema, &(struct run_options){.no_restore_point = true}, &all, e));
    json_decref(all);
    struct noted before = note();
    all = rehearsed(NULL);
    ck_assert(json_is_true(json_object_get(all, "ok")));
    ck_assert_int_eq((int)count_of(all, "steps"), 0);
    ck_assert_int_eq((int)count_of(all, "checks"), 0);
    json_decref(all);
    UNTOUCHED(before);
}
END_TEST

START_TEST(both_files_are_rehearsed_in_the_order_of_their_versions) {
    on(noise_path, "PRAGMA journal_mode=WAL; CREATE TABLE seen(id INTEGER PRIMARY KEY)");
    schema = opened((const hf_migration[]){{"1_a", "CREATE TABLE a(x);"},
                                           {"noise/2_b", "ALTER TABLE seen ADD COLUMN at INT;"},
                                           {"3_c", "CREATE TABLE c(x);"},
                                           {NULL, NULL}},
                    true);
    struct noted before = note();
    json_t *all = rehearsed(NULL);
    ck_assert_str_eq(words_at(all, "steps", 0, "database"), "main");
    ck_assert_str_eq(words_at(all, "steps", 1, "database"), "noise");
    ck_assert(json_is_null(part(all, "steps", 1, "upload_bytes")));
    ck_assert_str_eq(words_at(all, "steps", 2, "database"), "main");
    ck_assert_str_eq(words_at(all, "checks", 1, "database"), "noise");
    json_decref(all);
    UNTOUCHED(before);
}
END_TEST

/* Behind the first step. */
START_TEST(what_was_begun_goes_on_and_its_way_back_is_only_run) {
    json_t *all;
    OPEN({"1_split", SPLIT CONTRACT REVERT DOWN});
    OK(apply_run(schema,
                 &(struct run_options){.no_restore_point = true, .to_phase = PHASE_EXPANDED}, &all,
                 e));
    json_decref(all);
    struct noted before = note();
    all = rehearsed(NULL);
    ck_assert_str_eq(words_at(all, "steps", 0, "step"), "sync");
    ck_assert(json_is_null(part(all, "revert", 0, "shape_equal")));
    ck_assert(json_is_null(part(all, "down", 0, "contents_equal")));
    json_decref(all);
    UNTOUCHED(before);
}
END_TEST

static struct env jumping;

static int64_t jump(struct env *env) {
    static int64_t now;
    (void)env;
    return now += 2000000000;
}

START_TEST(slow_step_is_warned_of) {
    OPEN({"1_a", "\n-- holdfast:expand\nCREATE TABLE a(x);"});
    jumping = *schema->env;
    jumping.mono_ns = jump;
    schema->env = &jumping;
    json_t *all = rehearsed("live");
    ck_assert(json_real_value(part(all, "steps", 0, "lock_ms")) >= 2000);
    ck_assert_ptr_nonnull(strstr(words_at(all, "warnings", 0, "words"), "holds the write lock"));
    ck_assert_int_eq(json_integer_value(part(all, "warnings", 0, "line")), 2);
    json_decref(all);
}
END_TEST

static const char *const prove_nothing[] = {
    "-- holdfast:expand\nALTER TABLE none ADD COLUMN b AS (id) STORED;\n",
    "ALTER TABLE \"NONE\" ADD b TEXT NOT NULL DEFAULT 'x';\n",
    "CREATE UNIQUE INDEX none_a ON none(a);\n",
    "-- holdfast:rebuild none notnull=a\n",
    ("-- holdfast:backfill table=none key=id\nUPDATE none SET a = 1 WHERE id > :lo AND id <= :hi;\n"
     "-- holdfast:contract\nDROP TABLE none;\n"),
};

START_TEST(success_on_no_rows_is_said_to_prove_nothing) {
    OPEN({"1_a", prove_nothing[_i]});
    json_t *all = rehearsed("live");
    ck_assert_int_eq((int)count_of(all, "warnings"), 1);
    ck_assert_ptr_nonnull(strstr(words_at(all, "warnings", 0, "words"), "proves nothing"));
    ck_assert(json_integer_value(part(all, "warnings", 0, "line")) > 0);
    json_decref(all);
}
END_TEST

/* ---- what goes wrong ---- */

static const struct {
    const char *text, *says, *list; /* where it is told, "": nowhere but in the words */
} wrong[] = {
    {"-- holdfast:expand\nCREATE INDEX i ON user(id, name);\nCREATE INDEX j ON user(id);\n"
     "-- holdfast:contract\nDROP INDEX user_name;\n-- holdfast:revert\nDROP INDEX i;\n",
     "revert does not bring back what was: j is extra", "revert"},
    {"-- holdfast:expand\nDROP INDEX user_name;\n"
     "-- holdfast:contract\nDROP TABLE none;\n-- holdfast:revert\nCREATE TABLE x(a);\n",
     "revert does not bring back what was: user_name is missing", "revert"},
    {"-- holdfast:expand\nUPDATE user SET name = upper(name);\n"
     "-- holdfast:contract\nDROP TABLE none;\n-- holdfast:revert\nSELECT 1;\n",
     "revert does not bring back what was: the rows of table user are others", "revert"},
    {"-- holdfast:expand\nALTER TABLE user ADD COLUMN first TEXT;\n"
     "-- holdfast:contract\nDROP TABLE none;\n-- holdfast:revert\nSELECT * FROM gone;\n",
     "no such table: gone", ""},
    {"ALTER TABLE none DROP COLUMN a;\n-- holdfast:down\nSELECT 1;\n",
     "down does not bring back what was: none is changed", "down"},
    {"ALTER TABLE none DROP COLUMN a;\n-- holdfast:down lossy\nALTER TABLE none ADD COLUMN b TEXT;",
     "down does not bring back what was: none is changed", "down"},
    {"DROP TABLE pet;\n-- holdfast:down\n"
     "CREATE TABLE pet(id INTEGER PRIMARY KEY, owner INTEGER REFERENCES user(id));\n",
     "down does not bring back what was: the rows of table pet are others", "down"},
    {"CREATE TABLE a(x);\nINSERT INTO a VALUES (1, 2);\n", "table a has 1 columns", ""},
    {"CREATE TABLE a(x);\nCREATE TABLE a(x);\n", ":2: ", ""},
    {"-- holdfast:expand\nCREATE TABLE a(x);\n-- holdfast:verify\nSELECT 1;\n", "1", ""},
    {"DELETE FROM user WHERE id = 1;\n", "1 rows would lose their parents", ""},
    {"PRAGMA user_version = 7;\n", "a migration changes no settings", ""},
};

START_TEST(what_goes_wrong_is_told_and_nothing_is_left) {
    json_t *all = NULL;
    struct noted before = note();
    OPEN({"1_wrong", wrong[_i].text}, {"2_behind", "CREATE TABLE behind(x);"});
    CODE(rehearse_run(schema, &(struct rehearse_options){.from = "live"}, &all, e), RC_CONFLICT);
    says(wrong[_i].says);
    says("1_wrong");
    ck_assert_ptr_nonnull(all);
    ck_assert(json_is_false(json_object_get(all, "ok")));
    ck_assert_str_eq(json_string_value(json_object_get(all, "error")), last_err.text);
    if (*wrong[_i].list) {
        bool shape = json_is_false(part(all, wrong[_i].list, 0, "shape_equal"));
        bool contents = json_is_false(part(all, wrong[_i].list, 0, "contents_equal"));
        ck_assert(shape || contents);
        ck_assert_int_eq(json_array_size(part(all, wrong[_i].list, 0, "objects")) > 0, shape);
        ck_assert_int_eq(json_array_size(part(all, wrong[_i].list, 0, "tables")) > 0, contents);
    }
    json_decref(all);
    UNTOUCHED(before);
}
END_TEST

START_TEST(down_that_says_that_it_loses_rows_may) {
    OPEN({"1_a", "DROP TABLE pet;\n-- holdfast:down lossy\n"
                 "CREATE TABLE pet(id INTEGER PRIMARY KEY, owner INTEGER REFERENCES user(id));\n"});
    json_t *all = rehearsed("live");
    ck_assert(json_is_true(json_object_get(all, "ok")));
    ck_assert(json_is_true(part(all, "down", 0, "lossy")));
    ck_assert(json_is_true(part(all, "down", 0, "shape_equal")));
    ck_assert(json_is_false(part(all, "down", 0, "contents_equal")));
    ck_assert_str_eq(json_string_value(json_array_get(part(all, "down", 0, "tables"), 0)), "pet");
    json_decref(all);
}
END_TEST

START_TEST(orphans_of_before_are_not_the_migrations_fault) {
    on(path, "INSERT INTO pet VALUES (3, 99)");
    OPEN({"1_a", "CREATE TABLE a(x);"});
    json_t *all = rehearsed("live");
    ck_assert_int_eq(json_integer_value(part(all, "checks", 0, "orphans_before")), 1);
    ck_assert_int_eq(json_integer_value(part(all, "checks", 0, "orphans")), 1);
    json_decref(all);
}
END_TEST

START_TEST(damage_of_before_is_told) {
    json_t *all = NULL;
    on(path, "CREATE TABLE k(a); INSERT INTO k VALUES (1), (200); CREATE INDEX k_a ON k(a);"
             "PRAGMA writable_schema=ON; UPDATE sqlite_master SET "
             "sql='CREATE INDEX k_a ON k(a) WHERE a > 100' WHERE name='k_a'");
    OPEN({"1_a", "CREATE TABLE a(x);"});
    CODE(rehearse_run(schema, &(struct rehearse_options){.from = "live"}, &all, e), RC_CONFLICT);
    says("main: integrity_check: ");
    ck_assert_str_ne(words_at(all, "checks", 0, "integrity"), "ok");
    json_decref(all);
}
END_TEST

/* ---- where the copy comes from ---- */

/* A process that ends without closing leaves its log. */
static void leave_log(void) {
    pid_t child = fork();
    if (child == 0) {
        sqlite3 *db;
        sqlite3_open(path, &db);
        sqlite3_exec(db, "INSERT INTO user(name) VALUES ('of the log')", NULL, NULL, NULL);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

START_TEST(log_of_somebody_who_is_gone_is_read_and_stays) {
    leave_log();
    struct noted before = note();
    ck_assert_int_eq(access(below(home, "app.db-wal"), F_OK), 0);
    OPEN({"1_a", "CREATE TABLE a(x);"});
    json_t *all = rehearsed("live");
    json_decref(all);
    UNTOUCHED(before);
    ck_assert_int_eq(access(below(home, "app.db-wal"), F_OK), 0);
}
END_TEST

START_TEST(database_that_is_open_and_not_yet_wal_stays_so) {
    sqlite3 *db;
    on(path, "PRAGMA journal_mode=DELETE");
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "INSERT INTO pet VALUES (3, 1)", NULL, NULL, NULL), 0);
    struct noted before = note();
    OPEN({"1_a", "CREATE TABLE a(x);"});
    json_t *all = rehearsed(NULL);
    ck_assert_str_eq(json_string_value(json_object_get(all, "source")), "live");
    json_decref(all);
    UNTOUCHED(before);
    sqlite3_close(db);
}
END_TEST

static const char *const sources[] = {NULL, "replica", "URL"};

START_TEST(copy_is_restored_from_the_replica) {
    char replica[TEMP_PATH];
    hf_source *source;
    sqlite3 *db;
    temp_dir(replica);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(hf_attach(db, (const char *[]){replica, NULL}, NULL, &source), HF_OK);
    ck_assert_int_eq(sqlite3_exec(db, "INSERT INTO pet VALUES (3, 1)", NULL, NULL, NULL), 0);
    ck_assert_int_eq(hf_source_wait(source, NULL, NULL), HF_OK);
    OPEN({"1_a", "-- holdfast:expand\nUPDATE pet SET owner = 2;\n"});
    json_t *all = rehearsed(_i == 2 ? replica : sources[_i]);
    ck_assert_str_eq(json_string_value(json_object_get(all, "source")), "replica");
    ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(all, "url")), replica));
    ck_assert_int_eq(json_integer_value(part(all, "steps", 0, "rows")), 3);
    json_decref(all);
    ck_assert_int_eq(leftovers_in(home), 0);
    ck_assert_int_eq(hf_detach(source), HF_OK);
    sqlite3_close(db);
}
END_TEST

START_TEST(replica_that_is_not_there_is_said) {
    char nothing[TEMP_PATH];
    json_t *all = NULL;
    struct noted before = note();
    temp_dir(nothing);
    OPEN({"1_a", "CREATE TABLE a(x);"});
    CODE(rehearse_run(schema, &(struct rehearse_options){.from = "replica"}, &all, e), RC_NOTFOUND);
    CODE(rehearse_run(schema, &(struct rehearse_options){.from = nothing}, &all, e), RC_NOTFOUND);
    says(nothing);
    ck_assert_ptr_null(all);
    UNTOUCHED(before);
}
END_TEST

START_TEST(copies_are_kept_where_that_is_asked) {
    char keep[TEMP_PATH];
    json_t *all;
    struct rehearse_options how = {.from = "live", .keep = keep};
    temp_dir(keep);
    OPEN({"1_a", "CREATE TABLE a(x);\n-- holdfast:down\nDROP TABLE a;\n"});
    OK(rehearse_run(schema, &how, &all, e));
    json_decref(all);
    ck_assert_int_ne(access(below(keep, "back.db"), F_OK), 0); /* of no use to anybody */
    on(below(keep, "main.db"), "SELECT x FROM a");
    CODE(rehearse_run(schema, &how, &all, e), RC_CONFLICT);
    says("not empty");
    on(below(keep, "main.db"), "SELECT x FROM a");
}
END_TEST

int main(void) {
    Suite *s = suite_create("schema/rehearse");
    TCase *t = tcase_create("rehearse");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, each_step_is_measured_and_both_ways_back_are_tried);
    tcase_add_test(t, step_uploads_what_it_changes_and_not_the_rest);
    tcase_add_test(t, log_of_a_backfill_is_that_of_all_its_batches);
    tcase_add_test(t, nothing_pending_is_nothing_to_do);
    tcase_add_test(t, both_files_are_rehearsed_in_the_order_of_their_versions);
    tcase_add_test(t, what_was_begun_goes_on_and_its_way_back_is_only_run);
    tcase_add_test(t, slow_step_is_warned_of);
    ADD_ROWS(t, success_on_no_rows_is_said_to_prove_nothing, prove_nothing);
    ADD_ROWS(t, what_goes_wrong_is_told_and_nothing_is_left, wrong);
    tcase_add_test(t, down_that_says_that_it_loses_rows_may);
    tcase_add_test(t, damage_of_before_is_told);
    tcase_add_test(t, orphans_of_before_are_not_the_migrations_fault);
    tcase_add_test(t, log_of_somebody_who_is_gone_is_read_and_stays);
    tcase_add_test(t, database_that_is_open_and_not_yet_wal_stays_so);
    ADD_ROWS(t, copy_is_restored_from_the_replica, sources);
    tcase_add_test(t, replica_that_is_not_there_is_said);
    tcase_add_test(t, copies_are_kept_where_that_is_asked);
    suite_add_tcase(s, t);
    return run_suite(s);
}
