/* What SQLite itself is told to refuse while a migration's statements run. */
#include "schema/guard.h"
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
    OK(sconn_exec(&c,
                  "CREATE TABLE holdfast(name PRIMARY KEY, value);"
                  "CREATE TABLE holdfast_schema(one);"
                  "CREATE TABLE holdfast_reject(name, key, why, at_ms);"
                  "CREATE TABLE holdfasting(x); CREATE TABLE t(a, b); CREATE INDEX i ON t(a);"
                  "CREATE TRIGGER sneaks AFTER DELETE ON t BEGIN DELETE FROM holdfast; END;",
                  e));
}

static void teardown(void) {
    sconn_close(&c);
}

static const struct statement_of {
    const char *sql, *words; /* NULL: it may */
} statements[] = {
    {"COMMIT", "the transaction is the runner's"},
    {"END", "the transaction is the runner's"},
    {"ROLLBACK", "the transaction is the runner's"},
    {"BEGIN", "the transaction is the runner's"},
    {"SAVEPOINT a", "the transaction is the runner's"},
    {"RELEASE a", "the transaction is the runner's"},
    {"ATTACH 'other.db' AS other", "one database"},
    {"DETACH main", "one database"},
    {"PRAGMA foreign_keys = on", "settings"},
    {"PRAGMA writable_schema = on", "settings"},
    {"SELECT * FROM pragma_foreign_keys", "settings"},
    {"SELECT * FROM pragma_user_version; PRAGMA user_version = 7", "settings"},
    {"PRAGMA page_size = 512", "settings"},
    {"SELECT load_extension('x')", "no extension"},
    {"CREATE TEMP TABLE x(a)", "gone with this connection"},
    {"CREATE TABLE temp.x(a)", "gone with this connection"},
    {"CREATE TEMP VIEW x AS SELECT 1", "gone with this connection"},
    {"CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END", "gone with this connection"},
    {"INSERT INTO holdfast VALUES (1, 2)", "its own"},
    {"UPDATE \"HOLDFAST_schema\" SET one = 2", "its own"},
    {"DELETE FROM [holdfast_schema]", "its own"},
    {"DROP TABLE holdfast_schema", "its own"},
    {"ALTER TABLE holdfast_schema RENAME TO x", "its own"},
    {"ALTER TABLE holdfast_schema ADD COLUMN x", "its own"},
    {"CREATE INDEX x ON holdfast_schema(one)", "its own"},
    {"CREATE TABLE holdfast_step(x)", "its own"},
    {"CREATE VIEW holdfast_step AS SELECT 1", "its own"},
    {"CREATE TRIGGER x AFTER INSERT ON holdfast BEGIN SELECT 1; END", "its own"},
    {"DELETE FROM t", "its own"}, /* its trigger */
    {"SELECT * FROM holdfast_schema", NULL},
    {"INSERT INTO holdfast_reject VALUES (1, 2, 3, 4)", NULL},
    {"CREATE INDEX x ON holdfast_reject(name)", NULL},
    {"INSERT INTO holdfasting VALUES (1)", NULL},
    {"CREATE TABLE x(a); DROP TABLE x", NULL},
    {"ALTER TABLE t ADD COLUMN c", NULL},
    {"ALTER TABLE t RENAME COLUMN b TO c", NULL},
    {"DROP TRIGGER sneaks; ALTER TABLE t DROP COLUMN b", NULL},
    {"DROP TRIGGER sneaks; ALTER TABLE t RENAME TO u", NULL},
    {"REINDEX", NULL},
    {"SELECT count(*) FROM pragma_table_info('t') WHERE name = 'a'", NULL},
    {"SELECT * FROM pragma_foreign_key_check", NULL},
    {"SELECT name FROM pragma_index_list('t')", NULL},
    {"CREATE VIRTUAL TABLE x USING fts5(a); INSERT INTO x SELECT a FROM t;"
     "SELECT * FROM x WHERE x MATCH 'b'; DROP TABLE x",
     NULL},
    {"CREATE VIRTUAL TABLE x USING fts5(a, content = 't'); INSERT INTO x(x) VALUES ('rebuild')",
     NULL},
    {"ANALYZE", NULL},
    {"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) INSERT INTO t "
     "SELECT i, i FROM n",
     NULL},
};

START_TEST(what_a_statement_may_not_do_is_refused_with_its_reason) {
    const struct statement_of *row = &statements[_i];
    struct migration m = {.name = (char *)(uintptr_t) "1_a.sql"};
    struct guard g;
    struct err why;
    OK(sconn_begin(&c, e));
    guard_set(&c, &g);
    int code = sqlite3_exec(c.db, row->sql, NULL, NULL, NULL);
    rc r = code == SQLITE_OK ? ok() : guard_error(&c, &g, code, &m, 7, &why);
    guard_lift(&c);
    ck_assert_msg(is_ok(r) == !row->words, "%s: %s", row->sql, is_ok(r) ? "ok" : why.text);
    if (row->words)
        ck_assert_msg(strstr(why.text, row->words) != NULL, "%s: %s", row->sql, why.text);
    if (row->words) ck_assert_int_eq(strncmp(why.text, "1_a.sql:7: ", 11), 0);
    ck_assert(!sqlite3_get_autocommit(c.db));
    sconn_rollback(&c);
    OK(sconn_exec(&c, "DELETE FROM holdfast", e)); /* the runner itself may */
}
END_TEST

START_TEST(a_statement_without_an_end_ends_when_it_is_told_to_stop) {
    struct err why;
    OK(sconn_begin(&c, e));
    atomic_store(&s.stop, true);
    rc r = sconn_exec(&c,
                      "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n)"
                      " SELECT count(*), 1 FROM n",
                      &why);
    atomic_store(&s.stop, false);
    ck_assert_int_eq(r.code, RC_CANCELLED);
    sconn_rollback(&c);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("schema/guard");
    TCase *t = tcase_create("guard");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    ADD_ROWS(t, what_a_statement_may_not_do_is_refused_with_its_reason, statements);
    tcase_add_test(t, a_statement_without_an_end_ends_when_it_is_told_to_stop);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
