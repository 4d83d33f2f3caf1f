/* The hold beside others, stepped by hand: a commit or a checkpoint of theirs in a gap between two
 * of its moves. */
#include "stepped.h"

#include <pthread.h>

static void setup(void) {
    struct source_options options = {.verify_ms = -1, .wake = on_wake};
    struct store *replica;
    stepped_setup(2);
    must(store_new_mem(&env, &replica, &err));
    must(source_open(&source, &env, db_path, &options, &err));
    must(source_add(source, replica, &err));
    run_until_shipped();
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
    int64_t end = mono_now + 60 * SECOND;
    while (mono_now < end && hold_gap) must(step());
    ck_assert(!hold_gap);
    end = mono_now + 5 * SECOND;
    while (mono_now < end && source->hold.state != HOLD_Z) {
        sql("PRAGMA wal_checkpoint(PASSIVE)"); /* as far as our mark lets it */
        must(step());
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
        must(step());
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
        must(step());
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
    return run_suite(s);
}
