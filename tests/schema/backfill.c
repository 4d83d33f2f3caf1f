/* Backfills: each row once, whatever its key, whoever is killed; how long locks are held, and what
 * is waited for. */
#include "fill.h"

#include <signal.h>
#include <sys/wait.h>

/* ---- keys ---- */

#define SEQUENCE "WITH RECURSIVE s(i) AS (SELECT -60 UNION ALL SELECT i + 1 FROM s WHERE i < 60) "

static const struct {
    const char *make, *table, *key;
} keys[] = {
    {"CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0);" SEQUENCE
     "INSERT INTO k(id) SELECT i FROM s",
     "k", "id"},
    {"CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0);" SEQUENCE
     "INSERT INTO k(id) SELECT i * i * i * 1000000007 FROM s",
     "K", "ID"},
    {"CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0);"
     "INSERT INTO k(id) VALUES (-9223372036854775808), (0), (9223372036854775807)",
     "k", "id"},
    {"CREATE TABLE k(n DEFAULT 0, x);" SEQUENCE "INSERT INTO k(rowid, x) SELECT i, i FROM s", "k",
     "rowid"},
    {"CREATE TABLE k(n DEFAULT 0, x);" SEQUENCE "INSERT INTO k(rowid, x) SELECT i, i FROM s", "k",
     "_rowid_"},
    {"CREATE TABLE k(n DEFAULT 0, id TEXT PRIMARY KEY);" SEQUENCE
     "INSERT INTO k(id) SELECT char(i + 100) || i FROM s",
     "k", "id"},
    {"CREATE TABLE k(n DEFAULT 0, id VARCHAR(9) PRIMARY KEY) WITHOUT ROWID;" SEQUENCE
     "INSERT INTO k(id) SELECT i FROM s",
     "k", "id"},
    {"CREATE TABLE k(n DEFAULT 0, id TEXT NOT NULL UNIQUE COLLATE NOCASE);" SEQUENCE
     "INSERT INTO k(id) SELECT 'Ab' || i FROM s",
     "k", "id"},
    {"CREATE TABLE k(n DEFAULT 0, id BLOB NOT NULL UNIQUE);" SEQUENCE
     "INSERT INTO k(id) SELECT CAST(i AS BLOB) FROM s; INSERT INTO k(id) VALUES (x'')",
     "k", "id"},
    {"CREATE TABLE k(n DEFAULT 0, id NOT NULL UNIQUE);" SEQUENCE
     "INSERT INTO k(id) SELECT CASE abs(i % 4) WHEN 0 THEN i WHEN 1 THEN i || '' WHEN 2 THEN i / "
     "7.0"
     " ELSE CAST(i AS BLOB) END FROM s; INSERT INTO k(id) VALUES (''), (x'')",
     "k", "id"},
    {"CREATE TABLE k(n DEFAULT 0, id REAL PRIMARY KEY);" SEQUENCE
     "INSERT INTO k(id) SELECT i / 7.0 FROM s; INSERT INTO k(id) VALUES (-1e308), (1e308)",
     "k", "id"},
    {"CREATE TABLE k(n DEFAULT 0, id DECIMAL, x);" SEQUENCE
     "INSERT INTO k(id) SELECT i FROM s; CREATE UNIQUE INDEX kid ON k(id)",
     "k", "id"},
    {"CREATE TABLE k(n INT DEFAULT 0, id ANY PRIMARY KEY) STRICT;" SEQUENCE
     "INSERT INTO k(id) SELECT CASE i % 2 WHEN 0 THEN i ELSE i || '' END FROM s",
     "k", "id"},
    {"CREATE TABLE k(n DEFAULT 0, id INTEGER PRIMARY KEY DESC);" SEQUENCE
     "INSERT INTO k(id) SELECT i FROM s",
     "k", "id"},
    {"CREATE TABLE \"a \"\"b\"(n DEFAULT 0, id INTEGER PRIMARY KEY);" SEQUENCE
     "INSERT INTO \"a \"\"b\"(id) SELECT i FROM s; CREATE VIEW k AS SELECT * FROM \"a \"\"b\"",
     "a \"b", "id"},
    {"CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0)", "k", "id"},
};

