/* The text of a migration: what is read out of it, and what is refused with its line. */
#include "../os/temp.h"

#include "schema/file.h"

#include <sqlite3.h>

#define NAME "20260901120000_split_name.sql"

static struct migration *parsed(const char *text) {
    struct migration *m = NULL;
    OK(migration_parse(NAME, false, text, strlen(text), &m, e));
    return m;
}

/* "expand:1[CREATE ...;@2] down:4[...]" */
static const char *shown(const struct migration *m) {
    static char out[8000];
    size_t n = 0;
    out[0] = 0;
#define ADD(...) n += (size_t)snprintf(out + n, sizeof out - n, __VA_ARGS__)
    for (size_t i = 0; i < m->count; i++) {
        const struct section *s = &m->sections[i];
        ADD("%s%s:%d", i ? " " : "", section_name(s->kind), s->line);
        for (size_t k = 0; k < s->count; k++) {
            const struct statement *st = &s->statements[k];
            if (st->rebuild)
                ADD("[rebuild %s%s%s@%d]", st->rebuild->table, st->rebuild->create ? " " : "",
                    st->rebuild->create ? st->rebuild->create : "", st->line);
            else ADD("[%s@%d]", st->sql, st->line);
        }
    }
#undef ADD
    return out;
}

static void reads(const char *text, const char *expected) {
    struct migration *m = parsed(text);
    ck_assert_str_eq(shown(m), expected);
    migration_free(m);
}

static void refuses(const char *text, const char *words) {
    struct migration *m = NULL;
    CODE(migration_parse(NAME, false, text, strlen(text), &m, e), RC_CORRUPT);
    ck_assert_ptr_null(m);
    says(words);
}

/* ---- statements ---- */

static const struct {
    const char *text, *shown;
} statements[] = {
    {"SELECT 1;", "ordinary:1[SELECT 1;@1]"},
    {"SELECT 1", "ordinary:1[SELECT 1;@1]"},
    {"\n\nSELECT 1 -- why\n", "ordinary:1[SELECT 1;@3]"},
    {";;SELECT 1;;\n;SELECT 2; ;", "ordinary:1[SELECT 1;@1][SELECT 2;@2]"},
    {"/* a;b */ SELECT /* ; */ 1; -- c;d\nSELECT 2;",
     "ordinary:1[SELECT /* ; */ 1;@1][SELECT 2;@2]"},
    {"SELECT 'a;b''c;', \"d;\", `e;`, [f;];SELECT 2;",
     "ordinary:1[SELECT 'a;b''c;', \"d;\", `e;`, [f;];@1][SELECT 2;@1]"},
    {"SELECT 'one\n-- holdfast:expand\n', 2;\nSELECT 3;",
     "ordinary:1[SELECT 'one\n-- holdfast:expand\n', 2;@1][SELECT 3;@4]"},
    {"SELECT /*\n-- holdfast:expand\n*/ 2;", "ordinary:1[SELECT /*\n-- holdfast:expand\n*/ 2;@1]"},
    {"CREATE TRIGGER t AFTER INSERT ON a BEGIN\n SELECT CASE WHEN 1 THEN 2 END;\n"
     "/* END; */ -- END;\n SELECT 'END;';\n SELECT CASE 1 WHEN 1 THEN CASE 2 WHEN 2 THEN 3 END "
     "END; END;\nSELECT 1;",
     "ordinary:1[CREATE TRIGGER t AFTER INSERT ON a BEGIN\n SELECT CASE WHEN 1 THEN 2 END;\n"
     "/* END; */ -- END;\n SELECT 'END;';\n SELECT CASE 1 WHEN 1 THEN CASE 2 WHEN 2 THEN 3 END "
     "END; END;@1][SELECT 1;@6]"},
    {"CREATE TRIGGER t BEGIN SELECT 1; SELECT CASE 1 WHEN 1 THEN 2 END; END; SELECT 3;",
     "ordinary:1[CREATE TRIGGER t BEGIN SELECT 1; SELECT CASE 1 WHEN 1 THEN 2 END; END;@1][SELECT "
     "3;@1]"},
    {"create temporary trigger t begin select 1; end ; select 2",
     "ordinary:1[create temporary trigger t begin select 1; end ;@1][select 2;@1]"},
    {"CREATE TRIGGER t BEGIN SELECT 1; END", "ordinary:1[CREATE TRIGGER t BEGIN SELECT 1; END;@1]"},
    {"SELECT x'00''1';", "ordinary:1[SELECT x'00''1';@1]"},
    {"\xef\xbb\xbf-- holdfast:expand\r\nSELECT 1;\r\n", "expand:1[SELECT 1;@2]"},
    {"SELECT 1\r\n, 2;\r\nSELECT '\r\n';", "ordinary:1[SELECT 1\n, 2;@1][SELECT '\n';@3]"},
    {"-- nothing", "ordinary:1"},
    {"-- not holdfast, nor migrate\n--\n---- holdfast\nSELECT 1;", "ordinary:1[SELECT 1;@4]"},
};

