/* What a source does not know it must not take for known: whether an object was put, who went on
 * behind a tail that it had seen. */
#include "stepped.h"

#include "replica/notes.h"

static struct store *replica;
static enum fault (*trouble)(const char *op, const char *key);
static struct store_ops ops; /* of the replica */
static rc (*put)(struct store *, const char *, const void *, size_t, int64_t, struct err *);
static int lost;

static enum fault decide(void *arg, const char *op, const char *key) {
    (void)arg;
    return trouble ? trouble(op, key) : FAULT_NONE;
}

static void keep(struct store *s) {
    (void)s; /* one replica for all lives */
}

static void setup(void) {
    stepped_setup(2);
    must(store_new_mem(&env, &replica, &err));
    ops = *replica->ops;
    ops.free = keep;
    put = ops.put;
    replica->ops = &ops;
}

static void start(bool take_over) {
    struct source_options options = {.verify_ms = -1, .take_over = take_over, .wake = on_wake};
    struct store *faulty;
    must(source_open(&source, &env, db_path, &options, &err));
    must(store_new_fault(replica, decide, NULL, &faulty, &err));
    must(source_add(source, faulty, &err));
}

static void run_for(int64_t ns) {
    for (int64_t end = mono_now + ns; mono_now < end;) must(step());
}

static enum fault lose_a_compaction(const char *op, const char *key) {
    bool first = strcmp(op, "put") == 0 && strstr(key, "ltx/1/") && lost++ == 0;
    return first ? FAULT_LOSE_REPLY : FAULT_NONE;
}

/* As a directory whose sync fails, behind the object's name. */
static rc put_and_fail(struct store *s, const char *key, const void *bytes, size_t n,
                       int64_t time_ms, struct err *e) {
    rc r = put(s, key, bytes, n, time_ms, e);
    return is_ok(r) && strstr(key, "ltx/1/") && lost++ == 0 ? err_set(e, RC_IO, "%s", key) : r;
}

/* Under another name the first would be left beside it, unknown to retention. */
START_TEST(a_compaction_that_may_be_there_is_put_again_by_its_name) {
    struct listing files = {0};
    start(false);
    run_until_shipped();
    run_for(60 * SECOND);
    if (_i) ops.put = put_and_fail;
    else trouble = lose_a_compaction;
    sql("INSERT INTO t(b) VALUES ('one')");
    while (!lost) must(step());
    sql("INSERT INTO t(b) VALUES ('two')");
    run_for(120 * SECOND);
    ck_assert_int_ge(lost, 2);
    must(replica_list(replica, &files, NULL, &err));
    for (size_t i = 1; i < files.count; i++) {
        const struct replica_file *f = &files.files[i], *before = f - 1;
        if (f->level == 1 && before->level == 1)
            ck_assert_uint_eq(f->min_txid, before->max_txid + 1);
    }
    listing_deinit(&files);
    stop();
}
END_TEST

static char late_key[KEY_SIZE];
static struct buf late;
static bool next_life;

/* What a run had sent when it was killed comes when the next has read the replica. */
static rc put_late(struct store *s, const char *key, const void *bytes, size_t n, int64_t time_ms,
                   struct err *e) {
    if (!next_life && strstr(key, "ltx/1/")) { /* also when it is sent again */
        if (!late_key[0]) buf_put(&late, bytes, n);
        snprintf(late_key, sizeof late_key, "%s", key);
        return err_set(e, RC_TIMEOUT, "%s", key);
    }
    if (next_life && late.size) TRY(put(s, late_key, late.bytes, late.size, time_ms, e));
    if (next_life) buf_clear(&late);
    return put(s, key, bytes, n, time_ms, e);
}

static void start_quick(void) {
    start(false);
    source->opt.level_ms[1] = 2000;
    source->opt.snapshot_ms = 20000;
    source->opt.retention = (struct retention){1000, 30000};
}

