/* The text of a CREATE TABLE, changed by words. */
#include "rebuild_box.h"

#include "schema/rebuild_sql.h"

static const struct {
    const char *before;
    struct op ops[OPS_MOST];
    const char *after; /* NULL: refused */
} texts[] = {
    /* drop */
    {"CREATE TABLE t(a, b, c)", {{REBUILD_DROP, "a", NULL}}, "CREATE TABLE t(b, c)"},
    {"CREATE TABLE t(a, b, c)", {{REBUILD_DROP, "b", NULL}}, "CREATE TABLE t(a, c)"},
    {"CREATE TABLE t(a, b, c)", {{REBUILD_DROP, "c", NULL}}, "CREATE TABLE t(a, b)"},
    {"CREATE TABLE t(a, b, c)",
     {{REBUILD_DROP, "a", NULL}, {REBUILD_DROP, "C", NULL}},
     "CREATE TABLE t(b)"},
    {"CREATE TABLE t(a, b, UNIQUE (a))",
     {{REBUILD_DROP, "b", NULL}},
     "CREATE TABLE t(a, UNIQUE (a))"},
    {"CREATE TABLE t(\n  a INT, -- first, and\n  b DECIMAL(10, 2), -- second )\n  c -- last\n)",
     {{REBUILD_DROP, "b", NULL}},
     "CREATE TABLE t(\n  a INT, -- first, and\n  c -- last\n)"},
    {"CREATE TABLE t(\n  a INT, -- first\n  b -- second\n)",
     {{REBUILD_DROP, "b", NULL}},
     "CREATE TABLE t(\n  a INT -- second\n)"},
    {"CREATE TABLE t(a, b CHECK (b IN (1, 2) AND b <> ','), c)",
     {{REBUILD_DROP, "b", NULL}},
     "CREATE TABLE t(a, c)"},
    {"CREATE TABLE t(a DEFAULT ',)', b)",
     {{REBUILD_DROP, "b", NULL}},
     "CREATE TABLE t(a DEFAULT ',)')"},
    {"CREATE TABLE \"t,(\"(\"a,\", [b)], `c(`, 'd''')",
     {{REBUILD_DROP, "b)", NULL}},
     "CREATE TABLE \"t,(\"(\"a,\", `c(`, 'd''')"},
    {"CREATE TABLE t(\"a\"\"b\", c)", {{REBUILD_DROP, "a\"b", NULL}}, "CREATE TABLE t(c)"},
    {"CREATE TABLE t('it''s', c)", {{REBUILD_DROP, "it's", NULL}}, "CREATE TABLE t(c)"},
    {"CREATE TABLE t(\xc3\xbc, c)", {{REBUILD_DROP, "\xc3\xbc", NULL}}, "CREATE TABLE t(c)"},
    {"CREATE TABLE t(a)", {{REBUILD_DROP, "a", NULL}}, NULL},
    {"CREATE TABLE t(a, UNIQUE (a))", {{REBUILD_DROP, "a", NULL}}, NULL},
    {"CREATE TABLE t(a, b)", {{REBUILD_DROP, "unique", NULL}}, NULL},
    /* not null */
    {"CREATE TABLE t(a, b)", {{REBUILD_NOTNULL, "a", NULL}}, "CREATE TABLE t(a NOT NULL, b)"},
    {"CREATE TABLE t(a TEXT)", {{REBUILD_NOTNULL, "a", NULL}}, "CREATE TABLE t(a TEXT NOT NULL)"},
    {"CREATE TABLE t(a VARCHAR (10, 2) DEFAULT '')",
     {{REBUILD_NOTNULL, "a", NULL}},
     "CREATE TABLE t(a VARCHAR (10, 2) NOT NULL DEFAULT '')"},
    {"CREATE TABLE t(a INT UNSIGNED BIG /* no */ CHECK (a))",
     {{REBUILD_NOTNULL, "a", NULL}},
     "CREATE TABLE t(a INT UNSIGNED BIG NOT NULL /* no */ CHECK (a))"},
    {"CREATE TABLE t(a -- it\n)",
     {{REBUILD_NOTNULL, "a", NULL}},
     "CREATE TABLE t(a NOT NULL -- it\n)"},
    {"CREATE TABLE t(a INT NULL)",
     {{REBUILD_NOTNULL, "a", NULL}},
     "CREATE TABLE t(a INT NOT NULL)"},
    {"CREATE TABLE t(a INT NOT NULL)",
     {{REBUILD_NOTNULL, "a", NULL}},
     "CREATE TABLE t(a INT NOT NULL)"},
    {"CREATE TABLE t(a INT DEFAULT NULL)",
     {{REBUILD_NOTNULL, "a", NULL}},
     "CREATE TABLE t(a INT NOT NULL DEFAULT NULL)"},
    {"CREATE TABLE t(a REFERENCES p ON DELETE SET NULL NOT DEFERRABLE)",
     {{REBUILD_NOTNULL, "a", NULL}},
     "CREATE TABLE t(a NOT NULL REFERENCES p ON DELETE SET NULL NOT DEFERRABLE)"},
    {"CREATE TABLE t(a CHECK (a IS NOT NULL))",
     {{REBUILD_NOTNULL, "a", NULL}},
     "CREATE TABLE t(a NOT NULL CHECK (a IS NOT NULL))"},
    {"CREATE TABLE t(a INT GENERATED ALWAYS AS (1))",
     {{REBUILD_NOTNULL, "a", NULL}},
     "CREATE TABLE t(a INT NOT NULL GENERATED ALWAYS AS (1))"},
    {"CREATE TABLE t(a GENERATED)",
     {{REBUILD_NOTNULL, "a", NULL}},
     "CREATE TABLE t(a GENERATED NOT NULL)"},
    /* nullable */
    {"CREATE TABLE t(a INT NOT NULL, b)",
     {{REBUILD_NULLABLE, "a", NULL}},
     "CREATE TABLE t(a INT, b)"},
    {"CREATE TABLE t(a\n NOT\n NULL ON CONFLICT FAIL UNIQUE)",
     {{REBUILD_NULLABLE, "a", NULL}},
     "CREATE TABLE t(a UNIQUE)"},
    {"CREATE TABLE t(a CONSTRAINT must NOT NULL DEFAULT 1)",
     {{REBUILD_NULLABLE, "a", NULL}},
     "CREATE TABLE t(a DEFAULT 1)"},
    {"CREATE TABLE t(a CONSTRAINT c REFERENCES p(x) MATCH FULL ON UPDATE SET NULL ON DELETE NO "
     "ACTION NOT DEFERRABLE INITIALLY IMMEDIATE NOT NULL)",
     {{REBUILD_NULLABLE, "a", NULL}},
     "CREATE TABLE t(a CONSTRAINT c REFERENCES p(x) MATCH FULL ON UPDATE SET NULL ON DELETE NO "
     "ACTION NOT DEFERRABLE INITIALLY IMMEDIATE)"},
    {"CREATE TABLE t(a INT PRIMARY KEY DESC ON CONFLICT REPLACE NOT NULL)",
     {{REBUILD_NULLABLE, "a", NULL}},
     "CREATE TABLE t(a INT PRIMARY KEY DESC ON CONFLICT REPLACE)"},
    {"CREATE TABLE t(a)", {{REBUILD_NULLABLE, "a", NULL}}, "CREATE TABLE t(a)"},
    /* type */
    {"CREATE TABLE t(a)", {{REBUILD_TYPE, "a", "TEXT"}}, "CREATE TABLE t(a TEXT)"},
    {"CREATE TABLE t(a VARCHAR(10) NOT NULL)",
     {{REBUILD_TYPE, "a", "DECIMAL(10, 2)"}},
     "CREATE TABLE t(a DECIMAL(10, 2) NOT NULL)"},
    {"CREATE TABLE t(a INT)", {{REBUILD_TYPE, "a", "TEXT NOT NULL"}}, NULL},
    {"CREATE TABLE t(a INT)", {{REBUILD_TYPE, "a", "TEXT, b INT"}}, NULL},
    {"CREATE TABLE t(a INT)", {{REBUILD_TYPE, "a", "TEXT)"}}, NULL},
    {"CREATE TABLE t(a INT)", {{REBUILD_TYPE, "a", "-- none"}}, NULL},
    /* default */
    {"CREATE TABLE t(a INT)", {{REBUILD_DEFAULT, "a", "0"}}, "CREATE TABLE t(a INT DEFAULT 0)"},
    {"CREATE TABLE t(a INT NOT NULL UNIQUE)",
     {{REBUILD_DEFAULT, "a", "-1.5e3"}},
     "CREATE TABLE t(a INT NOT NULL DEFAULT -1.5e3 UNIQUE)"},
    {"CREATE TABLE t(a DEFAULT 0 UNIQUE)",
     {{REBUILD_DEFAULT, "a", "'it''s'"}},
     "CREATE TABLE t(a DEFAULT 'it''s' UNIQUE)"},
    {"CREATE TABLE t(a CONSTRAINT d DEFAULT -7)",
     {{REBUILD_DEFAULT, "a", "x'00'"}},
     "CREATE TABLE t(a DEFAULT x'00')"},
    {"CREATE TABLE t(a DEFAULT x'00' NOT NULL)",
     {{REBUILD_DEFAULT, "a", "unixepoch()"}},
     "CREATE TABLE t(a DEFAULT (unixepoch()) NOT NULL)"},
    {"CREATE TABLE t(a DEFAULT (1 + (2)))",
     {{REBUILD_DEFAULT, "a", "(3) + (4)"}},
     "CREATE TABLE t(a DEFAULT ((3) + (4)))"},
    {"CREATE TABLE t(a)", {{REBUILD_DEFAULT, "a", "(3 + 4)"}}, "CREATE TABLE t(a DEFAULT (3 + 4))"},
    {"CREATE TABLE t(a)",
     {{REBUILD_DEFAULT, "a", "current_timestamp"}},
     "CREATE TABLE t(a DEFAULT current_timestamp)"},
    {"CREATE TABLE t(a)", {{REBUILD_DEFAULT, "a", "word"}}, "CREATE TABLE t(a DEFAULT (word))"},
    {"CREATE TABLE t(a)", {{REBUILD_DEFAULT, "a", "0 -- zero"}}, "CREATE TABLE t(a DEFAULT 0)"},
    {"CREATE TABLE t(a)", {{REBUILD_DEFAULT, "a", "0); DROP TABLE t"}}, NULL},
    {"CREATE TABLE t(a)", {{REBUILD_DEFAULT, "a", "1, 2"}}, NULL},
    {"CREATE TABLE t(a)", {{REBUILD_DEFAULT, "a", ""}}, NULL},
    /* add */
    {"CREATE TABLE t(a)",
     {{REBUILD_ADD, NULL, "b INT NOT NULL"}},
     "CREATE TABLE t(a, b INT NOT NULL)"},
    {"CREATE TABLE t(a, UNIQUE (a)) STRICT",
     {{REBUILD_ADD, NULL, "b INT -- b"}},
     "CREATE TABLE t(a, b INT, UNIQUE (a)) STRICT"},
    {"CREATE TABLE t(a -- last\n)", {{REBUILD_ADD, NULL, "b"}}, "CREATE TABLE t(a, b -- last\n)"},
    {"CREATE TABLE t(a)", {{REBUILD_ADD, NULL, "b, c"}}, NULL},
    {"CREATE TABLE t(a)", {{REBUILD_ADD, NULL, "CHECK (a)"}}, NULL},
    {"CREATE TABLE t(a)", {{REBUILD_ADD, NULL, "b) STRICT --"}}, NULL},
    {"CREATE TABLE t(a)", {{REBUILD_ADD, NULL, "/* b */"}}, NULL},
    /* options */
    {"CREATE TABLE t(a INT)", {{REBUILD_STRICT, NULL, NULL}}, "CREATE TABLE t(a INT) STRICT"},
    {"CREATE TABLE t(a INT) WITHOUT ROWID -- so",
     {{REBUILD_STRICT, NULL, NULL}},
     "CREATE TABLE t(a INT) WITHOUT ROWID, STRICT -- so"},
    {"CREATE TABLE t(a INT) strict",
     {{REBUILD_STRICT, NULL, NULL}},
     "CREATE TABLE t(a INT) strict"},
    {"CREATE TABLE t(a PRIMARY KEY)STRICT",
     {{REBUILD_WITHOUT_ROWID, NULL, NULL}},
     "CREATE TABLE t(a PRIMARY KEY)STRICT, WITHOUT ROWID"},
    {"CREATE TABLE t(a) -- without rowid",
     {{REBUILD_WITHOUT_ROWID, NULL, NULL}},
     "CREATE TABLE t(a) WITHOUT ROWID -- without rowid"},
    /* one after the other */
    {"CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT NOT NULL, first TEXT, last TEXT)",
     {{REBUILD_DROP, "name", NULL},
      {REBUILD_NOTNULL, "first", NULL},
      {REBUILD_DEFAULT, "first", "''"},
      {REBUILD_FILL, "first", "coalesce(first, '')"},
      {REBUILD_STRICT, NULL, NULL}},
     "CREATE TABLE user(id INTEGER PRIMARY KEY, first TEXT NOT NULL DEFAULT '', last TEXT) STRICT"},
};