START_TEST(each_row_is_done_once) {
    static const int64_t sizes[] = {1, 7, 121, 0};
    char make[1000];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(make, sizeof make,
                 "DROP VIEW IF EXISTS k; DROP TABLE IF EXISTS \"%s\"; "
                 "DROP TABLE IF EXISTS k",
                 _i == 14 ? "a \"\"b" : "none");
        if (_i != 14) snprintf(make, sizeof make, "DROP TABLE IF EXISTS k");
        sql(make);
        sql(keys[_i].make);
        write_backfill(keys[_i].table, keys[_i].key, strstr(keys[_i].key, "rowid") ? "n = 0" : NULL,
                       sizes[i]);
        if (_i == 14)
            statement.sql = (char *)(uintptr_t) "UPDATE \"a \"\"b\" SET n = n + 1 WHERE id"
                                                " > :lo AND id <= :hi";
        section.target_ms = 60000;
        migration.version = (int64_t)i;
        OK(backfill_check(&conn, &migration, &section, e));
        OK(run(e));
        int64_t rows = number(app, "SELECT count(*) FROM k");
        ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n IS 1"), rows);
        ck_assert_int_eq(report.rows, rows);
        ck_assert_int_gt(report.batches, 0);
        if (sizes[i] == 7) ck_assert_int_ge(report.batches, rows / 100);
        OK(run(e)); /* it is done */
        ck_assert_int_eq(report.batches, 0);
        ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n IS 1"), rows);
    }
}
END_TEST

static const struct {
    const char *make, *table, *key, *words;
} refused[] = {
    {"CREATE TABLE k(id INTEGER PRIMARY KEY, n)", "j", "id", "there is no table j"},
    {"CREATE TABLE k(id INTEGER PRIMARY KEY, n)", "k", "no", "write key=id"},
    {"CREATE TABLE k(id INTEGER PRIMARY KEY, n)", "k", NULL, "key= are needed"},
    {"CREATE TABLE k(id INTEGER PRIMARY KEY, n)", NULL, "id", "key= are needed"},
    {"CREATE TABLE k(id INTEGER PRIMARY KEY, n)", "k", "n", "n is not unique: write key=id"},
    {"CREATE TABLE k(id, n)", "k", "id", "id is not unique: write key=rowid"},
    {"CREATE TABLE k(id, n); CREATE INDEX kid ON k(id)", "k", "id", "not unique"},
    {"CREATE TABLE k(id, n); CREATE UNIQUE INDEX kid ON k(id) WHERE n", "k", "id", "not unique"},
    {"CREATE TABLE k(id, n, UNIQUE(id, n))", "k", "id", "not unique"},
    {"CREATE TABLE k(id, n); CREATE UNIQUE INDEX kid ON k(abs(id))", "k", "id", "not unique"},
    {"CREATE TABLE k(id, n, PRIMARY KEY(id, n)) WITHOUT ROWID", "k", "id", "UNIQUE and NOT NULL"},
    {"CREATE TABLE k(id, n, PRIMARY KEY(id, n)) WITHOUT ROWID", "k", "rowid", "WITHOUT ROWID"},
    {"CREATE TABLE k(id UNIQUE, n); INSERT INTO k VALUES (NULL, 0), (1, 0)", "k", "id",
     "NULL in a row: write key=rowid"},
    {"CREATE TABLE k(id TEXT PRIMARY KEY, n); INSERT INTO k VALUES ('', 0), (1, 0)", "k", "id",
     "'' in a row"},
    {"CREATE TABLE k(id REAL PRIMARY KEY, n); INSERT INTO k VALUES (-9e999, 0), (1, 0)", "k", "id",
     "-infinity in a row"},
    {"CREATE TABLE k(id, n)", "k", "rowid", "VACUUM changes the rowids of k"},
    {"CREATE TABLE k(id TEXT PRIMARY KEY, n)", "k", "oid", "VACUUM changes the rowids of k"},
    {"CREATE TABLE k(id INTEGER PRIMARY KEY DESC, n)", "k", "rowid", "where="},
    {"CREATE TABLE j(id INTEGER PRIMARY KEY, n); CREATE VIEW k AS SELECT * FROM j", "k", "id",
     "k is a view"},
    {"CREATE VIRTUAL TABLE k USING fts5(n)", "k", "rowid", "virtual"},
};

