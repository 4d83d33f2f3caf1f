/* What a level lacks: a file of levels 1..3 holds all that has changed since the level's last one,
 * whatever became of that, and whatever retention took meanwhile. */
#include "stepped.h"

#include "replica/notes.h"

static struct store *replica;
static struct store_ops ops; /* of the replica */
static rc (*get)(struct store *, const char *, uint64_t, void *, size_t, struct err *);
static char bent_level[8];
static int bent;

static void keep(struct store *s) {
    (void)s; /* one replica for all lives */
}

/* The first object of a level is read back with another byte than it was written with. */
static rc get_bent(struct store *s, const char *key, uint64_t at, void *buf, size_t n,
                   struct err *e) {
    TRY(get(s, key, at, buf, n, e));
    if (*bent_level && strstr(key, bent_level) && bent++ == 0) *(uint8_t *)buf ^= 1;
    return ok();
}

static struct source_options options;

static void setup(void) {
    stepped_setup(2);
    must(store_new_mem(&env, &replica, &err));
    ops = *replica->ops;
    ops.free = keep;
    get = ops.get;
    ops.get = get_bent;
    replica->ops = &ops;
    options = (struct source_options){
        .verify_ms = -1, .level_ms = {0, 2000, 4000, 8000}, .snapshot_ms = 60000, .wake = on_wake};
}

static void start(void) {
    must(source_open(&source, &env, db_path, &options, &err));
    must(source_add(source, replica, &err));
    run_until_shipped();
}

static void run_for(int64_t ns) {
    for (int64_t end = mono_now + ns; mono_now < end;) must(step());
}

static uint64_t newest(int level) {
    struct listing files = {0};
    uint64_t txid = 0;
    must(replica_list(replica, &files, NULL, &err));
    for (size_t i = 0; i < files.count; i++)
        if (files.files[i].level == level && files.files[i].max_txid > txid)
            txid = files.files[i].max_txid;
    listing_deinit(&files);
    return txid;
}

/* Pages that no later commit touches. */
static void commit_alone(void) {
    sql("CREATE TABLE alone(b); INSERT INTO alone VALUES (randomblob(9000))");
}

START_TEST(what_was_read_back_with_other_bytes_is_in_the_next_file_of_its_level) {
    struct verify_result whole;
    start();
    run_for(10 * SECOND);
    snprintf(bent_level, sizeof bent_level, "ltx/%d/", _i);
    commit_alone();
    while (!bent) must(step());
    uint64_t before = newest(_i);
    sql("INSERT INTO t(b) VALUES ('on another page')");
    run_for(30 * SECOND);
    ck_assert_uint_gt(newest(_i), before);
    must(replica_verify(replica, 1, NULL, &whole, &err));
    stop();
}
END_TEST

/* Nothing is written after it. */
START_TEST(a_first_snapshot_that_was_read_back_with_other_bytes_is_made_again) {
    snprintf(bent_level, sizeof bent_level, "ltx/%d/", LEVEL_SNAPSHOT);
    start();
    run_for(10 * SECOND);
    ck_assert_int_ge(bent, 2);
    ck_assert_uint_eq(source->dest[0].level_max[LEVEL_SNAPSHOT], source->dest[0].txid);
    stop();
}
END_TEST

/* Level 2 comes seldom and snapshots come often: what lay between them was taken before level 2 had
 * it. A pin still builds on the last file that it has. */
START_TEST(what_a_snapshot_led_over_is_in_the_next_file_of_a_level) {
    struct verify_result whole;
    start();
    while (!newest(2)) {
        sql("INSERT INTO t(b) VALUES ('one')");
        run_for(2 * SECOND);
    }
    stop();
    uint64_t before = newest(2);
    must(replica_pin(replica, before, "test", &err));
    options.level_ms[2] = options.level_ms[3] = 3600000;
    options.snapshot_ms = 10000;
    options.retention = (struct retention){1000, 20000};
    start();
    commit_alone();
    for (int i = 0; i < 30; i++) {
        sql("INSERT INTO t(b) VALUES ('two')");
        run_for(3 * SECOND);
    }
    stop();
    ck_assert_uint_eq(newest(2), before);
    options.level_ms[2] = 2000;
    start();
    sql("INSERT INTO t(b) VALUES ('three')");
    while (newest(2) == before) must(step());
    must(replica_verify(replica, 1, NULL, &whole, &err));
    stop();
}
END_TEST

int main(void) {
    Suite *s = suite_create("source/levels");
    TCase *t = tcase_create("levels");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_loop_test(t, what_was_read_back_with_other_bytes_is_in_the_next_file_of_its_level, 1,
                        4);
    tcase_add_test(t, a_first_snapshot_that_was_read_back_with_other_bytes_is_made_again);
    tcase_add_test(t, what_a_snapshot_led_over_is_in_the_next_file_of_a_level);
    suite_add_tcase(s, t);
    return run_suite(s);
}
