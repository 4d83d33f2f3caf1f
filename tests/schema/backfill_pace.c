/* How long a backfill holds the lock, how long it rests, and what it waits for. */
#include "fill.h"

static struct clock *standing;
static int64_t row_ns;

/* Each row takes so long, of a time that stands still otherwise. */
static void spend(sqlite3_context *context, int n, sqlite3_value **values) {
    (void)n;
    clock_advance(standing, row_ns);
    sqlite3_result_value(context, values[0]);
}

static void stand_still(void) {
    OK(clock_new(store_env(), &standing, e));
    clock_stop(standing);
    box.env = clock_env(standing);
    sqlite3_create_function(conn.db, "spend", 1, SQLITE_UTF8, NULL, spend, NULL, NULL);
}

START_TEST(what_need_not_be_done_is_left_and_not_gone_through) {
    stand_still();
    sql("CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0, todo)");
    sql("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 20000)"
        "INSERT INTO k(id, todo) SELECT i, i % 5000 = 0 FROM s WHERE i <> 9999");
    write_backfill("k", "id", "todo -- and no more", 1);
    row_ns = 5000000; /* so it stays at one */
    statement.sql =
        (char *)(uintptr_t) "UPDATE k SET n = n + spend(1) WHERE id > :lo AND id <= :hi";
    OK(run(e)); /* the statement itself would do every row */
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1 AND todo"), 4);
    ck_assert_int_eq(number(app, "SELECT sum(n) FROM k"), 4);
    ck_assert_int_eq(report.rows, 4);
    ck_assert_int_eq(report.lock_max_us, 5000);
}
END_TEST

static void many_rows(int rows, int bytes) {
    char text[300];
    sql("CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0, x)");
    snprintf(text, sizeof text,
             "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < %d)"
             "INSERT INTO k(id, x) SELECT i, zeroblob(%d) FROM s",
             rows, bytes);
    sql(text);
    sql("PRAGMA wal_checkpoint(TRUNCATE)");
}

START_TEST(a_batch_holds_the_lock_as_long_as_was_asked) {
    stand_still();
    many_rows(20000, 0);
    row_ns = 100000;
    write_backfill("k", "id", NULL, 1000);
    statement.sql =
        (char *)(uintptr_t) "UPDATE k SET n = n + spend(1) WHERE id > :lo AND id <= :hi";
    int64_t began = box.env->mono_ns(box.env);
    OK(run(e));
    int64_t took_ms = (box.env->mono_ns(box.env) - began) / 1000000;
    ck_assert_int_le(report.lock_p50_us, 5000);
    ck_assert_int_ge(report.lock_p50_us, 4000);
    ck_assert_int_eq(report.lock_max_us, 100000); /* the first, before anything was known */
    ck_assert_int_ge(report.batches, 350);
    ck_assert_int_le(report.batches, 450);
    ck_assert_int_ge(took_ms, 3950); /* 2 s under the lock, and as long for others */
    ck_assert_int_le(took_ms, 4100);
    ck_assert_int_eq(box_told("backfill.rows", NULL), 0);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 20000);
}
END_TEST

START_TEST(of_a_long_one_the_rows_are_told) {
    const char *rows = "";
    stand_still();
    many_rows(1000, 0);
    row_ns = 10000000;
    write_backfill("k", "id", NULL, 1);
    statement.sql =
        (char *)(uintptr_t) "UPDATE k SET n = n + spend(1) WHERE id > :lo AND id <= :hi";
    OK(run(e)); /* ten seconds, and as long between them */
    int told = box_told("backfill.rows", &rows);
    ck_assert_int_ge(told, 3);
    ck_assert_int_le(told, 4);
    ck_assert_int_gt(atoi(rows), 700);
    ck_assert_int_le(atoi(rows), 1000);
}
END_TEST