START_TEST(what_has_no_key_is_refused_with_words) {
    sql(refused[_i].make);
    write_backfill("k", "id", NULL, 10);
    section.table = (char *)(uintptr_t)refused[_i].table;
    section.key = (char *)(uintptr_t)refused[_i].key;
    CODE(backfill_check(&conn, &migration, &section, e), RC_USAGE);
    says("7_fill.sql:8: backfill: ");
    says(refused[_i].words);
    CODE(run(e), RC_USAGE);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM sqlite_master WHERE name LIKE 'holdfast%'"),
                     0);
}
END_TEST

static const struct {
    const char *sql, *where;
    const char *words;
} statements[] = {
    {"UPDATE k SET n = 1 WHERE id > :lo", NULL, "7_fill.sql:8: backfill: its statement has :lo"},
    {"UPDATE k SET n = 1 WHERE id > :hi", NULL, ":lo and :hi"},
    {"UPDATE k SET n = ? WHERE id > :lo AND id <= :hi", NULL, "no other parameters"},
    {"UPDATE k SET n = 1 WHERE id > @lo AND id <= :hi", NULL, ":lo and :hi"},
    {"SELECT n FROM k WHERE id > :lo AND id <= :hi", NULL, "writes nothing"},
    {"UPDATE k SET m = 1 WHERE id > :lo AND id <= :hi", NULL, "7_fill.sql:9: no such column: m"},
    {"UPDATE holdfast_schema SET format = 2 WHERE one > :lo AND one <= :hi", NULL, "own"},
    {"UPDATE k SET n = 1 WHERE id > :lo AND id <= :hi", "m = 1", "7_fill.sql:8: no such column: m"},
    {"UPDATE k SET n = 1 WHERE id > :lo AND id <= :hi", "n = :n", "has a parameter"},
    {"UPDATE k SET n = 1 WHERE id > :lo AND id <= :hi", "load_extension('x')", "extension"},
    {NULL, NULL, "one statement"},
};

START_TEST(a_statement_that_cannot_be_paced_is_refused) {
    sql("CREATE TABLE k(id INTEGER PRIMARY KEY, n)");
    sql("CREATE TABLE holdfast_schema(one INTEGER PRIMARY KEY, format)");
    write_backfill("k", "id", statements[_i].where, 10);
    statement.sql = (char *)(uintptr_t)statements[_i].sql;
    CODE(backfill_check(&conn, &migration, &section, e), RC_USAGE);
    says(statements[_i].words);
}
END_TEST

/* ---- what is done already, and what comes meanwhile ---- */

START_TEST(a_table_where_all_is_done_ends_at_once) {
    sql("CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0)");
    sql("INSERT INTO k(id) VALUES (1), (2)");
    write_backfill("k", "id", "n > 0", 10);
    OK(run(e));
    ck_assert_int_eq(report.rows, 0);
    ck_assert_int_eq(report.batches, 1);
    ck_assert_int_eq(number(app, "SELECT done FROM holdfast_backfill"), 1);
}
END_TEST

