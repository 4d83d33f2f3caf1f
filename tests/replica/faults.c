/* FAULT SWEEP: restore and verify with the n-th operation of the store or of the disk failing, for
 * every n, until none fires. Then: a legal code, nothing at the target, nothing left open, and
 * never RC_OK over a failure of the disk. */
#include "history.h"
#include "stores/stores.h"

#include <errno.h>

static struct env *system_env, *env;
static struct store *store;
static struct history h;
static char dir[TEMP_PATH];

static void setup(void) {
    struct err err;
    ck_assert_int_eq(env_new_system(1, &system_env, &err).code, RC_OK);
    env = without_sync(system_env);
    ck_assert_int_eq(store_new_mem(env, &store, &err).code, RC_OK);
    temp_dir(dir);
    history_make(&h, 512, 9, 5);
}

static void teardown(void) {
    history_deinit(&h);
    store_free(store);
    env_free_system(system_env);
}

/* What a failed restore leaves: nothing. What one that went well leaves: what was there then. */
static bool check_outcome(rc r, const struct err *why, uint64_t txid) {
    if (is_ok(r)) {
        history_expect(&h, system_env, below(dir, "out"), txid);
        ck_assert_int_eq(unlink(below(dir, "out")), 0);
    } else ck_assert_str_ne(why->text, "");
    ck_assert_int_eq(entries_of(system_env, dir), 0);
    return is_ok(r);
}

static int open_descriptors(void) {
    return entries_of(system_env, "/proc/self/fd");
}

/* ---- the store ---- */

static atomic_int call, fail_at;
static enum fault fault;

static enum fault decide(void *arg, const char *op, const char *key) {
    (void)arg, (void)op, (void)key;
    return atomic_fetch_add(&call, 1) + 1 == atomic_load(&fail_at) ? fault : FAULT_NONE;
}

static const struct {
    struct target target;
    uint64_t txid;
    bool chain;
} goals[] = {
    {{0}, 9, true},
    {{0}, 9, false},
    {{.txid = 7}, 7, true},
    {{.time_ms = T0 + 7001}, 7, true},
};
#define GOALS (int)(sizeof goals / sizeof *goals)

static rc restore_goal(struct store *s, int goal, int parallel, struct err *e) {
    struct restore_options o = {.target = goals[goal].target, .parallel = parallel};
    struct restore_result r;
    return replica_restore(s, below(dir, "out"), &o, &r, e);
}

static void make(int goal) {
    struct store *faulty;
    h.foreign = !goals[goal].chain;
    history_put_all(&h, store);
    OK(store_new_fault(store, decide, NULL, &faulty, e));
    store = faulty;
}

START_TEST(every_operation_of_the_store_may_fail) {
    int goal = _i % GOALS, before = open_descriptors();
    fault = (enum fault)(FAULT_FAIL + _i / GOALS);
    make(goal);
    for (int n = 1;; n++) {
        struct err why = {0};
        atomic_store(&call, 0);
        atomic_store(&fail_at, n);
        rc r = restore_goal(store, goal, 1 + n % 3, &why);
        bool fired = atomic_load(&call) >= n;
        bool good = check_outcome(r, &why, goals[goal].txid);
        ck_assert(good || r.code == (fault == FAULT_LOSE_REPLY ? RC_TIMEOUT : RC_RETRY));
        ck_assert(good || strstr(why.text, "injected"));
        ck_assert_int_eq(open_descriptors(), before);
        if (fired) continue;
        ck_assert(good);
        ck_assert_int_gt(n, 12); /* ten lists, and more */
        return;
    }
}
END_TEST

START_TEST(verify_says_of_every_failure_that_it_is_one) {
    struct verify_result v;
    fault = (enum fault)(FAULT_FAIL + _i);
    make(0);
    for (int n = 1;; n++) {
        struct err why = {0};
        atomic_store(&call, 0);
        atomic_store(&fail_at, n);
        rc r = replica_verify(store, 2, NULL, &v, &why);
        if (atomic_load(&call) < n) {
            ck_assert(is_ok(r));
            return;
        }
        ck_assert_int_eq(r.code, fault == FAULT_LOSE_REPLY ? RC_TIMEOUT : RC_RETRY);
        ck_assert_str_eq(v.broken, ""); /* it is not the object's fault */
    }
}
END_TEST

static enum fault no_reads(void *arg, const char *op, const char *key) {
    (void)arg, (void)key;
    if (strcmp(op, "get") != 0) return FAULT_NONE;
    atomic_fetch_add(&call, 1);
    return FAULT_FAIL;
}

/* Each read has a patience of its own, and a replica has thousands of objects. */
START_TEST(verify_does_not_ask_a_store_that_is_away_for_one_object_after_the_other) {
    struct verify_result v;
    struct store *faulty;
    history_put_all(&h, store);
    OK(store_new_fault(store, no_reads, NULL, &faulty, e));
    store = faulty;
    atomic_store(&call, 0);
    CODE(replica_verify(store, 2, NULL, &v, e), RC_RETRY);
    ck_assert_str_eq(v.broken, "");
    ck_assert_int_le(atomic_load(&call), 2); /* one by each thread */
}
END_TEST

