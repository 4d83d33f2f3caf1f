/* Watches: every way to change a row is told, once, in commit order; and what was taken back is
 * not. */
#include "kv_box.h"

#include <pthread.h>
#include <semaphore.h>

struct told {
    hf_store *store;
    hf_watch *watch;
    char text[8192];
    uint64_t last;
    int count;
    bool grows; /* commit numbers did */
    sem_t end;  /* a change of "~end" */
};

/* "key=value@commit ", with the first commit as 1. */
static void tell(void *arg, const hf_change *c) {
    struct told *t = arg;
    if (strcmp(c->key, "~end") == 0) {
        sem_post(&t->end);
        return;
    }
    size_t at = strlen(t->text);
    t->count++;
    t->grows &= c->commit >= t->last;
    if (c->commit != t->last) at += (size_t)snprintf(t->text + at, sizeof t->text - at, "| ");
    t->last = c->commit;
    if (c->value)
        snprintf(t->text + at, sizeof t->text - at, "%s=%.*s ", c->key, (int)c->bytes, c->value);
    else snprintf(t->text + at, sizeof t->text - at, "-%s ", c->key);
}

static void watch(struct told *t, hf_store *s, const char *prefix) {
    *t = (struct told){.store = s, .grows = true};
    sem_init(&t->end, 0, 0);
    FINE(hf_kv_watch(s, prefix, tell, t, &t->watch));
}

/* Everything committed before was told. */
static void settle(struct told *t) {
    FINE(hf_put(t->store, "~end", hf_json("1")));
    sem_wait(&t->end);
}

static void told_is(struct told *t, const char *expected) {
    settle(t);
    ck_assert_str_eq(t->text, expected);
    ck_assert(t->grows);
}

static const struct {
    const char *sql, *told;
} statements[] = {
    {"INSERT INTO DBX VALUES ('a', 1)", "| a=1 "},
    {"INSERT INTO DBX VALUES ('a', 1), ('b', 2)", "| a=1 b=2 "},
    {"UPDATE DBX SET Value = 7 WHERE Key = 'x'", "| x=7 "},
    {"UPDATE DBX SET Key = 'z' WHERE Key = 'x'", "| -x z={\"u\":1} "},
    {"UPDATE OR REPLACE DBX SET Key = 'y' WHERE Key = 'x'", "| y={\"u\":1} -x "},
    {"DELETE FROM DBX WHERE Key = 'x'", "| -x "},
    {"DELETE FROM DBX", "| -x -y "},
    {"INSERT OR REPLACE INTO DBX VALUES ('x', 3)", "| x=3 "},
    {"REPLACE INTO DBX VALUES ('w', '{\"u\":1}')", "| -x w={\"u\":1} "}, /* by the unique index */
    {"INSERT INTO DBX VALUES ('x', 3) ON CONFLICT(Key) DO UPDATE SET Value = 4", "| x=4 "},
    {"INSERT OR IGNORE INTO DBX VALUES ('x', 3)", ""},
    {"UPDATE DBX SET Value = NULL WHERE Key = 'x'", "| -x "},
    {"UPDATE DBX SET Value = 5 WHERE Key = 'nobody'", ""},
    {"INSERT INTO DBX VALUES ('a', 1); UPDATE DBX SET Value = 2 WHERE Key = 'a'", "| a=2 "},
    {"INSERT INTO DBX VALUES ('a', 1); DELETE FROM DBX WHERE Key = 'a'", ""},
    {"DELETE FROM DBX WHERE Key = 'x'; INSERT INTO DBX VALUES ('x', 9)", "| x=9 "},
    {"SAVEPOINT s; INSERT INTO DBX VALUES ('a', 1); ROLLBACK TO s; RELEASE s", ""},
    {"SAVEPOINT s; UPDATE DBX SET Value = 9 WHERE Key = 'x'; ROLLBACK TO s; RELEASE s",
     "| x={\"u\":1} "}, /* true, and no news */
    {"SAVEPOINT s; DELETE FROM DBX; ROLLBACK TO s; RELEASE s; INSERT INTO DBX VALUES ('a', 1)",
     "| x={\"u\":1} y={\"u\":2} a=1 "},
    {"INSERT INTO DBX VALUES (NULL, 1), (x'61', 2), ('n' || char(0), 3), ('a', 1)", "| a=1 "},
    {"INSERT INTO m VALUES (1, 2)", ""},
    {"INSERT INTO DBX VALUES ('a', x'00')", "| a= "},
};

