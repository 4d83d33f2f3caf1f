/* What the design leans on, of SQLite: each fact once, against the SQLite that is linked. Where one
 * no longer holds, what is built on it is to be thought over.
 *
 * They were seen to hold with 3.40.1 and 3.53.2; where those two differ the case says so.
 */
#include "../os/temp.h"

#include <sqlite3.h>

/* ---- a database, and another connection to it ---- */

static char dir[TEMP_PATH];
static sqlite3 *db;

static sqlite3 *opened(const char *name) {
    sqlite3 *c;
    ck_assert_int_eq(sqlite3_open(below(dir, name), &c), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(c, "PRAGMA journal_mode = WAL", NULL, NULL, NULL), SQLITE_OK);
    return c;
}

static void setup(void) {
    temp_dir(dir);
    db = opened("main.db");
}

static void teardown(void) {
    sqlite3_close(db);
}

static void run_on(sqlite3 *c, const char *sql) {
    int code = sqlite3_exec(c, sql, NULL, NULL, NULL);
    ck_assert_msg(code == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(c));
}

static void run(const char *sql) {
    run_on(db, sql);
}

static void fails_on(sqlite3 *c, const char *sql, const char *words) {
    ck_assert_msg(sqlite3_exec(c, sql, NULL, NULL, NULL) != SQLITE_OK, "%s: it went well", sql);
    ck_assert_msg(strstr(sqlite3_errmsg(c), words) != NULL, "%s: '%s' lacks '%s'", sql,
                  sqlite3_errmsg(c), words);
}

static void fails(const char *sql, const char *words) {
    fails_on(db, sql, words);
}

/* All values that the query gives, with a blank between. */
static const char *gives_on(sqlite3 *c, const char *sql) {
    static char out[4][2000];
    static int next;
    char *text = out[next++ % 4];
    sqlite3_stmt *st;
    int code = sqlite3_prepare_v2(c, sql, -1, &st, NULL);
    ck_assert_msg(code == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(c));
    *text = 0;
    while ((code = sqlite3_step(st)) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(st); i++)
            snprintf(text + strlen(text), sizeof *out - strlen(text), "%s%s", *text ? " " : "",
                     sqlite3_column_type(st, i) == SQLITE_NULL
                         ? "null"
                         : (const char *)sqlite3_column_text(st, i));
    ck_assert_msg(code == SQLITE_DONE, "%s: %s", sql, sqlite3_errmsg(c));
    sqlite3_finalize(st);
    return text;
}

#define GIVES_ON(c, sql, expected) ck_assert_str_eq(gives_on(c, sql), expected)
#define GIVES(sql, expected) GIVES_ON(db, sql, expected)

static void set(int option, int on) {
    ck_assert_int_eq(sqlite3_db_config(db, option, on, (int *)NULL), SQLITE_OK);
}

/* ---- foreign keys ---- */

static void family(void) {
    run("CREATE TABLE parent(id INTEGER PRIMARY KEY);"
        "CREATE TABLE child(id INTEGER PRIMARY KEY, p REFERENCES parent(id) ON DELETE CASCADE);"
        "INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2)");
}

/* So the connection that changes a schema switches them off before it begins (conn.c). */
START_TEST(foreign_keys_are_not_switched_within_a_transaction) {
    run("PRAGMA foreign_keys = ON; BEGIN; PRAGMA foreign_keys = OFF");
    GIVES("PRAGMA foreign_keys", "1");
    set(SQLITE_DBCONFIG_ENABLE_FKEY, 0);
    GIVES("PRAGMA foreign_keys", "0"); /* by this they are; no document says so */
    run("ROLLBACK");
}
END_TEST

START_TEST(dropping_a_parent_deletes_its_childrens_rows) {
    family();
    run("PRAGMA foreign_keys = ON; BEGIN; DROP TABLE parent");
    GIVES("SELECT count(*) FROM child", "0");
    run("ROLLBACK; PRAGMA foreign_keys = OFF; BEGIN; DROP TABLE parent");
    GIVES("SELECT count(*) FROM child", "2");
    run("ROLLBACK");
}
END_TEST

