/* What lint says of a migration, and what it calls breaking. */
#include "../os/temp.h"

#include "schema/lint.h"

static struct migration *parsed(const char *text, bool noise) {
    struct migration *m = NULL;
    OK(migration_parse("1_a.sql", noise, text, strlen(text), &m, e));
    return m;
}

static void add(void *arg, const struct finding *f) {
    char *out = arg;
    ck_assert(*f->words && strlen(f->words) < sizeof f->words);
    snprintf(out + strlen(out), 2000 - strlen(out), "%s%d:%s%s", *out ? " " : "", f->line, f->rule,
             f->error ? "!" : "");
}

static void finds_in(bool noise, const char *text, const char *expected) {
    char out[2000] = "";
    struct migration *m = parsed(text, noise);
    OK(lint(m, add, out, e));
    ck_assert_msg(strcmp(out, expected) == 0, "%s: '%s', not '%s'", text, out, expected);
    struct err e;
    ck_assert_int_eq(lint_check(m, &e).code, strchr(expected, '!') ? RC_CORRUPT : RC_OK);
    migration_free(m);
}

#define BACKFILL "-- holdfast:backfill table=a key=id\n"
#define UNDONE "-- holdfast:revert\nSELECT 1;\n"

/* line:rule, with "!" an error. */
static const struct {
    const char *text, *found;
} rows[] = {
    {"CREATE TABLE a(b);", ""},
    {"SELECT 1;\nBEGIN;", "2:transaction!"},
    {"begin immediate;COMMIT;END;ROLLBACK;", "1:transaction! 1:transaction! 1:transaction! "
                                             "1:transaction!"},
    {"SAVEPOINT a;\n-- c\nRELEASE a;", "1:transaction! 3:transaction!"},
    {"PRAGMA user_version = 1;", "1:pragma!"},
    {"/* */ pragma\nforeign_keys;", "1:pragma!"},
    {"ATTACH 'a' AS b;DETACH b;", "1:attach! 1:attach!"},
    {"VACUUM;", "1:vacuum!"},
    {"EXPLAIN SELECT 1;", "1:explain!"},
    {"SELECT 1,\nload_extension('a');", "2:extension!"},
    {"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE WHEN 1 THEN 2 END; END;", ""},
    {"CREATE TABLE \"begin\"(\"commit\");", ""},

    {"CREATE TEMP TABLE a(b);", "1:database!"},
    {"CREATE TEMPORARY VIEW a AS SELECT 1;", "1:database!"},
    {"CREATE TABLE a(temp);", ""},
    {"INSERT INTO a\nSELECT * FROM noise.b WHERE 1;", "2:database!"},
    {"DELETE FROM \"noise\".b WHERE 1;", "1:database!"},
    {"UPDATE OR IGNORE noise.b SET c=1 WHERE 1;", "1:database!"},
    {"CREATE INDEX IF NOT EXISTS noise.i ON b(c);", "1:database!"},
    {"DROP TABLE [temp].b;", "1:database! 1:no-down"},
    {"SELECT noise.b.c;", "1:database!"},
    {"UPDATE noise SET level = noise.level + 1 WHERE noise.level > temp.b;", ""},
    {"SELECT 1 WHERE a IS NOT DISTINCT FROM noise.level;", ""},
    {"INSERT INTO main.a VALUES (1);", ""},

    {"INSERT INTO holdfast_migration VALUES (1);", "1:history!"},
    {"UPDATE OR REPLACE main.Holdfast_Schema SET a=1 WHERE 1;", "1:history!"},
    {"DELETE FROM \"holdfast_client\";", "1:history!"},
    {"CREATE TABLE IF NOT EXISTS holdfast_step(a);", "1:history!"},
    {"ALTER TABLE holdfast_step ADD b;", "1:history!"},
    {"CREATE TRIGGER t AFTER INSERT ON a BEGIN\nDELETE FROM holdfast_step; END;", "2:history!"},
    {"-- holdfast:rebuild holdfast_step strict\n", "1:history! 1:rewrite 1:no-down"},
    {"SELECT * FROM holdfast_migration;", ""},
    {"INSERT INTO holdfast_reject VALUES (1);", ""},
    {"INSERT INTO a SELECT * FROM holdfast_step;", "1:rewrite"},

    {"SELECT ?;", "1:parameter!"},
    {"SELECT\n:lo, @a, $b, ?1;", "2:parameter! 2:parameter! 2:parameter! 2:parameter!"},
    {"SELECT ':lo', \"?\", [@a];", ""},
    {BACKFILL "UPDATE a SET b=1 WHERE id>:lo AND id<=:hi;", ""},
    {BACKFILL "UPDATE a SET b=1 WHERE id>:lo;", "2:parameter!"},
    {BACKFILL "UPDATE a SET b=1 WHERE id<=:hi;", "2:parameter!"},
    {BACKFILL "UPDATE a SET b=1\nWHERE id>:lo AND id<=:hi AND c=:c;", "3:parameter!"},
    {BACKFILL "UPDATE a SET b=':lo' WHERE id<=:hi -- :lo\n;", "2:parameter!"},
    {BACKFILL "UPDATE a SET b=1 WHERE id>:LO AND id<=:hi;", "2:parameter! 2:parameter!"},
    {BACKFILL "SELECT 1 WHERE id>:lo AND id<=:hi;", "2:backfill!"},
    {BACKFILL "WITH c AS (DELETE) SELECT :lo, :hi;", "2:backfill!"},
    {BACKFILL "WITH c AS (SELECT 1) INSERT INTO a SELECT :lo, :hi;", ""},
    {"-- holdfast:backfill table=a key=id where=\"b IS\"\n"
     "DELETE FROM a WHERE id>:lo AND id<=:hi;",
     "1:syntax!"},
    {"-- holdfast:backfill table=a key=id where=\"b = 1 -- c\"\n"
     "DELETE FROM a WHERE id>:lo AND id<=:hi;",
     ""},

    {"-- holdfast:verify\nSELECT 1;VALUES (0);WITH a AS (SELECT 1) SELECT 1;", ""},
    {"-- holdfast:verify\nUPDATE a SET b=1 WHERE 1;", "2:verify!"},
    {"-- holdfast:verify\nWITH c AS (SELECT 1) DELETE FROM a;", "2:verify!"},

    {"-- holdfast:expand\nDROP TABLE a;\n" UNDONE, "2:expand! 2:no-down"},
    {"-- holdfast:expand\nALTER TABLE a RENAME b TO c;\n" UNDONE, "2:expand! 2:no-down"},
    {"-- holdfast:expand\n-- holdfast:rebuild a drop=b\n" UNDONE, "2:expand! 2:rewrite 2:no-down"},
    {"-- holdfast:expand\n-- holdfast:rebuild a nullable=b\n" UNDONE, "2:rewrite"},
    {"-- holdfast:expand\nCREATE TABLE a(b);ALTER TABLE A RENAME TO c;DROP TABLE C;\n" UNDONE, ""},
    {"-- holdfast:expand\nCREATE TABLE IF NOT EXISTS a(b);DROP TABLE a;\n" UNDONE,
     "2:if-not-exists 2:expand! 2:no-down"},
    {"-- holdfast:expand\nDROP VIEW a;CREATE VIEW A AS SELECT 1;\n" UNDONE, "2:no-down"},
    {"-- holdfast:expand\nDROP VIEW a;\n" UNDONE, "2:expand! 2:no-down"},
    {"-- holdfast:sync\nDROP TRIGGER a;\n" UNDONE, "2:expand! 2:no-down"},
    {"-- holdfast:expand\nCREATE TABLE a(b);\n-- holdfast:sync\nDROP TABLE a;\n" UNDONE, "4:sync"},

    {"SELECT 1;\nSELECT\nFROM;", "3:syntax!"},
    {"CREATE TABLE a(b,);", "1:syntax!"},
    {"CREATE TRIGGER t AFTER INSERT ON a BEGIN BEGIN; END; END;", "1:syntax! 1:transaction!"},
    {"CREATE TRIGGER t AFTER INSERT ON \"a\"\"b\" BEGIN\n SELECT; END;", "2:syntax!"},
    {"CREATE TRIGGER t INSTEAD OF INSERT ON main.a BEGIN\n SELECT; END;", "2:syntax!"},
    {"CREATE TRIGGER t INSTEAD OF INSERT ON main.a BEGIN\n SELECT 1; END;", ""},
    {"ALTER TABLE a\nADD b TEXT NOT;", "2:syntax!"},
    {"ALTER TABLE a ADD b;\nCREATE TABLE a(c,);", "2:syntax!"},
    {"SELECT 'a' !;", "1:syntax!"},
    {"SELECT 12ab;", "1:syntax!"},
    {"SELECT [a: syntax error];SELECT [incomplete input];", ""},
    {"SELECT * FROM [near \"a\": syntax error];", ""},
    {"-- holdfast:rebuild a add=b fill=b:\"(1\"\n", "1:syntax! 1:rewrite"},
    {"ALTER TABLE user ADD COLUMN first TEXT;", ""}, /* no such table: it will be there */
    {"-- holdfast:rebuild a nullable=b fill=b:\"c(\"\n", "1:syntax! 1:rewrite"},
    {"-- holdfast:rebuild a add=\"b TEXT (\"\n", "1:syntax! 1:rewrite"},
    {"-- holdfast:rebuild a add=\"b TEXT\" default=c:\"1 +\"\n", "1:syntax! 1:rewrite"},
    {"-- holdfast:rebuild a type=c:\"TEXT NOT\"\n", "1:syntax! 1:rewrite 1:no-down"},
    {"-- holdfast:rebuild a\nCREATE TABLE a(b c d e,);", "1:syntax! 1:rewrite 1:no-down"},

    {"-- why?\n", "1:empty!"},
    {"-- why?\n-- holdfast:down\n-- more\n", "1:empty! 2:empty"},
    {"-- holdfast:expand\n" UNDONE, "1:empty!"},
    {"-- migrate:up\n-- migrate:down\n", "1:empty"},
    {"-- holdfast:contract\n", ""},
    {"SELECT 1;\n-- holdfast:down\n", "2:empty"},

    {"ALTER TABLE a ADD b NOT NULL;", "1:add-column"},
    {"ALTER TABLE a ADD COLUMN b TEXT NOT NULL DEFAULT '';", ""},
    {"ALTER TABLE a ADD b CHECK (b IS NOT NULL);", ""},
    {"ALTER TABLE a ADD b DEFAULT CURRENT_TIMESTAMP;", "1:add-column"},
    {"ALTER TABLE a ADD b DEFAULT (random());", "1:add-column"},
    {"ALTER TABLE a ADD b AS (c) STORED;", "1:add-column"},
    {"ALTER TABLE a ADD b AS (c) VIRTUAL NOT NULL;", "1:add-column"},
    {"DROP TABLE a;", "1:no-down"},
    {"DROP TABLE a;\n-- holdfast:down\nCREATE TABLE a(b);", ""},
    {"DROP INDEX a;", ""},
    {"ALTER TABLE a DROP COLUMN b;", "1:rewrite 1:no-down"},
    {"-- holdfast:expand\nALTER TABLE a ADD b;", "1:no-revert"},
    {"-- holdfast:expand\nALTER TABLE a ADD b;\n" BACKFILL "DELETE FROM a WHERE id>:lo AND id<=:hi;"
     "\n-- holdfast:contract\n" UNDONE,
     "5:unverified"},
    {"UPDATE a SET b=1;", "1:rewrite"},
    {"UPDATE a SET b=(SELECT 1 WHERE 1);", "1:rewrite"},
    {"UPDATE a SET b=1 WHERE c;", ""},
    {"INSERT INTO a SELECT 1;", "1:rewrite"},
    {"INSERT INTO a VALUES ((SELECT 1));", ""},
    {"INSERT OR REPLACE INTO a VALUES (1);", "1:replace"},
    {"REPLACE INTO a VALUES (1);", "1:replace"},
    {"UPDATE OR REPLACE a SET b = 1 WHERE b = 2;", "1:replace"},
    {"CREATE VIEW v AS SELECT a OR replace(a, 'x', '') FROM t;", ""},
    {"SELECT replace(a, b, c);", ""},
    {"CREATE TRIGGER t AFTER INSERT ON a BEGIN\nREPLACE INTO b VALUES (1); END;", "2:replace"},
    {"CREATE UNIQUE INDEX a ON b(c);", "1:unique"},
    {"CREATE INDEX a ON b(json_extract(c, '$.d'));", "1:json-index"},
    {"CREATE INDEX a ON b(c->>'$.d');", "1:json-index"},
    {"CREATE INDEX a ON b(c->>'$.d') WHERE json_valid(c);", ""},
    {"CREATE TABLE IF NOT EXISTS a(b);", "1:if-not-exists"},
    {"-- holdfast:sync\nCREATE INDEX a ON b(c);\n" UNDONE, "2:sync"},
    {"DROP TABLE dbx;", "1:store 1:no-down"},
    {"-- holdfast:rebuild DBX strict\n", "1:store 1:rewrite 1:no-down"},
    {"DELETE FROM DBX WHERE Key>='a';", ""},
    {"-- migrate:up\nPRAGMA foreign_keys=0;\nBEGIN;\nSELECT 1;\nCOMMIT;\n",
     "2:passed-over 3:passed-over 5:passed-over"},
    {"-- migrate:up\nROLLBACK;PRAGMA user_version=1;\n", "2:transaction! 2:pragma!"},
    {"-- holdfast:down\nUPDATE a SET b=1;PRAGMA a;", "2:pragma! 1:empty!"},
};

