/* The store in a directory: what reaches the disk in which order, and what a disk that fails
 * leaves.
 *
 * The sweeps run each operation over env->files that fail at the 1st, 2nd, 3rd... effect, once (a
 * bad disk) or from there on (a crash, as far as one process can play it), until no fault fires. */
#include "../os/temp.h"

#include "object/object.h"

#define TIME 1795382699618
#define KEY "ltx/0/a"

static struct env *env; /* the real one */
static struct store *store;
static char dir[TEMP_PATH], root[TEMP_PATH];

static void setup(void) {
    struct err err;
    ck_assert_int_eq(env_new_system(1, &env, &err).code, RC_OK);
    temp_dir(dir);
    snprintf(root, sizeof root, "%.480s/root", dir);
    ck_assert_int_eq(store_new_file(env, root, &store, &err).code, RC_OK);
}

static void teardown(void) {
    store_free(store);
    env_free_system(env);
}

static void expect_object(struct store *s, const char *key, const char *words) {
    char got[64] = {0};
    struct object_info info;
    OK(s->ops->stat(s, key, &info, e));
    ck_assert_uint_eq(info.size_bytes, strlen(words));
    OK(s->ops->get(s, key, 0, got, strlen(words), e));
    ck_assert_str_eq(got, words);
}

/* Files that write down what is done to them, and fail at a given effect. */
static struct {
    char trace[512];
    int effects, fail_first, fail_last;
} disk;

static bool effect(const char *name) {
    size_t n = strlen(disk.trace);
    snprintf(disk.trace + n, sizeof disk.trace - n, "%s%s", n ? " " : "", name);
    disk.effects++;
    return disk.effects < disk.fail_first || disk.effects > disk.fail_last;
}

#define EFFECT(name)                                                                               \
    if (!effect(name)) return err_set(e, RC_IO, "injected fault in " name)

static rc disk_open(struct env *v, const char *path, enum file_mode mode, struct file **out,
                    struct err *e) {
    (void)v;
    if (mode != FILE_READ) EFFECT("open");
    return env->files->open(env, path, mode, out, e);
}

static void disk_close(struct env *v, struct file *f) {
    (void)v;
    env->files->close(env, f);
}

/* What fails has happened by half. */
static rc disk_write(struct env *v, struct file *f, uint64_t at, const void *buf, size_t n,
                     struct err *e) {
    (void)v;
    if (effect("write")) return env->files->write(env, f, at, buf, n, e);
    (void)env->files->write(env, f, at, buf, n / 2, NULL);
    return err_set(e, RC_FULL, "injected fault in write");
}

static rc disk_sync(struct env *v, struct file *f, struct err *e) {
    (void)v;
    EFFECT("sync");
    return env->files->sync(env, f, e);
}

static rc disk_set_mtime(struct env *v, struct file *f, int64_t ms, struct err *e) {
    (void)v;
    EFFECT("mtime");
    return env->files->set_mtime(env, f, ms, e);
}

static rc disk_link(struct env *v, struct file *f, const char *temp, const char *path,
                    struct err *e) {
    (void)v;
    EFFECT("link");
    return env->files->link(env, f, temp, path, e);
}

static rc disk_rename(struct env *v, const char *from, const char *to, bool replace,
                      struct err *e) {
    (void)v;
    EFFECT("rename");
    return env->files->rename(env, from, to, replace, e);
}

static rc disk_remove(struct env *v, const char *path, struct err *e) {
    (void)v;
    EFFECT("remove");
    return env->files->remove(env, path, e);
}

static rc disk_make_dirs(struct env *v, const char *path, struct err *e) {
    (void)v;
    EFFECT("dirs");
    return env->files->make_dirs(env, path, e);
}

static rc disk_make_dir(struct env *v, const char *path, struct err *e) {
    (void)v;
    EFFECT("dirs");
    return env->files->make_dir(env, path, e);
}

static rc disk_sync_dir(struct env *v, const char *path, struct err *e) {
    (void)v;
    EFFECT("syncdir");
    return env->files->sync_dir(env, path, e);
}

static rc disk_read(struct env *v, struct file *f, uint64_t at, void *buf, size_t n,
                    struct err *e) {
    (void)v;
    return env->files->read(env, f, at, buf, n, e);
}

static rc disk_stat(struct env *v, const char *path, struct file_stat *out, struct err *e) {
    (void)v;
    return env->files->stat(env, path, out, e);
}

static rc disk_list(struct env *v, const char *path, rc (*each)(void *, const char *, struct err *),
                    void *arg, struct err *e) {
    (void)v;
    return env->files->list(env, path, each, arg, e);
}

