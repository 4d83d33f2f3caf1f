/* The history: what is put is read again, and files that do not agree with it are named. */
#include "schema/history.h"
#include "store/internal.h" /* before Check, which has a macro `fail` */

#include "../os/temp.h"

static char dir[TEMP_PATH];
static hf_schema s;
static struct sconn c;

static void setup(void) {
    temp_dir(dir);
    s = (hf_schema){.options = {.lock_ms = 5000}};
    s.env = store_env();
    snprintf(s.path, sizeof s.path, "%s/app.db", dir);
    fclose(fopen(s.path, "w"));
    OK(sconn_open(&s, false, &c, e));
}

static void teardown(void) {
    sconn_close(&c);
}

static int64_t number(const char *sql) {
    int64_t n = -1;
    OK(sconn_int(&c, sql, &n, e));
    return n;
}

static void run(const char *sql) {
    OK(sconn_exec(&c, sql, e));
}

static void prepare(void) {
    OK(sconn_begin(&c, e));
    OK(history_prepare(&c, e));
    OK(sconn_commit(&c, NULL, e));
}

static uint64_t log_bytes(void) {
    struct file_stat st;
    char wal[LIMIT_PATH + 8];
    snprintf(wal, sizeof wal, "%s-wal", s.path);
    return is_ok(s.env->files->stat(s.env, wal, &st, NULL)) ? st.size_bytes : 0;
}

/* ---- reading and writing ---- */

START_TEST(a_new_database_has_no_history_and_reading_it_writes_nothing) {
    struct records r = {.count = 7};
    uint64_t before = log_bytes();
    OK(history_read(c.db, &r, e));
    ck_assert_uint_eq(r.count, 0);
    ck_assert_int_eq(r.min_version, 0);
    ck_assert_ptr_null(records_find(&r, 1));
    ck_assert_int_eq(number("SELECT count(*) FROM sqlite_master"), 0);
    ck_assert_uint_eq(log_bytes(), before);
}
END_TEST

static struct record record_of(int64_t version, enum phase phase) {
    struct record r = {.version = version,
                       .name = (char *)(uintptr_t) "1_a.sql",
                       .phase = phase,
                       .phase_ms = 1700000000123};
    memset(r.sha256, 'a', 64);
    memset(r.chain, 'b', 64);
    return r;
}

static void expect(const struct record *is, const struct record *should) {
    ck_assert_int_eq(is->version, should->version);
    ck_assert_str_eq(is->name, should->name);
    ck_assert_str_eq(is->sha256, should->sha256);
    ck_assert_str_eq(is->chain, should->chain);
    ck_assert_int_eq(is->phase, should->phase);
    ck_assert_int_eq(is->phase_ms, should->phase_ms);
    ck_assert_int_eq(is->breaking, should->breaking);
    ck_assert_pstr_eq(is->triggers, should->triggers);
}

START_TEST(what_is_put_is_read_again) {
    struct records r;
    prepare();
    struct record all[20];
    for (int i = 0; i < 20; i++) {
        all[i] = record_of(20260901120000 + i * 7, (enum phase)(1 + i % 5));
        all[i].breaking = i % 2;
        all[i].triggers = i % 3 ? (char *)(uintptr_t) "[\"a\\nb\",\"c\"]" : NULL;
    }
    for (int i = 19; i >= 0; i--) OK(history_put(&c, &all[i], e)); /* in any order */
    OK(history_set_min(&c, 20260901120007, e));
    OK(history_read(c.db, &r, e));
    ck_assert_uint_eq(r.count, 20);
    ck_assert_int_eq(r.min_version, 20260901120007);
    for (int i = 0; i < 20; i++) {
        expect(&r.at[i], &all[i]);
        expect(records_find(&r, all[i].version), &all[i]);
        ck_assert_ptr_null(records_find(&r, all[i].version + 1));
    }
    records_deinit(&r);
}
END_TEST