START_TEST(each_rule_finds_its_line_and_no_other) {
    finds_in(false, rows[_i].text, rows[_i].found);
}
END_TEST

START_TEST(noise_names_nothing_of_main) {
    finds_in(true, "INSERT INTO main.a VALUES (1);", "1:database!");
    finds_in(true, "INSERT INTO noise.a VALUES (1);", "1:database!");
    finds_in(true, "INSERT INTO a VALUES (1);", "");
}
END_TEST

START_TEST(an_error_has_file_line_and_what_sqlite_says) {
    struct migration *m = parsed("SELECT 1;\nSELECT 2,\n 3 FORM a;", true);
    CODE(lint_check(m, e), RC_CORRUPT);
    ck_assert_str_eq(last_err.text, "noise/1_a.sql:3: near \"a\": syntax error");
    migration_free(m);
}
END_TEST

/* Ours and SQLite's, with the cut at each byte of a character. */
START_TEST(words_are_cut_between_characters) {
    char text[3000];
    for (int shift = 0; shift < 3; shift++) {
        bool errors;
        int n = snprintf(text, sizeof text, "-- migrate:up\nPRAGMA foreign_keys='%*s", shift, "");
        for (int i = 0; i < 200; i++) n += sprintf(text + n, "\xe2\x82\xac");
        n += sprintf(text + n, "';\nSELECT a b \"%*s", shift, "");
        for (int i = 0; i < 200; i++) n += sprintf(text + n, "\xe2\x82\xac");
        sprintf(text + n, "\";");
        struct migration *m = parsed(text, false);
        json_t *j = lint_json(&(struct set){.at = &m, .count = 1}, &errors);
        ck_assert_uint_eq(json_array_size(j), 2);
        const char *words = json_string_value(json_object_get(json_array_get(j, 1), "words"));
        ck_assert_msg(strstr(words, " is not run: the runner does"), "%s", words);
        words = json_string_value(json_object_get(json_array_get(j, 0), "words"));
        ck_assert_msg(strlen(words) > 290, "%s", words);
        json_decref(j);
        migration_free(m);
    }
}
END_TEST

