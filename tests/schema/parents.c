/* Rows without parents are compared by table: what was wrong before is in nobody's way, and no
 * table pays for another. */
#include "rebuild_box.h"

static const struct {
    const char *before, *step;
    enum rc_code code;
    const char *words;
} steps[] = {
    {"CREATE TABLE user(id INTEGER PRIMARY KEY, email);"
     "CREATE TABLE pet(owner REFERENCES user(email)); INSERT INTO pet VALUES (1)",
     "ALTER TABLE user ADD COLUMN first", RC_OK, NULL}, /* no key, and nobody noticed */
    {"CREATE TABLE pet(owner REFERENCES nowhere); INSERT INTO pet VALUES (1)",
     "ALTER TABLE pet ADD COLUMN name", RC_OK, NULL},
    {"CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE a(x REFERENCES p);"
     "CREATE TABLE b(x REFERENCES p); INSERT INTO a VALUES (1); INSERT INTO p VALUES (2);"
     "INSERT INTO b VALUES (2)",
     "DELETE FROM a; DELETE FROM p", RC_CONFLICT,
     "1 rows would lose their parents: table b, row 1, whose parent in p is not there"},
    {"CREATE TABLE a(x REFERENCES nowhere); INSERT INTO a VALUES (1), (2)",
     "ALTER TABLE a RENAME TO b", RC_OK, NULL},
    {"CREATE TABLE a(x REFERENCES nowhere); INSERT INTO a VALUES (1), (2)",
     "ALTER TABLE a RENAME TO b; INSERT INTO b VALUES (3)", RC_CONFLICT, "1 rows would lose"},
    {"CREATE TABLE a(x REFERENCES nowhere); INSERT INTO a VALUES (1)",
     "CREATE TABLE b(x REFERENCES nowhere); INSERT INTO b SELECT x FROM a; DROP TABLE a;"
     "CREATE TABLE c(x REFERENCES nowhere); INSERT INTO c VALUES (1)",
     RC_CONFLICT, "table c, row 1"},
    {"CREATE TABLE a(x REFERENCES p(k)); CREATE TABLE p(k)", "ALTER TABLE a RENAME TO b", RC_OK,
     NULL},
    {"CREATE TABLE p(k UNIQUE); CREATE TABLE a(x REFERENCES p(k)); INSERT INTO p VALUES (1);"
     "INSERT INTO a VALUES (1)",
     "DROP TABLE p; CREATE TABLE p(k); INSERT INTO p VALUES (1)", RC_CONFLICT,
     "table a would refer to what is no key of its parent"},
    {"CREATE TABLE p(k)", "CREATE TABLE a(x REFERENCES p(k))", RC_CONFLICT, "no key"},
    {"CREATE TABLE \"it's\"(id INTEGER PRIMARY KEY, p REFERENCES \"it's\");"
     "INSERT INTO \"it's\" VALUES (1, NULL), (2, 1)",
     "DELETE FROM \"it's\" WHERE id = 1", RC_CONFLICT, "table it's, row 2"},
};

START_TEST(what_has_no_parent_is_compared_by_table) {
    run(steps[_i].before);
    struct image was = image_of();
    OK(sconn_begin(&conn, e));
    OK(sconn_watch_parents(&conn, e));
    run(steps[_i].step);
    CODE(sconn_commit(&conn, NULL, e), steps[_i].code);
    if (steps[_i].code != RC_OK) {
        says(steps[_i].words);
        ck_assert_same_image(&was);
    } else {
        sqlite3_free(was.bytes);
    }
    ck_assert(sqlite3_get_autocommit(conn.db));
}
END_TEST

START_TEST(a_transaction_that_does_not_ask_is_not_held_up) {
    run("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE a(x REFERENCES p);"
        "INSERT INTO p VALUES (1); INSERT INTO a VALUES (1)");
    OK(sconn_begin(&conn, e));
    OK(sconn_watch_parents(&conn, e));
    sconn_rollback(&conn);
    OK(sconn_begin(&conn, e));
    run("DELETE FROM p");
    OK(sconn_commit(&conn, NULL, e));
}
END_TEST

int main(void) {
    Suite *s = suite_create("parents");
    TCase *t = tcase_create("parents");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, box_setup, box_teardown);
    ADD_ROWS(t, what_has_no_parent_is_compared_by_table, steps);
    tcase_add_test(t, a_transaction_that_does_not_ask_is_not_held_up);
    suite_add_tcase(s, t);
    return run_suite(s);
}