/* ---- an object that is there in the list and gone when it is read ---- */

static char victim[KEY_SIZE];
static atomic_int lists;

static enum fault vanish(void *arg, const char *op, const char *key) {
    struct store *inner = arg;
    if (strcmp(op, "list") == 0 && strcmp(key, "ltx/0") == 0) atomic_fetch_add(&lists, 1);
    if (strcmp(op, "get") == 0 && strcmp(key, victim) == 0) {
        struct err e;
        ck_assert(is_ok(inner->ops->remove(inner, key, &e))); /* retention was faster */
    }
    return FAULT_NONE;
}

START_TEST(retention_may_be_faster_than_a_restore) {
    struct store *faulty;
    struct verify_result v;
    history_put_all(&h, store);
    /* of TXID 4..6 in levels 0 and 1: level 2 has them */
    key_of_file(false, _i, _i ? 4 : 5, _i ? 6 : 5, victim);
    OK(store_new_fault(store, vanish, store, &faulty, e));
    store = faulty;
    OK(restore_goal(store, 0, 2, e));
    check_outcome(ok(), &last_err, 9);
    if (_i == 0) return;
    OK(store->ops->remove(store, "ltx/1/0000000000000001-0000000000000003.ltx", e));
    OK(replica_verify(store, 2, NULL, &v, e));
    ck_assert_int_eq(atomic_load(&lists), 3); /* the restore's, and two */
}
END_TEST

static atomic_int reads, vanish_at;

static enum fault vanish_late(void *arg, const char *op, const char *key) {
    bool read = strcmp(op, "get") == 0 && strcmp(key, victim) == 0;
    return read && atomic_fetch_add(&reads, 1) + 1 == atomic_load(&vanish_at) ? vanish(arg, op, key)
                                                                              : FAULT_NONE;
}

/* Where the last object knows no sum, the proof reads all of the plan once more. */
START_TEST(retention_may_be_faster_than_the_proof) {
    struct store *faulty;
    history_put_all(&h, store);
    key_of_file(false, 2, 1, 6, victim);
    OK(store->ops->remove(store, "ltx/0/0000000000000009-0000000000000009.ltx", e));
    OK(store->ops->remove(store, "ltx/1/0000000000000007-0000000000000009.ltx", e));
    h.sum_unknown = true;
    history_put(&h, store, 0, 9, 9);
    h.sum_unknown = false;
    OK(store_new_fault(store, vanish_late, store, &faulty, e));
    store = faulty;
    for (int n = 1;; n++) {
        atomic_store(&reads, 0);
        atomic_store(&vanish_at, n);
        OK(restore_goal(store, 0, 2, e));
        check_outcome(ok(), &last_err, 9);
        if (atomic_load(&reads) < n) {
            ck_assert_int_gt(n, 3);
            return;
        }
        history_put(&h, store, 2, 1, 6);
    }
}
END_TEST

static enum fault never_there(void *arg, const char *op, const char *key) {
    struct store *inner = arg;
    struct err e;
    if (strcmp(op, "list") == 0 && strcmp(key, "ltx/0") == 0)
        history_put(&h, inner, 0, 9, 9); /* the list has it ... */
    if (strcmp(op, "get") == 0 && strcmp(key, victim) == 0)
        ck_assert(is_ok(inner->ops->remove(inner, key, &e)));
    return FAULT_NONE;
}

START_TEST(an_object_that_is_only_listed_is_missing_and_not_a_missing_backup) {
    struct store *faulty;
    struct verify_result v;
    for (uint64_t i = 1; i <= 8; i++) history_put(&h, store, 0, i, i);
    key_of_file(false, 0, 9, 9, victim);
    OK(store_new_fault(store, never_there, store, &faulty, e));
    store = faulty;
    CODE(restore_goal(store, 0, 2, e), RC_CORRUPT);
    says(victim);
    says("listed is not there");
    check_outcome((rc){RC_CORRUPT}, &last_err, 0);
    CODE(replica_verify(store, 2, NULL, &v, e), RC_CORRUPT);
    says(victim);
    ck_assert_str_eq(v.broken, victim);
}
END_TEST

/* ---- the disk ---- */

static const struct env_files *disk;
static int errnum;
static _Atomic(const char *) fired; /* which operation failed */

static bool fails(const char *name) {
    if (atomic_fetch_add(&call, 1) + 1 != atomic_load(&fail_at)) return false;
    atomic_store(&fired, name);
    return true;
}