START_TEST(a_text_is_cut_into_statements) {
    reads(statements[_i].text, statements[_i].shown);
}
END_TEST

START_TEST(each_statement_is_what_sqlite_calls_complete) {
    struct migration *m = parsed(statements[_i].text);
    for (size_t i = 0; i < m->count; i++)
        for (size_t k = 0; k < m->sections[i].count; k++)
            ck_assert_int_eq(sqlite3_complete(m->sections[i].statements[k].sql), 1);
    migration_free(m);
}
END_TEST

static const struct {
    const char *text, *words;
} broken[] = {
    {"", NAME ": it is empty"},
    {" \r\n\t\n", NAME ": it is empty"},
    {"\xef\xbb\xbf\n", NAME ": it is empty"},
    {"SELECT 1;\nSELECT 'abc;\n", NAME ":2: the literal that begins here has no end"},
    {"SELECT \"abc;\n", ":1: the literal"},
    {"SELECT `abc;\n", ":1: the literal"},
    {"SELECT\n [abc;\n", ":2: the literal"},
    {"SELECT x'00", ":1: the literal"},
    {"SELECT 'abc'';", ":1: the literal"},
    {"SELECT 1;\n\n/* never\nSELECT 2;", ":3: the comment that begins here has no end"},
    {"/*/", ":1: the comment"},
    {"SELECT 1;\nCREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;\n",
     ":2: the trigger that begins here has no 'END;'"},
    {"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE 1 WHEN 1 THEN 2 END;",
     ":1: the trigger"},
    {"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;\n-- holdfast:down\nEND;",
     ":2: a directive in the statement that begins in line 1"},
    {"\n\n\xff\n", NAME ":3: this is not UTF-8"},
    {"SELECT '\xc3';", ":1: this is not UTF-8"},
    {"\xff\xfeS", ":1: this is UTF-16"},
};

START_TEST(what_has_no_end_is_refused_with_its_line) {
    refuses(broken[_i].text, broken[_i].words);
}
END_TEST

START_TEST(a_zero_byte_is_refused) {
    struct migration *m = NULL;
    CODE(migration_parse(NAME, false, "SELECT 1;\n\0DROP TABLE a;", 24, &m, e), RC_CORRUPT);
    says(NAME ":2: a zero byte");
}
END_TEST

START_TEST(sixteen_megabytes_are_read_and_one_more_byte_is_not) {
    char *text = malloc(LIMIT_MIGRATION + 1);
    struct migration *m = NULL;
    memset(text, ' ', LIMIT_MIGRATION + 1);
    memcpy(text, "CREATE TRIGGER t AFTER INSERT ON a BEGIN", 40);
    for (size_t i = 40; i + 20 < LIMIT_MIGRATION; i += 10) memcpy(text + i, "SELECT 1; ", 10);
    memcpy(text + LIMIT_MIGRATION - 20, " SELECT 1; END;     ", 20);
    OK(migration_parse(NAME, false, text, LIMIT_MIGRATION, &m, e));
    ck_assert_uint_eq(m->sections[0].count, 1);
    migration_free(m);
    m = NULL;
    for (size_t i = 0; i + 16 <= LIMIT_MIGRATION; i += 16) memcpy(text + i, "SELECT 1 AS one;", 16);
    OK(migration_parse(NAME, false, text, LIMIT_MIGRATION, &m, e));
    ck_assert_uint_eq(m->sections[0].count, LIMIT_MIGRATION / 16);
    migration_free(m);
    CODE(migration_parse(NAME, false, text, LIMIT_MIGRATION + 1, &m, e), RC_CORRUPT);
    says("at most 16777216");
    free(text);
}
END_TEST

/* ---- sections ---- */