static const struct env_files disk_files = {
    .open = disk_open,
    .close = disk_close,
    .read = disk_read,
    .write = disk_write,
    .sync = disk_sync,
    .set_mtime = disk_set_mtime,
    .link = disk_link,
    .rename = disk_rename,
    .remove = disk_remove,
    .stat = disk_stat,
    .make_dirs = disk_make_dirs,
    .make_dir = disk_make_dir,
    .sync_dir = disk_sync_dir,
    .list = disk_list,
};

static struct store *store_on_disk(const char *at) {
    static struct env faulty;
    struct store *s = NULL;
    faulty = *env;
    faulty.files = &disk_files;
    OK(store_new_file(&faulty, at, &s, e));
    return s;
}

static void faults(int first, int last) {
    disk.effects = 0;
    disk.fail_first = first;
    disk.fail_last = last;
    disk.trace[0] = 0;
}

static rc do_put(struct store *s, struct err *e) {
    return s->ops->put(s, KEY, "new words", 9, TIME, e);
}

static rc do_note(struct store *s, struct err *e) {
    return s->ops->put_note(s, KEY, "new words", 9, e);
}

static rc do_upload(struct store *s, struct err *e) {
    struct object_upload *u;
    TRY(s->ops->upload_open(s, KEY, 1 << 20, &u, e));
    rc r = s->ops->upload_write(u, "new ", 4, e);
    if (is_ok(r)) r = s->ops->upload_write(u, "words", 5, e);
    if (is_ok(r)) return s->ops->upload_commit(u, TIME, e);
    s->ops->upload_abort(u);
    return r;
}

static rc do_careless_upload(struct store *s, struct err *e) {
    struct object_upload *u;
    TRY(s->ops->upload_open(s, KEY, 1 << 20, &u, e));
    (void)s->ops->upload_write(u, "new ", 4, NULL);
    (void)s->ops->upload_write(u, "words", 5, NULL);
    return s->ops->upload_commit(u, TIME, e);
}

/* `costs` with the directory there. */
static const struct {
    rc (*run)(struct store *, struct err *);
    const char *costs;
    bool note;
} operations[] = {
    {do_put, "open write mtime sync link syncdir", false},
    {do_upload, "open write write mtime sync link syncdir", false},
    {do_careless_upload, "open write write mtime sync link syncdir", false},
    {do_note, "open write sync rename syncdir", true},
};

START_TEST(effects_come_in_the_safe_order_and_no_others) {
    struct store *s = store_on_disk(root);
    OK(store->ops->put(store, "ltx/0/other", "", 0, TIME, e));
    faults(0, -1);
    OK(operations[_i].run(s, e));
    ck_assert_str_eq(disk.trace, operations[_i].costs);
    store_free(s);
}
END_TEST

START_TEST(a_missing_directory_is_made_by_the_way) {
    struct store *s = store_on_disk(root);
    struct file_stat st;
    faults(0, -1);
    OK(do_put(s, e));
    ck_assert_str_eq(disk.trace, "open dirs open write mtime sync link syncdir");
    OK(env->files->stat(env, below(root, "ltx/0"), &st, e));
    ck_assert_uint_eq(st.mode, 0700);
    OK(env->files->stat(env, below(root, KEY), &st, e));
    ck_assert_uint_eq(st.mode, 0600);
    ck_assert_int_eq(st.mtime_ms, TIME);
    store_free(s);
}
END_TEST

START_TEST(a_conflict_is_durable_before_it_is_told) {
    struct store *s = store_on_disk(root);
    OK(do_put(store, e));
    faults(0, -1);
    CODE(do_put(s, e), RC_CONFLICT);
    ck_assert_str_eq(disk.trace, "open write mtime sync link syncdir");
    faults(6, 6);
    CODE(do_put(s, e), RC_IO);
    store_free(s);
}
END_TEST

static rc no_temp(void *arg, const struct object_info *info, struct err *e) {
    (void)arg, (void)e;
    ck_assert_str_eq(info->name, "a");
    return ok();
}

/* After a fault or none: the old state or the new one, and nothing that a list shows beside. */
static void expect_whole(rc r, bool had_old, struct store *fresh) {
    struct object_info info;
    struct err err;
    rc there = fresh->ops->stat(fresh, KEY, &info, &err);
    if (is_ok(r)) ck_assert_int_eq(there.code, RC_OK);
    if (had_old || is_ok(there)) {
        ck_assert_int_eq(there.code, RC_OK);
        bool old = !is_ok(r) && info.size_bytes == 3;
        expect_object(fresh, KEY, old ? "old" : "new words");
    }
    OK(fresh->ops->list(fresh, "ltx/0", no_temp, NULL, e));
}

