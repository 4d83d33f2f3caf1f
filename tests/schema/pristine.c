/* What the files say that the database has: the same, whichever way it was applied; and each thing
 * that was changed beside them is named. */
#include "../os/temp.h"

#include "schema/apply.h"
#include "schema/shape.h"

#define MOST 40

static char home[TEMP_PATH], path[TEMP_PATH * 2];
static char names[MOST][60], texts[MOST][600];
static hf_migration set[MOST + 1];
static int count;
static unsigned seed;

static void on(const char *file, const char *text) {
    sqlite3 *db;
    char *words = NULL;
    ck_assert_int_eq(sqlite3_open(file, &db), SQLITE_OK);
    ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &words) == SQLITE_OK, "%s: %s", text, words);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

static void setup(void) {
    temp_dir(home);
    setenv("RUNTIME_DIRECTORY", home, 1);
    snprintf(path, sizeof path, "%s/app.db", home);
    on(path, "PRAGMA journal_mode=WAL");
}

static hf_schema *opened(const char *file) {
    hf_schema *s;
    hf_schema_options o = {.size = sizeof o, .migrations = set, .app = "a test"};
    OK(schema_open(file, NULL, NULL, &o, &s, e));
    return s;
}

static rc apply(const char *file, struct run_options o, struct err *e) {
    hf_schema *s = opened(file);
    json_t *all = NULL;
    o.no_restore_point = o.no_soak = true;
    rc r = apply_run(s, &o, &all, e);
    json_decref(all);
    schema_close(s);
    return r;
}

/* "changed table t; ", of all that differs from the files. */
static const char *drift(const char *file) {
    static char found[2000];
    hf_schema *s = opened(file);
    json_t *all, *object;
    bool differs;
    size_t i;
    *found = 0;
    OK(drift_run(s, &differs, &all, e));
    json_array_foreach(json_object_get(all, "objects"), i, object) {
        const char *type, *name, *what;
        ck_assert_int_eq(
            json_unpack(object, "{s:s, s:s, s:s}", "type", &type, "name", &name, "what", &what), 0);
        size_t n = strlen(found);
        snprintf(found + n, sizeof found - n, "%s %s %s; ", what, type, name);
    }
    ck_assert_int_eq(differs, *found != 0);
    json_decref(all);
    schema_close(s);
    return found;
}

static void add(const char *text) {
    snprintf(names[count], sizeof names[count], "%d_step", count + 1);
    snprintf(texts[count], sizeof texts[count], "%s", text);
    set[count] = (hf_migration){names[count], texts[count]};
    set[++count] = (hf_migration){NULL, NULL};
}

/* ---- any set, any way ---- */

static unsigned dice(unsigned sides) {
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % sides;
}

