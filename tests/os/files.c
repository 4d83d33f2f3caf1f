/* env->files on the real system. */
#include "temp.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

static struct env *env;
static const struct env_files *files;
static char dir[TEMP_PATH];

static void setup(void) {
    struct err err;
    ck_assert_int_eq(env_new_system(1, &env, &err).code, RC_OK);
    files = env->files;
    temp_dir(dir);
}

static void teardown(void) {
    env_free_system(env);
}

static void make_file(const char *path, const char *words) {
    struct file *f;
    OK(files->open(env, path, FILE_CREATE_NEW, &f, e));
    OK(files->write(env, f, 0, words, strlen(words), e));
    files->close(env, f);
}

static void expect_file(const char *path, const char *words) {
    struct file *f;
    char got[64] = {0};
    uint64_t size;
    OK(files->open(env, path, FILE_READ, &f, e));
    OK(files->size(env, f, &size, e));
    ck_assert_uint_eq(size, strlen(words));
    OK(files->read(env, f, 0, got, strlen(words), e));
    ck_assert_str_eq(got, words);
    files->close(env, f);
}

static bool exists(const char *path) {
    return access(path, F_OK) == 0;
}

START_TEST(a_write_beyond_the_end_leaves_zeros_between) {
    struct file *f;
    char got[8];
    uint64_t size;
    OK(files->open(env, below(dir, "a"), FILE_CREATE, &f, e));
    OK(files->write(env, f, 4, "tail", 4, e));
    OK(files->read(env, f, 0, got, 8, e));
    ck_assert_mem_eq(got, "\0\0\0\0tail", 8);
    OK(files->truncate(env, f, 2, e));
    OK(files->size(env, f, &size, e));
    ck_assert_uint_eq(size, 2);
    OK(files->sync(env, f, e));
    files->close(env, f);
}
END_TEST

START_TEST(a_reserved_file_has_the_size_and_keeps_its_bytes) {
    static const uint64_t sizes[] = {0, 3, 100000, 6};
    struct file *f;
    char got[3];
    uint64_t size;
    OK(files->open(env, below(dir, "a"), FILE_CREATE, &f, e));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        OK(files->reserve(env, f, sizes[i], e));
        OK(files->size(env, f, &size, e));
        ck_assert_uint_eq(size, sizes[i]);
        if (sizes[i] == 3) OK(files->write(env, f, 0, "abc", 3, e));
    }
    OK(files->read(env, f, 0, got, 3, e));
    ck_assert_mem_eq(got, "abc", 3);
    CODE(files->reserve(env, f, (uint64_t)1 << 62, e), RC_FULL);
    OK(files->size(env, f, &size, e)); /* and nothing has been tried */
    ck_assert_uint_eq(size, 6);
    files->close(env, f);
}
END_TEST

static const struct {
    uint64_t at;
    size_t n;
    enum rc_code code;
} ranges[] = {
    {0, 5, RC_OK},          {5, 0, RC_OK},      {0, 6, RC_CORRUPT},          {4, 2, RC_CORRUPT},
    {5, 1, RC_CORRUPT},     {6, 1, RC_CORRUPT}, {1ull << 40, 1, RC_CORRUPT}, {UINT64_MAX, 1, RC_IO},
    {1ull << 63, 8, RC_IO},
};

START_TEST(a_read_is_whole_or_an_error) {
    struct file *f;
    char got[8];
    make_file(below(dir, "a"), "bytes");
    OK(files->open(env, below(dir, "a"), FILE_READ, &f, e));
    CODE(files->read(env, f, ranges[_i].at, got, ranges[_i].n, e), ranges[_i].code);
    if (ranges[_i].code != RC_OK) says(below(dir, "a"));
    files->close(env, f);
}
END_TEST

