/* A table made anew: all that is kept, all that is refused. */
#include "rebuild_box.h"

/* ---- what is kept ---- */

/* All of the schema but the table itself. */
#define OTHERS "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name<>'t' ORDER BY 1, 2"

static void keeps_others(const char *table, const struct op *ops, const char *create) {
    char *was = rows_of(OTHERS);
    rebuilds(table, ops, create);
    gives(OTHERS, was);
    sqlite3_free(was);
}

static const struct op drop_z[OPS_MOST] = {{REBUILD_DROP, "z", NULL}};

START_TEST(indexes_triggers_and_views_are_kept) {
    run("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b, z);"
        "CREATE TABLE log(what); CREATE TABLE other(id INTEGER PRIMARY KEY, n);"
        "CREATE INDEX t_a ON t(a COLLATE RTRIM DESC, b); CREATE UNIQUE INDEX t_b ON t(b);"
        "CREATE INDEX t_part ON t(a) WHERE b > 1; CREATE INDEX t_expr ON t(lower(a), b + 1);"
        "CREATE INDEX t_name ON t(a) WHERE t.b IS NOT NULL; CREATE INDEX other_n ON other(n);"
        "CREATE VIEW v AS SELECT id, a FROM t; CREATE VIEW w(x) AS SELECT a || 'w' FROM v;"
        "CREATE TRIGGER ti AFTER INSERT ON t BEGIN INSERT INTO log VALUES ('i' || new.a); END;"
        "CREATE TRIGGER tu BEFORE UPDATE OF a, b ON t WHEN new.a <> old.a BEGIN"
        " INSERT INTO log VALUES ('u' || new.a); END;"
        "CREATE TRIGGER vi INSTEAD OF INSERT ON v BEGIN INSERT INTO t(id, a) VALUES"
        " (new.id, new.a); END;"
        "CREATE TRIGGER oi AFTER INSERT ON other BEGIN UPDATE t SET b = b + 1 WHERE id = new.n;"
        " END;"
        "INSERT INTO t VALUES (1, 'a', 5, 0), (7, 'b', 9, 0); DELETE FROM log");
    keeps_others("t", drop_z, NULL);
    gives("SELECT sql FROM sqlite_master WHERE name='t'",
          "CREATE TABLE \"t\"(id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b)");
    gives("SELECT * FROM t", "1|a|5\n7|b|9");
    gives("SELECT * FROM log", "");
    run("INSERT INTO v VALUES (8, 'c'); INSERT INTO other(n) VALUES (7); UPDATE t SET a = 'A' "
        "WHERE id = 7");
    gives("SELECT * FROM log", "ic\nuA");
    gives("SELECT x, (SELECT b FROM t WHERE id = 7) FROM w", "aw|10\nAw|10\ncw|10");
    gives("SELECT name, partial FROM pragma_index_list('t') ORDER BY 1",
          "t_a|0\nt_b|0\nt_expr|0\nt_name|1\nt_part|1");
}
END_TEST

START_TEST(strict_without_rowid_and_every_constraint_are_kept) {
    run("CREATE TABLE p(x PRIMARY KEY);"
        "CREATE TABLE t(a TEXT NOT NULL COLLATE NOCASE, b INT DEFAULT (1 + 1) CHECK (b > 0), z INT,"
        " c ANY REFERENCES p ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,"
        " CONSTRAINT key PRIMARY KEY (b, a DESC), CONSTRAINT one UNIQUE (c) ON CONFLICT IGNORE,"
        " CONSTRAINT less CHECK (t.b < 100)) WITHOUT ROWID, STRICT;"
        "INSERT INTO p VALUES (1); INSERT INTO t VALUES ('x', 3, 0, 1), ('a', 3, 0, NULL)");
    keeps_others("t", drop_z, NULL);
    gives("SELECT sql FROM sqlite_master WHERE name='t'",
          "CREATE TABLE \"t\"(a TEXT NOT NULL COLLATE NOCASE, b INT DEFAULT (1 + 1) CHECK (b > 0),"
          " c ANY REFERENCES p ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,"
          " CONSTRAINT key PRIMARY KEY (b, a DESC), CONSTRAINT one UNIQUE (c) ON CONFLICT IGNORE,"
          " CONSTRAINT less CHECK (b < 100)) WITHOUT ROWID, STRICT");
    gives("SELECT * FROM t", "x|3|1\na|3|null");
}
END_TEST

