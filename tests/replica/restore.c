/* Restore: what comes back is what was there, byte for byte, or nothing does. */
#include "history.h"

#include "fixtures.h"
#include "stores/stores.h"

#include <sys/wait.h>

static struct env *env;
static struct store *store;
static struct history h;
static char dir[TEMP_PATH], base_path[TEMP_PATH + 8];

static void setup(void) {
    struct err err;
    ck_assert_int_eq(env_new_system(1, &env, &err).code, RC_OK);
    ck_assert_int_eq(store_new_mem(env, &store, &err).code, RC_OK);
    temp_dir(dir);
    snprintf(base_path, sizeof base_path, "%s/base", dir);
}

static void teardown(void) {
    history_deinit(&h);
    store_free(store);
    env_free_system(env);
}

static rc restore_to(const char *path, struct target t, struct err *e) {
    struct restore_options o = {.target = t};
    struct restore_result r;
    return replica_restore(store, path, &o, &r, e);
}

/* ---- states ---- */

static const uint32_t page_sizes[] = {512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};

START_TEST(every_state_comes_back_at_every_page_size) {
    history_make(&h, page_sizes[_i], 13, 100 + (uint64_t)_i);
    h.frames = _i % 2;
    h.foreign = _i % 4 > 1;
    history_put_all(&h, store);
    for (uint64_t txid = 1; txid <= 13; txid++) {
        struct restore_options o = {.target.txid = txid, .parallel = (int)(txid % 3)};
        history_restores(&h, store, &o, txid);
        o.target = (struct target){.time_ms = history_time(0, txid) + 1};
        history_restores(&h, store, &o, txid);
    }
    history_restores(&h, store, &(struct restore_options){0}, 13);
}
END_TEST

/* Random histories, with what retention leaves over; the states are those that can be planned. */
START_TEST(random_histories_come_back) {
    history_make(&h, 512, 40, (uint64_t)_i + 1);
    for (uint64_t i = 1; i <= 40; i++)
        if (i == 1 || i > 20) history_put(&h, store, 0, i, i);
    for (uint64_t i = 1; i <= 36; i += 4) history_put(&h, store, 1, i, i + 3);
    history_put(&h, store, 2, 1, 12);
    history_put(&h, store, LEVEL_SNAPSHOT, 1, 24);
    for (uint64_t txid = 4; txid <= 40; txid += txid < 20 ? 4 : 1)
        history_restores(&h, store, &(struct restore_options){.target.txid = txid}, txid);
}
END_TEST

START_TEST(a_sum_is_checked_where_one_is_known) {
    struct restore_result r;
    history_make(&h, 512, 6, 9);
    history_put_all(&h, store);
    OK(replica_restore(store, below(dir, "a"), &(struct restore_options){0}, &r, e));
    ck_assert(r.sum_checked);
    ck_assert_uint_eq(r.page_count, h.at[6].page_count);
    ck_assert_int_eq(r.time_ms, history_time(0, 6));
    history_step(&h);
    h.sum_unknown = true;
    history_put(&h, store, 0, 7, 7);
    OK(replica_restore(store, below(dir, "b"), &(struct restore_options){0}, &r, e));
    ck_assert(!r.sum_checked);
    history_expect(&h, env, below(dir, "b"), 7);
    history_step(&h);
    h.sum_unknown = false; /* one that is known proves those before as well */
    history_put(&h, store, 0, 8, 8);
    OK(replica_restore(store, below(dir, "c"), &(struct restore_options){0}, &r, e));
    ck_assert(r.sum_checked);
    history_expect(&h, env, below(dir, "c"), 8);
}
END_TEST

/* ---- what Litestream wrote ---- */

static void expect_sha256(const char *path, const char *sum) {
    char command[TEMP_PATH * 3], got[65] = "";
    snprintf(command, sizeof command, "sha256sum '%s'", path);
    FILE *f = popen(command, "r");
    ck_assert(f && fread(got, 1, 64, f) == 64);
    pclose(f);
    ck_assert_str_eq(got, sum);
}

/* The n-th "sha256" of states.json is TXID n's. */
static void sha256_of(const char *states, int txid, char sum[65]) {
    const char *at = states;
    for (int i = 0; i < txid; i++) {
        at = strstr(at, "\"sha256\": \"");
        ck_assert_ptr_nonnull(at);
        at += 11;
    }
    snprintf(sum, 65, "%s", at);
}