static const struct {
    enum file_mode mode;
    const char *name;
    enum rc_code code;
} opens[] = {
    {FILE_READ, "absent", RC_NOTFOUND},     {FILE_READ, "a/below-a-file", RC_NOTFOUND},
    {FILE_CREATE_NEW, "a", RC_CONFLICT},    {FILE_CREATE_NEW, "absent/a", RC_NOTFOUND},
    {FILE_CREATE, "absent/a", RC_NOTFOUND}, {FILE_CREATE, "d", RC_IO},
    {FILE_TEMP, "absent", RC_NOTFOUND},     {FILE_TEMP, "a", RC_NOTFOUND},
};

START_TEST(an_open_that_fails_names_the_path) {
    struct file *f = (struct file *)dir;
    make_file(below(dir, "a"), "old");
    OK(files->make_dirs(env, below(dir, "d"), e));
    CODE(files->open(env, below(dir, opens[_i].name), opens[_i].mode, &f, e), opens[_i].code);
    says(below(dir, opens[_i].name));
    ck_assert_ptr_eq(f, (struct file *)dir);
    expect_file(below(dir, "a"), "old");
}
END_TEST

START_TEST(a_partial_write_goes_on_until_the_error) {
    struct file *f;
    char bytes[100] = {0};
    uint64_t size;
    struct rlimit limit = {60, 60};
    signal(SIGXFSZ, SIG_IGN);
    OK(files->open(env, below(dir, "a"), FILE_CREATE_NEW, &f, e));
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CODE(files->write(env, f, 0, bytes, sizeof bytes, e), RC_IO);
    says(below(dir, "a"));
    OK(files->size(env, f, &size, e));
    ck_assert_uint_eq(size, 60);
    files->close(env, f);
}
END_TEST

static void temp_has_no_name_until_it_is_linked(void) {
    struct file *f;
    OK(files->open(env, dir, FILE_TEMP, &f, e));
    OK(files->write(env, f, 0, "words", 5, e));
    ck_assert(!exists(below(dir, "a")));
    OK(files->link(env, f, NULL, below(dir, "a"), e));
    ck_assert_int_eq(entries_of(env, dir), 1);
    files->close(env, f);
    ck_assert_int_eq(entries_of(env, dir), 1);
    expect_file(below(dir, "a"), "words");
}

static void temp_is_gone_when_closed(void) {
    struct file *f;
    OK(files->open(env, dir, FILE_TEMP, &f, e));
    OK(files->write(env, f, 0, "words", 5, e));
    files->close(env, f);
    ck_assert_int_eq(entries_of(env, dir), 0);
}

static void link_never_replaces(void) {
    struct file *f;
    make_file(below(dir, "a"), "old");
    OK(files->open(env, dir, FILE_TEMP, &f, e));
    CODE(files->link(env, f, NULL, below(dir, "a"), e), RC_CONFLICT);
    says(below(dir, "a"));
    CODE(files->link(env, f, NULL, below(dir, "absent/a"), e), RC_NOTFOUND);
    OK(files->link(env, f, NULL, below(dir, "b"), e)); /* it can still be given another name */
    OK(files->link(env, f, below(dir, "b"), below(dir, "b"), e)); /* a link whose reply was lost */
    files->close(env, f);
    expect_file(below(dir, "a"), "old");
    ck_assert_int_eq(entries_of(env, dir), 2);
}

static void (*const temp_cases[])(void) = {temp_has_no_name_until_it_is_linked,
                                           temp_is_gone_when_closed, link_never_replaces};

START_TEST(a_temporary_file_without_a_name) {
    struct file *f;
    OK(files->open(env, dir, FILE_TEMP, &f, e));
    ck_assert_int_eq(entries_of(env, dir), 0);
    files->close(env, f);
    temp_cases[_i]();
}
END_TEST

static rc is_dot_tmp(void *arg, const char *name, struct err *e) {
    (void)arg, (void)e;
    size_t n = strlen(name);
    ck_assert_msg(name[0] == '.' && n > 4 && strcmp(name + n - 4, ".tmp") == 0, "%s", name);
    return ok();
}