START_TEST(deferred_foreign_keys_delete_children_all_the_same) {
    family();
    run("PRAGMA foreign_keys = ON; BEGIN; PRAGMA defer_foreign_keys = ON; DROP TABLE parent");
    GIVES("SELECT count(*) FROM child", "0");
    run("ROLLBACK");
}
END_TEST

START_TEST(foreign_keys_can_be_checked_while_they_are_off) {
    family();
    run("PRAGMA foreign_keys = OFF; BEGIN; DELETE FROM parent WHERE id = 2");
    GIVES("PRAGMA foreign_key_check", "child 2 parent 0");
    run("ROLLBACK");
    GIVES("PRAGMA foreign_key_check", "");
}
END_TEST

/* A parent that has no such key any more is an error, of every check. */
START_TEST(a_check_of_foreign_keys_fails_where_the_parent_key_is_gone) {
    family();
    run("PRAGMA foreign_keys = OFF; BEGIN; DROP TABLE parent; CREATE TABLE parent(id INTEGER)");
    fails("PRAGMA foreign_key_check", "foreign key mismatch");
    run("ROLLBACK");
}
END_TEST

/* ---- transactions ---- */

START_TEST(schema_history_and_versions_roll_back_together) {
    run("CREATE TABLE history(version); PRAGMA user_version = 7; BEGIN; CREATE TABLE new(a);"
        "INSERT INTO history VALUES (8); PRAGMA user_version = 8; ROLLBACK");
    GIVES("SELECT count(*) FROM history", "0");
    GIVES("PRAGMA user_version", "7");
    fails("SELECT * FROM new", "no such table");
}
END_TEST

START_TEST(a_reader_in_a_transaction_keeps_the_old_schema) {
    sqlite3 *reader = opened("main.db");
    run("CREATE TABLE t(a); CREATE TABLE gone(a); INSERT INTO t VALUES (1)");
    run_on(reader, "BEGIN");
    GIVES_ON(reader, "SELECT * FROM t", "1");
    run("BEGIN IMMEDIATE; ALTER TABLE t ADD COLUMN b DEFAULT 5; DROP TABLE gone; COMMIT");
    GIVES_ON(reader, "SELECT * FROM t", "1");
    GIVES_ON(reader, "SELECT count(*) FROM gone", "0");
    run_on(reader, "COMMIT");
    GIVES_ON(reader, "SELECT * FROM t", "1 5");
    fails_on(reader, "SELECT * FROM gone", "no such table");
    sqlite3_close(reader);
}
END_TEST