START_TEST(every_statement_is_told_as_what_it_left) {
    hf_store *s = kv_store();
    struct told t;
    FINE(hf_put(s, "x", hf_json("{\"u\":1}")));
    FINE(hf_put(s, "y", hf_json("{\"u\":2}")));
    FINE(write_sql(s, HF_MAIN,
                   "CREATE UNIQUE INDEX u ON DBX(json_extract(Value,'$.u')) "
                   "WHERE typeof(Value)='text' AND json_valid(Value)"));
    watch(&t, s, NULL);
    FINE(write_sql(s, HF_MAIN, statements[_i].sql));
    told_is(&t, statements[_i].told);
    hf_watch_stop(t.watch);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(what_is_rolled_back_is_not_told) {
    hf_store *s = kv_store();
    struct told t;
    hf_tx *tx;
    watch(&t, s, NULL);
    FINE(hf_begin(s, HF_MAIN, "undone", &tx));
    FINE(hf_kv_put(tx, "a", hf_json("1")));
    hf_rollback(tx);
    SAYS(write_sql(s, HF_MAIN, "INSERT INTO DBX VALUES ('a', 1); SELECT * FROM nothing"), HF_USAGE,
         "nothing");
    FINE(hf_put(s, "b", hf_json("2")));
    told_is(&t, "| b=2 ");
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_watch_is_told_of_its_prefix_and_file_alone) {
    hf_store *s = kv_store();
    struct told all, some, noise;
    hf_tx *tx;
    watch(&all, s, NULL);
    watch(&some, s, "a/");
    watch(&noise, s, "seen/");
    FINE(hf_begin(s, HF_BOTH, "both", &tx));
    FINE(hf_kv_put(tx, "a/1", hf_json("1")));
    FINE(hf_kv_put(tx, "seen/1", hf_json("2")));
    FINE(hf_kv_put(tx, "a", hf_json("3")));
    /* in the wrong file, by SQL: not a key of main */
    FINE(hf_exec(tx, "INSERT INTO noise.DBX VALUES ('a/9', 4)"));
    FINE(hf_commit(tx));
    FINE(hf_put(s, "seen/2", hf_json("5")));
    settle(&all);
    ck_assert_str_eq(all.text, "| a/1=1 a=3 ");
    ck_assert_str_eq(some.text, "| a/1=1 ");
    ck_assert_str_eq(noise.text, "| seen/1=2 | seen/2=5 ");
    ck_assert_uint_eq(all.last, some.last);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_watch_begins_now_and_ends_when_stopped) {
    hf_store *s = kv_store();
    struct told first, second;
    FINE(hf_put(s, "a", hf_json("1")));
    watch(&first, s, NULL);
    FINE(hf_put(s, "b", hf_json("2")));
    settle(&first);
    watch(&second, s, NULL);
    FINE(hf_put(s, "c", hf_json("3")));
    settle(&second);
    hf_watch_stop(first.watch);
    FINE(hf_put(s, "d", hf_json("4")));
    settle(&second);
    ck_assert_str_eq(first.text, "| b=2 | c=3 ");
    ck_assert_str_eq(second.text, "| c=3 | d=4 ");
    hf_watch_stop(second.watch);
    hf_watch_stop(NULL);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM temp.sqlite_master"), 0);
    FINE(hf_put(s, "e", hf_json("5")));
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_watched_table_is_not_dropped_unseen) {
    hf_store *s = kv_store();
    struct told t;
    watch(&t, s, NULL);
    SAYS(write_sql(s, HF_MAIN,
                   "DROP TABLE DBX; CREATE TABLE DBX(Key TEXT PRIMARY KEY, Value TEXT);"
                   "INSERT INTO DBX VALUES ('a', 1)"),
         HF_USAGE, "dropped while it is watched");
    has(s, "a", NULL);
    FINE(hf_put(s, "b", hf_json("2")));
    told_is(&t, "| b=2 ");
    hf_watch_stop(t.watch);
    FINE(write_sql(s, HF_MAIN,
                   "DROP TABLE DBX; CREATE TABLE DBX(Key TEXT PRIMARY KEY, Value TEXT)"));
    FINE(hf_store_close(s));
}
END_TEST

static void count_triggers(void *arg, const hf_change *c) {
    (void)arg, (void)c;
}

START_TEST(triggers_are_there_only_while_there_are_watches) {
    hf_store *s = kv_store();
    hf_tx *tx;
    hf_watch *w;
    const char sql[] = "SELECT count(*) FROM sqlite_temp_master";
    for (int i = 0; i < 2; i++) {
        FINE(hf_kv_watch(s, NULL, count_triggers, NULL, &w));
        FINE(hf_begin(s, HF_BOTH, "look", &tx));
        ck_assert_int_eq(number_in(tx, sql), 6);
        FINE(hf_commit(tx));
        hf_watch_stop(w);
        FINE(hf_begin(s, HF_BOTH, "look", &tx));
        ck_assert_int_eq(number_in(tx, sql), 0);
        FINE(hf_commit(tx));
    }
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_watch_that_cannot_be_is_refused) {
    hf_store *s = kv_store();
    hf_watch *w = NULL;
    hf_tx *tx;
    SAYS(hf_kv_watch(s, NULL, NULL, NULL, &w), HF_USAGE, "may not be NULL");
    SAYS(hf_kv_watch(s, NULL, tell, NULL, NULL), HF_USAGE, "may not be NULL");
    SAYS(hf_kv_watch(s, "", tell, NULL, &w), HF_USAGE, "in both files");
    SAYS(hf_kv_watch(s, "\xff", tell, NULL, &w), HF_USAGE, "not UTF-8");
    FINE(hf_begin(s, HF_MAIN, "outer", &tx));
    SAYS(hf_kv_watch(s, NULL, tell, NULL, &w), HF_USAGE, "inside of 'outer'");
    FINE(hf_commit(tx));
    ck_assert_ptr_null(w);
    FINE(hf_store_close(s));
}
END_TEST

/* ---- callbacks that do more ---- */

static void stop_self(void *arg, const hf_change *c) {
    struct told *t = arg;
    tell(arg, c);
    if (strcmp(c->key, "~end") != 0) hf_watch_stop(t->watch);
}

START_TEST(a_watch_may_be_stopped_by_its_own_callback) {
    hf_store *s = kv_store();
    struct told self = {.store = s, .grows = true}, other;
    FINE(hf_kv_watch(s, NULL, stop_self, &self, &self.watch));
    watch(&other, s, NULL);
    FINE(write_sql(s, HF_MAIN, "INSERT INTO DBX VALUES ('a', 1), ('b', 2)"));
    FINE(hf_put(s, "c", hf_json("3")));
    settle(&other);
    ck_assert_str_eq(self.text, "| a=1 ");
    ck_assert_str_eq(other.text, "| a=1 b=2 | c=3 ");
    FINE(hf_store_close(s));
}
END_TEST

static void stop_other(void *arg, const hf_change *c) {
    hf_watch **w = arg;
    (void)c;
    hf_watch_stop(*w);
    *w = NULL;
}

START_TEST(a_callback_may_stop_another_watch_and_begin_one) {
    hf_store *s = kv_store();
    struct told victim, end;
    hf_watch *stopper;
    watch(&victim, s, "a");
    hf_watch *held = victim.watch;
    FINE(hf_kv_watch(s, "b", stop_other, &held, &stopper));
    watch(&end, s, "~");
    FINE(hf_put(s, "a1", hf_json("1")));
    FINE(hf_put(s, "b", hf_json("2")));
    settle(&end);
    FINE(hf_put(s, "a2", hf_json("3")));
    settle(&end);
    ck_assert_str_eq(victim.text, "| a1=1 ");
    ck_assert_ptr_null(held);
    hf_watch_stop(stopper);
    FINE(hf_store_close(s));
}
END_TEST

static void copy_to_noise(void *arg, const hf_change *c) {
    struct told *t = arg;
    char key[64], *value;
    tell(arg, c);
    if (strcmp(c->key, "~end") == 0) return;
    FINE(hf_get(t->store, c->key, &value, NULL));
    snprintf(key, sizeof key, "seen/%s", c->key);
    FINE(hf_put(t->store, key, hf_json(value)));
    hf_free(value);
    if (strlen(c->key) < 5) {
        snprintf(key, sizeof key, "%sx", c->key);
        FINE(hf_put(t->store, key, hf_json("0"))); /* told in its turn */
    }
    SAYS(hf_store_close(t->store), HF_USAGE, "");
}

START_TEST(a_callback_may_read_and_write) {
    hf_store *s = kv_store();
    struct told t = {.store = s, .grows = true};
    sem_init(&t.end, 0, 0);
    FINE(hf_kv_watch(s, NULL, copy_to_noise, &t, &t.watch));
    FINE(hf_put(s, "a", hf_json("1")));
    for (int i = 0; i < 6; i++) settle(&t);
    ck_assert_str_eq(t.text, "| a=1 | ax=0 | axx=0 | axxx=0 | axxxx=0 ");
    scans(s, "seen/", NULL, 0, "seen/a=1 seen/ax=0 seen/axx=0 seen/axxx=0 seen/axxxx=0 ");
    FINE(hf_store_close(s));
}
END_TEST

struct gate {
    sem_t entered, open;
    hf_watch *watch;
    _Atomic int told, inside;
};

static void wait_at_gate(void *arg, const hf_change *c) {
    struct gate *g = arg;
    (void)c;
    g->inside = 1;
    sem_post(&g->entered);
    sem_wait(&g->open);
    g->told++;
    g->inside = 0;
}

static void *stop(void *arg) {
    struct gate *g = arg;
    hf_watch_stop(g->watch);
    ck_assert_int_eq(g->inside, 0);
    g->told += 100;
    return NULL;
}

START_TEST(a_stop_waits_for_the_callback_that_runs) {
    hf_store *s = kv_store();
    struct gate g = {0};
    pthread_t thread;
    sem_init(&g.entered, 0, 0);
    sem_init(&g.open, 0, 0);
    FINE(hf_kv_watch(s, NULL, wait_at_gate, &g, &g.watch));
    FINE(hf_put(s, "a", hf_json("1")));
    sem_wait(&g.entered);
    pthread_create(&thread, NULL, stop, &g);
    ck_assert_int_eq(g.told, 0);
    sem_post(&g.open);
    pthread_join(thread, NULL);
    ck_assert_int_eq(g.told, 101);
    FINE(hf_put(s, "b", hf_json("2")));
    ck_assert_int_eq(g.told, 101);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(closing_ends_watches_with_changes_on_their_way) {
    hf_store *s = kv_store();
    struct gate g = {0};
    hf_watch *w;
    sem_init(&g.entered, 0, 0);
    sem_init(&g.open, 0, 1);
    FINE(hf_kv_watch(s, NULL, wait_at_gate, &g, &w));
    FINE(write_sql(s, HF_MAIN, "INSERT INTO DBX VALUES ('a', 1), ('b', 2), ('c', 3)"));
    sem_wait(&g.entered);
    sem_wait(&g.entered); /* it waits at the second */
    sem_post(&g.open);
    sem_post(&g.open);
    FINE(hf_store_close(s));
    ck_assert_int_ge(g.told, 2);
}
END_TEST

#define MANY 70
START_TEST(a_writer_waits_when_a_watch_is_far_behind) {
    hf_store *s;
    struct gate g = {0};
    hf_watch *w;
    hf_store_options o = {.size = sizeof o, .timeout_ms = 20, .event = take_event};
    char *big = malloc((1 << 20) + 1), key[16];
    memset(big, 'x', 1 << 20);
    big[1 << 20] = 0;
    sem_init(&g.entered, 0, 0);
    sem_init(&g.open, 0, 0);
    FINE(hf_store_open_temp(&o, &s));
    FINE(hf_kv_watch(s, NULL, wait_at_gate, &g, &w));
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "k%d", i);
        FINE(hf_put(s, key, hf_text(big)));
        if (i == 60) ck_assert_int_eq(event.count, 0); /* 64 MiB are not reached */
    }
    ck_assert_str_eq(event.name, "kv.watch_behind");
    ck_assert_int_ge(event.count, 4);
    for (int i = 0; i < MANY; i++) sem_post(&g.open);
    for (int i = 0; i < MANY; i++) sem_wait(&g.entered);
    hf_watch_stop(w);
    ck_assert_int_eq(g.told, MANY);
    FINE(hf_store_close(s));
    free(big);
}
END_TEST

