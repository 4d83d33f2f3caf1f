/* The rungs as migrations: each is one for holdfast schema, goes up and back, and its SQL is used
 * as it is meant to be by SQLite. What it does to keys and rows, tests/e2e/test_promote.py looks
 * at. */
#include "../store/box.h"

#include "promote/ladder.h"
#include "promote/projection.h"
#include "schema/lint.h"

#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN                                                                                      \
    "-- holdfast:promote node prefix=/node/ key=/node/{id}\n-- col id TEXT key\n"                  \
    "-- col name TEXT $.name notnull\n-- col ip TEXT $.ip index\n-- col up BOOL $.up\n"            \
    "-- col load REAL $.load\n-- col seen INT $.user.seen\n-- rest extra\n"
/* Keywords, quotes, characters of more than a byte, parts of all kinds. */
#define QUOTED                                                                                     \
    "-- holdfast:promote order prefix=\"it's \xc3\xbc \\\"%d\" key=\"it's \xc3\xbc "               \
    "\\\"%d{group}.{select}-{n}/end\" db=noise\n"                                                  \
    "-- col select TEXT key\n-- col n INT key\n-- col group TEXT key\n"                            \
    "-- col from TEXT $.\"it's\".\"100 %d\" index notnull\n-- col key TEXT $.key index\n"          \
    "-- col why BOOL $.why index\n-- col name REAL $.name\n-- rest values\n"
#define BARE                                                                                       \
    "-- holdfast:promote bare prefix=\xf4\x8f\xbf\xbf key=\xf4\x8f\xbf\xbf{id}\n"                  \
    "-- col id INT key\n-- rest extra\n"

static const char *const specs[] = {PLAIN, QUOTED, BARE};

static struct spec *spec_of(int i) {
    struct spec *s = NULL;
    struct err e;
    rc r = spec_parse("spec", specs[i], strlen(specs[i]), &s, &e);
    ck_assert_msg(is_ok(r), "%s", e.text);
    return s;
}

static char *text_of(const struct spec *s, enum rung r, unsigned below) {
    struct buf b AUTO(buf_deinit);
    buf_init(&b, LIMIT_MIGRATION);
    OK(ladder_text(s, r, below, &b, e));
    buf_u8(&b, 0);
    return strdup((const char *)b.bytes);
}

static unsigned all_below(enum rung r) {
    return ((1u << r) - 1) & ~1u;
}

static struct migration *rung_of(const struct spec *s, enum rung r) {
    char name[LIMIT_SPEC_NAME + 16], file[100];
    char *text = text_of(s, r, all_below(r));
    struct migration *m;
    ladder_name(s, r, name);
    snprintf(file, sizeof file, "%d_%s.sql", (int)r, name);
    OK(migration_parse(file, s->noise, text, strlen(text), &m, e));
    ck_assert_int_eq(ladder_rung_of(s->name, m->name), r);
    free(text);
    return m;
}

/* ---- a runner that only runs ---- */

static sqlite3 *db;

static void setup(void) {
    ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
}

static void teardown(void) {
    sqlite3_close(db);
}

static void run(const char *sql) {
    sqlite3_stmt *st;
    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", sql,
                  sqlite3_errmsg(db));
    sqlite3_bind_text(st, sqlite3_bind_parameter_index(st, ":lo"), "", -1, SQLITE_STATIC);
    sqlite3_bind_text(st, sqlite3_bind_parameter_index(st, ":hi"), "\xf4\x8f\xbf\xbf\xff", -1,
                      SQLITE_STATIC);
    while (sqlite3_step(st) == SQLITE_ROW) {
    }
    ck_assert_msg(sqlite3_finalize(st) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
}

static void run_sections(const struct migration *m, bool back) {
    for (size_t i = 0; i < m->count; i++) {
        const struct section *s = &m->sections[i];
        if (back != (s->kind == SECTION_DOWN) || (!back && s->kind > SECTION_CONTRACT)) continue;
        for (size_t k = 0; k < s->count; k++) run(s->statements[k].sql);
    }
}

/* All values that the query gives, with a line between. */
static char *gives(const char *sql) {
    struct buf b AUTO(buf_deinit);
    sqlite3_stmt *st;
    buf_init(&b, LIMIT_SPEC);
    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK, "%s: %s", sql,
                  sqlite3_errmsg(db));
    while (sqlite3_step(st) == SQLITE_ROW)
        for (int i = 0; i < sqlite3_column_count(st); i++)
            buf_say(&b, "%s\n", sqlite3_column_text(st, i));
    sqlite3_finalize(st);
    buf_u8(&b, 0);
    return strdup((const char *)b.bytes);
}