#define PHASES                                                                                     \
    "-- holdfast:expand\nALTER TABLE user ADD first;\n"                                            \
    "-- holdfast:sync\nCREATE TRIGGER s AFTER INSERT ON user BEGIN SELECT 1; END;\n"               \
    "-- holdfast:backfill table=user key=id batch=1000 target=5ms where=\"first IS NULL\"\n"       \
    "UPDATE user SET first = name WHERE id > :lo AND id <= :hi AND first IS NULL;\n"               \
    "-- holdfast:verify expect=0\nSELECT count(*) FROM user WHERE first IS NULL;\n"                \
    "-- holdfast:contract soak=1h\n-- holdfast:rebuild user drop=name notnull=first "              \
    "fill=first:\"coalesce(first,'')\"\n"                                                          \
    "-- holdfast:revert\nALTER TABLE user DROP first;\n"                                           \
    "-- holdfast:down lossy\nALTER TABLE user ADD name;\n"

START_TEST(a_phased_file_has_its_sections) {
    struct migration *m = parsed(PHASES);
    ck_assert_str_eq(
        shown(m), "expand:1[ALTER TABLE user ADD first;@2] "
                  "sync:3[CREATE TRIGGER s AFTER INSERT ON user BEGIN SELECT 1; END;@4] "
                  "backfill:5[UPDATE user SET first = name WHERE id > :lo AND id <= :hi AND first "
                  "IS NULL;@6] verify:7[SELECT count(*) FROM user WHERE first IS NULL;@8] "
                  "contract:9[rebuild user@10] revert:11[ALTER TABLE user DROP first;@12] "
                  "down:13[ALTER TABLE user ADD name;@14]");
    ck_assert_int_eq(m->form, FORM_PHASED);
    ck_assert_int_eq(m->version, 20260901120000);
    ck_assert_str_eq(m->name, NAME);
    const struct section *s = migration_section(m, SECTION_BACKFILL, NULL);
    ck_assert_str_eq(s->table, "user");
    ck_assert_str_eq(s->key, "id");
    ck_assert_str_eq(s->where, "first IS NULL");
    ck_assert_int_eq(s->batch, 1000);
    ck_assert_int_eq(s->target_ms, 5);
    ck_assert_ptr_null(migration_section(m, SECTION_BACKFILL, s + 1));
    ck_assert_str_eq(migration_section(m, SECTION_VERIFY, NULL)->expect, "0");
    s = migration_section(m, SECTION_CONTRACT, NULL);
    ck_assert_int_eq(s->soak_ms, 3600000);
    ck_assert(!s->compatible);
    const struct rebuild *r = s->statements[0].rebuild;
    ck_assert_uint_eq(r->op_count, 3);
    ck_assert_int_eq(r->ops[0].kind, REBUILD_DROP);
    ck_assert_str_eq(r->ops[0].column, "name");
    ck_assert_int_eq(r->ops[1].kind, REBUILD_NOTNULL);
    ck_assert_int_eq(r->ops[2].kind, REBUILD_FILL);
    ck_assert_str_eq(r->ops[2].column, "first");
    ck_assert_str_eq(r->ops[2].value, "coalesce(first,'')");
    ck_assert(migration_section(m, SECTION_DOWN, NULL)->lossy);
    ck_assert(migration_has(m, SECTION_SYNC) && !migration_has(m, SECTION_ORDINARY));
    migration_free(m);
}
END_TEST

#define QUOTED                                                                                     \
    "-- holdfast:backfill key=id table=a\nA :lo;\n-- holdfast:backfill table=b key=k\nB :hi;\n"    \
    "-- holdfast:verify\nSELECT 1;\n-- holdfast:verify expect=\"a \\\"b\\\" \\\\ \\c\"\nSELECT 2;"
#define REBUILDS                                                                                   \
    "-- holdfast:rebuild \"my user\" add=\"c TEXT\" type=a:INT default=b:\"'x y'\" nullable=d "    \
    "without-rowid\n"

