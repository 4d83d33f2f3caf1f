/* Transactions of one thread: what they keep, and what they refuse. */
#include "box.h"

#include "source/position.h"

static hf_store *s;

static void setup(void) {
    s = temp_store();
    FINE(write_sql(s, HF_MAIN,
                   "CREATE TABLE child(m REFERENCES m(id) DEFERRABLE INITIALLY "
                   "DEFERRED); INSERT INTO m VALUES (1, 'one')"));
    FINE(write_sql(s, HF_NOISE, "INSERT INTO noise.n VALUES (1, 'one')"));
}

static void teardown(void) {
    FINE(hf_store_close(s));
}

/* ---- what is kept ---- */

START_TEST(what_each_scope_commits_is_read_back) {
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (2, 'x')"));
    FINE(write_sql(s, HF_NOISE, "INSERT INTO noise.n VALUES (2, 'x'), (3, 'y')"));
    FINE(write_sql(s, HF_BOTH, "INSERT INTO m VALUES (3, 'y'); INSERT INTO noise.n VALUES (4, 1)"));
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 3);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM main.m"), 3);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.n"), 4);
}
END_TEST

static int insert_and_say_7(hf_tx *t, void *arg) {
    (void)arg;
    FINE(hf_exec(t, "INSERT INTO m VALUES (2, 'two')"));
    return 7;
}

static int insert_and_fail(hf_tx *t, void *arg) {
    (void)arg;
    FINE(hf_exec(t, "INSERT INTO m VALUES (2, 'two')"));
    return hf_exec(t, "INSERT INTO m VALUES (3, 'one')");
}

static int insert_and_commit(hf_tx *t, void *arg) {
    (void)arg;
    FINE(hf_exec(t, "INSERT INTO m VALUES (2, 'two')"));
    return hf_commit(t);
}

START_TEST(what_the_function_returns_is_returned_and_nothing_is_kept) {
    ck_assert_int_eq(hf_write(s, HF_MAIN, "x", insert_and_say_7, NULL), 7);
    SAYS(hf_write(s, HF_MAIN, "x", insert_and_fail, NULL), HF_CONFLICT, "UNIQUE");
    SAYS(write_as(s, HF_MAIN, "x", "INSERT INTO m VALUES (2, 2); nonsense"), HF_USAGE,
         "syntax error");
    SAYS(hf_read(s, "x", run_text, (char[]){"INSERT INTO m VALUES (2, 2)"}), HF_USAGE, "hf_write");
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 1);
}
END_TEST

START_TEST(a_function_that_ends_its_transaction_is_told) {
    SAYS(hf_write(s, HF_MAIN, "x", insert_and_commit, NULL), HF_USAGE, "has ended");
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (3, 'three')"));
}
END_TEST

static void *write_both(void *arg) {
    (void)arg;
    FINE(write_sql(s, HF_BOTH, "INSERT INTO m VALUES (2, 2); INSERT INTO noise.n VALUES (2, 2)"));
    return NULL;
}

START_TEST(a_read_keeps_its_snapshot_of_both_files) {
    hf_tx *t;
    FINE(hf_begin(s, HF_READ, "long", &t));
    in_thread(write_both, NULL);
    ck_assert_int_eq(number_in(t, "SELECT count(*) FROM m"), 1);
    ck_assert_int_eq(number_in(t, "SELECT count(*) FROM noise.n"), 1);
    FINE(hf_commit(t));
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 2);
}
END_TEST

START_TEST(a_savepoint_nests) {
    FINE(write_sql(s, HF_MAIN,
                   "SAVEPOINT a; INSERT INTO m VALUES (2, 2); ROLLBACK TO a; RELEASE a;"
                   "INSERT INTO m VALUES (3, 3)"));
    ck_assert_int_eq(number(s, "SELECT sum(id) FROM m"), 4);
}
END_TEST

/* ---- what is refused ---- */