#define FAIL_OR(name, ...)                                                                         \
    fails(#name) ? err_errno(e, errnum, "injected: " #name) : disk->name(__VA_ARGS__)

static rc bad_open(struct env *v, const char *path, enum file_mode m, struct file **out,
                   struct err *e) {
    return FAIL_OR(open, v, path, m, out, e);
}
static rc bad_read(struct env *v, struct file *f, uint64_t at, void *b, size_t n, struct err *e) {
    return FAIL_OR(read, v, f, at, b, n, e);
}
static rc bad_write(struct env *v, struct file *f, uint64_t at, const void *b, size_t n,
                    struct err *e) {
    return FAIL_OR(write, v, f, at, b, n, e);
}
static rc bad_truncate(struct env *v, struct file *f, uint64_t size, struct err *e) {
    return FAIL_OR(truncate, v, f, size, e);
}
static rc bad_reserve(struct env *v, struct file *f, uint64_t size, struct err *e) {
    return FAIL_OR(reserve, v, f, size, e);
}
static rc bad_sync(struct env *v, struct file *f, struct err *e) {
    return FAIL_OR(sync, v, f, e);
}
static rc bad_size(struct env *v, struct file *f, uint64_t *out, struct err *e) {
    return FAIL_OR(size, v, f, out, e);
}
static rc bad_link(struct env *v, struct file *f, const char *from, const char *to, struct err *e) {
    return FAIL_OR(link, v, f, from, to, e);
}
static rc bad_rename(struct env *v, const char *from, const char *to, bool replace, struct err *e) {
    return FAIL_OR(rename, v, from, to, replace, e);
}
static rc bad_stat(struct env *v, const char *path, struct file_stat *out, struct err *e) {
    return FAIL_OR(stat, v, path, out, e);
}
static rc bad_sync_dir(struct env *v, const char *path, struct err *e) {
    return FAIL_OR(sync_dir, v, path, e);
}

/* A file store on a disk that fails: the objects' disk and the output's are the same. */
static struct env *bad_env(void) {
    static struct env bad;
    static struct env_files files;
    disk = env->files;
    files = *env->files;
    files.open = bad_open;
    files.read = bad_read;
    files.write = bad_write;
    files.truncate = bad_truncate;
    files.reserve = bad_reserve;
    files.sync = bad_sync;
    files.size = bad_size;
    files.link = bad_link;
    files.rename = bad_rename;
    files.stat = bad_stat;
    files.sync_dir = bad_sync_dir;
    bad = *env;
    bad.files = &files;
    return &bad;
}

static const int errors[] = {EIO, ENOSPC};
enum { FROM_NOTHING, FROM_BASE, MODES };

static void write_old(const char *path, uint64_t txid) {
    struct file *f;
    const struct moment *m = &h.at[txid];
    OK(env->files->open(env, path, FILE_CREATE, &f, e));
    OK(env->files->write(env, f, 0, m->bytes, (size_t)m->page_count * 512, e));
    env->files->close(env, f);
}

START_TEST(every_operation_of_the_disk_may_fail) {
    char root[TEMP_PATH], base[TEMP_PATH + 8];
    struct store *on_disk;
    int mode = _i % MODES, before;
    errnum = errors[_i / MODES];
    temp_dir(root);
    for (int i = 1; i <= 9; i++) { /* as SQLite says its page size */
        h.at[i].bytes[16] = 2;
        h.at[i].bytes[17] = 0;
        h.at[i].sum = history_sum(&h, &h.at[i]);
    }
    OK(store_open(bad_env(), root, &on_disk, e));
    history_put_all(&h, on_disk);
    snprintf(base, sizeof base, "%s/base", root);
    write_old(base, 4);
    before = open_descriptors();
    for (int n = 1;; n++) {
        struct err why = {0};
        struct restore_result result;
        struct restore_options o = {.parallel = 1 + n % 3};
        if (mode == FROM_BASE) o.base_path = base, o.base_txid = 4;
        atomic_store(&call, 0);
        atomic_store(&fired, NULL);
        atomic_store(&fail_at, n);
        rc r = replica_restore(on_disk, below(dir, "out"), &o, &result, &why);
        atomic_store(&fail_at, 0);
        check_outcome(r, &why, 9);
        ck_assert_int_eq(open_descriptors(), before);
        const char *op = atomic_load(&fired);
        if (!op) {
            ck_assert(is_ok(r));
            ck_assert_int_gt(n, 30);
            break;
        }
        ck_assert_msg(is_ok(r) || r.code == (errnum == EIO ? RC_IO : RC_FULL), "%s", why.text);
        ck_assert_msg(is_ok(r) || strstr(why.text, "injected"), "%s", why.text);
        /* only what a file that was not needed says may go unread */
        ck_assert_msg(!is_ok(r) || strcmp(op, "open") == 0 || strcmp(op, "read") == 0,
                      "%s failed, and nobody said so", op);
    }
    store_free(on_disk);
}
END_TEST

int main(void) {
    Suite *s = suite_create("faults");
    TCase *t = tcase_create("faults");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, every_operation_of_the_store_may_fail, 0, GOALS * 3);
    tcase_add_loop_test(t, verify_says_of_every_failure_that_it_is_one, 0, 3);
    tcase_add_test(t, verify_does_not_ask_a_store_that_is_away_for_one_object_after_the_other);
    tcase_add_loop_test(t, retention_may_be_faster_than_a_restore, 0, 2);
    tcase_add_test(t, retention_may_be_faster_than_the_proof);
    tcase_add_test(t, an_object_that_is_only_listed_is_missing_and_not_a_missing_backup);
    tcase_add_loop_test(t, every_operation_of_the_disk_may_fail, 0, MODES * 2);
    suite_add_tcase(s, t);
    return run_suite(s);
}