/* ---- many writers ---- */

#define WRITERS 8
#define WRITES 150

struct order {
    hf_store *store;
    int64_t expected[WRITERS * WRITES], told[WRITERS * WRITES];
    int count;
    sem_t end;
};

static void tell_order(void *arg, const hf_change *c) {
    struct order *o = arg;
    o->told[o->count++] = strtoll(c->value, NULL, 10);
    if (o->count == WRITERS * WRITES) sem_post(&o->end);
}

static int put_next(hf_tx *t, void *key) {
    FINE(hf_exec(t, "UPDATE m SET v = v + 1 WHERE id = 1"));
    int64_t n = number_in(t, "SELECT v FROM m");
    char value[24];
    snprintf(value, sizeof value, "%" PRId64, n);
    return n % 7 == 3 ? hf_run(t, "REPLACE INTO DBX VALUES (?, ?)", "ss", (char *)key, value)
                      : hf_kv_put(t, key, hf_json(value));
}

static int fail_after_put(hf_tx *t, void *key) {
    put_next(t, key);
    return 99;
}

static void *write_many(void *arg) {
    struct order *o = arg;
    char key[32];
    for (int i = 0; i < WRITES; i++) {
        snprintf(key, sizeof key, "k%d", i % 5); /* the same keys by all */
        if (i % 10 == 0)
            ck_assert_int_eq(hf_write(o->store, HF_MAIN, "f", fail_after_put, key), 99);
        FINE(hf_write(o->store, i % 3 ? HF_MAIN : HF_BOTH, "put", put_next, key));
    }
    return NULL;
}