static const struct {
    int scope;
    const char *sql;
    int code;
    const char *words;
} refusals[] = {
    {HF_MAIN, "BEGIN", HF_USAGE, "the transaction is the store's"},
    {HF_MAIN, "BEGIN IMMEDIATE", HF_USAGE, "hf_commit"},
    {HF_MAIN, "COMMIT", HF_USAGE, "the transaction is the store's"},
    {HF_MAIN, "END", HF_USAGE, "the transaction is the store's"},
    {HF_MAIN, "ROLLBACK", HF_USAGE, "hf_rollback"},
    {HF_READ, "COMMIT", HF_USAGE, "the transaction is the store's"},
    {HF_MAIN, "ATTACH ':memory:' AS x", HF_USAGE, "no other database"},
    {HF_BOTH, "DETACH noise", HF_USAGE, "no other database"},
    {HF_MAIN, "VACUUM", HF_USAGE, "VACUUM"},
    {HF_MAIN, "PRAGMA journal_mode = DELETE", HF_USAGE, "hf_store_options"},
    {HF_MAIN, "PRAGMA locking_mode = EXCLUSIVE", HF_USAGE, "hf_store_options"},
    {HF_MAIN, "PRAGMA synchronous = OFF", HF_USAGE, "hf_store_options"},
    {HF_MAIN, "PRAGMA main.synchronous = OFF", HF_USAGE, "hf_store_options"},
    {HF_READ, "PRAGMA query_only = 0", HF_USAGE, "hf_store_options"},
    {HF_MAIN, "PRAGMA writable_schema = 1", HF_USAGE, "hf_store_options"},
    {HF_MAIN, "PRAGMA busy_timeout = 1", HF_USAGE, "hf_store_options"},
    {HF_MAIN, "PRAGMA mmap_size = 1000000", HF_USAGE, "hf_store_options"},
    {HF_MAIN, "PRAGMA foreign_keys = 0", HF_USAGE, "hf_store_options"},
    {HF_MAIN, "PRAGMA wal_autocheckpoint = 1", HF_USAGE, "hf_store_options"},
    {HF_MAIN, "PRAGMA wal_checkpoint", HF_USAGE, "checkpoints"},
    {HF_MAIN, "PRAGMA wal_checkpoint(TRUNCATE)", HF_USAGE, "checkpoints"},
    {HF_MAIN, "CREATE TEMP TABLE t(x)", HF_USAGE, "one of the store's connections"},
    {HF_MAIN, "CREATE TEMP VIEW t AS SELECT 1", HF_USAGE, "one of the store's connections"},
    {HF_MAIN, "DELETE FROM holdfast", HF_USAGE, "the table holdfast"},
    {HF_MAIN, "UPDATE main.Holdfast SET value = 2", HF_USAGE, "the table holdfast"},
    {HF_NOISE, "INSERT INTO noise.holdfast VALUES (1, 1)", HF_USAGE, "the table holdfast"},
    {HF_MAIN, "DROP TABLE holdfast", HF_USAGE, "the table holdfast"},
    {HF_MAIN, "ALTER TABLE holdfast ADD COLUMN x", HF_USAGE, "the table holdfast"},
    {HF_MAIN, "UPDATE sqlite_master SET sql = ''", HF_USAGE, "sqlite_master"},
    {HF_READ, "INSERT INTO m VALUES (2, 2)", HF_USAGE, "begin it with hf_write"},
    {HF_READ, "INSERT INTO noise.n VALUES (2, 2)", HF_USAGE, "begin it with hf_write"},
    {HF_READ, "CREATE TABLE t(x)", HF_USAGE, "begin it with hf_write"},
    {HF_READ, "DROP TABLE m", HF_USAGE, "begin it with hf_write"},
    {HF_MAIN, "INSERT INTO noise.n VALUES (2, 2)", HF_USAGE, "HF_BOTH"},
    {HF_MAIN, "CREATE TABLE noise.x(y)", HF_USAGE, "HF_BOTH"},
    {HF_NOISE, "INSERT INTO main.m VALUES (2, 2)", HF_USAGE, "HF_BOTH"},
    {HF_NOISE, "SELECT * FROM main.m", HF_USAGE, "HF_BOTH"},
    {HF_NOISE, "CREATE TABLE t(x)", HF_USAGE, "noise.x"},
    {HF_NOISE, "CREATE VIEW v AS SELECT 1", HF_USAGE, "noise.x"},
    {HF_BOTH, "CREATE VIEW v AS SELECT * FROM noise.n", HF_USAGE, "cannot reference"},
    {HF_MAIN, "INSERT INTO m VALUES (1, 'two')", HF_CONFLICT, "m.id"},
    {HF_MAIN, "INSERT INTO m VALUES (2, 'one')", HF_CONFLICT, "m.v"},
    {HF_MAIN, "INSERT INTO nowhere VALUES (1)", HF_USAGE, "nowhere"},
    {HF_MAIN, "SELEKT 1", HF_USAGE, "SELEKT"},
    {HF_MAIN, "INSERT INTO m VALUES (2, 'never\n\n\n   ends)", HF_USAGE, "unrecognized token"},
    {HF_MAIN, "SELECT load_extension('x')", HF_USAGE, "load_extension"},
    {HF_MAIN, NULL, HF_USAGE, "NULL"},
};