START_TEST(what_comes_late_from_one_that_was_killed_goes_with_its_neighbours) {
    struct object_info info;
    struct verify_result whole;
    buf_init(&late, 1u << 20);
    late_key[0] = 0;
    next_life = false;
    ops.put = put_late;
    start_quick();
    while (!late_key[0]) {
        sql("INSERT INTO t(b) VALUES ('one')");
        run_for(SECOND);
    }
    stop();
    next_life = true;
    start_quick();
    for (int i = 0; i < 20; i++) {
        sql("INSERT INTO t(b) VALUES ('two')");
        run_for(5 * SECOND);
        if (i == 0) must(replica->ops->stat(replica, late_key, &info, &err));
    }
    must(replica_verify(replica, 1, NULL, &whole, &err));
    ck_assert_int_eq(replica->ops->stat(replica, late_key, &info, &err).code, RC_NOTFOUND);
    stop();
    buf_deinit(&late);
}
END_TEST

static enum fault no_put(const char *op, const char *key) {
    (void)key;
    return strcmp(op, "put") == 0 ? FAULT_FAIL : FAULT_NONE;
}

static enum fault no_put_nor_note(const char *op, const char *key) {
    return strcmp(op, "put_note") == 0 ? FAULT_FAIL : no_put(op, key);
}

/* A copy of the database, with an application and a source of its own; its turn, or the
 * original's. */
static void change_sides(void) {
    static struct source *other_source;
    static sqlite3 *other_app;
    static char other_path[sizeof db_path];
    char path[sizeof db_path], command[4 * sizeof db_path];
    if (!other_path[0]) {
        snprintf(other_path, sizeof other_path, "%.*s-copy", (int)sizeof db_path - 8, db_path);
        snprintf(command, sizeof command, "cp %s %s", db_path, other_path);
        ck_assert_int_eq(system(command), 0);
        ck_assert_int_eq(sqlite3_open(other_path, &other_app), SQLITE_OK);
    }
    struct source *s = source;
    sqlite3 *a = app;
    memcpy(path, db_path, sizeof path);
    source = other_source;
    app = other_app;
    memcpy(db_path, other_path, sizeof path);
    other_source = s;
    other_app = a;
    memcpy(other_path, path, sizeof path);
}

/* The run that was to be replaced lives on, and ships what the copy has never seen: that the copy's
 * run had proven an earlier object of it says nothing about that. */
START_TEST(who_died_before_its_fence_has_proven_nothing_that_came_later) {
    sql("INSERT INTO t(b) VALUES ('both have it'); PRAGMA wal_checkpoint(TRUNCATE)");
    start(false);
    run_until_shipped();
    change_sides();
    trouble = no_put;
    start(true);
    for (int i = 0; i < 1000 && source->dest[0].attempts == 0; i++) must(step());
    ck_assert_int_eq(source->dest[0].class, CLASS_EQUAL);
    stop();
    trouble = NULL;
    change_sides();
    uint64_t before = source->dest[0].txid;
    sql("INSERT INTO t(b) VALUES ('acknowledged')");
    run_for(5 * SECOND);
    ck_assert_uint_gt(source->dest[0].txid, before);
    change_sides();
    sql("INSERT INTO t(b) VALUES ('of the copy'); PRAGMA wal_checkpoint(TRUNCATE)");
    start(true);
    rc r = ok();
    for (int i = 0; is_ok(r) && !shipped() && i < 10000; i++) r = step();
    ck_assert_msg(r.code == RC_CONFLICT, "%s", is_ok(r) ? "it went on" : err.text);
    stop();
    change_sides();
    stop();
}
END_TEST

/* It was told to adopt, and died before it had pinned what it was to turn away from. The next goes
 * on with it, and pins that. */
