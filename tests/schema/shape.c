/* The shape and the contents of a database: what is told apart, and what is not. */
#include "../os/temp.h"

#include "schema/shape.h"

static sqlite3 *open_db(const char *path) {
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

static void sql(sqlite3 *db, const char *text) {
    char *words = NULL;
    ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &words) == SQLITE_OK, "%s: %s", text, words);
}

static sqlite3 *made_by(const char *text) {
    sqlite3 *db = open_db(":memory:");
    sql(db, text);
    return db;
}

static struct shape *shape_of(sqlite3 *db) {
    struct shape *s;
    OK(shape_read(db, &s, e));
    return s;
}

/* All differences: "changed table t; missing index i; ". */
static char found[4096];

static rc see(void *arg, const char *type, const char *name, const char *what, const char *should,
              const char *is, struct err *e) {
    (void)arg, (void)e;
    size_t n = strlen(found);
    snprintf(found + n, sizeof found - n, "%s %s %s; ", what, type, name);
    ck_assert_int_eq(should == NULL, strcmp(what, "extra") == 0);
    ck_assert_int_eq(is == NULL, strcmp(what, "missing") == 0);
    return ok();
}

static const char *difference(sqlite3 *should, sqlite3 *is) {
    struct shape *a = shape_of(should), *b = shape_of(is);
    char first[65], second[65];
    *found = 0;
    OK(shape_compare(a, b, see, NULL, e));
    OK(shape_hash(a, first, e));
    OK(shape_hash(b, second, e));
    ck_assert_msg((strcmp(first, second) == 0) == !*found, "the hashes say otherwise: %s", found);
    shape_free(a);
    shape_free(b);
    return found;
}

/* ---- what is no difference ---- */

static const char *const alike[][2] = {
    {"CREATE TABLE t(a INT, b TEXT)", "create  table\tt ( a int ,\n b text )"},
    {"CREATE TABLE t(a INT, b TEXT)", "CREATE TABLE t(a INT, -- of old\n b /* c, d */ TEXT)"},
    {"CREATE TABLE t(a INT, b TEXT)", "CREATE TABLE \"t\"([a] INT, `b` TEXT)"},
    {"CREATE TABLE t(a INT, b TEXT)", "CREATE TABLE IF NOT EXISTS main.t(a INT, b TEXT);"},
    {"CREATE TABLE t(a INT, b TEXT)", "CREATE TABLE t(a INT); ALTER TABLE t ADD COLUMN b TEXT"},
    {"CREATE TABLE t(a, b TEXT NOT NULL DEFAULT 'x', UNIQUE(a))",
     "CREATE TABLE t(a, UNIQUE(a)); ALTER TABLE t ADD COLUMN b TEXT DEFAULT 'x' NOT NULL"},
    {"CREATE TABLE t(a INT, c REAL)",
     "CREATE TABLE t(a INT, b TEXT, c REAL); ALTER TABLE t DROP COLUMN b"},
    {"CREATE TABLE t(a INT, b TEXT)", "CREATE TABLE u(a INT, b TEXT); ALTER TABLE u RENAME TO t"},
    {"CREATE TABLE t(a INT, b TEXT)",
     "CREATE TABLE t(a INT, c TEXT); ALTER TABLE t RENAME COLUMN c TO \"b\""},
    {"CREATE TABLE t(a, b); CREATE INDEX i ON t(b) WHERE b > 0; CREATE VIEW v AS SELECT b FROM t;"
     "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET b = 1 WHERE a = NEW.a; END",
     "CREATE TABLE u(a, c); CREATE INDEX i ON u(c) WHERE c > 0; CREATE VIEW v AS SELECT c FROM u;"
     "CREATE TRIGGER g AFTER INSERT ON u BEGIN UPDATE u SET c = 1 WHERE a = NEW.a; END;"
     "ALTER TABLE u RENAME TO t; ALTER TABLE t RENAME COLUMN c TO b"},
    {"CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE t(a REFERENCES p(id))",
     "CREATE TABLE q(id INTEGER PRIMARY KEY); CREATE TABLE t(a REFERENCES q(\"id\"));"
     "ALTER TABLE q RENAME TO p"},
    {"CREATE TABLE t(a INT PRIMARY KEY) STRICT, WITHOUT ROWID",
     "CREATE TABLE t(a INT PRIMARY KEY) WITHOUT ROWID, STRICT"},
    {"CREATE TABLE t(a TEXT)", "CREATE TABLE t(a TEXT NULL)"},
    {"CREATE TABLE t(a TEXT COLLATE NOCASE CHECK(a <> 'x') DEFAULT (1+2) UNIQUE)",
     "CREATE TABLE t(a TEXT UNIQUE DEFAULT (1 + 2) CHECK (a<>'x') COLLATE nocase)"},
    {"CREATE TABLE t(a INT REFERENCES t(a) ON DELETE SET NULL NOT NULL, b AS (a+1) STORED)",
     "CREATE TABLE t(a INT NOT NULL REFERENCES t(a) ON DELETE SET NULL, b as (a+1) stored)"},
    {"CREATE TABLE t(a INT CONSTRAINT c NOT NULL DEFAULT -1)",
     "CREATE TABLE t(a INT DEFAULT -1 CONSTRAINT \"c\" NOT NULL)"},
    {"CREATE UNIQUE INDEX i ON t(a)", "create unique index if not exists \"i\" on \"t\" (\"a\")"},
    {"CREATE TABLE t(\"order\" INT, \"a b\" TEXT)", "CREATE TABLE t([order] INT, `a b` TEXT)"},
    {"CREATE TABLE t(a CHECK(a <> \"it's \"\"y\"\"\"))",
     "CREATE TABLE t(a CHECK(a <> 'it''s \"y\"'))"},
    {"CREATE TABLE t(a CHECK(a <> \"y\"), b)",
     "CREATE TABLE t(a CHECK(a <> \"y\"), c); ALTER TABLE t RENAME c TO b"},
    {"CREATE TABLE t(key TEXT)", "CREATE TABLE t(\"key\" TEXT)"},
    {"CREATE TABLE t(a, \"b c\" DEFAULT 'ä')",
     "PRAGMA encoding='UTF-16be'; CREATE TABLE \"t\"(\"a\", [b c] default 'ä')"},
    /* What is not the schema's. */
    {"CREATE TABLE t(a INTEGER PRIMARY KEY)",
     "CREATE TABLE t(a INTEGER PRIMARY KEY); CREATE TABLE DBX(Key TEXT PRIMARY KEY, Value TEXT);"
     "CREATE TABLE holdfast(name, value); CREATE TABLE holdfast_step(a);"
     "CREATE INDEX holdfast_step_a ON holdfast_step(a); CREATE INDEX hf_kv_12 ON DBX(Value);"
     "CREATE TABLE s(a INTEGER PRIMARY KEY AUTOINCREMENT); DROP TABLE s; ANALYZE"},
};