/* A transaction goes on after what was refused, and commits the rest. */
START_TEST(what_would_break_the_store_is_refused) {
    hf_tx *t;
    FINE(hf_begin(s, refusals[_i].scope, "refused", &t));
    SAYS(hf_exec(t, refusals[_i].sql), refusals[_i].code, refusals[_i].words);
    ck_assert_ptr_null(strchr(hf_errmsg(), '\n'));
    if (refusals[_i].scope == HF_MAIN) FINE(hf_exec(t, "INSERT INTO m VALUES (9, 9)"));
    FINE(hf_commit(t));
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), refusals[_i].scope == HF_MAIN ? 2 : 1);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.n"), 1);
}
END_TEST

/* The same by the connection itself. */
START_TEST(sqlite_itself_refuses_it_too) {
    hf_tx *t;
    if (!refusals[_i].sql) return;
    FINE(hf_begin(s, refusals[_i].scope, "refused", &t));
    ck_assert_int_ne(sqlite3_exec(hf_sqlite(t), refusals[_i].sql, NULL, NULL, NULL), SQLITE_OK);
    hf_rollback(t);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 1);
}
END_TEST

static const char *const allowed[] = {
    "PRAGMA user_version = 7",
    "PRAGMA user_version",
    "PRAGMA journal_mode",
    "PRAGMA table_info(m)",
    "PRAGMA foreign_key_check",
    "PRAGMA quick_check",
    "PRAGMA optimize",
    "PRAGMA defer_foreign_keys = 1",
    "CREATE TABLE holdfast2(x); DROP TABLE holdfast2",
    "CREATE TRIGGER tr AFTER INSERT ON m BEGIN DELETE FROM m WHERE v = 'no'; END",
    "CREATE VIEW v AS SELECT * FROM m",
    ("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 3) "
     "INSERT INTO m SELECT x + 10, x FROM c"),
    "EXPLAIN QUERY PLAN SELECT * FROM m",
    "REINDEX",
    "ANALYZE",
    "  -- nothing\n",
    "",
};

START_TEST(ordinary_sql_is_not_refused) {
    FINE(write_sql(s, HF_MAIN, allowed[_i]));
}
END_TEST

/* ---- parameters ---- */

START_TEST(parameters_of_each_type_come_back) {
    hf_tx *t;
    sqlite3_stmt *st;
    FINE(hf_begin(s, HF_MAIN, "types", &t));
    FINE(hf_exec(t, "CREATE TABLE p(a, b, c, d, e)"));
    FINE(hf_run(t, "INSERT INTO p VALUES (?, ?, ?, ?, ?)", "idsbn", INT64_MIN, 0.5, "text", "\0b",
                (size_t)2));
    ck_assert_int_eq(hf_changes(t), 1);
    FINE(hf_run(t, "INSERT INTO p VALUES (?, ?, ?, ?, ?)", "ssbbn", NULL, "", NULL, (size_t)0, "",
                (size_t)0));
    FINE(hf_query(t, &st,
                  "SELECT group_concat(quote(a) || quote(b) || quote(c) || quote(d) || "
                  "quote(e), ';') FROM p WHERE b <> ?",
                  "s", "z"));
    ck_assert_int_eq(hf_step(t, st), HF_ROW);
    ck_assert_str_eq((const char *)sqlite3_column_text(st, 0),
                     "-92233720368547758080.5'text'X'0062'NULL;NULL''NULLX''NULL");
    ck_assert_int_eq(hf_step(t, st), HF_OK);
    FINE(hf_commit(t));
}
END_TEST