static const struct {
    const char *text, *shown;
} sections[] = {
    {"SELECT 1;\n-- holdfast:down\nSELECT 2;", "ordinary:1[SELECT 1;@1] down:2[SELECT 2;@3]"},
    {"-- holdfast:expand\nSELECT 1", "expand:1[SELECT 1;@2]"},
    {"  --  HOLDFAST:expand \nSELECT 1", "expand:1[SELECT 1;@2]"},
    {"--holdfast:expand\nSELECT 1", "expand:1[SELECT 1;@2]"},
    {QUOTED,
     "backfill:1[A :lo;@2] backfill:3[B :hi;@4] verify:5[SELECT 1;@6] verify:7[SELECT 2;@8]"},
    {"-- holdfast:contract compatible\n", "contract:1"},
    {"-- holdfast:contract compatible -- soak=1w\n", "contract:1"},
    {"-- holdfast:contract --\n", "contract:1"},
    {"-- holdfast:rebuild user strict\nSELECT 1;", "ordinary:1[rebuild user@1][SELECT 1;@2]"},
    {REBUILDS, "ordinary:1[rebuild my user@1]"},
    {"-- holdfast:rebuild User fill=a:1\nCREATE TABLE user(a);\nSELECT 1;",
     "ordinary:1[rebuild User CREATE TABLE user(a);@1][SELECT 1;@3]"},
    {"-- holdfast:rebuild user\n-- why\nCREATE TABLE \"user\" (a)",
     "ordinary:1[rebuild user CREATE TABLE \"user\" (a);@1]"},
    {"-- holdfast:compatible\nDROP TABLE a;", "ordinary:1[DROP TABLE a;@2]"},
    {"CREATE VIEW v AS\n  -- holdfast:promote n prefix=/n/ key=/n/{id}\nSELECT 1;",
     "ordinary:1[CREATE VIEW v AS\n  -- holdfast:promote n prefix=/n/ key=/n/{id}\nSELECT 1;@1]"},
};

START_TEST(a_directive_begins_a_section) {
    reads(sections[_i].text, sections[_i].shown);
}
END_TEST