START_TEST(differences_that_mean_nothing_are_none) {
    const char *first = "CREATE TABLE t(a, b); ";
    char a[2000], b[2000];
    bool index = strncmp(alike[_i][0], "CREATE UNIQUE", 13) == 0;
    snprintf(a, sizeof a, "%s%s", index ? first : "", alike[_i][0]);
    snprintf(b, sizeof b, "%s%s", index ? first : "", alike[_i][1]);
    sqlite3 *one = made_by(a), *other = made_by(b);
    ck_assert_msg(!*difference(one, other), "%s / %s: %s", a, b, found);
    sqlite3_close(one);
    sqlite3_close(other);
}
END_TEST

/* ---- what is one ---- */

#define BASE                                                                                       \
    "CREATE TABLE p(id INTEGER PRIMARY KEY, active INT);"                                          \
    "CREATE TABLE t(a INT NOT NULL, b TEXT DEFAULT 'x' COLLATE NOCASE CHECK(b <> \"y\"), "         \
    "c AS (a + 1), d REFERENCES p(id) ON DELETE CASCADE, UNIQUE(a, b)) STRICT_;"                   \
    "CREATE INDEX i ON t(a DESC, b COLLATE RTRIM) WHERE a > 1;"                                    \
    "CREATE VIEW v AS SELECT a, b AS Name FROM t WHERE b = 'One';"                                 \
    "CREATE TRIGGER g AFTER UPDATE OF a ON t WHEN NEW.a > 0 BEGIN DELETE FROM p WHERE id = 1; "    \
    "END;"