/* One of what the query finds; "nothing" where it finds none. */
static const char *one_of(const char *file, const char *query, const char *arg) {
    static char results[8][100];
    static int next;
    char *out = results[next++ % 8];
    sqlite3 *db;
    sqlite3_stmt *st;
    ck_assert_int_eq(sqlite3_open(file, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_prepare_v2(db, query, -1, &st, NULL), SQLITE_OK);
    if (arg) sqlite3_bind_text(st, 1, arg, -1, SQLITE_STATIC);
    snprintf(out, 100, "nothing");
    for (unsigned n = 1; sqlite3_step(st) == SQLITE_ROW; n++)
        if (dice(n) == 0) snprintf(out, 100, "%s", sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    sqlite3_close(db);
    return out;
}

#define NAMES(type)                                                                                \
    "SELECT name FROM sqlite_master WHERE type='" type "' AND name NOT LIKE "                      \
    "'sqlite%' AND name NOT LIKE 'holdfast%'"

static const char *const shapes[] = {
    "CREATE TABLE t#(id INTEGER PRIMARY KEY, a TEXT, b INT)",
    "CREATE TABLE \"t#\" ( id INTEGER PRIMARY KEY AUTOINCREMENT, -- number\n a TEXT COLLATE "
    "NOCASE,"
    " b INT NOT NULL DEFAULT 7, CHECK (a <> 'x'))",
    "CREATE TABLE t#(id INT PRIMARY KEY, a TEXT, b INT) STRICT, WITHOUT ROWID",
    "CREATE TABLE [t#](id INTEGER, `a` text, b int, UNIQUE(a, b))",
};
static const char *const columns[] = {
    "TEXT",           "INT NOT NULL DEFAULT 0",     "TEXT COLLATE NOCASE", "REAL DEFAULT (1.5)",
    "INT AS (b + 1)", "TEXT CHECK (length(c5) < 9)"};
static const char *const rebuilds[] = {"notnull=#", "nullable=#", "type=#:TEXT",
                                       "default=#:\"'z'\"", "drop=#"};

/* The word in the place of each #. */
static void with_word(char out[600], const char *pattern, const char *word) {
    size_t n = 0;
    for (; *pattern; pattern++) {
        if (*pattern == '#') n += (size_t)snprintf(out + n, 600 - n, "%s", word);
        else out[n++] = *pattern;
    }
    out[n] = 0;
}

static void with_number(char out[600], const char *pattern, unsigned number) {
    char word[20];
    snprintf(word, sizeof word, "%u", number);
    with_word(out, pattern, word);
}

static void one_statement(char out[600]) {
    const char *table = one_of(path, NAMES("table"), NULL);
    const char *column = one_of(path, "SELECT name FROM pragma_table_info(?1)", table);
    switch (dice(11)) {
    case 0: with_number(out, shapes[dice(4)], dice(90)); break;
    case 1:
        snprintf(out, 600, "ALTER TABLE %s ADD COLUMN c%u %s", table, dice(2) ? 5 : dice(90),
                 columns[dice(6)]);
        break;
    case 2:
        snprintf(out, 600, "ALTER TABLE %s RENAME COLUMN \"%s\" TO \"d%s%u\"", table, column,
                 dice(2) ? " " : "", dice(90));
        break;
    case 3: snprintf(out, 600, "ALTER TABLE %s DROP COLUMN \"%s\"", table, column); break;
    case 4: snprintf(out, 600, "ALTER TABLE %s RENAME TO \"t%u\"", table, dice(90)); break;
    case 5:
        snprintf(out, 600, "CREATE %sINDEX i%u ON %s(\"%s\" DESC) WHERE \"%s\" IS NOT 'q'",
                 dice(3) ? "" : "UNIQUE ", dice(90), table, column, column);
        break;
    case 6: snprintf(out, 600, "DROP INDEX %s", one_of(path, NAMES("index"), NULL)); break;
    case 7:
        snprintf(out, 600, "CREATE VIEW v%u AS SELECT \"%s\" AS x, * FROM %s", dice(90), column,
                 table);
        break;
    case 8: snprintf(out, 600, "DROP VIEW %s", one_of(path, NAMES("view"), NULL)); break;
    case 9:
        snprintf(out, 600,
                 "CREATE TRIGGER g%u AFTER UPDATE OF \"%s\" ON %s WHEN new.\"%s\" = 'x;' BEGIN "
                 "UPDATE %s SET \"%s\" = NULL; END",
                 dice(90), column, table, column, table, column);
        break;
    default: snprintf(out, 600, "DROP TRIGGER %s", one_of(path, NAMES("trigger"), NULL));
    }
}

static void one_migration(char out[600]) {
    char statement[600], part[600];
    const char *table = one_of(path, NAMES("table"), NULL);
    const char *column =
        one_of(path, "SELECT name FROM pragma_table_info(?1) WHERE name NOT LIKE '% %'", table);
    one_statement(statement);
    switch (dice(4)) {
    case 0:
        snprintf(out, 600,
                 "-- holdfast:expand\n%.400s;\n-- holdfast:verify\nSELECT 0;\n"
                 "-- holdfast:contract\nCREATE TABLE more%u(x);\n",
                 statement, dice(90));
        break;
    case 1:
        with_word(part, rebuilds[dice(5)], column);
        snprintf(out, 600, "-- holdfast:rebuild %s %.500s\n", table, part);
        break;
    default: snprintf(out, 600, "%.590s;\n", statement);
    }
}

/* Those that can be applied, each by itself, to the database. */
static void make_set(void) {
    char text[600];
    count = 0;
    for (int tries = 0; count < 18 && tries < 200; tries++) {
        struct err e;
        if (count < 2) with_number(text, shapes[dice(4)], (unsigned)count);
        else one_migration(text);
        if (count < 2) strcat(text, ";");
        add(text);
        if (!is_ok(apply(path, (struct run_options){0}, &e)))
            set[--count] = (hf_migration){NULL, NULL};
    }
}

START_TEST(whichever_way_it_was_applied_it_is_what_the_files_say) {
    static const enum phase phases[] = {PHASE_EXPANDED, PHASE_VERIFIED, PHASE_NONE};
    seed = (unsigned)_i * 7919 + 1;
    make_set();
    ck_assert_int_ge(count, 10);
    ck_assert_msg(!*drift(path), "seed %d, one by one: %s", _i, drift(path));
    char once[TEMP_PATH * 2], steps[TEMP_PATH * 2];
    snprintf(once, sizeof once, "%s/once.db", home);
    snprintf(steps, sizeof steps, "%s/steps.db", home);
    on(once, "PRAGMA journal_mode=WAL");
    on(steps, "PRAGMA user_version = 1");
    OK(apply(once, (struct run_options){0}, e));
    ck_assert_msg(!*drift(once), "seed %d, at once: %s", _i, drift(once));
    for (int version = 1; version <= count; version += 3)
        for (int i = 0; i < 3; i++) {
            struct run_options o = {.to_version = version, .to_phase = phases[i]};
            OK(apply(steps, o, e));
            ck_assert_msg(!*drift(steps), "seed %d, at %d: %s", _i, version, drift(steps));
        }
}
END_TEST

/* ---- as somebody would have typed it ---- */

static const struct {
    const char *first, *then, *typed;
} hand_made[] = {
    {"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT DEFAULT 'x', b);",
     "-- holdfast:rebuild t notnull=a drop=b\n",
     "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT 'x')"},
    {"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL CHECK (a <> ''));",
     "-- holdfast:rebuild t nullable=a strict\n",
     "create table T(id integer primary key, a text check (a <> '')) strict"},
    {"CREATE TABLE t(id INT PRIMARY KEY, a TEXT, UNIQUE(a, id));",
     "-- holdfast:rebuild t type=a:BLOB default=a:\"1 + 1\" without-rowid\n",
     "CREATE TABLE t(id INT PRIMARY KEY, a BLOB DEFAULT (1 + 1), UNIQUE(a, id)) WITHOUT ROWID"},
    {"CREATE TABLE t(id INTEGER PRIMARY KEY, a);\nCREATE INDEX i ON t(a);\n"
     "CREATE VIEW v AS SELECT a FROM t;\n"
     "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t WHERE a = new.a; END;",
     "-- holdfast:rebuild t add=\"b TEXT NOT NULL DEFAULT 'y'\"\n",
     "CREATE TABLE t(id INTEGER PRIMARY KEY, a, b TEXT NOT NULL DEFAULT 'y');"
     "CREATE INDEX i ON t(a); CREATE VIEW v AS SELECT a FROM t;"
     "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t WHERE a = new.a; END"},
    {"CREATE TABLE t(id INTEGER PRIMARY KEY, a);\nCREATE INDEX i ON t(a);",
     "-- holdfast:rebuild t fill=b:\"a + 1\"\nCREATE TABLE t(b INT, a, id INTEGER PRIMARY KEY);\n",
     "CREATE TABLE t(b INT, a, id INTEGER PRIMARY KEY); CREATE INDEX i ON t(a)"},
    {"CREATE TABLE u(id INTEGER PRIMARY KEY, \"old name\" TEXT);\nCREATE INDEX i ON u(\"old "
     "name\");",
     "ALTER TABLE u RENAME TO t;\nALTER TABLE t RENAME COLUMN \"old name\" TO name;\n"
     "ALTER TABLE t ADD COLUMN more INT DEFAULT 3 NOT NULL;",
     "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, more INT NOT NULL DEFAULT 3);"
     "CREATE INDEX i ON t(name)"},
};

static rc tell(void *arg, const char *type, const char *name, const char *what, const char *should,
               const char *is, struct err *e) {
    (void)arg, (void)e;
    ck_abort_msg("%s %s %s: %s / %s", what, type, name, should, is);
    return ok();
}

START_TEST(same_that_was_typed_by_hand_is_the_same) {
    sqlite3 *db;
    struct shape *should, *is;
    count = 0;
    add(hand_made[_i].first);
    add(hand_made[_i].then);
    OK(apply(path, (struct run_options){0}, e));
    hf_schema *s = opened(path);
    OK(shape_of_files(s, false, &should, e));
    schema_close(s);
    ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, hand_made[_i].typed, NULL, NULL, NULL), SQLITE_OK);
    OK(shape_read(db, &is, e));
    OK(shape_compare(should, is, tell, NULL, e));
    shape_free(should);
    shape_free(is);
    sqlite3_close(db);
}
END_TEST