START_TEST(a_second_put_replaces_and_removing_takes_the_backfills_along) {
    struct records r;
    struct record one = record_of(1, PHASE_EXPANDED), other = record_of(2, PHASE_SYNCED);
    prepare();
    OK(history_put(&c, &one, e));
    OK(history_put(&c, &other, e));
    one.phase = PHASE_DONE;
    OK(history_put(&c, &one, e));
    run("INSERT INTO holdfast_backfill VALUES (1, 0, 5, 5, 0, 0, 0), (2, 0, 6, 6, 0, 0, 0)");
    OK(history_read(c.db, &r, e));
    ck_assert_uint_eq(r.count, 2);
    ck_assert_int_eq(r.at[0].phase, PHASE_DONE);
    records_deinit(&r);
    OK(history_remove(&c, 1, e));
    OK(history_read(c.db, &r, e));
    ck_assert_uint_eq(r.count, 1);
    ck_assert_int_eq(r.at[0].version, 2);
    records_deinit(&r);
    ck_assert_int_eq(number("SELECT sum(version) FROM holdfast_backfill"), 2);
}
END_TEST

START_TEST(a_step_is_logged_with_its_time) {
    struct step_row row = {
        .version = 5, .lock_us = 1234, .rows = 7, .step = "backfill 0", .others = true};
    int64_t now = s.env->unix_ms(s.env);
    prepare();
    OK(history_log(&c, &row, e));
    ck_assert_int_eq(number("SELECT count(*) FROM holdfast_step WHERE version = 5 AND lock_us = "
                            "1234 AND rows = 7 AND step = 'backfill 0' AND others = 1"),
                     1);
    ck_assert_int_ge(number("SELECT at_ms FROM holdfast_step"), now);
    ck_assert_int_lt(number("SELECT at_ms FROM holdfast_step"), now + 60000);
}
END_TEST

START_TEST(the_tables_are_made_once) {
    prepare();
    uint64_t before = log_bytes();
    ck_assert_uint_gt(before, 0);
    prepare();
    ck_assert_uint_eq(log_bytes(), before);
    ck_assert_int_eq(number("SELECT count(*) FROM sqlite_master WHERE type = 'table'"), 4);
    ck_assert_int_eq(number("SELECT min_version FROM holdfast_schema"), 0);
}
END_TEST

static const struct damage {
    const char *sql;
    enum rc_code code;
    const char *words;
} damages[] = {
    {"UPDATE holdfast_schema SET format = 2", RC_UNFIT, "newer Holdfast"},
    {"UPDATE holdfast_schema SET format = 0", RC_UNFIT, "format 0"},
    {"DELETE FROM holdfast_schema", RC_CORRUPT, "has no row"},
    {"UPDATE holdfast_migration SET phase = 'halfway'", RC_CORRUPT, "no such phase: 'halfway'"},
    {"UPDATE holdfast_migration SET phase = 'none'", RC_CORRUPT, "no such phase"},
    {"UPDATE holdfast_migration SET phase = ''", RC_CORRUPT, "no such phase"},
    {"DROP TABLE holdfast_migration", RC_USAGE, "no such table"},
    {"ALTER TABLE holdfast_migration DROP COLUMN breaking", RC_USAGE, "no such column"},
};

START_TEST(a_history_that_cannot_be_understood_is_refused) {
    const struct damage *d = &damages[_i];
    struct records r = {.count = 7};
    struct record one = record_of(1, PHASE_EXPANDED);
    prepare();
    OK(history_put(&c, &one, e));
    run(d->sql);
    CODE(history_read(c.db, &r, e), d->code);
    says(d->words);
    ck_assert_uint_eq(r.count, 7); /* untouched */
    ck_assert(sqlite3_get_autocommit(c.db));
}
END_TEST

/* ---- files and records ---- */

#define RECORD(v)                                                                                  \
    { .version = v, .sha256 = "a" }
#define MAIN(v)                                                                                    \
    { .version = v, .sha256 = "a" }
#define NOISE(v)                                                                                   \
    { .version = v, .sha256 = "a", .noise = true }