START_TEST(changes_come_in_the_order_of_commits) {
    struct order *o = calloc(1, sizeof *o);
    pthread_t threads[WRITERS];
    hf_watch *w;
    o->store = kv_store();
    sem_init(&o->end, 0, 0);
    FINE(write_sql(o->store, HF_MAIN, "INSERT INTO m VALUES (1, 0)"));
    FINE(hf_kv_watch(o->store, NULL, tell_order, o, &w));
    for (int i = 0; i < WRITERS; i++) pthread_create(&threads[i], NULL, write_many, o);
    for (int i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
    sem_wait(&o->end);
    for (int i = 0; i < WRITERS * WRITES; i++) ck_assert_int_eq(o->told[i], i + 1);
    hf_watch_stop(w);
    FINE(hf_store_close(o->store));
    free(o);
}
END_TEST

int main(void) {
    Suite *s = suite_create("kv_watch");
    TCase *t = tcase_create("kv_watch");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    ADD_ROWS(t, every_statement_is_told_as_what_it_left, statements);
    tcase_add_test(t, what_is_rolled_back_is_not_told);
    tcase_add_test(t, a_watch_is_told_of_its_prefix_and_file_alone);
    tcase_add_test(t, a_watch_begins_now_and_ends_when_stopped);
    tcase_add_test(t, triggers_are_there_only_while_there_are_watches);
    tcase_add_test(t, a_watched_table_is_not_dropped_unseen);
    tcase_add_test(t, a_watch_that_cannot_be_is_refused);
    tcase_add_test(t, a_watch_may_be_stopped_by_its_own_callback);
    tcase_add_test(t, a_callback_may_stop_another_watch_and_begin_one);
    tcase_add_test(t, a_callback_may_read_and_write);
    tcase_add_test(t, a_stop_waits_for_the_callback_that_runs);
    tcase_add_test(t, closing_ends_watches_with_changes_on_their_way);
    tcase_add_test(t, a_writer_waits_when_a_watch_is_far_behind);
    tcase_add_test(t, changes_come_in_the_order_of_commits);
    suite_add_tcase(s, t);
    return run_suite(s);
}