static const struct {
    const char *text, *words;
} misplaced[] = {
    {"-- holdfast:expnad\n", NAME ":1: holdfast:'expnad' is unknown: is 'expand' meant?"},
    {"-- holdfast:Expand\n", ":1: holdfast:'Expand' is unknown: is 'expand' meant?"},
    {"-- holdfast:migrate\n", ":1: holdfast:'migrate' is unknown; known: expand, sync, "},
    {"-- holdfast: expand\n", ":1: no word behind 'holdfast:'"},
    {"-- holdfast:\n", ":1: no word behind 'holdfast:'"},
    {"-- holdfsat:expand\n", ":1: is 'holdfast:' meant?"},
    {"-- holdfast expand\n", ":1: is 'holdfast:' meant?"},
    {"SELECT 1;\n--holdfast down\n", ":2: is 'holdfast:' meant?"},
    {"-- holdfast contract soak=1h\n", ":1: is 'holdfast:' meant?"},
    {"SELECT 1;\n-- holdfast :down\nDROP TABLE a;", ":2: is 'holdfast:' meant?"},
    {"SELECT 1;\n-- holdfast : down\nDROP TABLE a;", ":2: is 'holdfast:' meant?"},
    {"SELECT 1;\n-- holdfast down lossy\nDROP TABLE a;", ":2: is 'holdfast:' meant?"},
    {"SELECT 1;\n-- holdfast Down\nDROP TABLE a;", ":2: is 'holdfast:' meant?"},
    {"SELECT 1;\n-- holdfast rebuild user drop=name\n", ":2: is 'holdfast:' meant?"},
    {"SELECT 1;\n-- holdfast breaking\n", ":2: is 'holdfast:' meant?"},
    {"SELECT 1; -- holdfast:down\n", ":1: a directive stands at the start of its line"},
    {"/* */ -- holdfast:down\n", ":1: a directive stands at the start of its line"},
    {"CREATE TABLE a(\n-- holdfast:down\nb);",
     ":2: a directive in the statement that begins in line 1: is a ';' missing there?"},
    {"SELECT 1;\n-- holdfast:expand\nSELECT 2;",
     ":1: a statement before the first section, which is 'expand' in line 2"},
    {"-- holdfast:rebuild a strict\n-- holdfast:expand\n", ":1: a statement before the first"},
    {"-- holdfast:expand\n-- holdfast:expand\n",
     ":2: a second section 'expand'; the first is in line 1"},
    {"-- holdfast:down\n-- holdfast:down\n", ":2: a second section 'down'"},
    {"-- holdfast:sync\n-- holdfast:expand\n",
     ":2: 'expand' stands before 'sync' (line 1): sections stand as they run"},
    {"-- holdfast:down\n-- holdfast:expand\n", ":2: 'expand' stands before 'down' (line 1)"},
    {"-- holdfast:expand\n-- holdfast:sync\n-- holdfast:expand\n",
     ":3: a second section 'expand'; the first is in line 1"},
    {"-- holdfast:verify\nSELECT 1;\n-- holdfast:backfill table=a key=b\nSELECT 1;\n",
     ":3: 'backfill' stands before 'verify'"},
    {"-- holdfast:revert\nSELECT 1;", ":1: there is nothing that it would undo"},
    {"-- holdfast:verify\n", ":1: a verify section without a query"},
    {"-- holdfast:backfill table=a key=b\n", ":1: a backfill has one statement; this one has 0"},
    {"-- holdfast:backfill table=a key=b\nA;B;",
     ":1: a backfill has one statement; this one has 2"},
    {"-- holdfast:backfill table=a\nA;", ":1: a backfill names its table and the key"},
    {"-- holdfast:backfill key=a\nA;", ":1: a backfill names its table and the key"},
    {"-- holdfast:backfill tabel=a key=b\nA;", ":1: 'tabel' is unknown: is 'table' meant?"},
    {"-- holdfast:backfill table=a key=b table=c\nA;", ":1: 'table' stands here twice"},
    {"-- holdfast:backfill table= key=b\nA;", ":1: 'table' needs a value: table=..."},
    {"-- holdfast:backfill table key=b\nA;", ":1: 'table' needs a value"},
    {"-- holdfast:backfill table=a key=b batch=0\nA;", ":1: batch=0: a number from 1 to "},
    {"-- holdfast:backfill table=a key=b batch=1e3\nA;", ":1: batch=1e3: a number"},
    {"-- holdfast:backfill table=a key=b batch=-1\nA;", ":1: batch=-1: a number"},
    {"-- holdfast:backfill table=a key=b batch=99999999999999999999\nA;", ": a number"},
    {"-- holdfast:backfill table=a key=b target=5\nA;", ":1: target=5: a time like 5ms"},
    {"-- holdfast:backfill table=a key=b target=2h\nA;", ":1: target=2h: a time like 5ms"},
    {"-- holdfast:backfill table=a key=b where=\"c\nA;", ":1: a quote has no end"},
    {"-- holdfast:backfill table=a key=b =c\nA;", ":1: a name is missing before '='"},
    {"-- holdfast:expand soak=1h\n", ":1: 'soak' is unknown; known: nothing"},
    {"-- holdfast:contract soak=1w\n", ":1: soak=1w: a time like"},
    {"-- holdfast:contract soak=-1h\n", ":1: soak=-1h: a time like"},
    {"-- holdfast:contract soak=999999999d\n", ":1: soak=999999999d: a time like"},
    {"-- holdfast:contract compatible=yes\n", ":1: 'compatible' has no value"},
    {"-- holdfast:contract lossy\n", ":1: 'lossy' is unknown"},
    {"-- holdfast:contract --compatible\n", ":1: '--compatible' is unknown"},
    {"-- holdfast:down losy\n", ":1: 'losy' is unknown: is 'lossy' meant?"},
    {"-- holdfast:compatible\n-- holdfast:breaking\n", ":2: line 1 has said so, or otherwise"},
    {"-- holdfast:compatible yes\n", ":1: nothing stands behind this word"},
    {"-- holdfast:expand\nSELECT 1;\n-- holdfast:compatible\n", ":3: this is for a file without"},
    {"-- holdfast:rebuild\n", ":1: a rebuild names its table"},
    {"-- holdfast:rebuild drop=a\n", ":1: a rebuild names its table"},
    {"-- holdfast:rebuild a drpo=b\n", ":1: 'drpo' is unknown: is 'drop' meant?"},
    {"-- holdfast:rebuild a drop\n", ":1: drop=COLUMN"},
    {"-- holdfast:rebuild a strict=1\n", ":1: 'strict' has no value"},
    {"-- holdfast:rebuild a type=b\n", ":1: type=COLUMN:\"...\""},
    {"-- holdfast:rebuild a fill=:b\n", ":1: fill=COLUMN:\"...\""},
    {"-- holdfast:rebuild a add=\" \"\n", ":1: add=\"COLUMN TYPE ...\""},
    {"-- holdfast:rebuild a add\n", ":1: add=\"COLUMN TYPE ...\""},
    {"-- holdfast:rebuild a add=\"/* b */\"\n", ":1: add=\"COLUMN TYPE ...\""},
    {"-- holdfast:rebuild a\n", ":1: this rebuild changes nothing"},
    {"-- holdfast:rebuild a\n-- holdfast:down\n", ":1: this rebuild changes nothing"},
    {"-- holdfast:rebuild a\n-- holdfast:rebuild b strict\n", ":1: this rebuild changes nothing"},
    {"-- holdfast:rebuild a fill=b:c\nCREATE TABLE b(c);",
     ":2: the rebuild in line 1 changes nothing by itself, so CREATE TABLE a (...)"},
    {"-- holdfast:rebuild a\nCREATE TEMP TABLE a(c);", ":2: the rebuild in line 1"},
    {"-- holdfast:rebuild a\nCREATE TABLE a AS SELECT 1;", ":2: the rebuild in line 1"},
    {"-- holdfast:sync\n-- holdfast:rebuild a strict\n", ":2: no rebuild in a section 'sync'"},
    {"-- holdfast:expand\n-- migrate:up\n", ":2: a file has one form"},
    {"SELECT 1;\n-- holdfast:down\n-- +goose Up\n", ":3: a file has one form"},
};