static const struct {
    const char *from, *to; /* the first is in BASE, the second in its place */
    const char *said;
} real[] = {
    {"a INT NOT NULL", "a INT", "changed table t; "},
    {"a INT NOT NULL", "a INTEGER NOT NULL", "changed table t; "},
    {"a INT NOT NULL", "A INT NOT NULL", "changed table t; changed view v; "},
    {"'x'", "'X'", "changed table t; "},
    {"'x'", "'x '", "changed table t; "},
    {"'x'", "NULL", "changed table t; "},
    {"DEFAULT 'x'", "", "changed table t; "},
    {"COLLATE NOCASE", "", "changed table t; "},
    {"COLLATE NOCASE", "COLLATE BINARY", "changed table t; "},
    {"\"y\"", "\"Y\"", "changed table t; "},
    {"\"y\"", "'Y'", "changed table t; "},
    {"\"y\"", "\"active\"", "changed table t; "},
    {"CHECK(b <> \"y\")", "", "changed table t; "},
    {"(a + 1)", "(a + 1) STORED", "changed table t; "},
    {"(a + 1)", "(a + 2)", "changed table t; "},
    {" ON DELETE CASCADE", "", "changed table t; "},
    {"UNIQUE(a, b)", "UNIQUE(b, a)", "changed table t; "},
    {", UNIQUE(a, b)", "", "changed table t; "},
    {"c AS (a + 1), ", "c AS (a + 1), e, ", "changed table t; "},
    {", active INT", "", "changed table p; "},
    {"id INTEGER PRIMARY KEY, active INT", "active INT, id INTEGER PRIMARY KEY",
     "changed table p; "},
    {"INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT", "changed table p; "},
    {"INDEX i", "UNIQUE INDEX i", "changed index i; "},
    {"INDEX i", "INDEX j", "missing index i; extra index j; "},
    {"a DESC", "a", "changed index i; "},
    {" COLLATE RTRIM", "", "changed index i; "},
    {" WHERE a > 1", "", "changed index i; "},
    {"a > 1", "a > 10", "changed index i; "},
    {"AS Name", "AS name", "changed view v; "},
    {"'One'", "'one'", "changed view v; "},
    {"OF a ON", "ON", "changed trigger g; "},
    {"AFTER", "BEFORE", "changed trigger g; "},
    {"id = 1", "id = 2", "changed trigger g; "},
    {"DELETE FROM p WHERE id = 1;", "DELETE FROM p WHERE id = 1; DELETE FROM p;",
     "changed trigger g; "},
    {"CREATE VIEW", "CREATE TABLE more(x); CREATE VIEW", "extra table more; "},
    {"STRICT_", "STRICT", "changed table t; "},
};

