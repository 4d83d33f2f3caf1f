/* Temporary directories of a test program. One is made before the cases fork and removed after
 * them, failed ones too; each case takes a directory of its own below it. */
#ifndef TESTS_OS_TEMP_H
#define TESTS_OS_TEMP_H

#include "os/env.h"

#include <check.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMP_PATH 512

static char temp_root[256];

static inline void temp_setup(void) {
    const char *base = getenv("TMPDIR");
    snprintf(temp_root, sizeof temp_root, "%.200s/holdfast-test-XXXXXX", base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(temp_root));
    ck_assert_int_eq(chmod(temp_root, 0755), 0);
}

static inline int temp_remove_one(const char *path, const struct stat *s, int type,
                                  struct FTW *ftw) {
    (void)s, (void)type, (void)ftw;
    return remove(path);
}

static inline void temp_teardown(void) {
    nftw(temp_root, temp_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A new directory of this case. */
static inline void temp_dir(char out[TEMP_PATH]) {
    snprintf(out, TEMP_PATH, "%s/case-XXXXXX", temp_root);
    ck_assert_ptr_nonnull(mkdtemp(out));
    ck_assert_int_eq(chmod(out, 0755), 0);
}

static inline const char *below(const char *dir, const char *name) {
    static char paths[8][TEMP_PATH * 2];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, TEMP_PATH * 2, "%s/%s", dir, name);
    return path;
}

static inline rc temp_count_one(void *arg, const char *name, struct err *e) {
    (void)name, (void)e;
    ++*(int *)arg;
    return ok();
}

static inline int entries_of(struct env *env, const char *dir) {
    int n = 0;
    struct err e;
    ck_assert_int_eq(env->files->list(env, dir, temp_count_one, &n, &e).code, RC_OK);
    return n;
}

/* A mount that goes with this process. False, with a line said, where that is not allowed. */
static inline bool mount_tmpfs(const char *on, const char *options, const char *test) {
    if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tmpfs", on, "tmpfs", 0, options) == 0)
        return true;
    printf("skipped: %s: mounting a tmpfs is not allowed here\n", test);
    return false;
}

#define CODE(call, expected)                                                                       \
    do {                                                                                           \
        struct err code_err_ = {0};                                                                \
        struct err *e = &code_err_;                                                                \
        rc code_ = (call);                                                                         \
        ck_assert_msg(code_.code == (expected), "%s: %s (%s), not %s", #call, rc_name(code_.code), \
                      is_ok(code_) ? "" : code_err_.text, rc_name(expected));                      \
        last_err = code_err_;                                                                      \
    } while (0)
#define OK(call) CODE(call, RC_OK)
static _Thread_local struct err last_err; /* of the last CODE */

static inline void says(const char *words) {
    ck_assert_msg(strstr(last_err.text, words) != NULL, "'%s' lacks '%s'", last_err.text, words);
}

#define ADD_ROWS(t, test, rows) tcase_add_loop_test(t, test, 0, (int)(sizeof rows / sizeof *rows))

static inline int run_suite(Suite *s) {
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}

#endif