START_TEST(a_batch_grows_to_what_was_asked_and_no_longer) {
    stand_still();
    many_rows(20000, 0);
    row_ns = 10000;
    write_backfill("k", "id", NULL, 1);
    section.target_ms = 10;
    statement.sql =
        (char *)(uintptr_t) "UPDATE k SET n = n + spend(1) WHERE id > :lo AND id <= :hi";
    OK(run(e));
    ck_assert_int_le(report.lock_max_us, 12500);
    ck_assert_int_ge(report.lock_max_us, 9000);
    ck_assert_int_le(report.batches, 60);
}
END_TEST

START_TEST(a_copy_is_not_paced) {
    stand_still();
    many_rows(1000, 0);
    row_ns = 100000;
    conn.path = "/somewhere/else.db";
    write_backfill("k", "id", NULL, 100);
    statement.sql =
        (char *)(uintptr_t) "UPDATE k SET n = n + spend(1) WHERE id > :lo AND id <= :hi";
    int64_t began = box.env->mono_ns(box.env);
    OK(run(e));
    ck_assert_int_eq((box.env->mono_ns(box.env) - began) / 1000000, 100);
}
END_TEST

START_TEST(the_log_stays_short) {
    stand_still();
    many_rows(20000, 1000);
    write_backfill("k", "id", NULL, 100);
    section.target_ms = 60000;
    OK(run(e));
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 20000);
    int64_t pages = number(app, "PRAGMA page_count");
    ck_assert_int_gt(pages, 4900);
    ck_assert_int_le(report.wal_max_bytes, 3500 * 4120); /* of 5,000 that were written */
    ck_assert_int_eq(number(conn.db, "PRAGMA synchronous"), 2);
}
END_TEST