static void put_in_place(const char *text, const char *from, const char *to, char out[4000]) {
    const char *at = strstr(text, from);
    ck_assert_msg(at != NULL, "%s is not in it", from);
    snprintf(out, 4000, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

START_TEST(each_real_difference_is_told) {
    char base[4000], text[4000], other[4000];
    put_in_place(BASE, "STRICT_", "", base);
    put_in_place(BASE, real[_i].from, real[_i].to, text);
    if (strstr(text, "STRICT_")) put_in_place(text, "STRICT_", "", other);
    else snprintf(other, sizeof other, "%s", text);
    if (strcmp(real[_i].to, "STRICT") == 0) { /* every column needs a type there */
        put_in_place(other, "c AS", "c INT AS", text);
        put_in_place(text, "d REFERENCES", "d INT REFERENCES", other);
        put_in_place(base, "c AS", "c INT AS", text);
        put_in_place(text, "d REFERENCES", "d INT REFERENCES", base);
    }
    sqlite3 *should = made_by(base), *is = made_by(other);
    ck_assert_str_eq(difference(should, is), real[_i].said);
    sqlite3_close(is);
    is = made_by(base);
    ck_assert_str_eq(difference(should, is), "");
    sqlite3_close(should);
    sqlite3_close(is);
}
END_TEST

START_TEST(table_of_a_virtual_table_is_its_own_business) {
    sqlite3 *a = made_by("CREATE TABLE t(a)"), *b = made_by("CREATE TABLE t(a)");
    if (sqlite3_exec(b, "CREATE VIRTUAL TABLE f USING fts5(x)", NULL, NULL, NULL) != SQLITE_OK) {
        printf("skipped: %s: this SQLite has no fts5\n", __func__);
        return;
    }
    ck_assert_str_eq(difference(a, b), "extra table f; ");
    sql(a, "CREATE VIRTUAL TABLE f USING fts5(x, tokenize = 'porter')");
    ck_assert_str_eq(difference(a, b), "changed table f; ");
    sql(b, "CREATE TABLE f_mine(x)");
    ck_assert_str_eq(difference(a, b), "changed table f; extra table f_mine; ");
    sqlite3_close(a);
    sqlite3_close(b);
}
END_TEST

static sqlite3 *with_odd_module(const char *dir, const char *arguments) {
    const char *path = below(dir, arguments);
    char text[500];
    sqlite3 *db = open_db(path);
    snprintf(text, sizeof text,
             "PRAGMA writable_schema=ON; INSERT INTO sqlite_master VALUES('table', 'f', 'f', 0, "
             "'CREATE VIRTUAL TABLE f USING odd(%s)')",
             arguments);
    sql(db, text);
    sqlite3_close(db);
    return open_db(path);
}

START_TEST(arguments_of_a_module_that_is_not_here_are_compared_as_they_are) {
    char dir[TEMP_PATH];
    temp_dir(dir);
    sqlite3 *a = with_odd_module(dir, "way=Up"), *b = with_odd_module(dir, "way = Up"),
            *c = with_odd_module(dir, "way=up");
    ck_assert_str_eq(difference(a, b), "");
    ck_assert_str_eq(difference(a, c), "changed table f; ");
    sqlite3_close(a);
    sqlite3_close(b);
    sqlite3_close(c);
}
END_TEST

START_TEST(view_that_does_not_compile_is_compared_by_its_text) {
    sqlite3 *a = made_by("CREATE VIEW v AS SELECT x FROM gone"),
            *b = made_by("CREATE VIEW v AS SELECT x FROM gone");
    ck_assert_str_eq(difference(a, b), "");
    sql(b, "CREATE TABLE gone(x)");
    ck_assert_str_eq(difference(a, b), "extra table gone; changed view v; ");
    sqlite3_close(a);
    sqlite3_close(b);
}
END_TEST

/* ---- the same words, written otherwise ---- */

static unsigned seed;

static unsigned dice(unsigned sides) {
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % sides;
}

static const char *const blanks[] = {" ",    "\n",      "\t",        "  ",
                                     " \n ", "/* x */", " -- 'y\n ", " /* \"a\" */ "};

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Of NAMES, or SQLite's own. */
static void put_word(const char *at, int n, char *out) {
    static const char *const quotes[] = {"\"\"", "[]", "``"};
    if (sqlite3_keyword_check(at, n)) {
        for (int i = 0; i < n; i++) out[i] = dice(2) ? (char)(at[i] | 0x20) : (char)(at[i] & ~0x20);
        out[n] = 0;
    } else if (n == 1 && *at > '9' && dice(2)) {
        const char *q = quotes[dice(3)];
        snprintf(out, 100, "%c%.*s%c", q[0], n, at, q[1]);
    } else snprintf(out, 100, "%.*s", n, at);
}

static void rewrite(const char *text, char *out) {
    for (const char *at = text; *at;) {
        int n = 1;
        if (*at == '\'') n = (int)(strchr(at + 1, '\'') - at) + 1;
        while (is_word(*at) && is_word(at[n])) n++;
        if (*at == ' ') snprintf(out, 100, "%s", blanks[dice(8)]);
        else if (is_word(*at)) put_word(at, n, out);
        else snprintf(out, 100, "%s%.*s", dice(4) == 0 ? blanks[dice(8)] : "", n, at);
        out += strlen(out);
        at += n;
    }
    *out = 0;
}

#define PLAIN                                                                                      \
    "CREATE TABLE p ( k INTEGER PRIMARY KEY AUTOINCREMENT , m TEXT DEFAULT 'A b' NOT NULL ) ;"     \
    "CREATE TABLE t ( k INTEGER , m TEXT , n AS ( k + 1 ) , CHECK ( m IN ( 'x' , 'Y' ) ) , "       \
    "FOREIGN KEY ( k ) REFERENCES p ( k ) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED ) ;"    \
    "CREATE INDEX i ON t ( k DESC , m COLLATE NOCASE ) WHERE m IS NOT NULL ;"                      \
    "CREATE VIEW v AS SELECT t . k AS q , count ( * ) AS c FROM t JOIN p ON p . k = t . k "        \
    "GROUP BY t . k ORDER BY q ;"                                                                  \
    "CREATE TRIGGER g AFTER UPDATE OF k ON t FOR EACH ROW WHEN NEW . k > 1 BEGIN "                 \
    "UPDATE p SET m = 'Z' WHERE k = OLD . k ; SELECT RAISE ( ABORT , 'No' ) ; END ;"

START_TEST(schema_written_otherwise_is_the_same) {
    static char text[20000];
    sqlite3 *plain = made_by(PLAIN);
    for (seed = 1; seed < 200000000; seed = seed * 3 + 1) {
        unsigned began = seed;
        rewrite(PLAIN, text);
        sqlite3 *other = made_by(text);
        ck_assert_msg(!*difference(plain, other), "seed %u: %s\n%s", began, found, text);
        sqlite3_close(other);
        seed = began;
    }
    sqlite3_close(plain);
}
END_TEST

/* ---- by the command ---- */

static const struct {
    const char *typed, *said;
} injected[] = {
    {"DROP INDEX i", "missing index i; "},
    {"ALTER TABLE p ADD COLUMN x", "changed table p; "},
    {"DROP TRIGGER g; CREATE TRIGGER g AFTER DELETE ON t BEGIN SELECT 2; END",
     "changed trigger g; "},
    {"DROP VIEW v", "missing view v; "},
    {"DROP VIEW v; CREATE VIEW v AS SELECT b FROM t", "changed view v; "},
    {"CREATE TABLE more(x)", "extra table more; "},
    {"ALTER TABLE p RENAME COLUMN active TO busy", "changed table p; "},
    {"PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql=replace(sql, '<>', '<') "
     "WHERE name='t'",
     "changed table t; "},
    {"PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql=replace(sql, '''x''', '''z''') "
     "WHERE name='t'",
     "changed table t; "},
    {"INSERT INTO p VALUES (1, 2); VACUUM; ANALYZE; PRAGMA user_version = 7; REINDEX", ""},
};

START_TEST(what_is_typed_by_hand_is_told) {
    char dir[TEMP_PATH], base[4000], command[8000];
    temp_dir(dir);
    put_in_place(BASE, "STRICT_", "", base);
    sqlite3 *should = made_by(base), *is = open_db(below(dir, "a.db"));
    sql(is, base);
    snprintf(command, sizeof command, "sqlite3 -bail '%s' \"%s\"", below(dir, "a.db"),
             injected[_i].typed);
    if (system("command -v sqlite3 > /dev/null") != 0) {
        printf("skipped: %s: there is no sqlite3 command\n", __func__);
        return;
    }
    ck_assert_str_eq(difference(should, is), "");
    ck_assert_int_eq(system(command), 0);
    ck_assert_str_eq(difference(should, is), injected[_i].said);
    sqlite3_close(should);
    sqlite3_close(is);
}
END_TEST

/* ---- memory that ends ---- */

static sqlite3_mem_methods plain;
static int allocations; /* until one fails; 0: none does */
static bool fired;

static bool allocation_fails(void) {
    if (!allocations || --allocations) return false;
    return fired = true;
}

static void *alloc(int n) {
    return allocation_fails() ? NULL : plain.xMalloc(n);
}

static void *resize(void *p, int n) {
    return allocation_fails() ? NULL : plain.xRealloc(p, n);
}

static void take_allocator(void) {
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain), SQLITE_OK);
    sqlite3_mem_methods ours = plain;
    ours.xMalloc = alloc;
    ours.xRealloc = resize;
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK);
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &ours), SQLITE_OK);
}