/* Without Holdfast's own tables, which stay. */
static char *schema(void) {
    return gives("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'holdfast_%' AND "
                 "tbl_name NOT LIKE 'holdfast_%' ORDER BY name");
}

START_TEST(each_rung_is_a_migration_with_a_way_back) {
    struct spec *s = spec_of(_i);
    char *states[RUNGS];
    struct migration *rungs[RUNGS];
    run("CREATE TABLE DBX(Key TEXT PRIMARY KEY, Value TEXT)");
    bool indexes = false;
    for (size_t i = 0; i < s->count; i++) indexes |= s->column[i].index;
    enum rung first = indexes ? RUNG_INDEX : RUNG_VIEW;
    for (enum rung r = first; r < RUNGS; r++) {
        states[r] = schema();
        rungs[r] = rung_of(s, r);
        OK(lint_check(rungs[r], e));
        run_sections(rungs[r], false);
        char *now = schema();
        ck_assert_str_ne(states[r], now);
        free(now);
    }
    for (enum rung r = RUNG_RETIRED; r >= first; r--) {
        run_sections(rungs[r], true);
        char *now = schema();
        ck_assert_str_eq(states[r], now);
        free(now);
        free(states[r]);
        migration_free(rungs[r]);
    }
    spec_free(s);
}
END_TEST

static void is_retired(const char *sql) {
    char *words = NULL;
    ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, &words) == SQLITE_CONSTRAINT, "%s", sql);
    ck_assert_msg(strstr(words, "the keys under /node/ are retired") != NULL, "%s: %s", sql, words);
    sqlite3_free(words);
}

START_TEST(what_is_retired_takes_no_key_whichever_way_it_comes) {
    struct spec *s = spec_of(0);
    run("CREATE TABLE DBX(Key TEXT PRIMARY KEY, Value TEXT)");
    run("INSERT INTO DBX VALUES('/node/1', '{\"name\":\"a\"}'), ('/node/odd', 'x'), ('/b', 'c')");
    for (enum rung r = RUNG_INDEX; r < RUNGS; r++) {
        struct migration *m = rung_of(s, r);
        run_sections(m, false);
        migration_free(m);
    }
    is_retired("INSERT INTO DBX VALUES('/node/2', '{}')");
    is_retired("INSERT OR REPLACE INTO DBX VALUES('/node/odd', '{}')");
    is_retired("INSERT INTO DBX VALUES('/node/odd', 1) ON CONFLICT(Key) DO UPDATE SET Value = 1");
    is_retired("UPDATE DBX SET Value = 'y' WHERE Key = '/node/odd'");
    is_retired("UPDATE DBX SET Key = '/node/2' WHERE Key = '/b'");
    is_retired("UPDATE OR REPLACE DBX SET Key = '/node/odd' WHERE Key = '/b'");
    char *left = gives("SELECT Key, Value FROM DBX ORDER BY Key");
    ck_assert_str_eq(left, "/b\nc\n/node/odd\nx\n");
    free(left);
    run("UPDATE DBX SET Key = '/odd' WHERE Key = '/node/odd'"); /* away it may go */
    left = gives("SELECT key FROM holdfast_reject");
    ck_assert_str_eq(left, "");
    free(left);
    spec_free(s);
}
END_TEST

START_TEST(only_the_last_rung_breaks_older_programs) {
    struct spec *s = spec_of(0);
    for (enum rung r = RUNG_INDEX; r < RUNGS; r++) {
        struct migration *m = rung_of(s, r);
        ck_assert_int_eq(migration_breaks(m), r == RUNG_RETIRED);
        migration_free(m);
    }
    spec_free(s);
}
END_TEST

START_TEST(a_rung_stands_on_the_one_below) {
    struct spec *s = spec_of(0), *bare = spec_of(2);
    struct buf b AUTO(buf_deinit);
    buf_init(&b, LIMIT_MIGRATION);
    CODE(ladder_text(s, RUNG_TABLE, 0, &b, e), RC_USAGE);
    says("node_4_table: it stands on shadow, which is not there");
    CODE(ladder_text(s, RUNG_RETIRED, 1u << RUNG_SHADOW, &b, e), RC_USAGE);
    says("it stands on table");
    CODE(ladder_text(s, RUNG_VIEW, 1u << RUNG_VIEW, &b, e), RC_CONFLICT);
    says("node_2_view: it is there already");
    CODE(ladder_text(s, RUNG_INDEX, 1u << RUNG_SHADOW, &b, e), RC_CONFLICT);
    says("shadow is there already, and above it");
    CODE(ladder_text(bare, RUNG_INDEX, 0, &b, e), RC_USAGE);
    says("bare: no column is marked index");
    OK(ladder_text(s, RUNG_SHADOW, 0, &b, e));
    spec_free(s);
    spec_free(bare);
}
END_TEST