START_TEST(a_directive_that_is_wrong_is_refused_with_its_line) {
    refuses(misplaced[_i].text, misplaced[_i].words);
}
END_TEST

START_TEST(what_stands_in_quotes_is_one_value) {
    struct migration *m = parsed(QUOTED);
    ck_assert_str_eq(m->sections[2].expect, "0");
    ck_assert_str_eq(m->sections[3].expect, "a \"b\" \\ \\c");
    migration_free(m);
    m = parsed(REBUILDS);
    const struct rebuild *r = m->sections[0].statements[0].rebuild;
    ck_assert_uint_eq(r->op_count, 5);
    ck_assert_str_eq(r->ops[0].column, "c");
    ck_assert_str_eq(r->ops[0].value, "c TEXT");
    ck_assert_str_eq(r->ops[2].value, "'x y'");
    migration_free(m);
}
END_TEST

/* ---- the forms of others ---- */

static const struct {
    const char *text, *shown;
    enum form form;
    size_t passed;
} foreign[] = {
    {"-- migrate:up\nCREATE TABLE a(b);\n\n-- migrate:down\nDROP TABLE a;\n",
     "ordinary:1[CREATE TABLE a(b);@2] down:4[DROP TABLE a;@5]", FORM_DBMATE, 0},
    {"-- why\n--migrate:up transaction:false\nPRAGMA foreign_keys = OFF;\nBEGIN;\nSELECT 1\n"
     "-- migrate:down\n",
     "ordinary:2[SELECT 1;@5]", FORM_DBMATE, 2},
    {"-- holdfast:compatible\n-- migrate:up\nDROP TABLE a;", "ordinary:2[DROP TABLE a;@3]",
     FORM_DBMATE, 0},
    {"-- +goose Up\nCREATE TABLE a(b);\n-- +goose Down\nDROP TABLE a;\n",
     "ordinary:1[CREATE TABLE a(b);@2] down:3[DROP TABLE a;@4]", FORM_GOOSE, 0},
    {"-- +goose NO TRANSACTION\n-- +goose up\nPRAGMA defer_foreign_keys=1;BEGIN;COMMIT;END;\n"
     "-- +goose StatementBegin\nCREATE TRIGGER t BEGIN SELECT 1; END\n-- +goose StatementEnd\n"
     "SELECT 2;\n-- +goose ENVSUB OFF\n-- +goose DOWN\n",
     "ordinary:2[CREATE TRIGGER t BEGIN SELECT 1; END;@5][SELECT 2;@7]", FORM_GOOSE, 4},
    {"-- holdfast down is far\nSELECT 1;", "ordinary:1[SELECT 1;@2]", FORM_ORDINARY, 0},
    {"-- +goosey\nSELECT 1;", "ordinary:1[SELECT 1;@2]", FORM_ORDINARY, 0},
};

START_TEST(files_of_dbmate_and_goose_are_read_as_they_are) {
    struct migration *m = parsed(foreign[_i].text);
    ck_assert_str_eq(shown(m), foreign[_i].shown);
    ck_assert_int_eq(m->form, foreign[_i].form);
    ck_assert_uint_eq(m->passed_count, foreign[_i].passed);
    migration_free(m);
}
END_TEST