START_TEST(a_form_is_edited_by_words) {
    struct rebuild_op ops[OPS_MOST];
    struct rebuild r = {.ops = ops, .op_count = ops_of(texts[_i].ops, ops)};
    char *out = NULL;
    if (!texts[_i].after) {
        CODE(create_edit(texts[_i].before, &r, &out, e), RC_USAGE);
        return;
    }
    OK(create_edit(texts[_i].before, &r, &out, e));
    ck_assert_str_eq(out, texts[_i].after);
    sqlite3_free(out);
}
END_TEST

static const struct {
    const char *sql;
    bool fine;
} creates[] = {
    {"CREATE TABLE t(a)", true},
    {"create table if not exists [T] (a);", true},
    {"/* a */ CREATE -- b\n TABLE\n\"t\"\n(a) STRICT;", true},
    {"CREATE TABLE if(a)", false}, /* of another name */
    {"CREATE TABLE u(a)", false},
    {"CREATE TABLE main.t(a)", false},
    {"CREATE TEMP TABLE t(a)", false},
    {"CREATE VIRTUAL TABLE t USING fts5(a)", false},
    {"CREATE TABLE t AS SELECT 1", false},
    {"CREATE TABLE t(a", false},
    {"CREATE TABLE t(a,,b)", false},
    {"CREATE TABLE t()", false},
    {"CREATE TABLE t", false},
    {"CREATE VIEW t(a) AS SELECT 1", false},
    {"", false},
};