START_TEST(rungs_have_names) {
    enum rung r;
    ck_assert(rung_parse("3", &r) && r == RUNG_SHADOW);
    ck_assert(rung_parse("retired", &r) && r == RUNG_RETIRED);
    ck_assert(!rung_parse("0", &r) && !rung_parse("6", &r) && !rung_parse("none", &r) &&
              !rung_parse("", &r) && !rung_parse("33", &r));
    ck_assert_int_eq(ladder_rung_of("node", "noise/20260901120000_node_3_shadow.sql"), RUNG_SHADOW);
    ck_assert_int_eq(ladder_rung_of("node", "1_node_4_table.sql"), RUNG_TABLE);
    ck_assert_int_eq(ladder_rung_of("node", "1_node_4_tables.sql"), RUNG_NONE);
    ck_assert_int_eq(ladder_rung_of("node", "1_node2_4_table.sql"), RUNG_NONE);
    ck_assert_int_eq(ladder_rung_of("node", "1_my_node_4_table.sql"), RUNG_NONE);
}
END_TEST

START_TEST(as_many_columns_as_a_spec_may_have) {
    struct buf b AUTO(buf_deinit);
    struct spec *s;
    buf_init(&b, LIMIT_SPEC);
    buf_text(&b, "-- holdfast:promote t prefix=/t/ key=/t/{id}\n-- col id INT key\n-- rest r\n");
    for (unsigned i = 1; i < LIMIT_SPEC_COLUMNS; i++)
        buf_say(&b, "-- col c%u %s $.o%u.c%u\n", i, i % 2 ? "REAL" : "TEXT", i % 7, i);
    OK(spec_parse("many", (const char *)b.bytes, b.size, &s, e));
    sqlite3_limit(db, SQLITE_LIMIT_FUNCTION_ARG, 100); /* of older versions */
    for (enum rung r = RUNG_SHADOW; r <= RUNG_TABLE; r++) {
        struct migration *m = rung_of(s, r);
        run_sections(m, false);
        migration_free(m);
    }
    run("INSERT INTO DBX VALUES('/t/1', '{\"o1\":{\"c1\":0.5,\"x\":1}}')");
    run("UPDATE t SET c2 = 'two', c99 = 99");
    char *value = gives("SELECT Value FROM DBX");
    ck_assert_str_eq(value, "{\"o1\":{\"x\":1,\"c1\":0.5,\"c99\":99.0},\"o2\":{\"c2\":\"two\"}}\n");
    free(value);
    spec_free(s);
}
END_TEST

/* ---- what SQLite makes of it ---- */

static void check_plan(const char *sql, const char *words, const char *never) {
    char *explain = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sql), *plan = gives(explain);
    ck_assert_msg(strstr(plan, words) != NULL, "%s\n%s lacks %s", sql, plan, words);
    ck_assert_msg(!never || !strstr(plan, never), "%s\n%s has %s", sql, plan, never);
    sqlite3_free(explain);
    free(plan);
}

START_TEST(one_key_is_looked_up_and_not_all) {
    struct spec *s = spec_of(_i);
    struct migration *m = rung_of(s, RUNG_SHADOW);
    char sql[400];
    run_sections(m, false);
    snprintf(sql, sizeof sql,
             "SELECT * FROM %s_kv AS p WHERE p.kv_key = ?1 AND NOT EXISTS (SELECT 1 FROM "
             "holdfast_reject WHERE name = 'x' AND key = p.kv_key)",
             s->name);
    check_plan(sql, "SEARCH DBX USING INDEX sqlite_autoindex_DBX_1 (Key=?)", "SCAN DBX");
    check_plan(sql, "SEARCH holdfast_reject USING", "SCAN holdfast_reject");
    snprintf(sql, sizeof sql,
             "SELECT * FROM %s_kv WHERE kv_key IN (SELECT Key FROM DBX WHERE Key > ?1 AND Key <= "
             "?2)",
             s->name);
    check_plan(sql, "SEARCH DBX USING INDEX sqlite_autoindex_DBX_1 (Key=?)", "SCAN DBX");
    struct buf where AUTO(buf_deinit);
    buf_init(&where, LIMIT_SPEC);
    buf_text(&where, "SELECT * FROM ");
    put_name(&where, s->name);
    buf_text(&where, " WHERE ");
    put_row_of(&where, s, "?1");
    buf_u8(&where, 0);
    check_plan((const char *)where.bytes, "SEARCH", "SCAN");
    migration_free(m);
    spec_free(s);
}
END_TEST

