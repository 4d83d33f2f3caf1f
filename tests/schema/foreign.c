/* Files of dbmate and goose, as those tools' users write them, are applied and undone. */
#include "engine.h"

static void setup(void) {
    make_files();
}

/* The twelve steps by hand: all that the file asks of its connection the runner does by itself, but
 * that the view is not compiled at the RENAME. */
#define REBUILD(legacy)                                                                            \
    "-- migrate:up transaction:false\n"                                                            \
    "PRAGMA foreign_keys=OFF;\n" legacy "BEGIN TRANSACTION;\n"                                     \
    "CREATE TABLE user_new(id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n"                         \
    "INSERT INTO user_new SELECT id, coalesce(name, '') FROM user;\n"                              \
    "DROP TABLE user;\n"                                                                           \
    "ALTER TABLE user_new RENAME TO user;\n"                                                       \
    "PRAGMA foreign_key_check;\n"                                                                  \
    "COMMIT;\n"                                                                                    \
    "PRAGMA foreign_keys=ON;\n\n"                                                                  \
    "-- migrate:down\n"                                                                            \
    "ALTER TABLE user ADD COLUMN undone TEXT;\n"
#define TABLES                                                                                     \
    {                                                                                              \
        "1_user.sql",                                                                              \
            "-- migrate:up\nCREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT);\n"               \
            "CREATE TABLE pet(id INTEGER PRIMARY KEY, owner REFERENCES user ON DELETE CASCADE);\n" \
            "CREATE VIEW names AS SELECT name FROM user;\n"                                        \
            "INSERT INTO user VALUES (1, 'a'), (2, NULL);\nINSERT INTO pet VALUES (1, 1), (2, "    \
            "2);\n"                                                                                \
            "-- migrate:down\n"                                                                    \
    }

START_TEST(dbmates_rebuild_by_hand_keeps_children_and_view) {
    static const hf_migration list[] = {
        TABLES, {"2_rebuild.sql", REBUILD("PRAGMA legacy_alter_table=ON;\n")}, END};
    applies(list);
    ROWS(app, "SELECT * FROM user", "1|a;2|");
    ROWS(app, "SELECT count(*) FROM pet", "2");
    ROWS(app, "SELECT group_concat(name, '+') FROM names", "a+");
    RUNS(run_with(down_run, list, NULL, NULL), RC_OK);
    ROWS(app, "SELECT name FROM pragma_table_info('user')", "id;name;undone");
}
END_TEST

START_TEST(without_the_pragma_the_view_is_compiled_and_nothing_has_happened) {
    static const hf_migration list[] = {TABLES, {"2_rebuild.sql", REBUILD("")}, END};
    refuses(list, RC_USAGE, "2_rebuild.sql:7: error in view names");
    ROWS(app, "SELECT name FROM pragma_table_info('user')", "id;name");
    ROWS(app, "SELECT * FROM user", "1|a;2|NULL");
}
END_TEST

START_TEST(the_pragma_of_one_file_is_not_that_of_the_next) {
    static const hf_migration list[] = {
        TABLES,
        {"2_rebuild.sql", REBUILD("PRAGMA legacy_alter_table=ON;\n")},
        {"3_again.sql", REBUILD("PRAGMA legacy_alter_table=OFF;\n")},
        END};
    refuses(list, RC_USAGE, "3_again.sql:8: error in view names");
    ROWS(app, PHASES, "1|done;2|done");
}
END_TEST

START_TEST(gooses_blocks_are_statements) {
    static const hf_migration list[] = {
        {"00001_a.sql", "-- +goose Up\n-- +goose StatementBegin\n"
                        "CREATE TABLE a(x, y);\n-- +goose StatementEnd\n"
                        "-- +goose StatementBegin\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n"
                        "  UPDATE a SET y = CASE WHEN x THEN 'yes;' END;\nEND\n"
                        "-- +goose StatementEnd\nINSERT INTO a(x) VALUES (1);\n"
                        "-- +goose Down\nDROP TABLE a;\n"},
        END};
    applies(list);
    ROWS(app, "SELECT * FROM a", "1|yes;");
    RUNS(run_with(down_run, list, NULL, NULL), RC_OK);
    ROWS(app, "SELECT count(*) FROM sqlite_master WHERE tbl_name = 'a'", "0");
}
END_TEST

int main(void) {
    TCase *t = tcase_create("foreign");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, dbmates_rebuild_by_hand_keeps_children_and_view);
    tcase_add_test(t, without_the_pragma_the_view_is_compiled_and_nothing_has_happened);
    tcase_add_test(t, the_pragma_of_one_file_is_not_that_of_the_next);
    tcase_add_test(t, gooses_blocks_are_statements);
    Suite *s = suite_create("schema/foreign");
    suite_add_tcase(s, t);
    return run_suite(s);
}