static sqlite3 *reader;
static int64_t log_at_event;
static void end_reader(const char *name) {
    if (strcmp(name, "backfill.waits") != 0) return;
    log_at_event = number(app, "SELECT rows FROM holdfast_backfill");
    ck_assert_int_eq(sqlite3_exec(reader, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
}

START_TEST(it_waits_while_a_reader_makes_the_log_long) {
    const char *words = "";
    stand_still();
    many_rows(20000, 1000);
    ck_assert_int_eq(sqlite3_open(app_path, &reader), SQLITE_OK);
    sqlite3_exec(reader, "BEGIN", NULL, NULL, NULL);
    number(reader, "SELECT count(*) FROM k");
    box_on_event = end_reader;
    write_backfill("k", "id", NULL, 100);
    section.target_ms = 1000;
    OK(run(e));
    ck_assert_int_eq(box_told("backfill.waits", &words), 1);
    ck_assert_msg(strstr(words, "a reader") != NULL, "%s", words);
    ck_assert_int_eq(box_told("backfill.goes_on", NULL), 1);
    ck_assert_int_lt(log_at_event, 20000);
    ck_assert_int_ge(report.waited_ms, 5000);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 20000);
    sqlite3_close(reader);
}
END_TEST

/* Somebody takes the lock in the first rest, and has it until he has been waited for four times. */
static struct env impatient;
static int asked;
static int64_t rested[64];
static sqlite3 *holder;
static void hold_on(struct env *env, int64_t ns) {
    (void)env;
    rested[asked++ % 64] = ns;
    if (asked == 1) sqlite3_exec(holder, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (asked == 5) sqlite3_exec(holder, "COMMIT", NULL, NULL, NULL);
    clock_env(standing)->sleep_ns(clock_env(standing), ns);
}
static int64_t stand_mono(struct env *env) {
    (void)env;
    return clock_env(standing)->mono_ns(clock_env(standing));
}
static int64_t stand_unix(struct env *env) {
    (void)env;
    return clock_env(standing)->unix_ms(clock_env(standing));
}

static void be_impatient(void) {
    stand_still();
    impatient = *box.env;
    impatient.sleep_ns = hold_on;
    impatient.mono_ns = stand_mono;
    impatient.unix_ms = stand_unix;
    box.env = &impatient;
}

START_TEST(it_rests_longer_when_others_want_the_lock) {
    be_impatient();
    many_rows(250, 0);
    row_ns = 10000;
    ck_assert_int_eq(sqlite3_open(app_path, &holder), SQLITE_OK);
    write_backfill("k", "id", NULL, 100);
    section.target_ms = 1;
    statement.sql =
        (char *)(uintptr_t) "UPDATE k SET n = n + spend(1) WHERE id > :lo AND id <= :hi";
    OK(run(e));
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 250);
    ck_assert_int_eq(report.batches, 3);
    ck_assert_int_eq(asked, 6);
    ck_assert_int_eq(rested[0], 1000000); /* as long as the batch had the lock */
    ck_assert_int_eq(rested[5], 4000000);
    sqlite3_close(holder);
}
END_TEST

START_TEST(it_gives_up_when_the_lock_is_never_free) {
    stand_still();
    many_rows(10, 0);
    ck_assert_int_eq(sqlite3_open(app_path, &holder), SQLITE_OK);
    sqlite3_exec(holder, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    write_backfill("k", "id", NULL, 100);
    box.options.lock_ms = 100;
    CODE(run(e), RC_BUSY);
    says("write lock");
    sqlite3_close(holder);
}
END_TEST

/* ---- replication ---- */

static hf_source *source;
static void replicate(void) {
    hf_replicate_options o = {.size = sizeof o, .interval_ms = 10, .drain_ms = 100};
    HF(hf_attach(app, urls, &o, &source));
    HF(hf_source_wait(source, NULL, NULL));
}

static void *run_on_thread(void *arg) {
    (void)arg;
    OK(run(e));
    return NULL;
}

static int64_t rows_at_event;
static void store_comes_back(const char *name) {
    if (strcmp(name, "backfill.waits") != 0) return;
    rows_at_event = number(app, "SELECT rows FROM holdfast_backfill");
    hf_fake_fail(fake, HF_FAULT_NONE, 0);
}

START_TEST(it_waits_until_what_was_done_is_safe) {
    const char *words = "";
    many_rows(20000, 2000); /* ten thousand pages, forty megabytes */
    replicate();
    hf_fake_fail(fake, HF_FAULT_REFUSE, -1);
    box_on_event = store_comes_back;
    write_backfill("k", "id", NULL, 100);
    OK(run(e));
    ck_assert_int_ge(box_told("backfill.waits", &words), 1);
    ck_assert_msg(strstr(words, "503") != NULL || strstr(words, "time") != NULL, "%s", words);
    ck_assert_int_ge(box_told("backfill.goes_on", NULL), 1);
    ck_assert_int_gt(rows_at_event, 2000);
    ck_assert_int_lt(rows_at_event, 8000); /* 8 MiB, and no more than a batch beyond */
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 20000);
    HF(hf_source_wait(source, NULL, NULL));
    HF(hf_detach(source));
}
END_TEST

START_TEST(noise_waits_for_no_replication) {
    struct sconn noise;
    sqlite3 *db;
    replicate();
    hf_fake_fail(fake, HF_FAULT_REFUSE, -1);
    sql("INSERT INTO t VALUES (1)");
    snprintf(box.noise, sizeof box.noise, "%s/noise.db", app_dir);
    ck_assert_int_eq(sqlite3_open(box.noise, &db), SQLITE_OK);
    sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    sqlite3 *main = app;
    app = db;
    many_rows(10000, 2000);
    app = main;
    OK(sconn_open(&box, true, &noise, e));
    write_backfill("k", "id", NULL, 100);
    OK(backfill_run(&noise, &migration, &section, 0, &report, e));
    ck_assert_int_eq(box_told("backfill.waits", NULL), 0);
    ck_assert_int_eq(number(db, "SELECT count(*) FROM k WHERE n = 1"), 10000);
    sconn_close(&noise);
    sqlite3_close(db);
    hf_fake_fail(fake, HF_FAULT_NONE, 0);
    HF(hf_source_wait(source, NULL, NULL));
    HF(hf_detach(source));
}
END_TEST

static void stop_it(const char *name) {
    if (strcmp(name, "backfill.waits") == 0) atomic_store(&box.stop, true);
}

START_TEST(it_can_be_stopped_while_it_waits) {
    many_rows(20000, 2000);
    replicate();
    hf_fake_slow(fake, 3600000);
    box_on_event = stop_it;
    write_backfill("k", "id", NULL, 100);
    CODE(run(e), RC_CANCELLED);
    ck_assert_int_lt(number(app, "SELECT sum(n) FROM k"), 8000);
    hf_fake_slow(fake, 0);
    HF(hf_source_wait(source, NULL, NULL));
    HF(hf_detach(source));
}
END_TEST

static void replicate_again(const char *name) {
    if (strcmp(name, "backfill.waits") == 0) replicate();
}

static void end_replication(sqlite3_context *context, int n, sqlite3_value **values) {
    (void)n;
    if (--stop_after == 0) HF(hf_detach(source));
    sqlite3_result_value(context, values[0]);
}

START_TEST(it_waits_for_a_replication_that_has_ended) {
    const char *words = "";
    many_rows(20000, 2000);
    replicate();
    sqlite3_create_function(conn.db, "end", 1, SQLITE_UTF8, NULL, end_replication, NULL, NULL);
    stop_after = 100;
    box_on_event = replicate_again;
    write_backfill("k", "id", NULL, 1000);
    section.target_ms = 1000;
    statement.sql =
        (char *)(uintptr_t) "UPDATE k SET n = n + \"end\"(1) WHERE id > :lo AND id <= :hi";
    OK(run(e));
    ck_assert_int_ge(box_told("backfill.waits", &words), 1);
    ck_assert_msg(strstr(words, "nobody replicates") != NULL, "%s", words);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 20000);
    HF(hf_source_wait(source, NULL, NULL));
    HF(hf_detach(source));
}
END_TEST