static int one_more(void *n, const hf_pair *pair) {
    (void)pair;
    ++*(int *)n;
    return 0;
}

static int look_for(hf_tx *t, void *n) {
    const hf_find o = {
        .size = sizeof o, .prefix = "/node/", .path = "$.ip", .equals = hf_text("10.0.0.7")};
    return hf_kv_find(t, &o, one_more, n);
}

START_TEST(the_index_is_that_of_the_store_and_the_view_uses_it) {
    struct spec *s = spec_of(0);
    char dir[TEMP_PATH];
    hf_store *store;
    int found = 0;
    temp_dir(dir);
    const char *path = below(dir, "a.db");
    hf_store_options o = {.size = sizeof o};
    FINE(hf_store_open(path, &o, &store));
    FINE(hf_put(store, "/node/1", hf_json("{\"name\":\"a\",\"ip\":\"10.0.0.7\"}")));
    FINE(hf_put(store, "/node/2", hf_json("{\"name\":\"b\",\"ip\":\"10.0.0.8\"}")));
    FINE(hf_put(store, "/node/3", hf_text("no JSON")));
    sqlite3_close(db);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    for (enum rung r = RUNG_INDEX; r <= RUNG_VIEW; r++) {
        struct migration *m = rung_of(s, r);
        run_sections(m, false);
        migration_free(m);
    }
    FINE(hf_read(store, "find", look_for, &found));
    ck_assert_int_eq(found, 1);
    check_plan("SELECT * FROM node_v WHERE ip = '10.0.0.7'", "SEARCH DBX USING INDEX hf_kv_",
               "SCAN");
    char *rows = gives("SELECT id, name, ip FROM node_v WHERE ip = '10.0.0.7'");
    ck_assert_str_eq(rows, "1\na\n10.0.0.7\n");
    free(rows);
    FINE(hf_kv_index(store, "/node/", "$.ip", 0)); /* it is there, and as declared */
    FINE(hf_store_close(store));
    spec_free(s);
}
END_TEST

/* Changes of a watch, one after the other; hf_watch_stop tells what is left. */
static sem_t told;
static char changes[400];

static void take_change(void *arg, const hf_change *c) {
    size_t at = strlen(changes);
    (void)arg;
    snprintf(changes + at, sizeof changes - at, "%s=%s ", c->key, c->value ? c->value : "-");
    sem_post(&told);
}

START_TEST(who_watches_keys_is_told_of_rows) {
    char dir[TEMP_PATH];
    struct spec *s = spec_of(0);
    hf_store *store;
    hf_watch *watch;
    hf_store_options o = {.size = sizeof o};
    temp_dir(dir);
    FINE(hf_store_open(below(dir, "a.db"), &o, &store));
    sqlite3_close(db);
    ck_assert_int_eq(sqlite3_open(below(dir, "a.db"), &db), SQLITE_OK);
    for (enum rung r = RUNG_SHADOW; r <= RUNG_TABLE; r++) {
        struct migration *m = rung_of(s, r);
        run_sections(m, false);
        migration_free(m);
    }
    sem_init(&told, 0, 0);
    FINE(hf_kv_watch(store, "/node/", take_change, NULL, &watch));
    FINE(write_as(store, HF_MAIN, "row", "INSERT INTO node(id, name) VALUES('1', 'a')"));
    FINE(write_as(store, HF_MAIN, "row", "UPDATE node SET ip = '10.0.0.1', extra = '{ \"x\": 1}'"));
    FINE(write_as(store, HF_MAIN, "row", "UPDATE node SET id = '2'"));
    FINE(hf_put(store, "/node/2", hf_text("odd")));
    for (int i = 0; i < 5; i++) sem_wait(&told);
    hf_watch_stop(watch);
    ck_assert_str_eq(changes, "/node/1={\"name\":\"a\"} "
                              "/node/1={\"x\":1,\"name\":\"a\",\"ip\":\"10.0.0.1\"} "
                              "/node/1=- /node/2={\"x\":1,\"name\":\"a\",\"ip\":\"10.0.0.1\"} "
                              "/node/2=odd ");
    FINE(hf_store_close(store));
    spec_free(s);
}
END_TEST