static const struct {
    const char *set;
    int first; /* state that it can restore */
} sets[] = {{"v05-real-l0", 1}, {"v05-layered", 2}, {"v05-legacy-frames", 2}};

START_TEST(what_litestream_wrote_comes_back) {
    char states[16384] = "", sum[65];
    temp_dir(dir);
    fixture_copy(sets[_i].set, dir);
    store_free(store);
    OK(store_open(env, below(dir, "replica"), &store, e));
    fixture_read(fixture_path("v05-real-l0/states.json"), states, sizeof states);
    for (int txid = sets[_i].first; txid <= 6; txid++) {
        char name[32];
        snprintf(name, sizeof name, "out-%d", txid);
        OK(restore_to(below(dir, name), (struct target){.txid = (uint64_t)txid}, e));
        sha256_of(states, txid, sum);
        expect_sha256(below(dir, name), sum);
    }
    OK(restore_to(below(dir, "tip"), (struct target){0}, e));
    expect_sha256(below(dir, "tip"), sum);
}
END_TEST

/* cp without -p: all times are those of the copy. The headers still know. */
START_TEST(times_survive_a_copy_that_loses_them) {
    char command[TEMP_PATH * 4], states[16384] = "", sum[65];
    fixture_copy("v05-layered", dir);
    snprintf(command, sizeof command, "cp -r '%s/replica' '%s/copy'", dir, dir);
    ck_assert_int_eq(system(command), 0);
    store_free(store);
    OK(store_open(env, below(dir, "copy"), &store, e));
    fixture_read(fixture_path("v05-real-l0/states.json"), states, sizeof states);
    for (int txid = 3; txid <= 6; txid++) {
        char name[32];
        snprintf(name, sizeof name, "out-%d", txid);
        OK(restore_to(below(dir, name), (struct target){.time_ms = T0 + 1000 * txid + 1}, e));
        sha256_of(states, txid, sum);
        expect_sha256(below(dir, name), sum);
    }
    CODE(restore_to(below(dir, "none"), (struct target){.time_ms = T0 + 2500}, e), RC_NOTFOUND);
    says("no backup for that time: the first is of 2026-09-21T14:13:22.500Z");
    OK(restore_to(below(dir, "two"), (struct target){.time_ms = T0 + 3000},
                  e)); /* strictly before */
    sha256_of(states, 2, sum);
    expect_sha256(below(dir, "two"), sum);
}
END_TEST

/* ---- the lock page ---- */

#define BIG 65536u
#define LOCK 16385u
#define FIRST "ltx/0/0000000000000001-0000000000000001.ltx"

static void put_page(struct ltx_writer *w, uint32_t pgno, uint64_t *sum) {
    static uint8_t page[BIG];
    memset(page, 0, BIG);
    put_u32be(page, pgno);
    OK(ltx_writer_page(w, pgno, page, e));
    if (sum) *sum += page_sum(pgno, page, BIG);
}

/* A database of a little more than 1 GiB, nearly all of it zeros. */
static void put_over_a_gigabyte(uint32_t last) {
    static uint8_t page[BIG];
    struct buf file;
    struct ltx_writer w;
    uint64_t sum = 0, checksum, size;
    for (uint32_t p = 1; p <= last; p++) {
        put_u32be(page, p);
        if (p != LOCK) sum += page_sum(p, page, BIG);
    }
    struct ltx_header header = {.page_size = BIG,
                                .commit = last,
                                .min_txid = 1,
                                .max_txid = 1,
                                .chain = {.present = true, .sum = sum}};
    buf_init(&file, 64u << 20);
    OK(ltx_writer_init(&w, &header, LTX_BLOCKS, history_sink, &file, e));
    for (uint32_t p = 1; p <= last; p++)
        if (p != LOCK) put_page(&w, p, NULL);
    OK(ltx_writer_finish(&w, &checksum, &size, e));
    ltx_writer_deinit(&w);
    OK(store->ops->put(store, FIRST, file.bytes, file.size, T0, e));
    buf_deinit(&file);
}

START_TEST(the_lock_page_is_zero) {
    static uint8_t page[BIG];
    struct file *f;
    uint64_t size;
    put_over_a_gigabyte(LOCK + 2);
    OK(restore_to(below(dir, "big"), (struct target){0}, e));
    OK(env->files->open(env, below(dir, "big"), FILE_READ, &f, e));
    OK(env->files->size(env, f, &size, e));
    ck_assert_uint_eq(size, (uint64_t)(LOCK + 2) * BIG);
    for (uint32_t p = LOCK - 1; p <= LOCK + 2; p++) {
        OK(env->files->read(env, f, (uint64_t)(p - 1) * BIG, page, BIG, e));
        ck_assert_uint_eq(get_u32be(page), p == LOCK ? 0 : p);
    }
    env->files->close(env, f);
    ck_assert_int_eq(unlink(below(dir, "big")), 0);
}
END_TEST