START_TEST(who_died_while_it_adopted_leaves_the_pin_to_the_next) {
    uint64_t *pins = NULL;
    size_t count;
    sql("INSERT INTO t(b) VALUES ('both have it'); PRAGMA wal_checkpoint(TRUNCATE)");
    start(false);
    run_until_shipped();
    change_sides();
    sql("INSERT INTO t(b) VALUES ('of the copy'); PRAGMA wal_checkpoint(TRUNCATE)");
    change_sides();
    sql("INSERT INTO t(b) VALUES ('acknowledged')");
    run_until_shipped();
    uint64_t tip = source->dest[0].txid;
    stop();
    change_sides();
    trouble = no_put_nor_note;
    start(false);
    source->opt.adopt_local = true;
    for (int i = 0; i < 1000 && source->dest[0].attempts == 0; i++) must(step());
    ck_assert_int_ge(source->dest[0].class, CLASS_BEHIND);
    stop();
    trouble = NULL;
    sql("INSERT INTO t(b) VALUES ('and more'); PRAGMA wal_checkpoint(TRUNCATE)");
    start(false);
    run_until_shipped();
    must(replica_read_pins(replica, &pins, &count, &err));
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(pins[0], tip);
    free(pins);
    stop();
    change_sides();
}
END_TEST

/* A pin is for ever. */
START_TEST(what_is_proven_to_go_on_is_not_pinned) {
    uint64_t *pins = NULL;
    size_t count;
    start(false);
    run_until_shipped();
    stop();
    for (int i = 0; i < 2; i++) {
        sqlite3_close(app); /* and with it the log goes */
        open_app();
        start(false);
        run_until_shipped();
        ck_assert_int_eq(source->dest[0].class, CLASS_EQUAL);
        stop();
    }
    must(replica_read_pins(replica, &pins, &count, &err));
    ck_assert_uint_eq(count, 0);
    free(pins);
}
END_TEST

/* As after a machine that stood still between its reading and its fence, for longer than level 0 is
 * kept. */
START_TEST(a_fence_in_the_middle_of_what_another_shipped_does_not_stand) {
    char key[KEY_SIZE];
    struct object_info info;
    sql("INSERT INTO t(b) VALUES ('both have it'); PRAGMA wal_checkpoint(TRUNCATE)");
    start(false);
    run_until_shipped();
    change_sides();
    start(true);
    for (int i = 0; i < 1000 && source->dest[0].state < DEST_CLASSED; i++) must(step());
    ck_assert_int_eq(source->dest[0].state, DEST_CLASSED);
    change_sides();
    key_of_file(false, 0, source->dest[0].txid + 1, source->dest[0].txid + 1, key);
    for (int i = 0; i < 3; i++) {
        sql("INSERT INTO t(b) VALUES ('acknowledged')");
        run_for(60 * SECOND); /* and it is covered */
    }
    must(replica->ops->remove(replica, key, &err));
    change_sides();
    rc r = ok();
    for (int i = 0; is_ok(r) && !shipped() && i < 10000; i++) r = step();
    ck_assert_msg(r.code == RC_BEHIND, "%s", is_ok(r) ? "it went on" : err.text);
    ck_assert_int_eq(replica->ops->stat(replica, key, &info, &err).code, RC_NOTFOUND);
    stop();
    change_sides();
    stop();
}
END_TEST

/* A store that loses its newest object: the run file says that it was acknowledged, and what it
 * held is in no later commit. */
START_TEST(what_the_store_has_lost_of_the_run_before_is_shipped_again) {
    char key[KEY_SIZE];
    struct verify_result whole;
    start(false);
    run_until_shipped();
    run_for(SECOND);
    sql("PRAGMA wal_checkpoint(PASSIVE)");
    run_for(SECOND);
    sql("CREATE TABLE lost(b); INSERT INTO lost VALUES (randomblob(9000))");
    run_for(5 * SECOND);
    uint64_t txid = source->dest[0].txid;
    ck_assert_uint_ne(source->pos.salt[0], source->start.header.salt[0]); /* in a log of its own */
    stop();
    key_of_file(false, 0, txid, txid, key);
    must(replica->ops->remove(replica, key, &err));
    sql("INSERT INTO t(b) VALUES ('on another page')");
    start(false);
    run_until_shipped();
    must(replica_verify(replica, 1, NULL, &whole, &err));
    stop();
}
END_TEST

static bool last_frame_is_blank(void) {
    struct wal_frame_header h;
    must(live_frame_header(&source->live, source->pos.frame_count, &h, &err));
    return !(h.checksum[0] | h.checksum[1]);
}

/* SQLite 3.40.1 leaves frames without salts and checksum when a savepoint is rolled back after the
 * cache has spilled pages twice, all of them beyond what the commit leaves. _i: commits behind it
 * before the next start. */