/* Through the store's own connections: with recursive triggers, and what it refuses to others. */
static void check_store(const char *db_path, const char *prefix, bool noise) {
    static const char *const noise_prefixes[] = {"seen/", NULL};
    char dir[TEMP_PATH], key[40], text[400], noise_path[TEMP_PATH];
    struct spec *s;
    hf_store *store;
    temp_dir(dir);
    snprintf(noise_path, sizeof noise_path, "%s", below(dir, "a-noise.db"));
    const char *path = below(dir, db_path);
    hf_store_options o = {.size = sizeof o, .noise = noise_path, .noise_prefixes = noise_prefixes};
    FINE(hf_store_open(path, &o, &store));
    snprintf(key, sizeof key, "%s1", prefix);
    FINE(hf_put(store, key, hf_json("{\"name\":\"a\",\"n\":1}")));
    snprintf(text, sizeof text,
             "-- holdfast:promote t prefix=%s key=%s{id}\n-- col id TEXT key\n"
             "-- col name TEXT $.name notnull\n-- rest extra\n",
             prefix, prefix);
    OK(spec_parse("store", text, strlen(text), &s, e));
    s->noise = noise;
    sqlite3_close(db);
    ck_assert_int_eq(sqlite3_open(noise ? noise_path : path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    for (enum rung r = RUNG_SHADOW; r <= RUNG_TABLE; r++) {
        struct migration *m = rung_of(s, r);
        run_sections(m, false);
        migration_free(m);
    }
    int scope = noise ? HF_NOISE : HF_MAIN;
    const char *in = noise ? "noise" : "main";
    snprintf(text, sizeof text, "UPDATE %s.t SET name = 'b'", in);
    FINE(write_as(store, scope, "a row", text));
    char *value = NULL;
    FINE(hf_get(store, key, &value, NULL));
    ck_assert_str_eq(value, "{\"n\":1,\"name\":\"b\"}");
    hf_free(value);
    FINE(hf_put(store, key, hf_text("odd")));
    snprintf(text, sizeof text, "SELECT count(*) FROM %s.holdfast_reject", in);
    ck_assert_int_eq(number(store, text), 1);
    snprintf(text, sizeof text, "SELECT count(*) FROM %s.t", in);
    ck_assert_int_eq(number(store, text), 0);
    snprintf(text, sizeof text, "DELETE FROM %s.holdfast_reject", in);
    SAYS(write_as(store, scope, "rejects", text), HF_USAGE, "holdfast_");
    FINE(hf_put(store, key, hf_json("{\"name\":\"c\"}")));
    FINE(hf_delete(store, key));
    snprintf(text, sizeof text, "INSERT OR REPLACE INTO %s.t(id, name) VALUES('1', 'd')", in);
    FINE(write_as(store, scope, "a row", text));
    FINE(write_as(store, scope, "a row", text));
    FINE(hf_get(store, key, &value, NULL));
    ck_assert_str_eq(value, "{\"name\":\"d\"}");
    hf_free(value);
    snprintf(text, sizeof text, "SELECT count(*) FROM %s.t_differs", in);
    ck_assert_int_eq(number(store, text), 0);
    FINE(hf_store_close(store));
    spec_free(s);
}

START_TEST(the_store_writes_both_sides) {
    check_store("a.db", "node/", false);
}
END_TEST

START_TEST(the_store_writes_both_sides_of_noise) {
    check_store("a.db", "seen/", true);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("promote/ladder");
    TCase *c = tcase_create("ladder");
    tcase_add_unchecked_fixture(c, temp_setup, temp_teardown);
    tcase_add_checked_fixture(c, setup, teardown);
    ADD_ROWS(c, each_rung_is_a_migration_with_a_way_back, specs);
    tcase_add_test(c, what_is_retired_takes_no_key_whichever_way_it_comes);
    tcase_add_test(c, only_the_last_rung_breaks_older_programs);
    tcase_add_test(c, a_rung_stands_on_the_one_below);
    tcase_add_test(c, rungs_have_names);
    tcase_add_test(c, as_many_columns_as_a_spec_may_have);
    ADD_ROWS(c, one_key_is_looked_up_and_not_all, specs);
    tcase_add_test(c, the_index_is_that_of_the_store_and_the_view_uses_it);
    tcase_add_test(c, who_watches_keys_is_told_of_rows);
    tcase_add_test(c, the_store_writes_both_sides);
    tcase_add_test(c, the_store_writes_both_sides_of_noise);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
