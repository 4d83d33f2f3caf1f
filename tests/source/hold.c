/* The hold beside others, stepped by hand: a commit or a checkpoint of theirs in a gap between two
 * of its moves. */
#include "../os/temp.h"

#include "source/internal.h"
#include "stores/stores.h"

#include <pthread.h>
#include <semaphore.h>

#define SECOND 1000000000

static struct env *real, env;
static int64_t mono_now;
static struct source *source;
static struct err err;
static sqlite3 *app;
static char db_path[TEMP_PATH * 2];
static sem_t woken;

static int64_t fake_mono(struct env *e) {
    (void)e;
    return mono_now;
}

static void fake_sleep(struct env *e, int64_t ns) {
    (void)e;
    mono_now += ns;
}

static void on_wake(void *arg) {
    (void)arg;
    sem_post(&woken);
}

static void must(rc r) {
    ck_assert_msg(is_ok(r), "%s", err.text);
}

static void sql_on(sqlite3 *db, const char *text) {
    char *words = NULL;
    ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &words) == SQLITE_OK, "%s", words);
}

static void sql(const char *text) {
    sql_on(app, text);
}

/* One step; then the end of a job, or the time at which the next is due. */
static void step(void) {
    int64_t due;
    const struct dest *d = &source->dest[0];
    must(source_step(source, mono_now, false, &due, &err));
    if (d->open_task.busy || d->keep_task.busy || d->ship.task.busy || d->compact.task.busy)
        sem_wait(&woken);
    else if (due > mono_now) mono_now = due;
}

static void setup(void) {
    struct source_options options = {.verify_ms = -1, .wake = on_wake};
    struct store *replica;
    char dir[TEMP_PATH];
    temp_dir(dir);
    snprintf(db_path, sizeof db_path, "%s/app.db", dir);
    setenv("RUNTIME_DIRECTORY", below(dir, "run"), 1);
    must(env_new_system(2, &real, &err));
    env = *real;
    env.mono_ns = fake_mono;
    env.sleep_ns = fake_sleep;
    mono_now = 1000 * (int64_t)SECOND;
    sem_init(&woken, 0, 0);
    ck_assert_int_eq(sqlite3_open(db_path, &app), SQLITE_OK);
    sql("PRAGMA journal_mode = WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, b)");
    must(store_new_mem(&env, &replica, &err));
    must(source_open(&source, &env, db_path, &options, &err));
    must(source_add(source, replica, &err));
    for (int i = 0; i < 10000 && source_left(source, NULL, 0); i++) step();
    ck_assert_int_eq(source_left(source, NULL, 0), 0);
}

static void teardown(void) {
    source_free(source);
    sqlite3_close(app);
    env_free_system(real);
}

static void commit_in_the_gap(const char *where) {
    if (strcmp(where, "after begin") != 0) return;
    hold_gap = NULL;
    sql("INSERT INTO t(b) VALUES ('between the begin and the look')");
}

START_TEST(a_commit_beside_a_move_does_not_keep_us_from_rest) {
    sql("INSERT INTO t(b) VALUES ('a reason to move')");
    hold_gap = commit_in_the_gap;
    int64_t end = mono_now + 60 * (int64_t)SECOND;
    while (mono_now < end && hold_gap) step();
    ck_assert(!hold_gap);
    end = mono_now + 5 * (int64_t)SECOND;
    while (mono_now < end && source->hold.state != HOLD_Z) {
        sql("PRAGMA wal_checkpoint(PASSIVE)"); /* as far as our mark lets it */
        step();
    }
    ck_assert_int_eq(source->hold.state, HOLD_Z);
}
END_TEST

#define POLLS 1000

static struct {
    sqlite3 *checkpointer, *reader;
    sem_t asks, again;
    int code;
    bool done;
} waits;

static int ask_again(void *arg, int count) {
    (void)arg;
    sem_post(&waits.asks);
    sem_wait(&waits.again);
    return count < POLLS;
}

static void *checkpoint(void *arg) {
    (void)arg;
    waits.code =
        sqlite3_wal_checkpoint_v2(waits.checkpointer, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    waits.done = true;
    sem_post(&waits.asks);
    return NULL;
}

static void commit_before_the_begin(const char *where) {
    if (strcmp(where, "before begin") != 0) return;
    hold_gap = NULL;
    sql("INSERT INTO t(b) VALUES ('the mark may be this, or the one before')");
}

static void reader_ends(const char *where) {
    if (strcmp(where, "before begin") != 0) return;
    hold_gap = NULL;
    sql_on(waits.reader, "COMMIT");
}

static void run_until_in(enum hold_state state) {
    for (int i = 0; i < 10000 && source->hold.state != state; i++) {
        if (state == HOLD_Z) sql("PRAGMA wal_checkpoint(PASSIVE)");
        step();
    }
    ck_assert_int_eq(source->hold.state, state);
}

static uint32_t read_mark(int i) {
    return walindex_read_mark(source->live.regions[0], i);
}

/* Two marks may be ours; the first is another's, a TRUNCATE waits for it, and when its reader goes,
 * we are there before the TRUNCATE. */
START_TEST(a_checkpoint_does_not_wait_for_a_mark_that_we_come_to) {
    pthread_t thread;
    run_until_in(HOLD_Z);
    mono_now += SECOND; /* the system may be asked for locks again */
    sem_init(&waits.asks, 0, 0);
    sem_init(&waits.again, 0, 0);
    ck_assert_int_eq(sqlite3_open(db_path, &waits.reader), SQLITE_OK);
    ck_assert_int_eq(sqlite3_open(db_path, &waits.checkpointer), SQLITE_OK);
    sqlite3_busy_handler(waits.checkpointer, ask_again, NULL);
    sql_on(waits.checkpointer, "PRAGMA schema_version");
    sql("INSERT INTO t(b) VALUES ('for the reader')");
    sql_on(waits.reader, "BEGIN; PRAGMA schema_version");
    hold_gap = commit_before_the_begin;
    source->last_refresh = mono_now; /* one move, no other behind it */
    run_until_in(HOLD_M);
    ck_assert_uint_eq(read_mark(1), source->hold.mark_least);
    ck_assert_uint_eq(read_mark(2), source->hold.mark);
    ck_assert_uint_lt(read_mark(1), read_mark(2));
    sql("INSERT INTO t(b) VALUES ('what is to be checkpointed')");
    ck_assert_int_eq(pthread_create(&thread, NULL, checkpoint, NULL), 0);
    hold_gap = reader_ends;
    for (sem_wait(&waits.asks); !waits.done; sem_wait(&waits.asks)) {
        step();
        sem_post(&waits.again);
    }
    pthread_join(thread, NULL);
    ck_assert_int_eq(waits.code, SQLITE_OK);
    sqlite3_close(waits.reader);
    sqlite3_close(waits.checkpointer);
}
END_TEST

int main(void) {
    Suite *s = suite_create("source/hold");
    TCase *t = tcase_create("hold");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_commit_beside_a_move_does_not_keep_us_from_rest);
    tcase_add_test(t, a_checkpoint_does_not_wait_for_a_mark_that_we_come_to);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