/* The sum is the same with the lock page at the end and without it: one flipped bit of the
 * header. */
START_TEST(a_database_does_not_grow_by_the_lock_page) {
    struct object_info info;
    put_over_a_gigabyte(LOCK - 1);
    OK(store->ops->stat(store, FIRST, &info, e));
    uint8_t *bytes = malloc(info.size_bytes);
    OK(store->ops->get(store, FIRST, 0, bytes, info.size_bytes, e));
    bytes[15] ^= 1;
    OK(store->ops->put_note(store, FIRST, bytes, info.size_bytes, e));
    free(bytes);
    CODE(restore_to(below(dir, "big"), (struct target){0}, e), RC_CORRUPT);
    says(FIRST);
    ck_assert_int_eq(entries_of(env, dir), 0);
}
END_TEST

/* ---- refusals before anything is read ---- */

static int asked;

static enum fault count_asked(void *arg, const char *op, const char *key) {
    (void)arg, (void)op, (void)key;
    asked++;
    return FAULT_NONE;
}

static const struct {
    const char *in_the_way, *words;
} ways[] = {{"out", "out exists already"},
            {"out-wal", "out-wal is left over"},
            {"out-shm", "out-shm is left over"},
            {"out-journal", "out-journal is left over"}};

START_TEST(what_is_in_the_way_is_refused_before_anything_is_read) {
    struct store *counting;
    history_make(&h, 512, 3, 1);
    history_put_all(&h, store);
    OK(store_new_fault(store, count_asked, NULL, &counting, e));
    store = counting;
    fclose(fopen(below(dir, ways[_i].in_the_way), "w"));
    CODE(restore_to(below(dir, "out"), (struct target){0}, e), RC_CONFLICT);
    says(ways[_i].words);
    ck_assert_int_eq(asked, 0);
    ck_assert_int_eq(entries_of(env, dir), 1);
}
END_TEST

/* RC_NOTFOUND would mean that there is no backup, and -if-replica-exists would call that
 * success. */
START_TEST(an_output_that_cannot_be_made_is_not_called_a_missing_backup) {
    history_make(&h, 512, 3, 1);
    history_put_all(&h, store);
    CODE(restore_to(below(dir, "none/out"), (struct target){0}, e), RC_IO);
    says("none");
    struct restore_options o = {.base_path = below(dir, "nobase"), .base_txid = 2};
    struct restore_result r;
    CODE(replica_restore(store, below(dir, "out"), &o, &r, e), RC_IO);
    says("nobase");
    ck_assert_int_eq(entries_of(env, dir), 0);
}
END_TEST

START_TEST(an_empty_replica_is_not_found) {
    CODE(restore_to(below(dir, "out"), (struct target){0}, e), RC_NOTFOUND);
    says("no backup at");
    OK(store->ops->put(store, "ltx/0/notes.txt", "x", 1, 0, e)); /* not ours */
    OK(store->ops->put(store, "ltx/0/0000000000000001-0000000000000001.LTX", "x", 1, 0, e));
    CODE(restore_to(below(dir, "out"), (struct target){0}, e), RC_NOTFOUND);
    ck_assert_int_eq(entries_of(env, dir), 0);
}
END_TEST

START_TEST(a_cancelled_restore_leaves_nothing) {
    struct progress p = {0};
    struct restore_options o = {.progress = &p};
    struct restore_result r;
    history_make(&h, 512, 3, 1);
    history_put_all(&h, store);
    atomic_store(&p.cancel, true);
    CODE(replica_restore(store, below(dir, "out"), &o, &r, e), RC_CANCELLED);
    ck_assert_int_eq(entries_of(env, dir), 0);
    atomic_store(&p.cancel, false);
    OK(replica_restore(store, below(dir, "out"), &o, &r, e));
    ck_assert_int_eq(atomic_load(&p.phase), 4);
    ck_assert_uint_eq(atomic_load(&p.bytes_done), atomic_load(&p.bytes_total));
    ck_assert_uint_gt(atomic_load(&p.bytes_total), 0);
}
END_TEST

/* ---- from a base ---- */