static rc read_both(sqlite3 *db, char shape[65], char contents[65], struct err *e) {
    struct shape *s;
    TRY(shape_read(db, &s, e));
    rc r = shape_hash(s, shape, e);
    shape_free(s);
    return is_ok(r) ? contents_hash(db, contents, NULL, e) : r;
}

START_TEST(without_memory_there_is_no_answer_and_not_another_one) {
    char base[4000], shape[65], contents[65], as_shape[65], as_contents[65];
    int refused = 0;
    take_allocator();
    put_in_place(BASE, "STRICT_", "", base);
    sqlite3 *db = made_by(base);
    sql(db, "CREATE VIEW w AS SELECT \"id\", \"other\" AS \"other\" FROM p; CREATE VIEW x AS "
            "SELECT \"y\" FROM gone; INSERT INTO p VALUES (1, 2), (2, 'x')");
    OK(read_both(db, shape, contents, e));
    for (int n = 1;; n++) {
        struct err e = {.code = RC_OK};
        fired = false;
        allocations = n;
        rc r = read_both(db, as_shape, as_contents, &e);
        allocations = 0;
        ck_assert_msg(r.code == RC_NOMEM || r.code == RC_OK, "allocation %d: %s", n, e.text);
        if (is_ok(r)) {
            ck_assert_msg(strcmp(shape, as_shape) == 0, "allocation %d: another shape", n);
            ck_assert_msg(strcmp(contents, as_contents) == 0, "allocation %d: other contents", n);
        }
        refused += !is_ok(r);
        ck_assert_msg(sqlite3_get_autocommit(db), "allocation %d: a transaction is open", n);
        if (!fired) break;
    }
    ck_assert_int_gt(refused, 100);
    sqlite3_close(db);
}
END_TEST