static const struct {
    const char *text, *words;
} wrong_foreign[] = {
    {"-- migrate:down\nSELECT 1;", ":1: 'down' before 'up'"},
    {"-- migrate:up\n-- migrate:dwon\n", ":2: migrate:'dwon' is unknown: is 'down' meant?"},
    {"-- migrate: up\n", ":1: no word behind 'migrate:'"},
    {"-- migrate:up\n-- migrate:up\n", ":2: a second 'up'; the first is in line 1"},
    {"-- migrate:up\n-- migrate:down\n-- migrate:down\n", ":3: a second section 'down'"},
    {"-- migrate:up transaktion:false\n", ":1: 'transaktion:false' is unknown: is 'transaction:"},
    {"SELECT 1;\n-- migrate:up\n", ":2: a statement before 'up'"},
    {"SELECT 1\n-- migrate:up\n", ":1: a statement before 'up'"},
    {"-- migrate:up\nSELECT 1; -- migrate:down\n", ":2: a directive stands at the start"},
    {"-- migrate:up\nCREATE TRIGGER t BEGIN SELECT 1;\n-- migrate:down\n", ":2: the trigger that"},
    {"-- migrate:up\n-- +goose Down\n", ":2: a file has one form"},
    {"-- migrate:up\n-- holdfast:expand\n",
     ":2: 'holdfast:expand' in a file in the form of dbmate"},
    {"-- +goose Up\n-- holdfast:rebuild a strict\n",
     ":2: 'holdfast:rebuild' in a file in the form of"},
    {"-- +goose Down\n", ":1: 'down' before 'up'"},
    {"-- +goose NO TRANSACTION\nSELECT 1;", ":1: there is no section 'up'"},
    {"-- +goose NO TRANSACTOIN\n", ":1: 'TRANSACTOIN' behind 'NO'"},
    {"-- +goose Up\n-- +goose ENVSUB ON\n", ":2: ENVSUB"},
    {"-- +goose Dwon\n", ":1: +goose 'Dwon' is unknown: is 'Down' meant?"},
    {"-- +goose Up\n-- +goose StatementEnd\n", ":2: StatementEnd without StatementBegin"},
    {"-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n", ":2: StatementBegin without"},
    {"-- +goose Up\n-- +goose StatementBegin\n-- +goose Down\n", ":2: StatementBegin without"},
    {"-- +goose Up\n-- +goose StatementBegin\n-- +goose StatementBegin\n", ":3: StatementBegin in"},
    {"-- +goose Up\nSELECT\n-- +goose StatementBegin\n",
     ":3: StatementBegin in the statement that"},
    {"-- +goose StatementBegin\n", ":1: StatementBegin before 'up'"},
};

START_TEST(a_foreign_file_that_is_wrong_is_refused_with_its_line) {
    refuses(wrong_foreign[_i].text, wrong_foreign[_i].words);
}
END_TEST

/* ---- names and hashes ---- */

static const struct {
    const char *name;
    int64_t version; /* 0: it has none */
} names[] = {
    {NAME, 20260901120000},
    {"1_a.sql", 1},
    {"0007_a-b.c.sql", 7},
    {"1_a", 1},
    {"1_\xc3\xbc.sql", 1},
    {"999999999999999999_a.sql", 999999999999999999},
    {"0_a.sql", 0},
    {"1000000000000000000_a.sql", 0},
    {"a.sql", 0},
    {"V1__a.sql", 0},
    {"1.sql", 0},
    {"1_.sql", 0},
    {"1_", 0},
    {"_a.sql", 0},
    {"1-a.sql", 0},
    {"-1_a.sql", 0},
    {"+1_a.sql", 0},
    {" 1_a.sql", 0},
    {"1_a b.sql", 0},
    {"1_a/b.sql", 0},
    {"noise/1_a.sql", 0},
    {"1_a\n.sql", 0},
    {"1_\xff.sql", 0},
    {"", 0},
};

START_TEST(a_name_has_a_version) {
    int64_t version = -1;
    bool has = migration_version(names[_i].name, &version);
    ck_assert_msg(has == (names[_i].version > 0), "%s", names[_i].name);
    ck_assert_int_eq(version, has ? names[_i].version : -1);
}
END_TEST

START_TEST(a_name_without_a_version_is_refused) {
    struct migration *m = NULL;
    char longest[LIMIT_MIGRATION_NAME + 2];
    CODE(migration_parse("user.sql", true, "SELECT 1;", 9, &m, e), RC_CORRUPT);
    says("noise/user.sql: a migration is called VERSION_NAME.sql");
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "1_", 2);
    longest[LIMIT_MIGRATION_NAME] = 0;
    OK(migration_parse(longest, false, "SELECT 1;", 9, &m, e));
    migration_free(m);
    longest[LIMIT_MIGRATION_NAME] = 'a';
    longest[LIMIT_MIGRATION_NAME + 1] = 0;
    CODE(migration_parse(longest, false, "SELECT 1;", 9, &m, e), RC_CORRUPT);
}
END_TEST