START_TEST(beside_replication_the_log_stays_short) {
    many_rows(20000, 2000);
    replicate();
    write_backfill("k", "id", NULL, 100);
    pthread_t thread;
    pthread_create(&thread, NULL, run_on_thread, NULL);
    pthread_join(thread, NULL);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 20000);
    ck_assert_int_le(report.wal_max_bytes, 8000 * 4120);
    HF(hf_source_wait(source, NULL, NULL));
    HF(hf_detach(source));
}
END_TEST

int main(void) {
    Suite *s = suite_create("schema/backfill_pace");
    TCase *t = tcase_create("pace");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, box_setup, box_teardown);
    tcase_add_test(t, what_need_not_be_done_is_left_and_not_gone_through);
    tcase_add_test(t, a_batch_holds_the_lock_as_long_as_was_asked);
    tcase_add_test(t, of_a_long_one_the_rows_are_told);
    tcase_add_test(t, a_batch_grows_to_what_was_asked_and_no_longer);
    tcase_add_test(t, a_copy_is_not_paced);
    tcase_add_test(t, the_log_stays_short);
    tcase_add_test(t, it_waits_while_a_reader_makes_the_log_long);
    tcase_add_test(t, it_rests_longer_when_others_want_the_lock);
    tcase_add_test(t, it_gives_up_when_the_lock_is_never_free);
    tcase_add_test(t, it_waits_until_what_was_done_is_safe);
    tcase_add_test(t, noise_waits_for_no_replication);
    tcase_add_test(t, it_can_be_stopped_while_it_waits);
    tcase_add_test(t, it_waits_for_a_replication_that_has_ended);
    tcase_add_test(t, beside_replication_the_log_stays_short);
    suite_add_tcase(s, t);
    return run_suite(s);
}