static const struct {
    const char *sql, *types, *words;
} calls[] = {
    {"INSERT INTO m VALUES (?, ?)", "i", "it has 2 parameters"},
    {"INSERT INTO m VALUES (?, ?)", "iii", "gives 3"},
    {"INSERT INTO m VALUES (?, ?)", NULL, "it has 2 parameters"},
    {"INSERT INTO m VALUES (5, 5)", "i", "it has 0 parameters"},
    {"INSERT INTO m VALUES (?, 5)", "x", "'x'"},
    {"INSERT INTO m VALUES (?5, 5)", "i", "it has 5 parameters"},
    {"INSERT INTO m VALUES (5, 5); SELECT 1", "", "more than one statement"},
    {"INSERT INTO m VALUES (5, 5); nonsense", "", "more than one statement"},
    {"", "", "no statement"},
    {"   -- a comment", "", "no statement"},
    {";", "", "no statement"},
    {NULL, "", "NULL"},
    {"SELECT 1", "", "use hf_query"},
    {"INSERT INTO m VALUES (5, 5) RETURNING id", "", "use hf_query"},
    {"COMMIT", "", "the transaction is the store's"},
};

START_TEST(a_wrong_call_of_run_changes_nothing) {
    hf_tx *t;
    FINE(hf_begin(s, HF_MAIN, "wrong", &t));
    SAYS(hf_run(t, calls[_i].sql, calls[_i].types, (int64_t)1, (int64_t)1, (int64_t)1), HF_USAGE,
         calls[_i].words);
    FINE(hf_run(t, "INSERT INTO m VALUES (8, 8);  -- and no more", NULL));
    FINE(hf_commit(t));
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 2);
}
END_TEST

/* ---- statements ---- */

START_TEST(the_same_query_can_run_within_itself) {
    hf_tx *t;
    sqlite3_stmt *outer, *inner;
    const char *sql = "SELECT id FROM m ORDER BY id";
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (2, 2), (3, 3)"));
    FINE(hf_begin(s, HF_READ, "nest", &t));
    FINE(hf_query(t, &outer, sql, ""));
    int64_t sum = 0;
    while (hf_step(t, outer) == HF_ROW) {
        FINE(hf_query(t, &inner, sql, ""));
        ck_assert_ptr_ne(inner, outer);
        while (hf_step(t, inner) == HF_ROW)
            sum += sqlite3_column_int64(outer, 0) * sqlite3_column_int64(inner, 0);
    }
    ck_assert_int_eq(sum, 36);
    SAYS(hf_step(t, outer), HF_USAGE, "at its end");
    FINE(hf_commit(t));
}
END_TEST

START_TEST(a_table_that_is_being_read_is_not_dropped_and_nobody_else_is_blamed) {
    hf_tx *t;
    sqlite3_stmt *st;
    FINE(write_sql(s, HF_MAIN, "CREATE TABLE going AS SELECT 1 UNION SELECT 2"));
    FINE(hf_begin(s, HF_MAIN, "drop", &t));
    FINE(hf_query(t, &st, "SELECT * FROM going", ""));
    ck_assert_int_eq(hf_step(t, st), HF_ROW);
    SAYS(hf_exec(t, "DROP TABLE going"), HF_USAGE, "a query of this transaction is not at its end");
    while (hf_step(t, st) == HF_ROW) continue;
    FINE(hf_exec(t, "DROP TABLE going"));
    FINE(hf_commit(t));
}
END_TEST

START_TEST(a_statement_that_was_left_in_the_middle_is_new_the_next_time) {
    hf_tx *t;
    sqlite3_stmt *st, *again;
    const char *sql = "SELECT id FROM m WHERE id >= ? ORDER BY id";
    for (int i = 0; i < 3; i++) {
        FINE(hf_begin(s, HF_READ, "left", &t));
        FINE(hf_query(t, &again, sql, "i", (int64_t)1));
        if (i) ck_assert_ptr_eq(again, st); /* kept prepared */
        st = again;
        ck_assert_int_eq(hf_step(t, st), HF_ROW);
        ck_assert_int_eq(sqlite3_column_int64(st, 0), 1);
        hf_rollback(t);
    }
    FINE(hf_begin(s, HF_READ, "another", &t));
    SAYS(hf_step(t, st), HF_USAGE, "another's");
    FINE(hf_commit(t));
}
END_TEST