/* printf 'SELECT 1;\nSELECT 2;\n' | sha256sum */
START_TEST(the_hash_is_of_the_text_with_plain_line_ends) {
    static const char sum[] = "82efb67f3010c6eb7ead02e4f6d9550633dbc1407f99aa487468e7b2567aebbc";
    struct migration *m = parsed("SELECT 1;\nSELECT 2;\n");
    ck_assert_str_eq(m->sha256, sum);
    migration_free(m);
    m = parsed("SELECT 1;\r\nSELECT 2;\r\n");
    ck_assert_str_eq(m->sha256, sum);
    migration_free(m);
    m = parsed("SELECT 1;\nSELECT 2;");
    ck_assert_str_ne(m->sha256, sum);
    migration_free(m);
}
END_TEST

/* ---- words ---- */

static const struct {
    const char *sql, *words; /* each in <> */
} texts[] = {
    {"a b", "<a><b>"},
    {" -- c\n a/* d */b", "<a><b>"},
    {"a.b,c", "<a><.><b><,><c>"},
    {"'a''b' \"c\"\"d\" [e]f]`g``h`", "<'a''b'><\"c\"\"d\"><[e]><f><]><`g``h`>"},
    {":lo @a $b ?1 ? #c", "<:lo><@a><$b><?1><?><#c>"},
    {"1 1.5 .5 1e9 1.e-9 1e+ 0x1F 12ab", "<1><1.5><.5><1e9><1.e-9><1e><+><0x1F><12ab>"},
    {"a||b->c->>d<=e<>f!=g==h>>i<<j>=k<l-m",
     "<a><||><b><->><c><->>><d><<=><e><<>><f><!=><g><==><h><>>><i><<<><j><>=><k><<><l><-><m>"},
    {"x'00' X'0' xy", "<x'00'><X'0'><xy>"},
    {"\xc3\xbc_1$", "<\xc3\xbc_1$>"},
    {"'open", "<'open>"},
    {"a /* open", "<a>"},
    {"", ""},
};

START_TEST(a_text_is_cut_into_words) {
    char out[400] = "";
    const char *at = texts[_i].sql;
    for (struct token t = token_next(&at); t.length; t = token_next(&at))
        snprintf(out + strlen(out), sizeof out - strlen(out), "<%.*s>", (int)t.length, t.at);
    ck_assert_str_eq(out, texts[_i].words);
    ck_assert_int_eq(*at, 0);
}
END_TEST

START_TEST(an_identifier_is_without_its_quotes) {
    static const char *const pairs[][2] = {{"a", "a"},          {"\"a\"\"b\"", "a\"b"},
                                           {"[a b]", "a b"},    {"`a``b`", "a`b"},
                                           {"'it''s'", "it's"}, {"\"\"", ""}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const char *at = pairs[i][0];
        char *plain = token_identifier(token_next(&at));
        ck_assert_str_eq(plain, pairs[i][1]);
        free(plain);
    }
    const char *at = "Select";
    ck_assert(token_is(token_next(&at), "SELECT"));
    at = "Selects";
    ck_assert(!token_is(token_next(&at), "SELECT"));
}
END_TEST

int main(void) {
    TCase *t = tcase_create("file");
    ADD_ROWS(t, a_text_is_cut_into_statements, statements);
    ADD_ROWS(t, each_statement_is_what_sqlite_calls_complete, statements);
    ADD_ROWS(t, what_has_no_end_is_refused_with_its_line, broken);
    tcase_add_test(t, a_zero_byte_is_refused);
    tcase_add_test(t, sixteen_megabytes_are_read_and_one_more_byte_is_not);
    tcase_add_test(t, a_phased_file_has_its_sections);
    ADD_ROWS(t, a_directive_begins_a_section, sections);
    ADD_ROWS(t, a_directive_that_is_wrong_is_refused_with_its_line, misplaced);
    tcase_add_test(t, what_stands_in_quotes_is_one_value);
    ADD_ROWS(t, files_of_dbmate_and_goose_are_read_as_they_are, foreign);
    ADD_ROWS(t, a_foreign_file_that_is_wrong_is_refused_with_its_line, wrong_foreign);
    ADD_ROWS(t, a_name_has_a_version, names);
    tcase_add_test(t, a_name_without_a_version_is_refused);
    tcase_add_test(t, the_hash_is_of_the_text_with_plain_line_ends);
    ADD_ROWS(t, a_text_is_cut_into_words, texts);
    tcase_add_test(t, an_identifier_is_without_its_quotes);
    Suite *s = suite_create("schema/file");
    suite_add_tcase(s, t);
    return run_suite(s);
}