START_TEST(a_form_of_ones_own_is_a_create_table_of_that_name) {
    if (creates[_i].fine) OK(create_check(creates[_i].sql, "t", e));
    else CODE(create_check(creates[_i].sql, "t", e), RC_USAGE);
}
END_TEST

START_TEST(a_form_gets_another_name_and_no_column_says_whose_it_is) {
    char *out;
    OK(create_named("CREATE TABLE [my t](a CHECK(\"my t\".a > 0 AND `MY T` . a <> 'my t.a'), "
                    "b AS ([my t].\"a\"), c REFERENCES [my t](a)) STRICT",
                    "my t", "new\"1", &out, e));
    ck_assert_str_eq(out, "CREATE TABLE \"new\"\"1\"(a CHECK(a > 0 AND a <> 'my t.a'), b AS "
                          "(\"a\"), c REFERENCES [my t](a)) STRICT");
    sqlite3_free(out);
}
END_TEST

START_TEST(a_trigger_is_asked_which_columns_it_is_on) {
    const char *on = "CREATE TRIGGER x AFTER UPDATE OF a, \"b c\" ON t BEGIN SELECT 1; END";
    ck_assert(trigger_watches(on, "A") && trigger_watches(on, "b c"));
    ck_assert(!trigger_watches(on, "t") && !trigger_watches(on, "c"));
    ck_assert(!trigger_watches("CREATE TRIGGER x UPDATE ON a BEGIN SELECT 1; END", "a"));
    ck_assert(!trigger_watches("CREATE TRIGGER x INSERT ON a BEGIN UPDATE t SET b=1; END", "b"));
}
END_TEST

int main(void) {
    Suite *s = suite_create("rebuild_sql");
    TCase *t = tcase_create("rebuild_sql");
    ADD_ROWS(t, a_form_is_edited_by_words, texts);
    ADD_ROWS(t, a_form_of_ones_own_is_a_create_table_of_that_name, creates);
    tcase_add_test(t, a_form_gets_another_name_and_no_column_says_whose_it_is);
    tcase_add_test(t, a_trigger_is_asked_which_columns_it_is_on);
    suite_add_tcase(s, t);
    return run_suite(s);
}