/* ---- contents ---- */

static const char *hash_of(const char *text) {
    static char hashes[4][65];
    static int next;
    char *hash = hashes[next++ % 4];
    sqlite3 *db = made_by(text);
    OK(contents_hash(db, hash, NULL, e));
    sqlite3_close(db);
    return hash;
}

#define ROWS "CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y');"

static const char *const same_contents[][2] = {
    {ROWS, ROWS "VACUUM"},
    {ROWS, "CREATE TABLE t(b, a); INSERT INTO t(a, b) VALUES (1, 'x'), (2, 'y')"},
    {ROWS, "CREATE TABLE t(a, b); INSERT INTO t(rowid, a, b) VALUES (9, 2, 'y'), (3, 1, 'x')"},
    {ROWS, ROWS "INSERT INTO t VALUES (3, 'z'); DELETE FROM t WHERE a = 3"},
    {ROWS, ROWS "CREATE INDEX i ON t(b DESC, a)"},
    {ROWS, "PRAGMA encoding='UTF-16'; " ROWS},
    {ROWS, "CREATE TABLE t(a PRIMARY KEY, b) WITHOUT ROWID;"
           "INSERT INTO t VALUES (2, 'y'), (1, 'x')"},
    {ROWS, ROWS "CREATE TABLE holdfast_step(a); INSERT INTO holdfast_step VALUES (1);"
                "CREATE TABLE holdfast(name, value); CREATE VIEW v AS SELECT * FROM t; ANALYZE"},
    {"CREATE TABLE t(rowid, _rowid_, oid); INSERT INTO t VALUES (2, 1, 3), (1, 1, 2)",
     "CREATE TABLE t(rowid, _rowid_, oid); CREATE INDEX i ON t(oid, rowid, _rowid_);"
     "INSERT INTO t VALUES (2, 1, 3), (1, 1, 2)"},
};

START_TEST(same_contents_have_the_same_hash) {
    ck_assert_str_eq(hash_of(same_contents[_i][0]), hash_of(same_contents[_i][1]));
}
END_TEST

static const char *const other_contents[][2] = {
    {ROWS, ROWS "UPDATE t SET b = 'X' WHERE a = 1"},
    {ROWS, ROWS "UPDATE t SET a = '1' WHERE a = 1"},
    {ROWS, ROWS "UPDATE t SET a = 1.0 WHERE a = 1"},
    {ROWS, ROWS "UPDATE t SET b = CAST(b AS BLOB) WHERE a = 1"},
    {ROWS, ROWS "UPDATE t SET b = NULL WHERE a = 1"},
    {ROWS, ROWS "DELETE FROM t WHERE a = 2"},
    {ROWS, ROWS "INSERT INTO t VALUES (2, 'y')"},
    {ROWS, ROWS "CREATE TABLE u(a)"},
    {ROWS, ROWS "CREATE TABLE DBX(Key, Value)"},
    {ROWS, ROWS "ALTER TABLE t RENAME TO u"},
    {ROWS, ROWS "ALTER TABLE t RENAME COLUMN a TO c"},
    {ROWS, ROWS "ALTER TABLE t ADD COLUMN c"},
    {ROWS, ROWS "ALTER TABLE t ADD COLUMN c AS (a)"},
    {ROWS "ALTER TABLE t ADD COLUMN c AS (a)", ROWS "ALTER TABLE t ADD COLUMN c AS (a + 0.0)"},
    {ROWS, ROWS "UPDATE t SET a = 2, b = 'y'; UPDATE t SET a = 1, b = 'x' WHERE rowid = 2"},
    {"CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) VALUES (1)",
     "CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(a, b) VALUES (2, 1)"},
    {"CREATE TABLE t(a, b); INSERT INTO t VALUES ('ab', 'c')",
     "CREATE TABLE t(a, b); INSERT INTO t VALUES ('a', 'bc')"},
    {"CREATE TABLE t(a, b); INSERT INTO t VALUES ('atb', 'c')",
     "CREATE TABLE t(a, b); INSERT INTO t VALUES ('a', 'btc')"},
    {"CREATE TABLE t(a); INSERT INTO t VALUES (x'00')",
     "CREATE TABLE t(a); INSERT INTO t VALUES (x'0000')"},
    {"CREATE TABLE t(a); INSERT INTO t VALUES (CAST(x'610062' AS TEXT))",
     "CREATE TABLE t(a); INSERT INTO t VALUES (CAST(x'610063' AS TEXT))"},
    {"CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(200000))",
     "CREATE TABLE t(a); INSERT INTO t VALUES (CAST(zeroblob(199999)||'x' AS BLOB))"},
};