START_TEST(a_frame_without_a_checksum_is_no_fork) {
    struct verify_result whole;
    sql("PRAGMA cache_size = 5; INSERT INTO t(b) VALUES ('before')");
    start(false);
    run_until_shipped();
    sql("BEGIN IMMEDIATE; SAVEPOINT a;"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
        " INSERT INTO t(b) SELECT randomblob(3000) FROM n;"
        "UPDATE t SET b = randomblob(3000) WHERE id > 150;"
        "ROLLBACK TO a; INSERT INTO t(b) VALUES ('the only row'); COMMIT");
    run_for(2 * SECOND);
    if (sqlite3_libversion_number() == 3040001) ck_assert(last_frame_is_blank());
    stop();
    for (int i = 0; i < _i; i++) sql("INSERT INTO t(b) VALUES ('behind it')");
    start(false);
    run_until_shipped();
    must(replica_verify(replica, 1, NULL, &whole, &err));
    stop();
}
END_TEST

static sem_t held, go_on;
static bool fenced, was_held;

static enum fault hold_the_list_after_the_fence(const char *op, const char *key) {
    if (strcmp(op, "put") == 0 && strstr(key, "ltx/0/")) fenced = true;
    if (strcmp(op, "list") != 0 || !fenced || was_held) return FAULT_NONE;
    was_held = true;
    sem_post(&held);
    sem_wait(&go_on);
    return FAULT_NONE;
}

/* Two begin at once. The second has read the first one's fence, and builds on it, before the first
 * asks whether that is the last. */
START_TEST(a_fence_on_which_another_builds_is_not_taken_away) {
    struct verify_result whole;
    int64_t due;
    sem_init(&held, 0, 0);
    sem_init(&go_on, 0, 0);
    fenced = was_held = false;
    sql("INSERT INTO t(b) VALUES ('both have it'); PRAGMA wal_checkpoint(TRUNCATE)");
    start(false);
    run_until_shipped();
    stop();
    change_sides();
    trouble = hold_the_list_after_the_fence;
    start(true);
    while (source->dest[0].state != DEST_FENCING) {
        must(step_once(&due));
        if (source->dest[0].state == DEST_FENCING) break;
        if (busy()) sem_wait(&woken);
        else if (due > mono_now) mono_now = due;
    }
    sem_wait(&held);
    change_sides();
    sql("INSERT INTO t(b) VALUES ('acknowledged')");
    start(true);
    run_until_shipped();
    uint64_t txid = source->dest[0].txid;
    change_sides();
    sem_post(&go_on);
    rc r = ok();
    for (int i = 0; is_ok(r) && !shipped() && i < 10000; i++) r = step();
    ck_assert_msg(r.code == RC_BEHIND, "%s", is_ok(r) ? "it went on" : err.text);
    must(replica_verify(replica, 1, NULL, &whole, &err));
    ck_assert_uint_eq(whole.txid, txid);
    trouble = NULL;
    stop();
    change_sides();
    stop();
}
END_TEST

int main(void) {
    Suite *s = suite_create("unknown");
    TCase *t = tcase_create("unknown");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_loop_test(t, a_compaction_that_may_be_there_is_put_again_by_its_name, 0, 2);
    tcase_add_test(t, what_comes_late_from_one_that_was_killed_goes_with_its_neighbours);
    tcase_add_test(t, who_died_before_its_fence_has_proven_nothing_that_came_later);
    tcase_add_test(t, who_died_while_it_adopted_leaves_the_pin_to_the_next);
    tcase_add_test(t, what_is_proven_to_go_on_is_not_pinned);
    tcase_add_test(t, what_the_store_has_lost_of_the_run_before_is_shipped_again);
    tcase_add_loop_test(t, a_frame_without_a_checksum_is_no_fork, 0, 3);
    tcase_add_test(t, a_fence_in_the_middle_of_what_another_shipped_does_not_stand);
    tcase_add_test(t, a_fence_on_which_another_builds_is_not_taken_away);
    suite_add_tcase(s, t);
    return run_suite(s);
}
