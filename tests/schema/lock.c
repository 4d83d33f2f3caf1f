/* Kernel locks on one file: who is kept out, and when they end. */
#include "schema/lock.h"

#include "../os/temp.h"

#include <signal.h>
#include <sys/wait.h>

static struct env *env;
static char dir[TEMP_PATH], database[TEMP_PATH * 2], file[TEMP_PATH * 2 + 8];
static struct err words;

#define SAYS(call, code, words)                                                                    \
    do {                                                                                           \
        CODE(call, code);                                                                          \
        says(words);                                                                               \
    } while (0)

static struct lock *opened(void) {
    struct lock *l;
    OK(lock_open(env, database, &l, e));
    return l;
}

static void setup(void) {
    OK(env_new_system(1, &env, e));
    temp_dir(dir);
    snprintf(database, sizeof database, "%s/app.db", dir);
    snprintf(file, sizeof file, "%s-schema", database);
    FILE *f = fopen(database, "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
}

static void teardown(void) {
    env_free_system(env);
}

static bool held(struct lock *l, int byte) {
    bool yes;
    OK(lock_held(l, byte, &yes, e));
    return yes;
}

static int64_t in_ms(int64_t ms) {
    return env->mono_ns(env) + ms * 1000000;
}

/* ---- who is kept out ---- */

START_TEST(two_handles_of_one_process_keep_each_other_out_byte_by_byte) {
    struct lock *a = opened(), *b = opened();
    OK(lock_take(a, LOCK_TURN, false, e));
    OK(lock_take(a, LOCK_TURN, false, e)); /* one's own is in nobody's way */
    SAYS(lock_take(b, LOCK_TURN, false, e), RC_BUSY, "app.db-schema");
    SAYS(lock_take(b, LOCK_TURN, true, e), RC_BUSY, "byte 0");
    OK(lock_take(b, LOCK_GATE, false, e));
    ck_assert(held(b, LOCK_TURN) && !held(a, LOCK_TURN) && held(a, LOCK_GATE));
    lock_release(a, LOCK_TURN);
    OK(lock_take(b, LOCK_TURN, false, e));
    lock_close(b);
    OK(lock_take(a, LOCK_TURN, false, e));
    OK(lock_take(a, LOCK_GATE, false, e));
    lock_close(a);
    lock_close(NULL);
}
END_TEST

START_TEST(who_share_are_together_and_who_wants_it_alone_waits) {
    struct lock *a = opened(), *b = opened(), *c = opened();
    OK(lock_take(a, LOCK_GATE, true, e));
    OK(lock_take(b, LOCK_GATE, true, e));
    SAYS(lock_take(c, LOCK_GATE, false, e), RC_BUSY, "");
    lock_release(a, LOCK_GATE);
    SAYS(lock_take(c, LOCK_GATE, false, e), RC_BUSY, "");
    lock_release(b, LOCK_GATE);
    OK(lock_take(c, LOCK_GATE, false, e));
    lock_close(a), lock_close(b), lock_close(c);
}
END_TEST

START_TEST(a_third_who_opens_and_closes_the_file_takes_nothing_away) {
    struct lock *a = opened(), *b;
    OK(lock_take(a, LOCK_TURN, false, e));
    for (int i = 0; i < 3; i++) lock_close(opened());
    fclose(fopen(file, "r+"));
    b = opened();
    SAYS(lock_take(b, LOCK_TURN, false, e), RC_BUSY, "");
    lock_close(a), lock_close(b);
}
END_TEST

START_TEST(the_first_that_is_held_is_found) {
    static const int bytes[] = {0, 1, 16, 18, 19, 20, 500, LOCK_CLIENT + LOCK_CLIENTS - 1};
    struct lock *a = opened(), *b = opened(), *c = opened();
    int from = 0, byte;
    for (int i = 7; i >= 0; i--) OK(lock_take(i % 2 ? a : b, bytes[i], false, e));
    OK(lock_take(c, 17, false, e)); /* its own it does not see */
    for (int i = 0; i < 8; i++) {
        OK(lock_next(c, from, LOCK_CLIENT + LOCK_CLIENTS, &byte, e));
        ck_assert_int_eq(byte, bytes[i]);
        from = byte + 1;
    }
    OK(lock_next(c, from, from + 1, &byte, e));
    ck_assert_int_eq(byte, -1);
    OK(lock_next(c, 21, 500, &byte, e));
    ck_assert_int_eq(byte, -1);
    OK(lock_next(c, 7, 7, &byte, e));
    ck_assert_int_eq(byte, -1);
    lock_close(a), lock_close(b), lock_close(c);
}
END_TEST

/* ---- when it ends ---- */

/* A process that holds a byte, and says so by a byte in a pipe. */
static pid_t holder(int byte) {
    int ready[2];
    char c;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct lock *l = opened();
        if (!is_ok(lock_take(l, byte, false, &words)) || write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static void kill_it(pid_t pid) {
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(a_holder_that_is_killed_holds_nothing_at_once) {
    struct lock *l = opened();
    for (int i = 0; i < 50; i++) {
        pid_t pid = holder(LOCK_TURN);
        ck_assert(held(l, LOCK_TURN));
        SAYS(lock_take(l, LOCK_TURN, false, e), RC_BUSY, "");
        kill_it(pid);
        ck_assert(!held(l, LOCK_TURN));
        OK(lock_take(l, LOCK_TURN, false, e));
        lock_release(l, LOCK_TURN);
    }
    lock_close(l);
}
END_TEST

START_TEST(a_child_takes_nothing_and_gives_back_nothing_of_its_parent) {
    struct lock *l = opened(), *other = opened();
    int status;
    OK(lock_take(l, LOCK_TURN, false, e));
    pid_t pid = fork();
    if (pid == 0) {
        bool yes;
        if (lock_take(l, LOCK_GATE, false, &words).code != RC_USAGE) _exit(1);
        if (!strstr(words.text, "before fork()")) _exit(2);
        if (lock_held(l, LOCK_GATE, &yes, &words).code != RC_USAGE) _exit(3);
        lock_release(l, LOCK_TURN);
        lock_close(l);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert(held(other, LOCK_TURN));
    lock_close(l), lock_close(other);
}
END_TEST

START_TEST(what_a_parent_gives_back_its_children_do_not_keep) {
    struct lock *l = opened(), *other = opened();
    OK(lock_take(l, LOCK_TURN, false, e));
    OK(lock_take(l, LOCK_GATE, false, e));
    pid_t pid = fork();
    if (pid == 0)
        for (;;) pause();
    lock_release(l, LOCK_TURN);
    OK(lock_take(other, LOCK_TURN, false, e));
    lock_close(l);
    OK(lock_take(other, LOCK_GATE, false, e));
    kill_it(pid);
    lock_close(other);
}
END_TEST

/* ---- waiting ---- */

START_TEST(a_wait_ends_with_its_deadline_and_says_for_what) {
    struct lock *a = opened(), *b = opened();
    OK(lock_take(a, LOCK_TURN, false, e));
    OK(lock_take(a, LOCK_GATE, false, e));
    SAYS(lock_wait(b, LOCK_TURN, false, in_ms(30), e), RC_TIMEOUT, "changing the schema");
    SAYS(lock_wait(b, LOCK_GATE, true, in_ms(-5), e), RC_TIMEOUT, "contract");
    lock_close(a), lock_close(b);
}
END_TEST

START_TEST(a_wait_ends_with_the_death_of_the_holder) {
    struct lock *l = opened();
    pid_t pid = holder(LOCK_TURN);
    SAYS(lock_wait(l, LOCK_TURN, false, in_ms(5), e), RC_TIMEOUT, "");
    kill(pid, SIGKILL);
    OK(lock_wait(l, LOCK_TURN, false, in_ms(50000), e));
    waitpid(pid, NULL, 0);
    lock_close(l);
}
END_TEST

/* ---- the file ---- */

START_TEST(a_file_that_was_removed_is_told_and_the_next_is_another) {
    struct lock *old = opened(), *next;
    char before[LOCK_ID], after[LOCK_ID];
    OK(lock_take(old, LOCK_GATE, false, e));
    ck_assert_int_eq(unlink(file), 0);
    SAYS(lock_take(old, LOCK_TURN, false, e), RC_CONFLICT, "was removed or replaced");
    SAYS(lock_wait(old, LOCK_TURN, true, in_ms(50000), e), RC_CONFLICT, "app.db-schema");
    next = opened();
    SAYS(lock_take(old, LOCK_TURN, false, e), RC_CONFLICT, "was removed or replaced");
    OK(lock_take(next, LOCK_TURN, false, e));
    lock_id(old, before);
    lock_close(old);
    lock_id(next, after);
    ck_assert_str_ne(before, after);
    lock_close(next);
    next = opened();
    lock_id(next, before);
    ck_assert_str_eq(before, after);
    lock_close(next);
    for (int i = 0; i < 3; i++) { /* with nobody who has it open its number is free for the next */
        ck_assert_int_eq(unlink(file), 0);
        next = opened();
        lock_id(next, after);
        lock_close(next);
        ck_assert_str_ne(before, after);
    }
}
END_TEST

START_TEST(whoever_may_write_the_database_may_lock) {
    struct stat st;
    umask(077);
    ck_assert_int_eq(chmod(database, 0664), 0);
    lock_close(opened());
    ck_assert_int_eq(stat(file, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0664);
    ck_assert_int_eq(st.st_size, 0);
}
END_TEST

START_TEST(what_is_no_file_of_ours_is_refused_and_left_alone) {
    struct lock *l;
    ck_assert_int_eq(symlink(database, file), 0);
    SAYS(lock_open(env, database, &l, e), RC_CONFLICT, "app.db-schema: it is not a file");
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_int_eq(mkfifo(file, 0600), 0);
    SAYS(lock_open(env, database, &l, e), RC_CONFLICT, "it is not a file");
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_int_eq(mkdir(file, 0700), 0);
    SAYS(lock_open(env, database, &l, e), RC_IO, "app.db-schema");
    ck_assert_int_eq(rmdir(file), 0);
    ck_assert_int_eq(unlink(database), 0);
    SAYS(lock_open(env, database, &l, e), RC_NOTFOUND, "app.db");
    ck_assert_int_eq(access(file, F_OK), -1);
}
END_TEST

int main(void) {
    TCase *c = tcase_create("lock");
    Suite *s = suite_create("schema/lock");
    tcase_add_unchecked_fixture(c, temp_setup, temp_teardown);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, two_handles_of_one_process_keep_each_other_out_byte_by_byte);
    tcase_add_test(c, who_share_are_together_and_who_wants_it_alone_waits);
    tcase_add_test(c, a_third_who_opens_and_closes_the_file_takes_nothing_away);
    tcase_add_test(c, the_first_that_is_held_is_found);
    tcase_add_test(c, a_holder_that_is_killed_holds_nothing_at_once);
    tcase_add_test(c, a_child_takes_nothing_and_gives_back_nothing_of_its_parent);
    tcase_add_test(c, what_a_parent_gives_back_its_children_do_not_keep);
    tcase_add_test(c, a_wait_ends_with_its_deadline_and_says_for_what);
    tcase_add_test(c, a_wait_ends_with_the_death_of_the_holder);
    tcase_add_test(c, a_file_that_was_removed_is_told_and_the_next_is_another);
    tcase_add_test(c, whoever_may_write_the_database_may_lock);
    tcase_add_test(c, what_is_no_file_of_ours_is_refused_and_left_alone);
    suite_add_tcase(s, c);
    return run_suite(s);
}