START_TEST(json_has_each_finding) {
    struct migration *one = parsed("BEGIN;", false), *other = parsed("DROP TABLE a;", true);
    struct set s = {.at = (struct migration *[]){one, other}, .count = 2};
    bool errors;
    json_t
        *j = lint_json(&s, &errors),
        *expected = json_loads(
            "[{\"file\":\"1_a.sql\",\"line\":1,\"severity\":\"error\",\"rule\":\"transaction\","
            "\"words\":\"BEGIN: a step is one transaction already\"},"
            "{\"file\":\"noise/1_a.sql\",\"line\":1,\"severity\":\"warning\",\"rule\":\"no-down\","
            "\"words\":\"something is taken away, and no section 'down' brings it back\"}]",
            0, NULL);
    ck_assert(errors && json_equal(j, expected));
    json_decref(j);
    s.at++, s.count--;
    j = lint_json(&s, &errors);
    ck_assert(!errors && json_array_size(j) == 1);
    json_decref(j);
    json_decref(expected);
    migration_free(one);
    migration_free(other);
}
END_TEST

/* A thousand of each kind are told, and an error behind them is still one. */
START_TEST(findings_have_an_end) {
    static char text[70000];
    for (int i = 0; i < 3000; i++) strcat(text + i * 18, "UPDATE a SET b=1;\n");
    strcat(text, "BEGIN;");
    struct migration *m = parsed(text, false);
    struct set s = {.at = &m, .count = 1};
    bool errors;
    json_t *j = lint_json(&s, &errors);
    ck_assert(errors);
    ck_assert_uint_eq(json_array_size(j), 1001);
    json_decref(j);
    migration_free(m);
}
END_TEST

