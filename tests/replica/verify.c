/* Verification, beyond what damage.c does to small replicas: large files, large states, other
 * readers' files, and what it says it could not check. */
#include "history.h"

#include "fixtures.h"
#include "replica/state.h"
#include "stores/stores.h"

static struct env *env;
static struct store *store;
static struct history h;
static char dir[TEMP_PATH];

static void setup(void) {
    struct err err;
    ck_assert_int_eq(env_new_system(1, &env, &err).code, RC_OK);
    ck_assert_int_eq(store_new_mem(env, &store, &err).code, RC_OK);
    temp_dir(dir);
}

static void teardown(void) {
    history_deinit(&h);
    store_free(store);
    env_free_system(env);
}

/* ---- states ---- */

#define MANY 2200000u /* pages: more than the entries that are kept in memory */

static uint64_t sum_of(uint32_t pgno, uint64_t txid) {
    return (pgno + txid * 1000003) * 0x9e3779b97f4a7c15u;
}

/* Every `step`-th page is what file `txid` makes it. */
static void apply(struct state *s, uint64_t txid, uint32_t commit, uint32_t step, uint64_t sum) {
    struct ltx_header header = {.page_size = 1024,
                                .commit = commit,
                                .min_txid = txid,
                                .max_txid = txid,
                                .chain = {.present = true, .sum = sum}};
    OK(state_apply_begin(s, &header, e));
    for (uint32_t p = step; p <= commit; p += step)
        if (p != ltx_lock_page(1024)) OK(state_apply_page(s, p, sum_of(p, txid), e));
    OK(state_apply_end(s, e));
}

static uint64_t expected(uint32_t commit, uint32_t step) {
    uint64_t sum = 0;
    for (uint32_t p = 1; p <= commit; p++)
        if (p != ltx_lock_page(1024)) sum += sum_of(p, step && p % step == 0 ? 2 : 1);
    return sum;
}

START_TEST(a_state_larger_than_memory_is_the_same_state) {
    struct state *s = malloc(sizeof *s);
    struct ltx_header both = {.page_size = 1024, .commit = MANY, .min_txid = 2, .max_txid = 2};
    state_init(s, env);
    apply(s, 1, MANY, 1, expected(MANY, 0));
    apply(s, 2, MANY, 7001, expected(MANY, 7001));
    ck_assert_uint_eq(s->links_checked, 2);
    ck_assert_ptr_nonnull(s->file);
    OK(state_compare_begin(s, &both, e));
    for (uint32_t p = 7001; p <= MANY; p += 7001) OK(state_compare_page(s, p, sum_of(p, 2), e));
    OK(state_compare_end(s, e));
    OK(state_compare_begin(s, &both, e));
    CODE(state_compare_page(s, MANY, sum_of(MANY, 2), e), RC_CORRUPT); /* is as in TXID 1 */
    OK(state_compare_begin(s, &both, e));
    for (uint32_t p = 7001; p + 7001 <= MANY; p += 7001)
        OK(state_compare_page(s, p, sum_of(p, 2), e));
    CODE(state_compare_end(s, e), RC_CORRUPT);
    says("lacks page 2198314");                 /* the last one, which is in the file part */
    apply(s, 3, 5000, 5001, expected(5000, 0)); /* and shrinks */
    ck_assert_uint_eq(s->links_checked, 3);
    state_deinit(s);
    free(s);
}
END_TEST

START_TEST(a_page_from_nowhere_is_found) {
    struct state *s = malloc(sizeof *s);
    struct ltx_header header = {.page_size = 1024, .commit = 3, .min_txid = 1, .max_txid = 2};
    state_init(s, env);
    OK(state_apply_begin(s, &header, e));
    OK(state_apply_page(s, 1, 5, e));
    OK(state_apply_page(s, 3, 5, e));
    CODE(state_apply_end(s, e), RC_CORRUPT);
    says("page 2 of its 3 is neither in it nor in a file before");
    state_deinit(s);
    free(s);
}
END_TEST

/* ---- replicas ---- */