/* An application beside it, on a thread. */
static atomic_bool writing;
static atomic_int commits;
static void *write_beside(void *arg) {
    int me = *(int *)arg;
    char text[200];
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(app_path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 60000);
    for (int i = 1; writing; i++) {
        snprintf(text, sizeof text,
                 "INSERT INTO k(id, other) VALUES (%d, 1);"
                 "UPDATE k SET beside = beside + 1 WHERE id = %d;"
                 "DELETE FROM k WHERE id = %d",
                 -i * 2 - me, i % 3000 * 10, 1 + 10 * (i % 3000) + me);
        char *words = NULL;
        ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &words) == SQLITE_OK, "%s", words);
        commits++;
    }
    sqlite3_close(db);
    return NULL;
}

START_TEST(writers_go_on_beside_it) {
    static int numbers[2] = {0, 1};
    pthread_t threads[2];
    sql("CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0, beside DEFAULT 0, other)");
    sql("WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < 30000)"
        "INSERT INTO k(id) SELECT i FROM s");
    int64_t kept = number(app, "SELECT count(*) FROM k WHERE id % 10 NOT IN (1, 2)");
    writing = true;
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, write_beside, &numbers[i]);
    while (commits < 10) sched_yield();
    write_backfill("k", "id", NULL, 50);
    section.target_ms = 1;
    OK(run(e));
    int during = commits;
    writing = false;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    ck_assert_int_gt(during, 10);
    ck_assert_int_eq(
        number(app,
               "SELECT count(*) FROM k WHERE n = 1 AND other IS NULL AND id % 10 NOT IN (1, 2)"),
        kept);
    ck_assert_int_eq(number(app, "SELECT max(n) FROM k"), 1);
}
END_TEST

/* ---- children and parents ---- */

#define FAMILY(on)                                                                                 \
    "CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0);"                                         \
    "CREATE TABLE child(k REFERENCES k(id) " on ");"                                               \
    "INSERT INTO k(id) VALUES (1), (2), (3); INSERT INTO child VALUES (1), (2), (2)"
#define HERE " id > :lo AND id <= :hi"

static const struct {
    const char *make, *statement;
    int64_t parents, children; /* -1: it is refused */
} families[] = {
    {FAMILY(""), "DELETE FROM k WHERE id = 2 AND" HERE, -1, 3},
    {FAMILY(""), "DELETE FROM k WHERE id = 3 AND" HERE, 2, 3},
    {FAMILY("DEFERRABLE INITIALLY DEFERRED"), "DELETE FROM k WHERE id = 2 AND" HERE, -1, 3},
    {FAMILY("ON DELETE CASCADE"), "DELETE FROM k WHERE id = 2 AND" HERE, 2, 1},
    {FAMILY(""), "INSERT INTO child SELECT id + 1 FROM k WHERE" HERE, -1, 3},
    {FAMILY(""), "UPDATE k SET n = replace('a', 'b', 'c') WHERE" HERE, 3, 3},
    {FAMILY("ON DELETE CASCADE"), "REPLACE INTO k SELECT id, 1 FROM k WHERE" HERE, 3, 3},
    {FAMILY("ON DELETE CASCADE"), "INSERT OR REPLACE INTO k SELECT id, 1 FROM k WHERE" HERE, 3, 3},
    {"CREATE TABLE k(id INTEGER PRIMARY KEY, n); CREATE TABLE child(k REFERENCES k(n));"
     "INSERT INTO k VALUES (1, 1), (2, 2); INSERT INTO child VALUES (1), (2)",
     "UPDATE k SET n = 9 WHERE" HERE, 2, 2},
};