static const struct agreement {
    const char *title;
    struct migration files[5];
    struct record records[5];
    int64_t min_version;
    bool noise; /* the records' file */
    enum rc_code code;
    const char *words; /* or NULL */
    size_t ahead;
} agreements[] = {
    {"nothing", {{0}}, {{0}}, 0, false, RC_OK, NULL, 0},
    {"all are new", {MAIN(1), MAIN(2)}, {{0}}, 0, false, RC_OK, NULL, 0},
    {"all are there", {MAIN(1), MAIN(2)}, {RECORD(1), RECORD(2)}, 2, false, RC_OK, NULL, 0},
    {"one is new", {MAIN(1), MAIN(2)}, {RECORD(1)}, 0, false, RC_OK, NULL, 0},
    {"the database is ahead",
     {MAIN(1)},
     {RECORD(1), RECORD(2), RECORD(3)},
     1,
     false,
     RC_OK,
     NULL,
     2},
    {"no files at all", {{0}}, {RECORD(1)}, 0, false, RC_OK, NULL, 1},
    {"no files, broken",
     {{0}},
     {RECORD(1)},
     1,
     false,
     RC_UNFIT,
     "app.db: its schema is newer: 1",
     0},
    {"newer", {MAIN(1)}, {RECORD(1), RECORD(2)}, 2, false, RC_UNFIT, "end with 1", 0},
    {"newer than main, not than noise",
     {MAIN(1), NOISE(3)},
     {RECORD(1), RECORD(2)},
     2,
     false,
     RC_CONFLICT,
     "2 (1_a.sql) was applied, and its file is missing",
     0},
    {"edited", {MAIN(1)}, {{.version = 1, .sha256 = "b"}}, 0, false, RC_CONFLICT, "edited", 0},
    {"the first is missing",
     {MAIN(2)},
     {RECORD(1), RECORD(2)},
     0,
     false,
     RC_CONFLICT,
     "missing",
     0},
    {"one is missing",
     {MAIN(1), MAIN(3)},
     {RECORD(1), RECORD(2), RECORD(3)},
     0,
     false,
     RC_CONFLICT,
     "2 (1_a.sql)",
     0},
    {"out of order",
     {MAIN(1), MAIN(2), MAIN(3)},
     {RECORD(1), RECORD(3)},
     0,
     false,
     RC_CONFLICT,
     "out of order: app.db has 3",
     0},
    {"out of order before the first",
     {MAIN(1), MAIN(2)},
     {RECORD(2)},
     0,
     false,
     RC_CONFLICT,
     "out of order",
     0},
    {"out of order, and ahead",
     {MAIN(1), MAIN(2)},
     {RECORD(1), RECORD(5)},
     0,
     false,
     RC_CONFLICT,
     "out of order",
     0},
    {"noise between",
     {MAIN(1), NOISE(2), MAIN(3)},
     {RECORD(1), RECORD(3)},
     0,
     false,
     RC_OK,
     NULL,
     0},
    {"main between", {MAIN(2), NOISE(1), NOISE(3)}, {RECORD(1)}, 0, true, RC_OK, NULL, 0},
    {"a noise that was lost", {MAIN(1), NOISE(2), NOISE(4)}, {{0}}, 0, true, RC_OK, NULL, 0},
    {"moved to noise",
     {MAIN(1), NOISE(2)},
     {RECORD(1), RECORD(2)},
     0,
     false,
     RC_CONFLICT,
     "the file is of noise now",
     0},
    {"moved to main", {MAIN(2)}, {RECORD(2)}, 0, true, RC_CONFLICT, "the file is of main now", 0},
};

START_TEST(files_and_records_agree_or_the_file_is_named) {
    const struct agreement *a = &agreements[_i];
    struct migration files[5];
    struct migration *by_version[5];
    struct record records[5];
    struct set set = {.at = by_version};
    struct records r = {.at = records, .min_version = a->min_version};
    size_t ahead = 99;
    for (int i = 0; i < 5 && a->files[i].version; i++) {
        files[i] = a->files[i];
        files[i].name = (char *)(uintptr_t) "file.sql";
        size_t at = set.count++;
        for (; at && by_version[at - 1]->version > files[i].version; at--)
            by_version[at] = by_version[at - 1];
        by_version[at] = &files[i];
    }
    for (int i = 0; i < 5 && a->records[i].version; i++) {
        records[r.count] = a->records[i];
        records[r.count++].name = (char *)(uintptr_t) "1_a.sql";
    }
    CODE(history_check(&set, &r, a->noise, "app.db", &ahead, e), a->code);
    if (a->words) says(a->words);
    ck_assert_msg(ahead == (a->code ? 99 : a->ahead), "%s: ahead %zu", a->title, ahead);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("schema/history");
    TCase *t = tcase_create("history");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_new_database_has_no_history_and_reading_it_writes_nothing);
    tcase_add_test(t, what_is_put_is_read_again);
    tcase_add_test(t, a_second_put_replaces_and_removing_takes_the_backfills_along);
    tcase_add_test(t, a_step_is_logged_with_its_time);
    tcase_add_test(t, the_tables_are_made_once);
    ADD_ROWS(t, a_history_that_cannot_be_understood_is_refused, damages);
    ADD_ROWS(t, files_and_records_agree_or_the_file_is_named, agreements);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