START_TEST(more_statements_than_are_kept_do_not_disturb_one_that_runs) {
    hf_tx *t;
    sqlite3_stmt *st, *other;
    char sql[100];
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (2, 2)"));
    FINE(hf_begin(s, HF_READ, "many", &t));
    FINE(hf_query(t, &st, "SELECT id FROM m", ""));
    ck_assert_int_eq(hf_step(t, st), HF_ROW);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 400; i++) {
            snprintf(sql, sizeof sql, "SELECT %d", i);
            FINE(hf_query(t, &other, sql, ""));
            ck_assert_int_eq(hf_step(t, other), HF_ROW);
            ck_assert_int_eq(sqlite3_column_int(other, 0), i);
            ck_assert_int_eq(hf_step(t, other), HF_OK);
        }
    ck_assert_int_eq(hf_step(t, st), HF_ROW);
    ck_assert_int_eq(hf_step(t, st), HF_OK);
    FINE(hf_commit(t));
}
END_TEST

START_TEST(what_the_application_left_running_on_the_connection_does_not_stop_the_commit) {
    hf_tx *t;
    sqlite3_stmt *st;
    FINE(hf_begin(s, HF_MAIN, "lent", &t));
    ck_assert_int_eq(sqlite3_prepare_v2(hf_sqlite(t),
                                        "INSERT INTO m VALUES (2, 2), (3, 3) "
                                        "RETURNING id",
                                        -1, &st, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    FINE(hf_commit(t));
    sqlite3_finalize(st);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 3);
}
END_TEST

/* ---- an end that is none ---- */

START_TEST(a_transaction_that_sqlite_rolled_back_is_not_committed) {
    hf_tx *t;
    FINE(hf_begin(s, HF_MAIN, "lost", &t));
    FINE(hf_exec(t, "INSERT INTO m VALUES (2, 2)"));
    SAYS(hf_exec(t, "INSERT OR ROLLBACK INTO m VALUES (3, 'one')"), HF_CONFLICT, "m.v");
    SAYS(hf_exec(t, "INSERT INTO m VALUES (4, 4)"), HF_CONFLICT,
         "'lost' was rolled back by SQLite");
    SAYS(hf_run(t, "INSERT INTO m VALUES (4, 4)", ""), HF_CONFLICT, "'lost' was rolled back");
    SAYS(hf_commit(t), HF_CONFLICT, "m.v");
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 1);
    FINE(hf_begin(s, HF_MAIN, "lost", &t));
    SAYS(hf_run(t, "INSERT OR ROLLBACK INTO m VALUES (3, 'one')", ""), HF_CONFLICT, "m.v");
    hf_rollback(t);
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (2, 2)"));
}
END_TEST

START_TEST(a_constraint_that_is_checked_at_the_commit_undoes_all) {
    hf_tx *t;
    FINE(hf_begin(s, HF_MAIN, "orphan", &t));
    FINE(hf_exec(t, "INSERT INTO m VALUES (2, 2); INSERT INTO child VALUES (77)"));
    SAYS(hf_commit(t), HF_CONFLICT, "FOREIGN KEY");
    SAYS(hf_commit(t), HF_USAGE, "has ended");
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 1);
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (2, 2)"));
}
END_TEST

/* ---- use in a wrong way ---- */

START_TEST(a_second_begin_on_a_thread_names_the_first) {
    hf_store *other = temp_store();
    hf_tx *t, *t2;
    for (int scope = HF_READ; scope <= HF_BOTH; scope++) {
        FINE(hf_begin(s, scope, "the first", &t));
        for (int second = HF_READ; second <= HF_BOTH; second++)
            SAYS(hf_begin(s, second, "the second", &t2), HF_USAGE, "inside of 'the first'");
        SAYS(write_as(s, HF_MAIN, "the second", ""), HF_USAGE, "inside of 'the first'");
        FINE(write_sql(other, HF_MAIN, "INSERT INTO m VALUES (1, 1)"));
        FINE(hf_commit(t));
        FINE(write_sql(other, HF_MAIN, "DELETE FROM m"));
    }
    FINE(hf_store_close(other));
}
END_TEST