START_TEST(no_batch_leaves_children_without_parents) {
    struct err why;
    sql(families[_i].make);
    write_backfill("k", "id", NULL, 100);
    statement.sql = (char *)(uintptr_t)families[_i].statement;
    rc r = run(&why);
    bool is_refused = families[_i].parents < 0;
    ck_assert_msg(is_ok(r) == !is_refused, "%s", is_ok(r) ? "not refused" : why.text);
    if (is_refused) ck_assert_int_eq(r.code, RC_CONFLICT);
    if (is_refused) ck_assert_msg(strstr(why.text, "FOREIGN KEY") != NULL, "%s", why.text);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k"), is_refused ? 3 : families[_i].parents);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM child"), families[_i].children);
    if (_i < 8) ck_assert_int_eq(number(app, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    ck_assert_int_eq(number(conn.db, "PRAGMA foreign_keys"), 0);
}
END_TEST

/* ---- killed, stopped, failed ---- */

/* In a process of its own, which is killed when so many more rows are done, and so many looks
 * later. */
static bool run_and_kill_after(int64_t more, int later) {
    sqlite3_stmt *look;
    int64_t from = number(app, "SELECT coalesce(max(rows), 0) FROM holdfast_backfill");
    int status;
    sqlite3_close(app); /* a child must not have what was open when it was forked */
    pid_t child = fork();
    if (child == 0) {
        static hf_schema its;
        static struct sconn its_conn;
        struct err e;
        box_open(&its, store_env());
        rc r = sconn_open(&its, false, &its_conn, &e);
        if (is_ok(r)) r = backfill_run(&its_conn, &migration, &section, 0, &report, &e);
        if (!is_ok(r)) fprintf(stderr, "%s\n", e.text);
        _exit(is_ok(r) ? 0 : 1);
    }
    app_open();
    ck_assert_int_eq(
        sqlite3_prepare_v2(app, "SELECT rows >= ? OR done FROM holdfast_backfill", -1, &look, NULL),
        SQLITE_OK);
    sqlite3_bind_int64(look, 1, from + more);
    while (waitpid(child, &status, WNOHANG) == 0) {
        bool enough = sqlite3_step(look) == SQLITE_ROW && sqlite3_column_int(look, 0);
        sqlite3_reset(look);
        if (!enough || later-- > 0) continue;
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        break;
    }
    sqlite3_finalize(look);
    ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFEXITED(status);
}

/* Its own process, at the beginning or the end of its nth statement. */
static int events_left;
static int kill_self(unsigned event, void *arg, void *a, void *b) {
    (void)event, (void)arg, (void)a, (void)b;
    if (--events_left == 0) kill(getpid(), SIGKILL);
    return 0;
}

static bool run_and_die_at(int n) {
    int status;
    sqlite3_close(app);
    pid_t child = fork();
    if (child == 0) {
        static hf_schema its;
        static struct sconn its_conn;
        struct err e;
        box_open(&its, store_env());
        rc r = sconn_open(&its, false, &its_conn, &e);
        events_left = n;
        sqlite3_trace_v2(its_conn.db, SQLITE_TRACE_STMT | SQLITE_TRACE_PROFILE, kill_self, NULL);
        if (is_ok(r)) r = backfill_run(&its_conn, &migration, &section, 0, &report, &e);
        _exit(is_ok(r) ? 0 : 1);
    }
    waitpid(child, &status, 0);
    app_open();
    ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFEXITED(status);
}

START_TEST(killed_at_each_statement_a_row_and_its_checkpoint_are_one) {
    int n = 1;
    sconn_close(&conn);
    sql("CREATE TABLE k(id INTEGER PRIMARY KEY, n)");
    write_backfill("k", "id", NULL, 10);
    section.target_ms = 60000;
    for (bool ended = false; !ended; n++) {
        sql("DELETE FROM k; DROP TABLE IF EXISTS holdfast_backfill;"
            "DROP TABLE IF EXISTS holdfast_schema");
        sql(SEQUENCE "INSERT INTO k SELECT i, 0 FROM s WHERE i < -20");
        ended = run_and_die_at(n);
        if (number(app, "SELECT count(*) FROM sqlite_master WHERE name = 'holdfast_backfill'"))
            ck_assert_msg(number(app, "SELECT (SELECT sum(n) FROM k) ="
                                      " coalesce((SELECT rows FROM holdfast_backfill), 0)"),
                          "at %d", n);
        else ck_assert_int_eq(number(app, "SELECT sum(n) FROM k"), 0);
        if (!ended) ck_assert(run_and_die_at(0));
        ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 40);
    }
    ck_assert_int_gt(n, 50);
}
END_TEST

