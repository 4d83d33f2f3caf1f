/* Memory that ends at each allocation of a rebuild: it is done, with all that belongs to it, or it
 * is refused for that reason. Never done by half, and never for another reason.
 */
#include "rebuild_box.h"

#include <jansson.h>

static sqlite3_mem_methods plain;
static long allocations, fail_at; /* 0: none */

static bool refused(void) {
    return ++allocations == fail_at;
}
static void *alloc(int n) {
    return refused() ? NULL : plain.xMalloc(n);
}
static void *resize(void *p, int n) {
    return refused() ? NULL : plain.xRealloc(p, n);
}
static void *alloc_json(size_t n) {
    return refused() ? NULL : malloc(n);
}

static void setup(void) {
    sqlite3_shutdown();
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain), SQLITE_OK);
    sqlite3_mem_methods ours = plain;
    ours.xMalloc = alloc;
    ours.xRealloc = resize;
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK);
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &ours), SQLITE_OK);
    json_set_alloc_funcs(alloc_json, free);
    box_setup();
}

static const char *const databases[] = {
    ("CREATE TABLE t(a TEXT, b DEFAULT \"b\", z, oid); INSERT INTO t(rowid, a, b, z) VALUES"
     " (3, 'x', 'y', 1), (9, NULL, 'w', 2); CREATE INDEX i ON t(a) WHERE b > 1;"
     "CREATE TRIGGER x AFTER UPDATE OF a ON t BEGIN SELECT new.b; END;"
     "CREATE VIEW v AS SELECT a, \"text\" AS b FROM t; CREATE VIEW broken AS SELECT * FROM nowhere;"
     "CREATE TRIGGER vi INSTEAD OF DELETE ON v BEGIN DELETE FROM t WHERE a = old.a; END"),
    ("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a, z, CHECK (t.id > 0));"
     "INSERT INTO t VALUES (70, 1, 1); DELETE FROM t; INSERT INTO t VALUES (4, 2, 2);"
     "CREATE INDEX i ON t(a); ANALYZE"),
    ("CREATE TABLE t(k TEXT, a, z, g AS (a + 1) STORED, PRIMARY KEY (k)) WITHOUT ROWID;"
     "INSERT INTO t VALUES ('b', 1, 1), ('a', 2, 2)"),
};

static char *state_of(void) {
    char *schema = rows_of("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2");
    char *rows = rows_of("SELECT *, quote(a) FROM t"), *ids = NULL, *seq = NULL;
    if (strstr(schema, "PRIMARY KEY (k)") == NULL) ids = rows_of("SELECT rowid FROM t");
    if (strstr(schema, "sqlite_sequence"))
        seq = rows_of("SELECT name, seq, tbl, idx, stat FROM sqlite_sequence, sqlite_stat1");
    char *all = sqlite3_mprintf("%s\n%s\n%s\n%s", schema, rows, ids, seq);
    sqlite3_free(schema), sqlite3_free(rows), sqlite3_free(ids), sqlite3_free(seq);
    return all;
}

static rc drop(struct err *e) {
    struct rebuild_op ops[] = {{REBUILD_DROP, unconst("z"), NULL},
                               {REBUILD_FILL, unconst("a"), unconst("coalesce(a, 'none')")}};
    struct rebuild r = {unconst("t"), ops, 2, NULL};
    struct migration m = {.name = unconst("7_form.sql")};
    struct statement st = {.rebuild = &r, .line = 3};
    int64_t rows;
    return rebuild_run(&conn, &m, &st, &rows, e);
}

START_TEST(a_rebuild_is_done_or_there_was_no_memory) {
    long refusals = 0, n = 0;
    struct err err;
    run(databases[_i]);
    OK(sconn_begin(&conn, e));
    OK(drop(e));
    char *done = state_of();
    sconn_rollback(&conn);
    char *before = state_of();
    for (bool fired = true; fired;) {
        OK(sconn_begin(&conn, e));
        allocations = 0, fail_at = ++n;
        rc r = drop(&err);
        fired = allocations >= n;
        fail_at = 0;
        ck_assert_msg(is_ok(r) || (fired && r.code == RC_NOMEM), "%ld: %s: %s", n, rc_name(r.code),
                      err.text);
        refusals += !is_ok(r);
        if (!is_ok(r)) sconn_rollback(&conn);
        char *now = state_of();
        ck_assert_msg(strcmp(now, is_ok(r) ? done : before) == 0, "%ld: %s:\n%s", n,
                      rc_name(r.code), now);
        sqlite3_free(now);
        sconn_rollback(&conn);
    }
    printf("%ld allocations, %ld refusals\n", n, refusals);
    ck_assert_int_gt(refusals, 500);
    sqlite3_free(done), sqlite3_free(before);
}
END_TEST

int main(void) {
    Suite *s = suite_create("rebuild_faults");
    TCase *t = tcase_create("rebuild_faults");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, box_teardown);
    ADD_ROWS(t, a_rebuild_is_done_or_there_was_no_memory, databases);
    suite_add_tcase(s, t);
    return run_suite(s);
}