/* Returns whether a fault fired. */
static bool sweep_once(int operation, int n, bool crash, bool had_old) {
    char at[TEMP_PATH];
    struct store *fresh;
    struct err err = {0};
    temp_dir(at);
    OK(store_new_file(env, at, &fresh, e));
    if (had_old) OK(fresh->ops->put_note(fresh, KEY, "old", 3, e));
    struct store *s = store_on_disk(at);
    faults(n, crash ? 1000 : n);
    rc r = operations[operation].run(s, &err);
    bool fired = disk.effects >= n;
    if (fired) {
        ck_assert_msg(r.code == RC_IO || r.code == RC_FULL, "effect %d: %s", n, rc_name(r.code));
        ck_assert_ptr_nonnull(strstr(err.text, at));
        ck_assert_msg(strstr(err.text, "injected fault") ||
                          strstr(err.text, "a write failed before"),
                      "%s", err.text);
    } else ck_assert_int_eq(r.code, RC_OK);
    expect_whole(r, had_old, fresh);
    if (fired && !crash && !is_ok(fresh->ops->stat(fresh, KEY, &(struct object_info){0}, &err)))
        OK(operations[operation].run(fresh, e)); /* nothing is in the way of another try */
    store_free(s);
    store_free(fresh);
    return fired;
}

START_TEST(no_failed_effect_leaves_half_an_object) {
    for (int crash = 0; crash < 2; crash++)
        for (int had_old = 0; had_old <= operations[_i].note; had_old++) {
            int n = 1;
            while (sweep_once(_i, n, crash, had_old)) n++;
            ck_assert_int_gt(n, 5);
        }
}
END_TEST

START_TEST(a_failed_operation_leaves_no_file) {
    OK(store->ops->put(store, "ltx/0/other", "", 0, TIME, e));
    const char *last = strrchr(operations[_i].costs, ' ');
    int before_name = 0;
    for (const char *p = operations[_i].costs; p < last; p++) before_name += *p == ' ';
    for (int n = 1; n <= before_name + 1; n++) {
        struct store *s = store_on_disk(root);
        struct err err;
        faults(n, n);
        ck_assert_int_ne(operations[_i].run(s, &err).code, RC_OK);
        ck_assert_int_eq(entries_of(env, below(root, "ltx/0")), 1);
        store_free(s);
    }
}
END_TEST

static rc count_info(void *arg, const struct object_info *info, struct err *e) {
    (void)e;
    ck_assert_str_eq(info->name, "a");
    ck_assert_uint_eq(info->size_bytes, 9);
    ck_assert_int_eq(info->time_ms, TIME);
    ++*(int *)arg;
    return ok();
}

START_TEST(a_list_skips_what_is_no_object) {
    int n = 0;
    OK(do_put(store, e));
    ck_assert_int_eq(mkdir(below(root, "ltx/0/directory"), 0700), 0);
    ck_assert_int_eq(mkfifo(below(root, "ltx/0/fifo"), 0600), 0);
    ck_assert_int_eq(symlink("/nowhere", below(root, "ltx/0/dangling")), 0);
    ck_assert_int_eq(symlink("/", below(root, "ltx/0/to-directory")), 0);
    ck_assert_int_eq(link(below(root, KEY), below(root, "ltx/0/.0123456789abcdef.tmp")), 0);
    OK(store->ops->list(store, "ltx/0", count_info, &n, e));
    ck_assert_int_eq(n, 1);
}
END_TEST

START_TEST(a_removed_directory_comes_back_with_the_next_put) {
    struct object_upload *u;
    OK(do_put(store, e));
    OK(store->ops->remove(store, KEY, e));
    ck_assert_int_eq(rmdir(below(root, "ltx/0")), 0);
    OK(do_put(store, e));
    expect_object(store, KEY, "new words");
    OK(store->ops->upload_open(store, "x/y", 1 << 20, &u, e));
    ck_assert_int_eq(rmdir(below(root, "x")), 0);
    CODE(store->ops->upload_commit(u, TIME, e), RC_NOTFOUND);
    says("x/y");
}
END_TEST