START_TEST(killed_anywhere_it_goes_on_behind_the_last_batch) {
    sql("CREATE TABLE k(id TEXT PRIMARY KEY, n DEFAULT 0, x)");
    sql("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 10000)"
        "INSERT INTO k(id, x) SELECT printf('k%05d', i * 7919 % 20011), randomblob(100) FROM s");
    OK(sconn_begin(&conn, e));
    OK(history_prepare(&conn, e));
    OK(sconn_commit(&conn, NULL, e));
    sconn_close(&conn);
    write_backfill("k", "id", NULL, 40);
    section.target_ms = 1;
    int kills = 0;
    unsigned seed = 1;
    for (;;) {
        seed = seed * 1103515245 + 12345;
        if (run_and_kill_after(1 + seed / 65536 % 150, (int)(seed / 65536 % 397))) break;
        kills++;
        ck_assert_int_eq(number(app, "SELECT rows FROM holdfast_backfill"),
                         number(app, "SELECT sum(n) FROM k"));
        ck_assert_int_le(number(app, "SELECT max(n) FROM k"), 1);
    }
    ck_assert_int_ge(kills, 20);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 10000);
}
END_TEST

START_TEST(told_to_stop_it_ends_between_two_batches) {
    sql("CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0)");
    sql("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 1000)"
        "INSERT INTO k(id) SELECT i FROM s");
    sqlite3_create_function(conn.db, "stop_in_time", 1, SQLITE_UTF8, NULL, stop_in_time, NULL,
                            NULL);
    write_backfill("k", "id", NULL, 100);
    section.target_ms = 60000;
    statement.sql = (char *)(uintptr_t) "UPDATE k SET n = n + stop_in_time(1) WHERE id > :lo AND id"
                                        " <= :hi";
    stop_after = 110;
    CODE(run(e), RC_CANCELLED);
    says("goes on from there");
    ck_assert_int_eq(number(app, "SELECT sum(n) FROM k"), 226); /* 100, and a quarter more */
    atomic_store(&box.stop, false);
    OK(run(e));
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 1000);
    ck_assert_int_eq(report.rows, 774);
}
END_TEST

START_TEST(rows_that_vacuum_has_numbered_anew_are_not_left_out) {
    sql("CREATE TABLE k(n DEFAULT 0, x)");
    sql("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 1000)"
        "INSERT INTO k(x) SELECT i FROM s; DELETE FROM k WHERE rowid <= 500");
    sqlite3_create_function(conn.db, "stop_in_time", 1, SQLITE_UTF8, NULL, stop_in_time, NULL,
                            NULL);
    write_backfill("k", "rowid", "n = 0", 100);
    section.target_ms = 60000;
    statement.sql = (char *)(uintptr_t) "UPDATE k SET n = n + stop_in_time(1) WHERE rowid > :lo"
                                        " AND rowid <= :hi AND n = 0";
    stop_after = 110;
    CODE(run(e), RC_CANCELLED);
    atomic_store(&box.stop, false);
    ck_assert_int_eq(number(app, "SELECT last FROM holdfast_backfill"), 726);
    sql("VACUUM");
    ck_assert_int_eq(number(app, "SELECT max(rowid) FROM k"), 500);
    OK(run(e));
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 500);
    ck_assert_int_eq(number(app, "SELECT rows FROM holdfast_backfill"), 500);
}
END_TEST

/* Somebody's VACUUM, in the first rest between two batches. */
static struct env vacuuming;
static int rests;
static void vacuum_once(struct env *env, int64_t ns) {
    (void)env, (void)ns;
    if (rests++ == 0) sql("VACUUM");
}

START_TEST(nor_are_those_that_it_numbers_between_two_batches) {
    sql("CREATE TABLE k(n DEFAULT 0, x)");
    sql("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 1000)"
        "INSERT INTO k(x) SELECT i FROM s; DELETE FROM k WHERE rowid <= 500");
    vacuuming = *box.env;
    vacuuming.sleep_ns = vacuum_once;
    box.env = &vacuuming;
    write_backfill("k", "rowid", "n = 0", 100);
    section.target_ms = 60000;
    OK(run(e));
    ck_assert_int_gt(rests, 0);
    ck_assert_int_eq(number(app, "SELECT max(rowid) FROM k"), 500);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 500);
}
END_TEST