START_TEST(generated_columns_are_kept_and_not_copied) {
    run("CREATE TABLE t(a, z, s AS (a + 1) STORED, v INT GENERATED ALWAYS AS (a + 2) VIRTUAL);"
        "CREATE INDEX t_v ON t(v); INSERT INTO t(a) VALUES (1), (5)");
    keeps_others("t", drop_z, NULL);
    gives("SELECT * FROM t", "1|2|3\n5|6|7");
    gives("SELECT a FROM t WHERE v = 7", "5");
    gives("SELECT name, hidden FROM pragma_table_xinfo('t')", "a|0\ns|3\nv|2");
}
END_TEST

START_TEST(a_generated_column_can_become_an_ordinary_one_and_keeps_its_values) {
    run("CREATE TABLE t(a, s AS (a + 1) STORED); INSERT INTO t VALUES (1), (5)");
    rebuilds("t", NULL, "CREATE TABLE t(a, s)");
    gives("SELECT * FROM t", "1|2\n5|6");
}
END_TEST

START_TEST(rowids_that_no_column_names_are_kept) {
    run("CREATE TABLE t(a, z, rowid TEXT, oid); INSERT INTO t(_rowid_, a, rowid) VALUES "
        "(-5, 'x', 'r'), (9, 'y', 's'), (9223372036854775807, 'z', 't');"
        "CREATE INDEX t_all ON t(rowid, a, oid)"); /* which covers all, in another order */
    rebuilds("t", drop_z, NULL);
    gives("SELECT _rowid_, a, rowid FROM t", "-5|x|r\n9|y|s\n9223372036854775807|z|t");
    run("CREATE TABLE hidden(rowid, _rowid_, oid, z); INSERT INTO hidden VALUES (1, 2, 3, 4)");
    rebuilds("hidden", drop_z, NULL);
    gives("SELECT * FROM hidden", "1|2|3");
}
END_TEST