/* The way of file systems that have no unnamed files; a hidden /proc brings it about. */
START_TEST(a_temporary_file_with_a_name) {
    struct file *f;
    if (!mount_tmpfs("/proc", NULL, "a_temporary_file_with_a_name")) return;
    OK(files->open(env, dir, FILE_TEMP, &f, e));
    ck_assert_int_eq(umount("/proc"), 0);
    ck_assert_int_eq(entries_of(env, dir), 1);
    OK(files->list(env, dir, is_dot_tmp, NULL, e));
    files->close(env, f);
    temp_cases[_i]();
}
END_TEST

START_TEST(link_keeps_the_old_name_of_a_named_file) {
    struct file *f;
    OK(files->open(env, below(dir, "t"), FILE_CREATE_NEW, &f, e));
    OK(files->link(env, f, below(dir, "t"), below(dir, "a"), e));
    files->close(env, f);
    ck_assert(exists(below(dir, "t")) && exists(below(dir, "a")));
}
END_TEST

START_TEST(rename_without_replacing_leaves_both_files) {
    make_file(below(dir, "a"), "one");
    make_file(below(dir, "b"), "two");
    CODE(files->rename(env, below(dir, "a"), below(dir, "b"), false, e), RC_CONFLICT);
    says(below(dir, "b"));
    expect_file(below(dir, "a"), "one");
    expect_file(below(dir, "b"), "two");
    OK(files->rename(env, below(dir, "a"), below(dir, "c"), false, e));
    ck_assert(!exists(below(dir, "a")));
    expect_file(below(dir, "c"), "one");
}
END_TEST

START_TEST(rename_replaces_when_told_to) {
    make_file(below(dir, "a"), "one");
    make_file(below(dir, "b"), "two");
    OK(files->rename(env, below(dir, "a"), below(dir, "b"), true, e));
    ck_assert(!exists(below(dir, "a")));
    expect_file(below(dir, "b"), "one");
    CODE(files->rename(env, below(dir, "a"), below(dir, "b"), true, e), RC_NOTFOUND);
    expect_file(below(dir, "b"), "one");
}
END_TEST

static const int64_t times[] = {0, 1, 999, 1000, 1795382699618, -1, -1000, -1001};

START_TEST(a_time_is_kept_to_the_millisecond) {
    struct file *f;
    struct file_stat st;
    OK(files->open(env, below(dir, "a"), FILE_CREATE_NEW, &f, e));
    OK(files->write(env, f, 0, "abc", 3, e));
    OK(files->set_mtime(env, f, times[_i], e));
    OK(files->stat(env, below(dir, "a"), &st, e));
    ck_assert_int_eq(st.mtime_ms, times[_i]);
    ck_assert_uint_eq(st.size_bytes, 3);
    ck_assert_uint_eq(st.mode, 0600);
    ck_assert(st.is_regular && !st.is_directory);
    files->close(env, f);
}
END_TEST

START_TEST(stat_and_remove_say_what_is_absent) {
    struct file_stat st;
    CODE(files->stat(env, below(dir, "a"), &st, e), RC_NOTFOUND);
    CODE(files->remove(env, below(dir, "a"), e), RC_NOTFOUND);
    says(below(dir, "a"));
    OK(files->stat(env, dir, &st, e));
    ck_assert(st.is_directory && !st.is_regular);
}
END_TEST

START_TEST(make_dirs_makes_all_that_lacks) {
    struct file_stat st;
    OK(files->make_dirs(env, below(dir, "a//b/c/"), e));
    OK(files->make_dirs(env, below(dir, "a/b/c"), e));
    OK(files->make_dirs(env, "/", e));
    OK(files->stat(env, below(dir, "a/b/c"), &st, e));
    ck_assert(st.is_directory);
    ck_assert_uint_eq(st.mode, 0700);
    ck_assert_int_eq(chdir(dir), 0);
    OK(files->make_dirs(env, "r/s", e));
    OK(files->stat(env, below(dir, "r/s"), &st, e));
}
END_TEST