START_TEST(a_batch_that_fails_leaves_those_before_it) {
    sql("CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0 CHECK (id <> 777 OR n = 0))");
    sql("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 1000)"
        "INSERT INTO k(id) SELECT i FROM s");
    write_backfill("k", "id", NULL, 100);
    section.target_ms = 60000;
    CODE(run(e), RC_CONFLICT);
    says("7_fill.sql:9: CHECK constraint failed");
    int64_t rows = number(app, "SELECT rows FROM holdfast_backfill");
    ck_assert_int_gt(rows, 100);
    ck_assert_int_lt(rows, 777);
    ck_assert_int_eq(number(app, "SELECT sum(n) FROM k"), rows);
    ck_assert_int_eq(number(app, "SELECT last FROM holdfast_backfill"), rows);
    sql("DELETE FROM k WHERE id = 777");
    OK(run(e));
    ck_assert_int_eq(number(app, "SELECT count(*) FROM k WHERE n = 1"), 999);
}
END_TEST

START_TEST(two_at_once_do_not_do_a_row_twice) {
    sql("CREATE TABLE k(id INTEGER PRIMARY KEY, n DEFAULT 0)");
    sql("INSERT INTO k(id) VALUES (1), (2), (3)");
    write_backfill("k", "id", NULL, 1);
    sqlite3_create_function(conn.db, "stop_in_time", 1, SQLITE_UTF8, NULL, stop_in_time, NULL,
                            NULL);
    statement.sql = (char *)(uintptr_t) "UPDATE k SET n = n + stop_in_time(1) WHERE id > :lo AND id"
                                        " <= :hi";
    stop_after = 1;
    CODE(run(e), RC_CANCELLED);
    sql("CREATE TRIGGER other AFTER UPDATE ON holdfast_backfill WHEN new.rows = 2 BEGIN"
        " UPDATE holdfast_backfill SET rows = 3; END");
    atomic_store(&box.stop, false);
    CODE(run(e), RC_CONFLICT);
    says("somebody else runs this backfill");
    ck_assert_int_eq(number(app, "SELECT sum(n) FROM k"), 2);
}
END_TEST

int main(void) {
    Suite *s = suite_create("schema/backfill");
    TCase *t = tcase_create("keys");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, box_setup, box_teardown);
    ADD_ROWS(t, each_row_is_done_once, keys);
    ADD_ROWS(t, what_has_no_key_is_refused_with_words, refused);
    ADD_ROWS(t, a_statement_that_cannot_be_paced_is_refused, statements);
    tcase_add_test(t, a_table_where_all_is_done_ends_at_once);
    suite_add_tcase(s, t);
    t = tcase_create("runs");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, box_setup, box_teardown);
    tcase_add_test(t, writers_go_on_beside_it);
    tcase_add_test(t, killed_at_each_statement_a_row_and_its_checkpoint_are_one);
    tcase_add_test(t, killed_anywhere_it_goes_on_behind_the_last_batch);
    suite_add_tcase(s, t);
    t = tcase_create("batches");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, box_setup, box_teardown);
    ADD_ROWS(t, no_batch_leaves_children_without_parents, families);
    tcase_add_test(t, told_to_stop_it_ends_between_two_batches);
    tcase_add_test(t, rows_that_vacuum_has_numbered_anew_are_not_left_out);
    tcase_add_test(t, nor_are_those_that_it_numbers_between_two_batches);
    tcase_add_test(t, a_batch_that_fails_leaves_those_before_it);
    tcase_add_test(t, two_at_once_do_not_do_a_row_twice);
    suite_add_tcase(s, t);
    return run_suite(s);
}