static void *use_elsewhere(void *arg) {
    hf_tx *t = arg;
    sqlite3_stmt *st;
    SAYS(hf_exec(t, "INSERT INTO m VALUES (2, 2)"), HF_USAGE, "the thread that began it");
    SAYS(hf_run(t, "INSERT INTO m VALUES (2, 2)", ""), HF_USAGE, "the thread that began it");
    SAYS(hf_query(t, &st, "SELECT 1", ""), HF_USAGE, "the thread that began it");
    SAYS(hf_commit(t), HF_USAGE, "the thread that began it");
    ck_assert_ptr_null(hf_sqlite(t));
    hf_rollback(t);
    return NULL;
}

START_TEST(a_transaction_is_refused_on_another_thread_and_goes_on_on_its_own) {
    hf_tx *t;
    FINE(hf_begin(s, HF_MAIN, "mine", &t));
    in_thread(use_elsewhere, t);
    FINE(hf_exec(t, "INSERT INTO m VALUES (3, 3)"));
    FINE(hf_commit(t));
    ck_assert_int_eq(number(s, "SELECT sum(id) FROM m"), 4);
}
END_TEST

START_TEST(a_store_with_an_open_transaction_is_not_closed) {
    hf_tx *t;
    FINE(hf_begin(s, HF_NOISE, "forgotten", &t));
    SAYS(hf_store_close(s), HF_BUSY, "'forgotten'");
    FINE(hf_commit(t));
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (2, 2)"));
    FINE(hf_begin(s, HF_READ, "a read", &t));
    SAYS(hf_store_close(s), HF_BUSY, "'a read'");
    hf_rollback(t);
}
END_TEST

START_TEST(a_handle_that_has_ended_is_known_to_have) {
    hf_tx *t;
    sqlite3_stmt *st;
    hf_place p = {{1, 2, 3, 4}};
    FINE(hf_begin(s, HF_MAIN, "ended", &t));
    FINE(hf_commit(t));
    SAYS(hf_commit(t), HF_USAGE, "has ended");
    SAYS(hf_exec(t, "SELECT 1"), HF_USAGE, "has ended");
    SAYS(hf_run(t, "SELECT 1", ""), HF_USAGE, "has ended");
    SAYS(hf_query(t, &st, "SELECT 1", ""), HF_USAGE, "has ended");
    SAYS(hf_step(t, NULL), HF_USAGE, "has ended");
    SAYS(hf_position(t, &p), HF_USAGE, "has ended");
    ck_assert_ptr_null(hf_sqlite(t));
    ck_assert_int_eq(hf_changes(t), 0);
    hf_rollback(t);
    ck_assert_uint_eq(p.v[3], 4);
}
END_TEST

START_TEST(arguments_that_cannot_be_are_named) {
    hf_tx *t = NULL;
    hf_store *plain;
    SAYS(hf_begin(NULL, HF_MAIN, "x", &t), HF_USAGE, "NULL");
    SAYS(hf_begin(s, HF_MAIN, NULL, &t), HF_USAGE, "label");
    SAYS(hf_begin(s, HF_MAIN, "", &t), HF_USAGE, "label");
    SAYS(hf_begin(s, 4, "x", &t), HF_USAGE, "none of HF_READ");
    SAYS(hf_begin(s, -1, "x", &t), HF_USAGE, "none of HF_READ");
    SAYS(hf_begin(s, HF_MAIN, "x", NULL), HF_USAGE, "NULL");
    SAYS(hf_write(s, HF_MAIN, "x", NULL, NULL), HF_USAGE, "NULL");
    SAYS(write_as(s, HF_READ, "x", ""), HF_USAGE, "hf_read");
    SAYS(hf_read(s, "x", NULL, NULL), HF_USAGE, "NULL");
    SAYS(hf_commit(NULL), HF_USAGE, "NULL");
    SAYS(hf_stats(s, NULL, NULL), HF_USAGE, "NULL");
    SAYS(hf_stats(NULL, NULL, NULL), HF_USAGE, "NULL");
    hf_rollback(NULL);
    ck_assert_ptr_null(t);
    FINE(hf_store_close(NULL));
    FINE(hf_store_open_temp(NULL, &plain));
    SAYS(hf_begin(plain, HF_NOISE, "x", &t), HF_USAGE, "without noise");
    SAYS(hf_begin(plain, HF_BOTH, "x", &t), HF_USAGE, "without noise");
    FINE(hf_begin(plain, HF_MAIN, "x", &t));
    SAYS(hf_position(t, NULL), HF_USAGE, "NULL");
    SAYS(hf_query(t, NULL, "SELECT 1", ""), HF_USAGE, "NULL");
    FINE(hf_commit(t));
    FINE(hf_store_close(plain));
}
END_TEST