START_TEST(make_dirs_refuses_a_file_in_the_way) {
    static char longest[5000];
    make_file(below(dir, "a"), "old");
    CODE(files->make_dirs(env, below(dir, "a/b"), e), RC_IO);
    says("not a directory");
    CODE(files->make_dirs(env, below(dir, "a"), e), RC_IO);
    expect_file(below(dir, "a"), "old");
    memset(longest, 'x', sizeof longest - 1);
    CODE(files->make_dirs(env, longest, e), RC_USAGE);
    CODE(files->make_dirs(env, "", e), RC_NOTFOUND);
    CODE(files->sync_dir(env, below(dir, "a"), e), RC_NOTFOUND);
}
END_TEST

static rc stop_at_second(void *arg, const char *name, struct err *e) {
    return ++*(int *)arg < 2 ? ok() : err_set(e, RC_CANCELLED, "stopped at %s", name);
}

START_TEST(a_list_stops_at_the_first_error) {
    int n = 0;
    make_file(below(dir, "a"), "");
    make_file(below(dir, "b"), "");
    make_file(below(dir, "c"), "");
    ck_assert_int_eq(entries_of(env, dir), 3);
    CODE(files->list(env, dir, stop_at_second, &n, e), RC_CANCELLED);
    ck_assert_int_eq(n, 2);
    CODE(files->list(env, below(dir, "absent"), stop_at_second, &n, e), RC_NOTFOUND);
}
END_TEST

START_TEST(no_descriptor_outlives_an_exec) {
    struct file *open_files[3];
    OK(files->open(env, below(dir, "a"), FILE_CREATE_NEW, &open_files[0], e));
    OK(files->open(env, below(dir, "a"), FILE_READ, &open_files[1], e));
    OK(files->open(env, dir, FILE_TEMP, &open_files[2], e));
    int found = 0;
    for (int fd = 3; fd < 64; fd++) {
        char proc[64], path[TEMP_PATH];
        snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(proc, path, sizeof path);
        if (n < 0 || strncmp(path, dir, strlen(dir)) != 0) continue;
        ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        found++;
    }
    ck_assert_int_eq(found, 3);
    for (int i = 0; i < 3; i++) files->close(env, open_files[i]);
}
END_TEST

int main(void) {
    Suite *s = suite_create("files");
    TCase *t = tcase_create("files");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_write_beyond_the_end_leaves_zeros_between);
    tcase_add_test(t, a_reserved_file_has_the_size_and_keeps_its_bytes);
    ADD_ROWS(t, a_read_is_whole_or_an_error, ranges);
    ADD_ROWS(t, an_open_that_fails_names_the_path, opens);
    tcase_add_test(t, a_partial_write_goes_on_until_the_error);
    ADD_ROWS(t, a_temporary_file_without_a_name, temp_cases);
    ADD_ROWS(t, a_temporary_file_with_a_name, temp_cases);
    tcase_add_test(t, link_keeps_the_old_name_of_a_named_file);
    tcase_add_test(t, rename_without_replacing_leaves_both_files);
    tcase_add_test(t, rename_replaces_when_told_to);
    ADD_ROWS(t, a_time_is_kept_to_the_millisecond, times);
    tcase_add_test(t, stat_and_remove_say_what_is_absent);
    tcase_add_test(t, make_dirs_makes_all_that_lacks);
    tcase_add_test(t, make_dirs_refuses_a_file_in_the_way);
    tcase_add_test(t, a_list_stops_at_the_first_error);
    tcase_add_test(t, no_descriptor_outlives_an_exec);
    suite_add_tcase(s, t);
    return run_suite(s);
}