/* So old programs go on over an expansion: their statements are compiled again by themselves. */
START_TEST(a_statement_is_compiled_again_when_another_changes_the_schema) {
    sqlite3 *program = opened("main.db");
    sqlite3_stmt *insert, *all;
    run("CREATE TABLE t(a)");
    ck_assert_int_eq(sqlite3_prepare_v2(program, "INSERT INTO t(a) VALUES (1)", -1, &insert, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(program, "SELECT * FROM t", -1, &all, NULL), SQLITE_OK);
    run("ALTER TABLE t ADD COLUMN b DEFAULT 5");
    ck_assert_int_eq(sqlite3_step(insert), SQLITE_DONE);
    ck_assert_int_eq(sqlite3_column_count(all), 1);
    ck_assert_int_eq(sqlite3_step(all), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_column_count(all), 2); /* SELECT * has more than it was written for */
    sqlite3_finalize(insert);
    sqlite3_finalize(all);
    sqlite3_close(program);
}
END_TEST

/* So every step begins with BEGIN IMMEDIATE. */
START_TEST(who_reads_first_and_then_writes_is_refused_without_waiting) {
    sqlite3 *other = opened("main.db");
    run("CREATE TABLE t(a); BEGIN; SELECT * FROM t");
    run_on(other, "INSERT INTO t VALUES (1)");
    sqlite3_busy_timeout(db, 60000);
    fails("INSERT INTO t VALUES (2)", "locked");
    ck_assert_int_eq(sqlite3_extended_errcode(db), SQLITE_BUSY_SNAPSHOT);
    run("ROLLBACK");
    sqlite3_close(other);
}
END_TEST

START_TEST(data_version_tells_of_others_commits_and_of_no_own_ones) {
    sqlite3 *other = opened("main.db");
    run("CREATE TABLE t(a)");
    char was[50];
    snprintf(was, sizeof was, "%s", gives_on(db, "PRAGMA data_version"));
    run("INSERT INTO t VALUES (1)");
    GIVES("PRAGMA data_version", was);
    run_on(other, "INSERT INTO t VALUES (2)");
    ck_assert_str_ne(gives_on(db, "PRAGMA data_version"), was);
    sqlite3_close(other);
}
END_TEST

/* ---- ALTER TABLE ---- */

START_TEST(a_rename_fails_while_a_view_is_on_a_table_that_was_dropped) {
    run("CREATE TABLE t(a); CREATE VIEW v AS SELECT a FROM t; CREATE TABLE new(a, b);"
        "BEGIN; DROP TABLE t");
    fails("ALTER TABLE new RENAME TO t", "error in view v");
    set(SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1); /* within a transaction, too */
    run("ALTER TABLE new RENAME TO t; COMMIT");
    GIVES("SELECT count(*) FROM v", "0");
}
END_TEST

/* Why a table is not renamed out of the way, with legacy_alter_table off. */
START_TEST(a_rename_changes_the_text_of_children) {
    family();
    run("ALTER TABLE parent RENAME TO other");
    ck_assert_ptr_nonnull(strstr(gives_on(db, "SELECT sql FROM sqlite_master WHERE name='child'"),
                                 "REFERENCES \"other\""));
}
END_TEST

START_TEST(a_rename_of_old_leaves_all_other_texts_alone) {
    family();
    set(SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1);
    run("CREATE VIEW v AS SELECT id FROM parent;"
        "CREATE TRIGGER t AFTER INSERT ON child BEGIN UPDATE parent SET id=id; END;"
        "ALTER TABLE parent RENAME TO other");
    GIVES("SELECT count(*) FROM sqlite_master WHERE sql LIKE '%other%'", "1");
    GIVES("SELECT sql FROM sqlite_master WHERE name='other'",
          "CREATE TABLE \"other\"(id INTEGER PRIMARY KEY)");
}
END_TEST

/* But for its own CHECK: so a new form says `a` for `t.a` (create_named). */
START_TEST(a_rename_of_old_fails_on_a_check_that_names_its_table) {
    run("CREATE TABLE t(a CHECK(t.a > 0))");
    set(SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1);
    fails("ALTER TABLE t RENAME TO new", "no such column: t.a");
}
END_TEST

/* A rehearsal on an empty copy proves nothing. */
START_TEST(a_stored_column_can_be_added_to_no_rows_only) {
    run("CREATE TABLE t(a); ALTER TABLE t ADD COLUMN b AS (a + 1) STORED;"
        "INSERT INTO t VALUES (1)");
    fails("ALTER TABLE t ADD COLUMN c AS (a + 2) STORED", "cannot add a STORED column");
    run("ALTER TABLE t ADD COLUMN c AS (a + 2) VIRTUAL");
    GIVES("SELECT * FROM t", "1 2 3");
}
END_TEST

START_TEST(a_column_not_null_without_a_default_can_be_added_to_no_rows_only) {
    run("CREATE TABLE t(a); ALTER TABLE t ADD COLUMN b NOT NULL; INSERT INTO t VALUES (1, 2)");
    fails("ALTER TABLE t ADD COLUMN c NOT NULL", "NOT NULL column with default value NULL");
    run("ALTER TABLE t ADD COLUMN c NOT NULL DEFAULT 3");
    GIVES("SELECT * FROM t", "1 2 3");
}
END_TEST

START_TEST(a_column_with_a_default_that_is_computed_can_be_added_to_no_rows_only) {
    run("CREATE TABLE t(a); ALTER TABLE t ADD COLUMN b DEFAULT (1 + 1);"
        "INSERT INTO t(a) VALUES (1)");
    fails("ALTER TABLE t ADD COLUMN c DEFAULT (1 + 1)", "non-constant default");
    GIVES("SELECT * FROM t", "1 2");
}
END_TEST

START_TEST(a_column_that_is_used_is_not_dropped) {
    run("CREATE TABLE t(a PRIMARY KEY, b UNIQUE, c, d, e, f CHECK(e > 0), g, z);"
        "CREATE INDEX i ON t(c); CREATE VIEW v AS SELECT d FROM t;"
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT new.g; END");
    fails("ALTER TABLE t DROP COLUMN a", "PRIMARY KEY");
    fails("ALTER TABLE t DROP COLUMN b", "UNIQUE");
    fails("ALTER TABLE t DROP COLUMN c", "error in index i");
    fails("ALTER TABLE t DROP COLUMN d", "error in view v");
    fails("ALTER TABLE t DROP COLUMN e", "no such column: e");
    fails("ALTER TABLE t DROP COLUMN g", "error in trigger x");
    run("ALTER TABLE t DROP COLUMN z");
}
END_TEST

/* A later SQLite does it without a rebuild; the version says which, and the database may be written
 * by an older one. */
START_TEST(not_null_cannot_be_set_by_every_sqlite) {
    run("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
    int code = sqlite3_exec(db, "ALTER TABLE t ALTER COLUMN a SET NOT NULL", NULL, NULL, NULL);
    ck_assert_int_eq(code == SQLITE_OK, sqlite3_libversion_number() >= 3053000);
}
END_TEST

/* ---- DROP TABLE, and what goes with it ---- */

START_TEST(a_table_takes_its_triggers_indexes_and_number_with_it) {
    run("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a); CREATE INDEX i ON t(a);"
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END; CREATE VIEW v AS SELECT a FROM t;"
        "INSERT INTO t VALUES (9, 1); DELETE FROM t");
    GIVES("SELECT seq FROM sqlite_sequence", "9");
    run("DROP TABLE t");
    GIVES("SELECT name FROM sqlite_master WHERE type<>'table'", "v");
    GIVES("SELECT count(*) FROM sqlite_sequence", "0");
}
END_TEST

START_TEST(the_number_of_autoincrement_follows_a_rename_but_not_the_rows) {
    run("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a); INSERT INTO t VALUES (9, 1);"
        "DELETE FROM t; INSERT INTO t VALUES (3, 1);"
        "CREATE TABLE new(id INTEGER PRIMARY KEY AUTOINCREMENT, a);"
        "INSERT INTO new SELECT * FROM t; DROP TABLE t; ALTER TABLE new RENAME TO t");
    GIVES("SELECT name, seq FROM sqlite_sequence", "t 3"); /* 4 to 9 would be given twice */
}
END_TEST

START_TEST(a_trigger_on_update_of_a_column_that_is_gone_compiles) {
    run("CREATE TABLE t(a); CREATE TRIGGER x AFTER UPDATE OF gone ON t BEGIN SELECT 1; END;"
        "INSERT INTO t VALUES (1); UPDATE t SET a = 2");
}
END_TEST

/* Why all is compiled with that switched off (rebuild_guard.c). */
START_TEST(a_column_in_double_quotes_that_is_gone_becomes_a_text) {
    set(SQLITE_DBCONFIG_DQS_DDL, 1);
    set(SQLITE_DBCONFIG_DQS_DML, 1);
    run("CREATE TABLE t(name, a); INSERT INTO t VALUES ('Ann', 1);"
        "CREATE VIEW v AS SELECT \"name\" FROM t; DROP TABLE t; CREATE TABLE t(a);"
        "INSERT INTO t VALUES (1)");
    GIVES("SELECT * FROM v", "name");
    run("CREATE TABLE u(a CHECK(\"name\" > a))");
    set(SQLITE_DBCONFIG_DQS_DDL, 0);
    set(SQLITE_DBCONFIG_DQS_DML, 0);
    fails("SELECT * FROM v", "no such column");
    fails("CREATE TABLE w(a CHECK(\"name\" > a))", "no such column");
    run("INSERT INTO u VALUES (1)"); /* what is in the schema goes on */
}
END_TEST

/* ---- rows ---- */

START_TEST(a_conflict_clause_of_a_table_throws_rows_away_unless_overruled) {
    run("CREATE TABLE t(a); INSERT INTO t VALUES (1), (1), (2);"
        "CREATE TABLE u(a UNIQUE ON CONFLICT REPLACE); INSERT INTO u SELECT a FROM t");
    GIVES("SELECT count(*) FROM u", "2");
    run("DELETE FROM u");
    fails("INSERT OR ABORT INTO u SELECT a FROM t", "UNIQUE constraint failed");
}
END_TEST

START_TEST(a_rowid_is_kept_only_when_it_is_copied) {
    run("CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES (5, 1), (9, 2);"
        "CREATE TABLE u(a, b); INSERT INTO u(a) SELECT a FROM t; CREATE TABLE w(a, b);"
        "INSERT INTO w(rowid, a) SELECT rowid, a FROM t");
    GIVES("SELECT rowid FROM u", "1 2");
    GIVES("SELECT rowid FROM w", "5 9");
}
END_TEST

/* So a rehearsal on a copy that VACUUM INTO made does not compare them. */
START_TEST(vacuum_gives_other_rowids_where_no_column_is_called_so) {
    run("CREATE TABLE t(a); INSERT INTO t(rowid, a) VALUES (5, 1), (9, 2); VACUUM");
    GIVES("SELECT rowid FROM t", "1 2");
}
END_TEST

START_TEST(a_generated_column_takes_no_value) {
    run("CREATE TABLE t(a, b AS (a + 1), c AS (a + 2) STORED)");
    GIVES("SELECT name, hidden FROM pragma_table_xinfo('t')", "a 0 b 2 c 3");
    fails("INSERT INTO t(a, b) VALUES (1, 2)", "cannot INSERT into generated column");
    run("INSERT INTO t VALUES (1)");
    GIVES("SELECT * FROM t", "1 2 3");
}
END_TEST

/* A false alarm of 3.40.0 to 3.41.0: where the key of a table WITHOUT ROWID is not its first
 * column, integrity_check looks at the wrong one for NOT NULL and for STRICT. */
START_TEST(integrity_check_may_be_wrong_about_tables_without_rowid) {
    run("CREATE TABLE t(a NOT NULL, k PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES (1, 2)");
    int version = sqlite3_libversion_number();
    ck_assert_int_eq(strcmp(gives_on(db, "PRAGMA integrity_check"), "ok") != 0,
                     version >= 3040000 && version < 3041001);
    GIVES("SELECT * FROM t", "1 2");
}
END_TEST

/* ---- triggers ---- */

static void with_log(void) {
    run("CREATE TABLE kv(k TEXT PRIMARY KEY, v); CREATE TABLE log(op);"
        "CREATE TRIGGER i AFTER INSERT ON kv BEGIN INSERT INTO log VALUES ('i'); END;"
        "CREATE TRIGGER u AFTER UPDATE ON kv BEGIN INSERT INTO log VALUES ('u'); END;"
        "CREATE TRIGGER d AFTER DELETE ON kv BEGIN INSERT INTO log VALUES ('d'); END;"
        "INSERT INTO kv VALUES ('a', 1); DELETE FROM log");
}

START_TEST(replace_fires_delete_triggers_only_with_recursive_triggers) {
    with_log();
    run("PRAGMA recursive_triggers = OFF; INSERT OR REPLACE INTO kv VALUES ('a', 2)");
    GIVES("SELECT op FROM log", "i");
    run("DELETE FROM log; PRAGMA recursive_triggers = ON; REPLACE INTO kv VALUES ('a', 3)");
    GIVES("SELECT op FROM log", "d i");
    run("DELETE FROM log; INSERT INTO kv VALUES ('a', 4) ON CONFLICT(k) DO UPDATE SET v = 4");
    GIVES("SELECT op FROM log", "u");
}
END_TEST

START_TEST(through_a_view_no_changes_are_counted) {
    run("CREATE TABLE t(k PRIMARY KEY, v); CREATE VIEW v AS SELECT k, v FROM t;"
        "CREATE TRIGGER vi INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.k, new.v); END;"
        "CREATE TRIGGER vu INSTEAD OF UPDATE ON v BEGIN UPDATE t SET v=new.v WHERE k=old.k; END;"
        "INSERT INTO v VALUES ('a', 1)");
    ck_assert_int_eq(sqlite3_changes(db), 0);
    run("UPDATE v SET v = 2");
    ck_assert_int_eq(sqlite3_changes(db), 0);
    GIVES("SELECT v FROM t", "2");
    fails("INSERT INTO v VALUES ('a', 3) ON CONFLICT(k) DO UPDATE SET v = 3", "UPSERT a view");
    run("INSERT OR REPLACE INTO v VALUES ('a', 4)"); /* its policy holds in the trigger */
    GIVES("SELECT v FROM t", "4");
}
END_TEST

/* So each direction writes only where the other side differs. */
START_TEST(two_tables_that_keep_each_other_write_once_too_often) {
    run("CREATE TABLE a(k PRIMARY KEY, v); CREATE TABLE b(k PRIMARY KEY, v);"
        "CREATE TABLE log(op);"
        "CREATE TRIGGER ai AFTER INSERT ON a BEGIN INSERT INTO log VALUES ('ai');"
        " INSERT INTO b VALUES (new.k, new.v) ON CONFLICT(k) DO UPDATE SET v=excluded.v; END;"
        "CREATE TRIGGER au AFTER UPDATE ON a BEGIN INSERT INTO log VALUES ('au');"
        " INSERT INTO b VALUES (new.k, new.v) ON CONFLICT(k) DO UPDATE SET v=excluded.v; END;"
        "CREATE TRIGGER bi AFTER INSERT ON b BEGIN INSERT INTO log VALUES ('bi');"
        " INSERT INTO a VALUES (new.k, new.v) ON CONFLICT(k) DO UPDATE SET v=excluded.v; END;"
        "CREATE TRIGGER bu AFTER UPDATE ON b BEGIN INSERT INTO log VALUES ('bu');"
        " INSERT INTO a VALUES (new.k, new.v) ON CONFLICT(k) DO UPDATE SET v=excluded.v; END;"
        "PRAGMA recursive_triggers = OFF; INSERT INTO a VALUES ('x', 1)");
    GIVES("SELECT op FROM log", "ai bi au bu");
}
END_TEST

/* ---- two files ---- */

START_TEST(triggers_and_views_stay_in_their_file) {
    sqlite3_close(opened("noise.db"));
    char attach[TEMP_PATH * 2 + 50];
    snprintf(attach, sizeof attach, "ATTACH '%s' AS noise", below(dir, "noise.db"));
    run(attach);
    run("CREATE TABLE noise.x(a); CREATE TABLE main.y(a)");
    fails("CREATE TRIGGER main.t AFTER INSERT ON y BEGIN INSERT INTO noise.x VALUES (1); END",
          "qualified table names are not allowed");
    fails("CREATE TRIGGER main.t AFTER INSERT ON noise.x BEGIN SELECT 1; END",
          "cannot reference objects in database");
    fails("CREATE VIEW main.v AS SELECT * FROM noise.x", "cannot reference objects in database");
    run("PRAGMA main.user_version = 3; PRAGMA noise.user_version = 9");
    GIVES("PRAGMA main.user_version", "3");
}
END_TEST

/* ---- JSON ---- */

START_TEST(an_index_on_json_without_a_guard_refuses_other_values) {
    run("CREATE TABLE kv(k PRIMARY KEY, v)");
    run("CREATE INDEX i ON kv(json_extract(v, '$.a'))");
    fails("INSERT INTO kv VALUES ('a', 'not json')", "malformed JSON");
    run("DROP INDEX i; CREATE INDEX i ON kv(json_extract(v, '$.a')) WHERE json_valid(v)");
    run("INSERT INTO kv VALUES ('a', 'not json')");
}
END_TEST

START_TEST(integers_that_are_too_large_are_taken_for_reals) {
    GIVES("SELECT typeof(json_extract('{\"a\":12345678901234567890}', '$.a'))", "real");
    GIVES("SELECT typeof(json_extract('{\"a\":9223372036854775807}', '$.a'))", "integer");
    GIVES("SELECT json_remove('{\"a\":12345678901234567890,\"b\":1}', '$.b')",
          "{\"a\":12345678901234567890}");
}
END_TEST

START_TEST(null_and_missing_are_told_apart_by_json_type_alone) {
    GIVES("SELECT json_extract('{\"a\":null}', '$.a'), json_extract('{}', '$.a')", "null null");
    GIVES("SELECT json_type('{\"a\":null}', '$.a'), json_type('{}', '$.a')", "null null");
    GIVES("SELECT json_type('{\"a\":null}', '$.a') IS NULL, json_type('{}', '$.a') IS NULL", "0 1");
}
END_TEST

int main(void) {
    Suite *s = suite_create("traps");
    TCase *t = tcase_create("traps");
    printf("SQLite %s\n", sqlite3_libversion());
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, foreign_keys_are_not_switched_within_a_transaction);
    tcase_add_test(t, dropping_a_parent_deletes_its_childrens_rows);
    tcase_add_test(t, deferred_foreign_keys_delete_children_all_the_same);
    tcase_add_test(t, foreign_keys_can_be_checked_while_they_are_off);
    tcase_add_test(t, a_check_of_foreign_keys_fails_where_the_parent_key_is_gone);
    tcase_add_test(t, schema_history_and_versions_roll_back_together);
    tcase_add_test(t, a_reader_in_a_transaction_keeps_the_old_schema);
    tcase_add_test(t, a_statement_is_compiled_again_when_another_changes_the_schema);
    tcase_add_test(t, who_reads_first_and_then_writes_is_refused_without_waiting);
    tcase_add_test(t, data_version_tells_of_others_commits_and_of_no_own_ones);
    tcase_add_test(t, a_rename_fails_while_a_view_is_on_a_table_that_was_dropped);
    tcase_add_test(t, a_rename_changes_the_text_of_children);
    tcase_add_test(t, a_rename_of_old_leaves_all_other_texts_alone);
    tcase_add_test(t, a_rename_of_old_fails_on_a_check_that_names_its_table);
    tcase_add_test(t, a_stored_column_can_be_added_to_no_rows_only);
    tcase_add_test(t, a_column_not_null_without_a_default_can_be_added_to_no_rows_only);
    tcase_add_test(t, a_column_with_a_default_that_is_computed_can_be_added_to_no_rows_only);
    tcase_add_test(t, a_column_that_is_used_is_not_dropped);
    tcase_add_test(t, not_null_cannot_be_set_by_every_sqlite);
    tcase_add_test(t, a_table_takes_its_triggers_indexes_and_number_with_it);
    tcase_add_test(t, the_number_of_autoincrement_follows_a_rename_but_not_the_rows);
    tcase_add_test(t, a_trigger_on_update_of_a_column_that_is_gone_compiles);
    tcase_add_test(t, a_column_in_double_quotes_that_is_gone_becomes_a_text);
    tcase_add_test(t, a_conflict_clause_of_a_table_throws_rows_away_unless_overruled);
    tcase_add_test(t, a_rowid_is_kept_only_when_it_is_copied);
    tcase_add_test(t, vacuum_gives_other_rowids_where_no_column_is_called_so);
    tcase_add_test(t, a_generated_column_takes_no_value);
    tcase_add_test(t, integrity_check_may_be_wrong_about_tables_without_rowid);
    tcase_add_test(t, replace_fires_delete_triggers_only_with_recursive_triggers);
    tcase_add_test(t, through_a_view_no_changes_are_counted);
    tcase_add_test(t, two_tables_that_keep_each_other_write_once_too_often);
    tcase_add_test(t, triggers_and_views_stay_in_their_file);
    tcase_add_test(t, an_index_on_json_without_a_guard_refuses_other_values);
    tcase_add_test(t, integers_that_are_too_large_are_taken_for_reals);
    tcase_add_test(t, null_and_missing_are_told_apart_by_json_type_alone);
    suite_add_tcase(s, t);
    return run_suite(s);
}