/* ---- places ---- */

static uint32_t kind_after(int scope, const char *sql, hf_place *out) {
    hf_tx *t;
    struct position p;
    FINE(hf_begin(s, scope, "placed", &t));
    FINE(hf_position(t, out));
    FINE(hf_exec(t, sql));
    FINE(hf_commit(t));
    memcpy(&p, out, sizeof p);
    return p.kind;
}

START_TEST(only_what_wrote_main_has_a_place_to_wait_for) {
    hf_place p = {{0}}, q = {{0}};
    ck_assert_uint_eq(kind_after(HF_READ, "SELECT 1", &p), POSITION_NOTHING);
    ck_assert_uint_eq(kind_after(HF_NOISE, "INSERT INTO noise.n VALUES (5, 5)", &p),
                      POSITION_NOTHING);
    ck_assert_uint_eq(kind_after(HF_MAIN, "SELECT 1", &p), POSITION_NOTHING);
    ck_assert_uint_eq(kind_after(HF_MAIN, "DELETE FROM m WHERE id = 99", &p), POSITION_NOTHING);
    ck_assert_uint_eq(kind_after(HF_BOTH, "INSERT INTO noise.n VALUES (6, 6)", &p),
                      POSITION_NOTHING);
    ck_assert_uint_eq(kind_after(HF_MAIN, "INSERT INTO m VALUES (5, 5)", &p), POSITION_FRAME);
    ck_assert_uint_eq(kind_after(HF_BOTH, "INSERT INTO m VALUES (6, 6)", &q), POSITION_FRAME);
    ck_assert_uint_gt(q.v[1], p.v[1]); /* the frame */
    ck_assert_mem_eq(&q.v[2], &p.v[2], 8);
}
END_TEST

START_TEST(a_place_of_what_was_rolled_back_is_not_filled) {
    hf_tx *t;
    hf_place p = {{9, 9, 9, 9}};
    FINE(hf_begin(s, HF_MAIN, "placed", &t));
    FINE(hf_position(t, &p));
    hf_rollback(t);
    ck_assert_uint_eq(p.v[0], 9);
}
END_TEST

/* ---- figures ---- */

static hf_stat found;
static int labels;

static void find_stat(void *arg, const hf_stat *st) {
    labels++;
    if (strcmp(st->why, arg) == 0) found = *st;
}

static hf_stat stat_of(const char *why) {
    memset(&found, 0, sizeof found);
    labels = 0;
    FINE(hf_stats(s, find_stat, (void *)(uintptr_t)why));
    return found;
}

START_TEST(a_label_is_counted_by_its_words_and_its_scope) {
    char same[] = "count me";
    for (int i = 0; i < 10; i++) FINE(write_as(s, HF_MAIN, i % 2 ? same : "count me", "SELECT 1"));
    ck_assert_int_eq(hf_write(s, HF_MAIN, "count me", insert_and_say_7, NULL), 7);
    hf_stat st = stat_of("count me");
    ck_assert_uint_eq(st.count, 11);
    ck_assert_uint_eq(st.failed, 1);
    ck_assert_int_eq(st.scope, HF_MAIN);
    ck_assert_int_gt(st.run_p50_ns, 0);
    ck_assert_int_le(st.run_p50_ns, st.run_p99_ns);
    ck_assert_int_le(st.run_p99_ns, st.run_max_ns);
    ck_assert_int_le(st.wait_p50_ns, st.wait_max_ns);
    FINE(write_as(s, HF_NOISE, "count me", "SELECT 1"));
    int before = labels;
    stat_of("count me");
    ck_assert_int_eq(labels, before + 1);
}
END_TEST

