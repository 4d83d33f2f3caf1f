/* A program that is older than the schema: its writes are refused before anything is written, also
 * when it was here before. And the tables that tell are not the application's. */
#include "store/internal.h" /* first: Check has a macro `fail` */

#include "box.h"

#include <time.h>

static char dir[TEMP_PATH];
static hf_store *s;
static sqlite3 *others; /* who changes the schema */
static struct err e;

static void by_others(const char *sql) {
    char *words = NULL;
    ck_assert_msg(sqlite3_exec(others, sql, NULL, NULL, &words) == SQLITE_OK, "%s: %s", sql, words);
}

static void setup(void) {
    hf_store_options o = {.size = sizeof o, TABLES};
    temp_dir(dir);
    FINE(hf_store_open(below(dir, "app.db"), &o, &s));
    ck_assert_int_eq(sqlite3_open(below(dir, "app.db"), &others), SQLITE_OK);
    char *sql = sqlite3_mprintf("ATTACH %Q AS noise", below(dir, "app-noise.db"));
    by_others(sql);
    sqlite3_free(sql);
}

static void teardown(void) {
    sqlite3_close(others);
    FINE(hf_store_close(s));
}

static void knows(int64_t version) {
    rc r = store_set_known_schema(s, "control 40", version, &e);
    ck_assert_msg(is_ok(r), "%s", e.text);
}

#define HISTORY                                                                                    \
    "CREATE TABLE holdfast_schema(one INTEGER PRIMARY KEY, format INTEGER, min_version INTEGER);"  \
    "INSERT INTO holdfast_schema VALUES (1, 1, 0);"
#define HISTORY_OF_NOISE                                                                           \
    "CREATE TABLE noise.holdfast_schema(one INTEGER PRIMARY KEY, format INTEGER, min_version"      \
    " INTEGER); INSERT INTO noise.holdfast_schema VALUES (1, 1, 0);"

static void writes(int scope) {
    FINE(write_sql(s, scope,
                   scope & HF_MAIN ? "INSERT INTO m(v) VALUES (random())"
                                   : "INSERT INTO noise.n(v) VALUES (random())"));
}

static void is_refused(int scope, const char *words) {
    SAYS(write_sql(s, scope, "SELECT 1"), HF_UNFIT, words);
}

/* ---- who may write ---- */

START_TEST(where_nobody_has_used_migrations_all_may_write) {
    writes(HF_MAIN);
    knows(5);
    writes(HF_MAIN), writes(HF_NOISE), writes(HF_BOTH);
}
END_TEST

START_TEST(an_older_program_that_was_here_before_is_refused_from_the_contract_on) {
    knows(5);
    writes(HF_MAIN), writes(HF_BOTH);
    by_others(HISTORY);
    writes(HF_MAIN), writes(HF_BOTH);
    by_others("UPDATE holdfast_schema SET min_version = 5");
    writes(HF_MAIN), writes(HF_BOTH);
    by_others("UPDATE holdfast_schema SET min_version = 6");
    int64_t rows = number(s, "SELECT count(*) FROM m");
    SAYS(write_sql(s, HF_MAIN, "INSERT INTO m(v) VALUES (0)"), HF_UNFIT,
         "app.db: its schema is newer: 6 was contracted; this program ('control 40') knows up to 5:"
         " start a newer one");
    is_refused(HF_MAIN, "its schema is newer");
    is_refused(HF_BOTH, "its schema is newer");
    writes(HF_NOISE);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), rows);
    by_others("UPDATE holdfast_schema SET min_version = 5"); /* taken back: nothing is stuck */
    writes(HF_MAIN), writes(HF_BOTH);
}
END_TEST

START_TEST(each_file_has_its_own) {
    knows(5);
    writes(HF_BOTH);
    by_others(HISTORY_OF_NOISE "UPDATE noise.holdfast_schema SET min_version = 7");
    is_refused(HF_NOISE, "app-noise.db: its schema is newer: 7");
    is_refused(HF_BOTH, "app-noise.db");
    writes(HF_MAIN);
}
END_TEST

START_TEST(a_history_that_is_not_understood_lets_nobody_write) {
    knows(5);
    by_others(HISTORY "UPDATE holdfast_schema SET format = 2");
    is_refused(HF_MAIN, "by a newer Holdfast");
    by_others("UPDATE holdfast_schema SET format = 1");
    writes(HF_MAIN);
    by_others("ALTER TABLE holdfast_schema RENAME COLUMN min_version TO least");
    is_refused(HF_MAIN, "by a newer Holdfast");
    by_others("ALTER TABLE holdfast_schema RENAME COLUMN least TO min_version");
    writes(HF_MAIN);
}
END_TEST

START_TEST(who_does_not_say_what_he_knows_is_not_asked) {
    by_others(HISTORY "UPDATE holdfast_schema SET min_version = 7");
    writes(HF_MAIN);
    knows(6);
    is_refused(HF_MAIN, "its schema is newer");
    ck_assert(store_set_known_schema(s, "another", 8, &e).code == RC_USAGE);
    is_refused(HF_MAIN, "'control 40'");
    knows(-1);
    writes(HF_MAIN);
    knows(7);
    writes(HF_MAIN);
    knows(-1);
    knows(0); /* a program from before the first migration */
    is_refused(HF_MAIN, "knows up to 0");
    by_others("UPDATE holdfast_schema SET min_version = 0");
    writes(HF_MAIN);
}
END_TEST