static void write_base(uint64_t txid) {
    struct file *f;
    const struct moment *m = &h.at[txid];
    m->bytes[16] = (uint8_t)(h.page_size >> 8); /* as SQLite says it */
    m->bytes[17] = (uint8_t)h.page_size;
    OK(env->files->open(env, base_path, FILE_CREATE, &f, e));
    OK(env->files->truncate(env, f, 0, e));
    OK(env->files->write(env, f, 0, m->bytes, (size_t)m->page_count * h.page_size, e));
    env->files->close(env, f);
}

/* All states with the page size where SQLite has it. */
static void make_databases(int count, uint64_t seed) {
    history_make(&h, 512, count, seed);
    for (int i = 1; i <= count; i++) {
        h.at[i].bytes[16] = 2;
        h.at[i].bytes[17] = 0;
        h.at[i].sum = history_sum(&h, &h.at[i]);
    }
}

START_TEST(a_base_saves_what_it_holds) {
    struct restore_result r, full;
    make_databases(12, (uint64_t)_i + 50);
    history_put_all(&h, store);
    OK(replica_restore(store, below(dir, "full"), &(struct restore_options){0}, &full, e));
    for (uint64_t base = 1; base <= 12; base++) {
        struct restore_options o = {.base_path = base_path, .base_txid = base};
        write_base(base);
        OK(replica_restore(store, below(dir, "out"), &o, &r, e));
        history_expect(&h, env, below(dir, "out"), 12);
        ck_assert(r.sum_checked);
        if (base >= 9 && _i == 0) /* not always: unwanted bytes in a gap are fetched, too */
            ck_assert_uint_lt(r.bytes_fetched, full.bytes_fetched);
        ck_assert_int_eq(unlink(below(dir, "out")), 0);
    }
}
END_TEST

START_TEST(a_base_that_is_not_what_it_was_taken_for_is_found) {
    struct restore_result r;
    make_databases(9, 77);
    history_put_all(&h, store);
    struct restore_options o = {.base_path = base_path, .base_txid = 8};
    h.at[8].bytes[100] ^= 1;
    write_base(8);
    /* if TXID 9 writes page 1 anew, all is well again; so spoil another as well */
    for (uint32_t p = 2; p <= h.at[8].page_count; p++)
        if (!h.at[9].touched[p]) h.at[8].bytes[(p - 1) * 512] ^= 1;
    write_base(8);
    CODE(replica_restore(store, below(dir, "out"), &o, &r, e), RC_CORRUPT);
    says("perhaps the local state is not what it was taken for");
    ck_assert_int_eq(entries_of(env, dir), 1);
}
END_TEST

START_TEST(nothing_is_taken_from_a_base_that_no_sum_could_prove) {
    struct restore_result r;
    make_databases(9, 78);
    h.foreign = true;
    history_put_all(&h, store);
    struct restore_options o = {.base_path = base_path, .base_txid = 8};
    h.at[8].bytes[100] ^= 1;
    write_base(8);
    OK(replica_restore(store, below(dir, "out"), &o, &r, e));
    history_expect(&h, env, below(dir, "out"), 9);
}
END_TEST

int main(void) {
    Suite *s = suite_create("restore");
    TCase *t = tcase_create("restore");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    ADD_ROWS(t, every_state_comes_back_at_every_page_size, page_sizes);
    tcase_add_loop_test(t, random_histories_come_back, 0, 20);
    tcase_add_test(t, a_sum_is_checked_where_one_is_known);
    ADD_ROWS(t, what_litestream_wrote_comes_back, sets);
    tcase_add_test(t, times_survive_a_copy_that_loses_them);
    tcase_add_test(t, the_lock_page_is_zero);
    tcase_add_test(t, a_database_does_not_grow_by_the_lock_page);
    ADD_ROWS(t, what_is_in_the_way_is_refused_before_anything_is_read, ways);
    tcase_add_test(t, an_output_that_cannot_be_made_is_not_called_a_missing_backup);
    tcase_add_test(t, an_empty_replica_is_not_found);
    tcase_add_test(t, a_cancelled_restore_leaves_nothing);
    tcase_add_loop_test(t, a_base_saves_what_it_holds, 0, 4);
    tcase_add_test(t, a_base_that_is_not_what_it_was_taken_for_is_found);
    tcase_add_test(t, nothing_is_taken_from_a_base_that_no_sum_could_prove);
    suite_add_tcase(s, t);
    return run_suite(s);
}