START_TEST(labels_without_end_are_counted_as_other) {
    char why[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(why, sizeof why, "label %d", i);
        FINE(write_as(s, HF_MAIN, why, "SELECT 1"));
    }
    hf_stat st = stat_of("other");
    ck_assert_uint_gt(st.count, 700);
    ck_assert_int_le(labels, 256);
}
END_TEST

static hf_trace traced[8];
static char traced_why[8][32];
static int traces;

static void keep_trace(void *arg, const hf_trace *t) {
    ck_assert_ptr_eq(arg, &traces);
    snprintf(traced_why[traces], 32, "%s", t->why);
    traced[traces++] = *t;
}

START_TEST(each_transaction_is_traced_when_it_has_ended) {
    hf_store_options o = {.size = sizeof o, TABLES, .trace = keep_trace, .trace_arg = &traces};
    hf_store *t;
    hf_tx *tx;
    FINE(hf_store_open_temp(&o, &t));
    traces = 0; /* opening may have had its own */
    FINE(write_sql(t, HF_MAIN, "INSERT INTO m VALUES (1, 1)"));
    ck_assert_int_eq(hf_write(t, HF_MAIN, "seven", insert_and_say_7, NULL), 7);
    FINE(hf_begin(t, HF_READ, "rolled", &tx));
    ck_assert_int_eq(traces, 2);
    hf_rollback(tx);
    ck_assert_int_eq(traces, 3);
    ck_assert_str_eq(traced_why[0], "a test");
    ck_assert_int_eq(traced[0].code, 0);
    ck_assert_int_gt(traced[0].commit_ns, 0);
    ck_assert_int_ge(traced[0].run_ns, traced[0].commit_ns);
    ck_assert_int_eq(traced[1].code, 7);
    ck_assert_int_eq(traced[2].scope, HF_READ);
    FINE(hf_store_close(t));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("transactions");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, what_each_scope_commits_is_read_back);
    tcase_add_test(c, what_the_function_returns_is_returned_and_nothing_is_kept);
    tcase_add_test(c, a_function_that_ends_its_transaction_is_told);
    tcase_add_test(c, a_read_keeps_its_snapshot_of_both_files);
    tcase_add_test(c, a_savepoint_nests);
    ADD_ROWS(c, what_would_break_the_store_is_refused, refusals);
    ADD_ROWS(c, sqlite_itself_refuses_it_too, refusals);
    ADD_ROWS(c, ordinary_sql_is_not_refused, allowed);
    tcase_add_test(c, parameters_of_each_type_come_back);
    ADD_ROWS(c, a_wrong_call_of_run_changes_nothing, calls);
    tcase_add_test(c, the_same_query_can_run_within_itself);
    tcase_add_test(c, a_table_that_is_being_read_is_not_dropped_and_nobody_else_is_blamed);
    tcase_add_test(c, a_statement_that_was_left_in_the_middle_is_new_the_next_time);
    tcase_add_test(c, more_statements_than_are_kept_do_not_disturb_one_that_runs);
    tcase_add_test(c, what_the_application_left_running_on_the_connection_does_not_stop_the_commit);
    tcase_add_test(c, a_transaction_that_sqlite_rolled_back_is_not_committed);
    tcase_add_test(c, a_constraint_that_is_checked_at_the_commit_undoes_all);
    tcase_add_test(c, a_second_begin_on_a_thread_names_the_first);
    tcase_add_test(c, a_transaction_is_refused_on_another_thread_and_goes_on_on_its_own);
    tcase_add_test(c, a_store_with_an_open_transaction_is_not_closed);
    tcase_add_test(c, a_handle_that_has_ended_is_known_to_have);
    tcase_add_test(c, arguments_that_cannot_be_are_named);
    tcase_add_test(c, only_what_wrote_main_has_a_place_to_wait_for);
    tcase_add_test(c, a_place_of_what_was_rolled_back_is_not_filled);
    tcase_add_test(c, a_label_is_counted_by_its_words_and_its_scope);
    tcase_add_test(c, labels_without_end_are_counted_as_other);
    tcase_add_test(c, each_transaction_is_traced_when_it_has_ended);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