START_TEST(a_key_that_was_the_rowid_and_is_no_more_keeps_it) {
    static const struct op type[OPS_MOST] = {{REBUILD_TYPE, "id", "TEXT"}};
    run("CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (5, 'x'), (12, 'y')");
    rebuilds("t", type, NULL);
    gives("SELECT rowid, id, typeof(id), a FROM t", "5|5|text|x\n12|12|text|y");
    rebuilds("t", NULL, "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    gives("SELECT rowid, id, typeof(id), a FROM t", "5|5|integer|x\n12|12|integer|y");
}
END_TEST

START_TEST(the_number_of_autoincrement_is_kept) {
    run("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, z); INSERT INTO t VALUES (90, 1);"
        "DELETE FROM t; INSERT INTO t VALUES (3, 1);"
        "CREATE TABLE u(id INTEGER PRIMARY KEY AUTOINCREMENT, a, z);"
        "INSERT INTO u VALUES (7, 1, 1)");
    rebuilds("t", drop_z, NULL);
    gives("SELECT * FROM sqlite_sequence ORDER BY name", "t|90\nu|7");
    run("INSERT INTO t DEFAULT VALUES");
    gives("SELECT id FROM t", "3\n91");
    run("DELETE FROM u; DELETE FROM sqlite_sequence WHERE name = 'u'");
    rebuilds("u", drop_z, NULL);
    gives("SELECT * FROM sqlite_sequence", "t|91");
    rebuilds("t", NULL, "CREATE TABLE t(id INTEGER PRIMARY KEY)");
    gives("SELECT count(*) FROM sqlite_sequence", "0");
}
END_TEST

START_TEST(what_analyze_found_out_is_kept) {
    run("CREATE TABLE t(a, b UNIQUE, z); CREATE TABLE u(a, z); CREATE INDEX t_a ON t(a);"
        "INSERT INTO t VALUES (1, 1, 0), (1, 2, 0), (2, 3, 0); INSERT INTO u VALUES (1, 1);"
        "ANALYZE; UPDATE sqlite_stat1 SET stat = '3000 7' WHERE idx = 't_a'");
    rebuilds("t", drop_z, NULL);
    rebuilds("u", drop_z, NULL);
    gives("SELECT tbl, idx, stat FROM sqlite_stat1 ORDER BY 1, 2", "t|t_a|3000 7\nu|null|1");
}
END_TEST

static const char *const odd_names[] = {
    "with a blank",
    "select",
    "it's",
    "a\"b",
    "[brackets",
    "back`tick",
    "\xc3\xbc\xe2\x82\xac",
    "semi;colon",
    "1st",
    "-- no comment",
    "holdfast",
    "%s%w",
    "(",
    "T",
};

START_TEST(any_name_can_be_that_of_a_table_and_of_its_columns) {
    const char *name = odd_names[_i];
    struct op ops[OPS_MOST] = {{REBUILD_DROP, "z", NULL}, {REBUILD_NOTNULL, name, NULL}};
    char *sql =
        sqlite3_mprintf("CREATE TABLE \"%w\"(\"%w\" TEXT UNIQUE, z, CHECK(\"%w\".\"%w\" <> ''));"
                        "CREATE INDEX \"i %w\" ON \"%w\"(\"%w\");"
                        "CREATE TABLE child(p REFERENCES \"%w\"(\"%w\"));"
                        "CREATE VIEW \"v %w\" AS SELECT \"%w\" FROM \"%w\";"
                        "CREATE TRIGGER \"x %w\" AFTER UPDATE OF \"%w\" ON \"%w\" BEGIN"
                        " DELETE FROM \"%w\" WHERE \"%w\" = old.\"%w\" || '!'; END;"
                        "INSERT INTO \"%w\" VALUES ('a', 1)",
                        name, name, name, name, name, name, name, name, name, name, name, name,
                        name, name, name, name, name, name, name);
    run(sql);
    sqlite3_free(sql);
    rebuilds(name, ops, NULL);
    sql = sqlite3_mprintf("SELECT \"%w\", (SELECT count(*) FROM \"v %w\") FROM \"%w\"", name, name,
                          name);
    gives(sql, "a|1");
    sqlite3_free(sql);
    gives("SELECT count(*), count(sql) FROM sqlite_master", "6|5");
}
END_TEST

START_TEST(children_and_the_table_itself_refer_to_it_as_before) {
    run("CREATE TABLE t(id INTEGER PRIMARY KEY, boss REFERENCES t(id) ON DELETE CASCADE, z);"
        "CREATE TABLE child(id INTEGER PRIMARY KEY, p INT REFERENCES t ON DELETE CASCADE);"
        "CREATE TABLE grandchild(p REFERENCES child(id) ON DELETE CASCADE);"
        "INSERT INTO t VALUES (1, NULL, 0), (2, 1, 0); INSERT INTO child VALUES (1, 1), (2, 2);"
        "INSERT INTO grandchild VALUES (1), (2)");
    keeps_others("t", drop_z, NULL);
    gives("SELECT sql FROM sqlite_master WHERE name='t'",
          "CREATE TABLE \"t\"(id INTEGER PRIMARY KEY, boss REFERENCES t(id) ON DELETE CASCADE)");
    gives("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM child),"
          "(SELECT count(*) FROM grandchild)",
          "2|2|2");
    run("PRAGMA foreign_keys = ON; DELETE FROM t WHERE id = 1; PRAGMA foreign_keys = OFF");
    gives("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM child),"
          "(SELECT count(*) FROM grandchild)",
          "0|0|0");
}
END_TEST

START_TEST(names_that_are_taken_are_not_taken_again) {
    run("CREATE TABLE t(a, z); CREATE TABLE Holdfast_New_1(a); CREATE VIEW holdfast_new_2 AS "
        "SELECT 1; CREATE INDEX holdfast_new_3 ON t(a); INSERT INTO t VALUES (1, 2)");
    keeps_others("t", drop_z, NULL);
    gives("SELECT * FROM t", "1");
}
END_TEST

START_TEST(no_rows_and_many_are_kept) {
    run("CREATE TABLE t(id INTEGER PRIMARY KEY, a, z); CREATE INDEX t_a ON t(a)");
    rebuilds("t", drop_z, NULL);
    gives("SELECT count(*) FROM t", "0");
    run("ALTER TABLE t ADD COLUMN z; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
        "FROM n WHERE i < 100000) INSERT INTO t SELECT i * 3, 'v' || i, i FROM n");
    rebuilds("t", drop_z, NULL);
    gives("SELECT count(*), sum(id), count(DISTINCT a), max(length(a)) FROM t",
          "100000|15000150000|100000|7");
}
END_TEST

/* ---- what is changed ---- */

START_TEST(a_fill_is_over_the_old_row_and_the_old_table) {
    static const struct op ops[OPS_MOST] = {
        {REBUILD_DROP, "name", NULL},
        {REBUILD_NOTNULL, "first", NULL},
        {REBUILD_FILL, "FIRST", "coalesce(first, substr(t.name, 1, 3)) -- so\n"},
        {REBUILD_ADD, NULL, "others INT"},
        {REBUILD_FILL, "others", "(SELECT count(*) FROM t AS o WHERE o.id <> t.id)"},
    };
    run("CREATE TABLE t(id INTEGER PRIMARY KEY, name, first); CREATE VIEW v AS SELECT id FROM t;"
        "INSERT INTO t VALUES (1, 'Ann Lee', NULL), (4, 'Bob', 'B')");
    rebuilds("t", ops, NULL);
    gives("SELECT * FROM t", "1|Ann|1\n4|B|1");
    rebuilds("t", (const struct op[OPS_MOST]){{REBUILD_FILL, "others", "(SELECT sum(id) FROM v)"}},
             NULL);
    gives("SELECT * FROM t", "1|Ann|5\n4|B|5");
}
END_TEST

START_TEST(a_column_of_another_name_takes_its_values_by_a_fill) {
    run("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, z); INSERT INTO t VALUES (1, 'x', 0)");
    rebuilds("t", (const struct op[OPS_MOST]){{REBUILD_FILL, "full name", "name"}},
             "CREATE TABLE T (\"full name\" TEXT NOT NULL, id INTEGER PRIMARY KEY) STRICT;");
    gives("SELECT * FROM t", "x|1");
    gives("SELECT sql FROM sqlite_master",
          "CREATE TABLE \"t\" (\"full name\" TEXT NOT NULL, id INTEGER PRIMARY KEY) STRICT");
}
END_TEST

START_TEST(a_table_can_lose_its_rowid) {
    run("CREATE TABLE t(k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('b', 1), ('a', 2)");
    rebuilds("t", (const struct op[OPS_MOST]){{REBUILD_WITHOUT_ROWID, NULL, NULL}}, NULL);
    gives("SELECT * FROM t", "a|2\nb|1");
    rebuilds("t", NULL, "CREATE TABLE t(k TEXT PRIMARY KEY, v)");
    gives("SELECT rowid, * FROM t", "1|a|2\n2|b|1");
}
END_TEST

START_TEST(texts_in_double_quotes_go_on_where_they_are_texts) {
    run("CREATE TABLE t(kind CHECK (kind IN (\"a\", \"b\")), z);"
        "CREATE INDEX t_kind ON t(kind) WHERE kind <> \"a\";"
        "CREATE VIEW v AS SELECT * FROM t WHERE kind = \"a\";"
        "CREATE TRIGGER x AFTER INSERT ON t WHEN new.kind = \"b\" BEGIN SELECT 1; END;"
        "INSERT INTO t VALUES ('a', 1)");
    keeps_others("t", drop_z, NULL);
    gives("SELECT * FROM v", "a");
    int on;
    sqlite3_db_config(conn.db, SQLITE_DBCONFIG_DQS_DML, -1, &on);
    ck_assert_int_eq(on, 1);
    sqlite3_db_config(conn.db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, -1, &on);
    ck_assert_int_eq(on, 0);
}
END_TEST

START_TEST(what_was_broken_before_is_not_the_migrations_fault) {
    run("CREATE TABLE t(a, z); CREATE VIEW v AS SELECT * FROM nowhere;"
        "CREATE VIEW w AS SELECT * FROM v;"
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN INSERT INTO nowhere VALUES (1); END");
    keeps_others("t", drop_z, NULL);
}
END_TEST

/* ---- what is refused ---- */

static const struct {
    const char *setup, *table;
    struct op ops[OPS_MOST];
    const char *create;
    enum rc_code code;
    const char *words;
} refusals[] = {
    {"", "usr", {{0}}, NULL, RC_NOTFOUND, "no table 'usr'; did you mean 'user'?"},
    {"", "holdfast_step", {{0}}, NULL, RC_NOTFOUND, "no table"},
    {"CREATE TABLE holdfast_step(a, z)",
     "holdfast_step",
     {{REBUILD_DROP, "z", NULL}},
     NULL,
     RC_USAGE,
     "no table of the application's"},
    {"CREATE VIEW v AS SELECT 1 AS z, 2",
     "v",
     {{REBUILD_DROP, "z", NULL}},
     NULL,
     RC_USAGE,
     "it is a view"},
    {"", "user", {{REBUILD_DROP, "nmae", NULL}}, NULL, RC_USAGE, "no column 'nmae'"},
    {"", "user", {{REBUILD_FILL, "nmae", "1"}}, NULL, RC_NOTFOUND, "did you mean 'name'?"},
    {"", "user", {{REBUILD_FILL, "name", "nmae"}}, NULL, RC_USAGE, "no such column: nmae"},
    {"", "user", {{REBUILD_FILL, "name", "\"nmae\""}}, NULL, RC_USAGE, "no such column"},
    {"", "user", {{REBUILD_FILL, "name", "1) FROM user; --"}}, NULL, RC_USAGE, "one expression"},
    {"",
     "user",
     {{REBUILD_FILL, "name", "max(name)"}},
     NULL,
     RC_CONFLICT,
     "table user would have 1 rows, and has 3"},
    {"ALTER TABLE user ADD COLUMN g AS (1)",
     "user",
     {{REBUILD_FILL, "g", "1"}},
     NULL,
     RC_USAGE,
     "'g' is generated"},
    /* values */
    {"",
     "user",
     {{REBUILD_NOTNULL, "first", NULL}},
     NULL,
     RC_CONFLICT,
     "7_form.sql:3: rebuild user: column first is NOT NULL, and would be NULL in 2 rows"},
    {"",
     "user",
     {{REBUILD_ADD, NULL, "born INT NOT NULL"}},
     NULL,
     RC_CONFLICT,
     "say fill=born:EXPRESSION"},
    {"",
     "user",
     {{0}},
     "CREATE TABLE user(id INTEGER PRIMARY KEY, name INTEGER, first ANY, last ANY) STRICT",
     RC_CONFLICT,
     "cannot store TEXT value in INTEGER column user.name"},
    {"",
     "user",
     {{REBUILD_TYPE, "name", "VARCHAR(9)"}, {REBUILD_STRICT, NULL, NULL}},
     NULL,
     RC_USAGE,
     "unknown datatype for user.name"},
    {"",
     "user",
     {{0}},
     "CREATE TABLE user(id INTEGER PRIMARY KEY, name, first UNIQUE, last CHECK "
     "(last <> 'Lee'))",
     RC_CONFLICT,
     "CHECK constraint failed"},
    {"UPDATE user SET name = 'Ann'",
     "user",
     {{0}},
     "CREATE TABLE user(id INTEGER PRIMARY KEY, name UNIQUE ON CONFLICT IGNORE, first, last)",
     RC_CONFLICT,
     "UNIQUE constraint failed: user.name"},
    {"UPDATE user SET name = 'Ann'",
     "user",
     {{0}},
     "CREATE TABLE user(id INT, name PRIMARY KEY ON CONFLICT REPLACE, first, last)",
     RC_CONFLICT,
     "UNIQUE constraint failed: user.name"},
    {"CREATE UNIQUE INDEX u ON user(first) WHERE first IS NOT NULL",
     "user",
     {{REBUILD_FILL, "first", "'x'"}},
     NULL,
     RC_CONFLICT,
     "index u: "},
    {"", "user", {{0}}, "CREATE TABLE user(other)", RC_USAGE, "no column of the new form"},
    {"", "user", {{0}}, "CREATE TABLE usr(id)", RC_USAGE, "of usr, and not of user"},
    {"", "user", {{REBUILD_ADD, NULL, "name INT"}}, NULL, RC_USAGE, "duplicate column name"},
    /* parents */
    {"",
     "user",
     {{0}},
     "CREATE TABLE user(id INT, name, first, last)",
     RC_CONFLICT,
     "no key of its parent"},
    {"", "user", {{REBUILD_FILL, "id", "id + 1"}}, NULL, RC_CONFLICT, "lose their parents"},
    /* what uses a column that is lost */
    {"CREATE INDEX i ON user(name)",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_USAGE,
     "index i: "},
    {"CREATE INDEX i ON user(last) WHERE \"name\" > ''",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_USAGE,
     "index i: "},
    {"CREATE INDEX i ON user(lower(\"name\"))",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_USAGE,
     "index i: "},
    {"CREATE VIEW v AS SELECT name FROM user",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "view v would break: no such column: name"},
    {"CREATE VIEW v AS SELECT \"name\" FROM user",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "view v would break"},
    {"CREATE VIEW v AS SELECT \"name\" AS x FROM user WHERE last = \"Lee\"",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "view v would take \"name\" for a text"},
    {"CREATE VIEW a AS SELECT id FROM user WHERE last = \"Lee\";"
     "CREATE VIEW v AS SELECT \"name\" FROM user",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "view v would break"},
    {"CREATE VIEW v AS SELECT * FROM user; CREATE VIEW w AS SELECT name FROM v",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "view w would break"},
    {"CREATE VIEW v(a, b, c, d) AS SELECT * FROM user",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "view v would break"},
    {"CREATE TRIGGER a AFTER INSERT ON user BEGIN SELECT new.id; END;"
     "CREATE TRIGGER x AFTER INSERT ON user BEGIN SELECT new.name; END;"
     "CREATE TRIGGER z AFTER INSERT ON user BEGIN SELECT new.id; END",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "trigger x on user would break: no such column: new.name"},
    {"CREATE TRIGGER x AFTER UPDATE OF first ON user BEGIN SELECT new.name; END",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "trigger x on user would break"},
    {"CREATE TRIGGER x AFTER DELETE ON user WHEN old.name > '' BEGIN SELECT 1; END",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "trigger x on user would break"},
    {"CREATE TRIGGER x AFTER UPDATE OF id, name ON user BEGIN SELECT 1; END",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "trigger x would break: it is on UPDATE OF"},
    {"CREATE TRIGGER x AFTER INSERT ON pet BEGIN UPDATE user SET name = 'x'; END",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "trigger x on pet would break"},
    {"CREATE TRIGGER x AFTER INSERT ON pet BEGIN INSERT INTO user VALUES (1, 2, 3, 4); END",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "trigger x on pet would break"},
    {"CREATE VIEW v AS SELECT * FROM user;"
     "CREATE TRIGGER x INSTEAD OF INSERT ON v BEGIN SELECT new.name; END",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "trigger x on v would break"},
    {"DELETE FROM pet; DROP TABLE user; CREATE TABLE user(id PRIMARY KEY, name, last CHECK (name > "
     "last))",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_USAGE,
     "no such column: name"},
    {"DELETE FROM pet; DROP TABLE user; CREATE TABLE user(id PRIMARY KEY, name, last CHECK "
     "(\"name\" > last))",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_CONFLICT,
     "would take \"name\" for a text"},
    {"DELETE FROM pet; DROP TABLE user; CREATE TABLE user(id PRIMARY KEY, name, last, UNIQUE "
     "(name, last))",
     "user",
     {{REBUILD_DROP, "name", NULL}},
     NULL,
     RC_USAGE,
     "name"},
};

START_TEST(what_cannot_be_is_refused_and_nothing_is_changed) {
    run("CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT, first, last);"
        "CREATE TABLE pet(id INTEGER PRIMARY KEY, owner REFERENCES user(id) ON DELETE CASCADE);"
        "INSERT INTO user VALUES (1, 'Ann Lee', NULL, 'Lee'), (2, 'Bob', 'Bob', NULL),"
        " (5, 'Cy', NULL, NULL); INSERT INTO pet VALUES (1, 1), (2, 5)");
    run(refusals[_i].setup);
    struct image was = image_of();
    CODE(rebuild(refusals[_i].table, refusals[_i].ops, refusals[_i].create, e), refusals[_i].code);
    says(refusals[_i].words);
    ck_assert_msg(!strstr(last_err.text, "holdfast_new"), "%s", last_err.text);
    ck_assert_same_image(&was);
    int legacy;
    sqlite3_db_config(conn.db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, -1, &legacy);
    ck_assert_int_eq(legacy, 0);
}
END_TEST

START_TEST(a_virtual_table_is_refused) {
    if (!sqlite3_compileoption_used("ENABLE_FTS5")) {
        printf("skipped: a_virtual_table_is_refused: this SQLite has no FTS5\n");
        return;
    }
    run("CREATE VIRTUAL TABLE t USING fts5(a, z); CREATE TABLE u(a, z)");
    CODE(rebuild("t", drop_z, NULL, e), RC_USAGE);
    says("it is a virtual table");
    rebuilds("u", drop_z, NULL); /* beside it, and its own tables */
}
END_TEST

START_TEST(the_new_form_can_be_asked_for_alone) {
    struct rebuild_op ops[] = {{REBUILD_DROP, unconst("z"), NULL}};
    struct rebuild r = {unconst("T"), ops, 1, NULL};
    char *sql;
    run("CREATE TABLE t(a, z)");
    OK(rebuild_sql(&conn, &r, &sql, e));
    ck_assert_str_eq(sql, "CREATE TABLE t(a)");
    sqlite3_free(sql);
    gives("SELECT sql FROM sqlite_master", "CREATE TABLE t(a, z)");
}
END_TEST

int main(void) {
    Suite *s = suite_create("rebuild");
    TCase *t = tcase_create("rebuild");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, box_setup, box_teardown);
    tcase_add_test(t, indexes_triggers_and_views_are_kept);
    tcase_add_test(t, strict_without_rowid_and_every_constraint_are_kept);
    tcase_add_test(t, generated_columns_are_kept_and_not_copied);
    tcase_add_test(t, a_generated_column_can_become_an_ordinary_one_and_keeps_its_values);
    tcase_add_test(t, rowids_that_no_column_names_are_kept);
    tcase_add_test(t, a_key_that_was_the_rowid_and_is_no_more_keeps_it);
    tcase_add_test(t, the_number_of_autoincrement_is_kept);
    tcase_add_test(t, what_analyze_found_out_is_kept);
    ADD_ROWS(t, any_name_can_be_that_of_a_table_and_of_its_columns, odd_names);
    tcase_add_test(t, children_and_the_table_itself_refer_to_it_as_before);
    tcase_add_test(t, names_that_are_taken_are_not_taken_again);
    tcase_add_test(t, no_rows_and_many_are_kept);
    tcase_add_test(t, a_fill_is_over_the_old_row_and_the_old_table);
    tcase_add_test(t, a_column_of_another_name_takes_its_values_by_a_fill);
    tcase_add_test(t, a_table_can_lose_its_rowid);
    tcase_add_test(t, texts_in_double_quotes_go_on_where_they_are_texts);
    tcase_add_test(t, what_was_broken_before_is_not_the_migrations_fault);
    ADD_ROWS(t, what_cannot_be_is_refused_and_nothing_is_changed, refusals);
    tcase_add_test(t, a_virtual_table_is_refused);
    tcase_add_test(t, the_new_form_can_be_asked_for_alone);
    suite_add_tcase(s, t);
    return run_suite(s);
}