START_TEST(other_contents_have_another_hash) {
    ck_assert_str_ne(hash_of(other_contents[_i][0]), hash_of(other_contents[_i][1]));
}
END_TEST

START_TEST(contents_are_told_by_table) {
    sqlite3 *db = made_by(ROWS "CREATE TABLE u(a); CREATE VIEW v AS SELECT 1");
    json_t *all;
    char hash[65];
    int64_t rows = 0;
    OK(contents_tables(db, &all, e));
    ck_assert_int_eq((int)json_object_size(all), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(all, "t"), "rows")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(all, "u"), "rows")), 0);
    json_decref(all);
    OK(contents_hash(db, hash, &rows, e));
    ck_assert_int_eq(rows, 2);
    ck_assert_int_eq((int)strlen(hash), 64);
    sqlite3_close(db);
}
END_TEST

START_TEST(contents_are_of_one_moment_inside_of_a_transaction_too) {
    sqlite3 *db = made_by(ROWS);
    char before[65], within[65], after[65];
    OK(contents_hash(db, before, NULL, e));
    sql(db, "BEGIN; DELETE FROM t");
    OK(contents_hash(db, within, NULL, e));
    ck_assert_str_ne(before, within);
    ck_assert(!sqlite3_get_autocommit(db));
    sql(db, "ROLLBACK");
    OK(contents_hash(db, after, NULL, e));
    ck_assert_str_eq(before, after);
    ck_assert(sqlite3_get_autocommit(db));
    sqlite3_close(db);
}
END_TEST

START_TEST(value_that_cannot_be_read_is_an_error) {
    sqlite3 *db = made_by("CREATE TABLE t(a); INSERT INTO t VALUES ('no json');"
                          "ALTER TABLE t ADD COLUMN b AS (json_extract(a, '$.x'))");
    char hash[65];
    CODE(contents_hash(db, hash, NULL, e), RC_USAGE);
    says("table t: ");
    says("malformed JSON");
    ck_assert(sqlite3_get_autocommit(db));
    sqlite3_close(db);
}
END_TEST

int main(void) {
    Suite *s = suite_create("schema/shape");
    TCase *t = tcase_create("shape");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    ADD_ROWS(t, differences_that_mean_nothing_are_none, alike);
    ADD_ROWS(t, each_real_difference_is_told, real);
    tcase_add_test(t, table_of_a_virtual_table_is_its_own_business);
    tcase_add_test(t, arguments_of_a_module_that_is_not_here_are_compared_as_they_are);
    tcase_add_test(t, view_that_does_not_compile_is_compared_by_its_text);
    tcase_add_test(t, schema_written_otherwise_is_the_same);
    ADD_ROWS(t, what_is_typed_by_hand_is_told, injected);
    tcase_add_test(t, without_memory_there_is_no_answer_and_not_another_one);
    ADD_ROWS(t, same_contents_have_the_same_hash, same_contents);
    ADD_ROWS(t, other_contents_have_another_hash, other_contents);
    tcase_add_test(t, contents_are_told_by_table);
    tcase_add_test(t, contents_are_of_one_moment_inside_of_a_transaction_too);
    tcase_add_test(t, value_that_cannot_be_read_is_an_error);
    suite_add_tcase(s, t);
    return run_suite(s);
}