/* An unmounted disk: what would be put into a new directory continues nothing. */
START_TEST(a_replica_that_is_gone_is_not_begun_anew) {
    struct object_upload *u;
    char away[TEMP_PATH + 8];
    snprintf(away, sizeof away, "%s-away", root);
    OK(do_put(store, e));
    ck_assert_int_eq(rename(root, away), 0);
    CODE(store->ops->put(store, "ltx/0/b", "b", 1, TIME, e), RC_IO);
    says("the replica is gone");
    CODE(store->ops->put_note(store, "holdfast/owner.json", "{}", 2, e), RC_IO);
    CODE(store->ops->upload_open(store, "ltx/1/b", 1, &u, e), RC_IO);
    ck_assert_int_ne(access(root, F_OK), 0);
    ck_assert_int_eq(rename(away, root), 0);
    OK(store->ops->put(store, "ltx/1/b", "b", 1, TIME, e));
    OK(store->ops->put_note(store, "holdfast/owner.json", "{}", 2, e));
}
END_TEST

START_TEST(a_directory_that_is_a_file_is_named) {
    OK(store->ops->put(store, "ltx", "", 0, TIME, e));
    CODE(do_put(store, e), RC_IO);
    says(below(root, "ltx"));
    says("not a directory");
    CODE(do_note(store, e), RC_IO);
    CODE(do_upload(store, e), RC_IO);
}
END_TEST

START_TEST(a_directory_that_may_not_be_written_is_named) {
    struct store *s;
    struct env *unprivileged;
    OK(do_put(store, e));
    ck_assert_int_eq(chmod(root, 0555) | chmod(below(root, "ltx"), 0555), 0);
    ck_assert_int_eq(chmod(below(root, "ltx/0"), 0555), 0);
    if (getuid() == 0) ck_assert_int_eq(setgid(65534) | setuid(65534), 0);
    OK(env_new_system(1, &unprivileged, e));
    OK(store_new_file(unprivileged, root, &s, e));
    CODE(s->ops->put(s, "ltx/0/b", "x", 1, TIME, e), RC_IO);
    says(below(root, "ltx/0"));
    says("Permission denied");
    CODE(s->ops->put_note(s, "owner.json", "x", 1, e), RC_IO);
    says(root);
    CODE(s->ops->put(s, "new/a", "x", 1, TIME, e), RC_IO);
    says(below(root, "new"));
    CODE(s->ops->remove(s, KEY, e), RC_IO);
    says(below(root, KEY));
    store_free(s);
    env_free_system(unprivileged);
    if (chmod(root, 0755) == 0) /* its owner, not root: could not remove it else */
        ck_assert_int_eq(chmod(below(root, "ltx"), 0755) | chmod(below(root, "ltx/0"), 0755), 0);
}
END_TEST

START_TEST(a_full_disk_is_said_and_nothing_is_left) {
    static char large[2 << 20];
    struct object_upload *u;
    if (!mount_tmpfs(dir, "size=1m", "a_full_disk_is_said_and_nothing_is_left")) return;
    CODE(store->ops->put(store, KEY, large, sizeof large, TIME, e), RC_FULL);
    says(below(root, KEY));
    CODE(store->ops->put_note(store, "ltx/0/note", large, sizeof large, e), RC_FULL);
    says("ltx/0/note");
    OK(store->ops->upload_open(store, KEY, 1 << 20, &u, e));
    OK(store->ops->upload_write(u, large, 1 << 19, e));
    CODE(store->ops->upload_write(u, large, 1 << 20, e), RC_FULL);
    CODE(store->ops->upload_commit(u, TIME, e), RC_IO);
    ck_assert_int_eq(entries_of(env, below(root, "ltx/0")), 0);
    OK(do_put(store, e)); /* the space is free again */
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("file");
    TCase *t = tcase_create("file");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    ADD_ROWS(t, effects_come_in_the_safe_order_and_no_others, operations);
    tcase_add_test(t, a_missing_directory_is_made_by_the_way);
    tcase_add_test(t, a_conflict_is_durable_before_it_is_told);
    ADD_ROWS(t, no_failed_effect_leaves_half_an_object, operations);
    ADD_ROWS(t, a_failed_operation_leaves_no_file, operations);
    tcase_add_test(t, a_list_skips_what_is_no_object);
    tcase_add_test(t, a_removed_directory_comes_back_with_the_next_put);
    tcase_add_test(t, a_replica_that_is_gone_is_not_begun_anew);
    tcase_add_test(t, a_directory_that_is_a_file_is_named);
    tcase_add_test(t, a_directory_that_may_not_be_written_is_named);
    tcase_add_test(t, a_full_disk_is_said_and_nothing_is_left);
    suite_add_tcase(s, t);
    return run_suite(s);
}