/* ---- what was changed beside them ---- */

static const char *const files[] = {
    "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT 'none' COLLATE NOCASE,\n"
    "  age INT CHECK (age > 0)) STRICT;\nCREATE INDEX user_name ON user(name);\n",
    "CREATE VIEW grown AS SELECT id, name FROM user WHERE age >= 18;\n",
    "-- holdfast:expand\nALTER TABLE user ADD COLUMN first TEXT;\n-- holdfast:sync\n"
    "CREATE TRIGGER user_first AFTER INSERT ON user BEGIN\n"
    "  UPDATE user SET first = name WHERE id = new.id; END;\n"
    "-- holdfast:backfill table=user key=id\n"
    "UPDATE user SET first = name WHERE id > :lo AND id <= :hi;\n"
    "-- holdfast:verify expect=3\nSELECT count(*) FROM user;\n"
    "-- holdfast:contract\nDROP INDEX user_name;\n",
};

#define EDIT(from, to)                                                                             \
    "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql=replace(sql, '" from "', '" to "')"

static const struct {
    const char *typed, *said;
} injected[] = {
    {"SELECT 1", ""},
    {"VACUUM; ANALYZE; INSERT INTO user(name) VALUES ('x')", ""},
    {"DROP INDEX user_name", "missing index user_name; "},
    {"ALTER TABLE user ADD COLUMN last TEXT", "changed table user; "},
    {"DROP TRIGGER user_first", "missing trigger user_first; "},
    {EDIT("SET first = name", "SET first = upper(name)"), "changed trigger user_first; "},
    {EDIT("''none''", "''None''"), "changed table user; "},
    {EDIT("COLLATE NOCASE", ""), "changed table user; "},
    {EDIT("age > 0", "age >= 0"), "changed table user; "},
    {EDIT(") STRICT", ")"), "changed table user; "},
    {EDIT("age >= 18", "age >= 21"), "changed view grown; "},
    {"CREATE TABLE more(x); CREATE INDEX more_x ON more(x)",
     "extra index more_x; extra table more; "},
    {"DROP VIEW grown", "missing view grown; "},
};