/* ---- what it costs ---- */

static int asked;

static int count_asked(unsigned what, void *arg, void *st, void *sql) {
    (void)what, (void)arg, (void)st;
    asked += strstr(sql, "min_version") != NULL;
    return 0;
}

static int watch_statements(hf_tx *t, void *arg) {
    (void)arg;
    return sqlite3_trace_v2(hf_sqlite(t), SQLITE_TRACE_STMT, count_asked, NULL);
}

START_TEST(it_is_asked_again_only_when_somebody_else_has_committed) {
    by_others(HISTORY);
    knows(5);
    FINE(hf_write(s, HF_MAIN, "watch", watch_statements, NULL));
    asked = 0;
    for (int i = 0; i < 1000; i++) writes(HF_MAIN);
    ck_assert_int_eq(asked, 0);
    for (int i = 0; i < 10; i++) {
        by_others("INSERT INTO m(v) VALUES (random())");
        writes(HF_MAIN), writes(HF_MAIN);
    }
    ck_assert_int_eq(asked, 10);
}
END_TEST

static int64_t write_ns(int64_t version) {
    int64_t best = INT64_MAX;
    if (version >= 0) knows(version);
    for (int round = 0; round < 5; round++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int i = 0; i < 200; i++) writes(HF_MAIN);
        clock_gettime(CLOCK_MONOTONIC, &to);
        int64_t ns = (to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec;
        if (ns < best) best = ns;
    }
    if (version >= 0) knows(-1);
    return best / 200;
}

/* Printed, for people; how often it is asked stands above. */
START_TEST(what_it_costs_is_measured) {
    by_others(HISTORY);
    for (int i = 0; i < 3; i++) {
        int64_t without = write_ns(-1), with = write_ns(5);
        printf("a write transaction: %.2f us where it is not asked, %.2f us where it is\n",
               (double)without / 1e3, (double)with / 1e3);
    }
}
END_TEST

/* ---- the tables are not the application's ---- */

static const struct {
    int scope;
    const char *sql;
} refusals[] = {
    {HF_MAIN, "INSERT INTO holdfast_schema VALUES (2, 1, 0)"},
    {HF_MAIN, "UPDATE holdfast_schema SET min_version = 0"},
    {HF_MAIN, "UPDATE main.\"HoldFast_Schema\" SET min_version = 0"},
    {HF_MAIN, "DELETE FROM holdfast_schema"},
    {HF_MAIN, "DROP TABLE holdfast_schema"},
    {HF_MAIN, "ALTER TABLE holdfast_schema ADD COLUMN x"},
    {HF_MAIN, "ALTER TABLE holdfast_schema RENAME TO x"},
    {HF_MAIN, "CREATE INDEX i ON holdfast_schema(format)"},
    {HF_MAIN, "CREATE TRIGGER r AFTER UPDATE ON holdfast_schema BEGIN SELECT 1; END"},
    {HF_MAIN, "CREATE TABLE holdfast_x(y)"},
    {HF_MAIN, "CREATE TABLE holdfast_y AS SELECT * FROM holdfast_schema"},
    {HF_MAIN, "INSERT INTO bad VALUES (1)"},
    {HF_MAIN, "INSERT INTO holdfast_reject VALUES (1)"},
    {HF_BOTH, "DELETE FROM holdfast_schema"},
    {HF_NOISE, "UPDATE noise.holdfast_schema SET min_version = 0"},
    {HF_BOTH, "UPDATE noise.holdfast_schema SET min_version = 0"},
};

START_TEST(the_history_can_be_read_and_not_written) {
    by_others(HISTORY HISTORY_OF_NOISE
              "CREATE TABLE holdfast_reject(x); CREATE TABLE bad(x); CREATE TABLE good(x);"
              "CREATE TRIGGER b AFTER INSERT ON bad BEGIN"
              " UPDATE holdfast_schema SET min_version = 9; END;"
              "CREATE TRIGGER g AFTER INSERT ON good BEGIN"
              " INSERT INTO holdfast_reject VALUES (new.x); END;");
    SAYS(write_sql(s, refusals[_i].scope, refusals[_i].sql), HF_USAGE,
         "the tables holdfast_... are those of 'holdfast schema'");
    ck_assert_int_eq(number(s, "SELECT min_version FROM holdfast_schema"), 0);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM sqlite_master WHERE name IN ('i', 'r', 'x',"
                               " 'holdfast_x', 'holdfast_y')"),
                     0);
    FINE(write_sql(s, HF_MAIN, "INSERT INTO good VALUES (1)")); /* a promotion's own trigger may */
    ck_assert_int_eq(number(s, "SELECT count(*) FROM holdfast_reject"), 1);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store/newer");
    TCase *c = tcase_create("newer");
    tcase_add_unchecked_fixture(c, temp_setup, temp_teardown);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, where_nobody_has_used_migrations_all_may_write);
    tcase_add_test(c, an_older_program_that_was_here_before_is_refused_from_the_contract_on);
    tcase_add_test(c, each_file_has_its_own);
    tcase_add_test(c, a_history_that_is_not_understood_lets_nobody_write);
    tcase_add_test(c, who_does_not_say_what_he_knows_is_not_asked);
    tcase_add_test(c, it_is_asked_again_only_when_somebody_else_has_committed);
    tcase_add_test(c, what_it_costs_is_measured);
    ADD_ROWS(c, the_history_can_be_read_and_not_written, refusals);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