/* ---- breaking ---- */

static const struct {
    const char *text;
    bool breaks;
} effects[] = {
    {"CREATE TABLE a(b);", false},
    {"CREATE UNIQUE INDEX a ON b(c);", false},
    {"ALTER TABLE a ADD b;", false},
    {"ALTER TABLE main.\"a\" ADD COLUMN b;", false},
    {"UPDATE a SET b=1;", false},
    {"DROP INDEX a;", false},
    {"drop table if exists a;", true},
    {"DROP VIEW a;", true},
    {"DROP TRIGGER a;", true},
    {"ALTER TABLE a RENAME TO b;", true},
    {"ALTER TABLE a RENAME COLUMN b TO c;", true},
    {"ALTER TABLE main.a DROP b;", true},
    {"ALTER TABLE a ALTER COLUMN b SET NOT NULL;", true},
    {"ALTER TABLE a ADD CONSTRAINT b CHECK (c);", true},
    {"SELECT 'DROP TABLE a';", false},
    {"/* DROP */ CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END;", false},
    {"-- holdfast:rebuild a drop=b\n", true},
    {"-- holdfast:rebuild a notnull=b\n", true},
    {"-- holdfast:rebuild a type=b:INT\n", true},
    {"-- holdfast:rebuild a strict\n", true},
    {"-- holdfast:rebuild a without-rowid\n", true},
    {"-- holdfast:rebuild a nullable=b default=c:1 fill=d:2 add=\"d TEXT\"\n", false},
    {"-- holdfast:rebuild a add=\"d TEXT NOT NULL DEFAULT ''\"\n", false},
    {"-- holdfast:rebuild a add=\"d TEXT NOT NULL\" fill=d:1\n", true},
    {"-- holdfast:rebuild a\nCREATE TABLE a(b);\n", true},
    {"CREATE TABLE a(b);DROP TABLE A;", false},
    {"CREATE TABLE a(b);ALTER TABLE a RENAME TO c;DROP TABLE c;", false},
    {"CREATE TABLE c_new(b);DROP TABLE c;ALTER TABLE c_new RENAME TO c;", true},
    {"CREATE TABLE IF NOT EXISTS a(b);DROP TABLE a;", true},
    {"CREATE VIEW a AS SELECT 1;DROP TABLE a;", true},
    {"DROP TABLE a;CREATE TABLE a(b);", true},
    {"-- holdfast:compatible\nDROP TABLE a;", false},
    {"-- holdfast:breaking\nSELECT 1;", true},
    {"SELECT 1;\n-- holdfast:down\nDROP TABLE a;", false},
    {"-- holdfast:expand\nSELECT 1;", false},
    {"-- holdfast:expand\nSELECT 1;\n-- holdfast:contract\n", true},
    {"-- holdfast:expand\nSELECT 1;\n-- holdfast:contract compatible\nDROP TABLE a;", false},
    {"-- migrate:up\nDROP TABLE a;\n-- migrate:down\n", true},
    {"-- migrate:up\nSELECT 1;\n-- migrate:down\nDROP TABLE a;", false},
};

START_TEST(what_takes_away_breaks_older_programs) {
    struct migration *m = parsed(effects[_i].text, false);
    ck_assert_msg(migration_breaks(m) == effects[_i].breaks, "%s", effects[_i].text);
    migration_free(m);
}
END_TEST

int main(void) {
    TCase *t = tcase_create("lint");
    ADD_ROWS(t, each_rule_finds_its_line_and_no_other, rows);
    tcase_add_test(t, noise_names_nothing_of_main);
    tcase_add_test(t, an_error_has_file_line_and_what_sqlite_says);
    tcase_add_test(t, words_are_cut_between_characters);
    tcase_add_test(t, json_has_each_finding);
    tcase_add_test(t, findings_have_an_end);
    ADD_ROWS(t, what_takes_away_breaks_older_programs, effects);
    Suite *s = suite_create("schema/lint");
    suite_add_tcase(s, t);
    return run_suite(s);
}