START_TEST(large_files_are_streamed_and_small_ones_decoded_ahead) {
    struct verify_result v;
    struct progress p = {0};
    struct object_info info;
    history_make(&h, 65536, 0, 3);
    h.dense = true;
    for (int i = 0; i < 4; i++) history_step(&h);
    while (h.at[h.count].page_count < 70) history_step(&h);
    uint64_t tip = (uint64_t)h.count;
    for (uint64_t i = 1; i <= tip; i++) history_put(&h, store, 0, i, i);
    history_put(&h, store, LEVEL_SNAPSHOT, 1, tip);
    char key[KEY_SIZE];
    key_of_file(false, LEVEL_SNAPSHOT, 1, tip, key);
    OK(store->ops->stat(store, key, &info, e));
    ck_assert_uint_gt(info.size_bytes, 4u << 20);
    OK(replica_verify(store, 2, &p, &v, e));
    ck_assert_uint_eq(v.files, tip + 1);
    ck_assert_uint_eq(v.links_checked, tip + 1);
    ck_assert_uint_eq(atomic_load(&p.bytes_done), atomic_load(&p.bytes_total));
    ck_assert_uint_eq(atomic_load(&p.bytes_done), v.bytes);
    /* a flip in the middle of the large one */
    uint8_t *bytes = malloc(info.size_bytes);
    size_t size = info.size_bytes;
    OK(store->ops->get(store, key, 0, bytes, size, e));
    bytes[size / 2] ^= 1;
    OK(store->ops->put_note(store, key, bytes, size, e));
    free(bytes);
    CODE(replica_verify(store, 2, &p, &v, e), RC_CORRUPT);
    says(key);
    ck_assert_str_eq(v.broken, key);
}
END_TEST

static const struct {
    const char *set;
    uint64_t files;
} sets[] = {{"v05-real-l0", 6}, {"v05-layered", 9}, {"v05-legacy-frames", 9}};

START_TEST(what_litestream_wrote_is_proven_as_far_as_it_can_be) {
    struct verify_result v;
    fixture_copy(sets[_i].set, dir);
    store_free(store);
    OK(store_open(env, below(dir, "replica"), &store, e));
    OK(replica_verify(store, 2, NULL, &v, e));
    ck_assert_uint_eq(v.files, sets[_i].files);
    ck_assert_uint_eq(v.links_checked, 0);
    ck_assert_uint_eq(v.links_unknown, sets[_i].files);
}
END_TEST

/* A compacted file without a sum is compared page by page all the same. */
START_TEST(a_foreign_compacted_file_must_be_what_its_inputs_make) {
    struct verify_result v;
    history_make(&h, 512, 6, 21);
    h.foreign = true;
    for (uint64_t i = 1; i <= 6; i++) history_put(&h, store, 0, i, i);
    history_put(&h, store, 1, 1, 3);
    h.at[6].bytes[40] ^= 1;
    history_put(&h, store, 1, 4, 6);
    CODE(replica_verify(store, 2, NULL, &v, e), RC_CORRUPT);
    says("ltx/1/0000000000000004-0000000000000006.ltx: page 1 is not what");
    ck_assert_uint_eq(v.txid, 6);
}
END_TEST

START_TEST(an_empty_replica_is_not_found) {
    struct verify_result v;
    CODE(replica_verify(store, 0, NULL, &v, e), RC_NOTFOUND);
    says("no backup at");
}
END_TEST

int main(void) {
    Suite *s = suite_create("verify");
    TCase *t = tcase_create("verify");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_state_larger_than_memory_is_the_same_state);
    tcase_add_test(t, a_page_from_nowhere_is_found);
    tcase_add_test(t, large_files_are_streamed_and_small_ones_decoded_ahead);
    ADD_ROWS(t, what_litestream_wrote_is_proven_as_far_as_it_can_be, sets);
    tcase_add_test(t, a_foreign_compacted_file_must_be_what_its_inputs_make);
    tcase_add_test(t, an_empty_replica_is_not_found);
    suite_add_tcase(s, t);
    return run_suite(s);
}