static void type(const char *text) {
    char command[2000];
    snprintf(command, sizeof command, "sqlite3 -bail '%s' \"%s\"", path, text);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(what_was_changed_beside_the_files_is_named) {
    if (system("command -v sqlite3 > /dev/null") != 0) {
        printf("skipped: %s: there is no sqlite3 command\n", __func__);
        return;
    }
    count = 0;
    for (int i = 0; i < 3; i++) add(files[i]);
    OK(apply(path, (struct run_options){.to_version = 2}, e));
    type("INSERT INTO user(name) VALUES ('a'), ('b'), ('c')");
    OK(apply(path, (struct run_options){.to_phase = PHASE_VERIFIED}, e));
    ck_assert_str_eq(drift(path), "");
    type(injected[_i].typed);
    ck_assert_str_eq(drift(path), injected[_i].said);
}
END_TEST

START_TEST(half_of_a_migration_is_what_the_files_say_so_far) {
    static const enum phase phases[] = {PHASE_EXPANDED, PHASE_SYNCED, PHASE_BACKFILLED,
                                        PHASE_VERIFIED, PHASE_DONE};
    count = 0;
    for (int i = 0; i < 3; i++) add(files[i]);
    OK(apply(path, (struct run_options){.to_version = 2}, e));
    on(path, "INSERT INTO user(name) VALUES ('a'), ('b'), ('c')");
    for (int i = 0; i < 5; i++) {
        OK(apply(path, (struct run_options){.to_phase = phases[i]}, e));
        ck_assert_msg(!*drift(path), "%s: %s", phase_name(phases[i]), drift(path));
    }
    on(path, "CREATE INDEX user_name ON user(name)"); /* the contract has dropped it */
    ck_assert_str_eq(drift(path), "extra index user_name; ");
}
END_TEST

/* DBX is the store's, and is there before the first migration. */
START_TEST(migrations_may_lean_on_the_table_of_the_store) {
    on(path, "CREATE TABLE DBX(Key TEXT PRIMARY KEY, Value TEXT)");
    count = 0;
    add("CREATE TRIGGER seen AFTER INSERT ON DBX BEGIN SELECT 1; END;\n");
    OK(apply(path, (struct run_options){0}, e));
    ck_assert_str_eq(drift(path), "");
    on(path, "DROP TRIGGER seen");
    ck_assert_str_eq(drift(path), "missing trigger seen; ");
}
END_TEST

/* Else the contract would find them as the expand had left them. */
START_TEST(rows_that_a_file_puts_in_are_backfilled) {
    count = 0;
    add("CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT);\n"
        "INSERT INTO user(name) VALUES ('a'), ('b'), ('b');\n");
    add("-- holdfast:expand\nALTER TABLE user ADD COLUMN first TEXT;\n"
        "-- holdfast:backfill table=user key=id\n"
        "UPDATE user SET first = name WHERE id > :lo AND id <= :hi;\n"
        "-- holdfast:backfill table=user key=id\n"
        "DELETE FROM user WHERE id > :lo AND id <= :hi AND EXISTS (\n"
        "  SELECT 1 FROM user AS u WHERE u.name = user.name AND u.id < user.id);\n"
        "-- holdfast:contract\n-- holdfast:rebuild user notnull=first\n"
        "CREATE UNIQUE INDEX user_name ON user(name);\n");
    OK(apply(path, (struct run_options){0}, e));
    ck_assert_str_eq(drift(path), "");
}
END_TEST

START_TEST(file_that_leans_on_what_no_file_makes_is_named) {
    struct shape *shape;
    on(path, "CREATE TABLE old(x)");
    count = 0;
    add("ALTER TABLE old ADD COLUMN y;\n");
    OK(apply(path, (struct run_options){0}, e));
    hf_schema *s = opened(path);
    CODE(shape_of_files(s, false, &shape, e), RC_CORRUPT);
    says("1_step.sql:1: no such table: old");
    says("an empty database");
    schema_close(s);
}
END_TEST

int main(void) {
    Suite *s = suite_create("schema/pristine");
    TCase *t = tcase_create("pristine");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_loop_test(t, whichever_way_it_was_applied_it_is_what_the_files_say, 0, 8);
    ADD_ROWS(t, same_that_was_typed_by_hand_is_the_same, hand_made);
    ADD_ROWS(t, what_was_changed_beside_the_files_is_named, injected);
    tcase_add_test(t, half_of_a_migration_is_what_the_files_say_so_far);
    tcase_add_test(t, migrations_may_lean_on_the_table_of_the_store);
    tcase_add_test(t, rows_that_a_file_puts_in_are_backfilled);
    tcase_add_test(t, file_that_leans_on_what_no_file_makes_is_named);
    suite_add_tcase(s, t);
    return run_suite(s);
}
