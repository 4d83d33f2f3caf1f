/* A rehearsal that is stopped, killed, or has no room: nothing is left, and the original is as it
 * was. */
#include "rehearse_box.h"

/* In the place of the handle's, with the real one behind it. */
static struct env jumping, *real_env;

/* ---- what ends it ---- */

static void stop_now(void) {
    atomic_store(&schema->stop, true);
}

START_TEST(stopped_it_leaves_nothing) {
    json_t *all = NULL;
    struct noted before = note();
    OPEN({"1_split", SPLIT});
    on_event = stop_now;
    CODE(rehearse_run(schema, &(struct rehearse_options){.from = "live"}, &all, e), RC_CANCELLED);
    UNTOUCHED(before);
}
END_TEST

START_TEST(copy_can_be_stopped) {
    struct sconn c;
    OPEN({"1_a", "CREATE TABLE a(x);"});
    OK(original_open(schema, false, &c, e));
    stop_now();
    CODE(copy_database(schema, c.db, below(home, "copy.db"), e), RC_CANCELLED);
    ck_assert(sqlite3_get_autocommit(c.db));
    sconn_close(&c);
}
END_TEST

static atomic_bool armed;

/* The next that asks for the time is the step that begins. */
static int64_t stop_then(struct env *env) {
    if (atomic_load(&armed)) stop_now();
    (void)env;
    return real_env->mono_ns(real_env);
}

static void arm(void) {
    atomic_store(&armed, true);
}

START_TEST(statement_that_takes_for_ever_can_be_stopped) {
    json_t *all = NULL;
    struct noted before = note();
    OPEN({"1_a", "CREATE TABLE a(x);"},
         {"2_b", "INSERT INTO a WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                 "SELECT count(*) FROM n;"});
    real_env = schema->env;
    jumping = *real_env;
    jumping.mono_ns = stop_then;
    schema->env = &jumping;
    on_event = arm;
    CODE(rehearse_run(schema, &(struct rehearse_options){.from = "live"}, &all, e), RC_CANCELLED);
    UNTOUCHED(before);
}
END_TEST

static void die(void) {
    raise(SIGKILL);
}

START_TEST(what_a_killed_one_left_goes_with_the_next) {
    int status;
    char keep[TEMP_PATH];
    json_t *answer = NULL;
    struct noted before = note();
    temp_dir(keep);
    pid_t child = fork();
    if (child == 0) {
        json_t *all;
        struct err e;
        OPEN({"1_split", SPLIT CONTRACT REVERT DOWN});
        on_event = die;
        (void)rehearse_run(schema, &(struct rehearse_options){.from = "live"}, &all, &e).code;
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    ck_assert_int_eq(leftovers_in(home), 1);
    OPEN({"1_split", SPLIT CONTRACT REVERT DOWN});
    struct rehearse_options how = {.from = "live", .keep = _i ? keep : NULL};
    OK(rehearse_run(schema, &how, &answer, e));
    json_decref(answer);
    ck_assert_int_eq(leftovers_in(home), 0);
    UNTOUCHED(before);
}
END_TEST

/* ---- killed at any moment ---- */

static int calls_left;
static bool fails_only; /* that call is refused, and nobody is killed */
static struct env_files killing_files;

static rc count_down(struct err *e) {
    if (--calls_left != 0) return ok();
    if (fails_only) return err_set(e, RC_IO, "refused");
    raise(SIGKILL);
    return ok();
}

static int64_t killing_mono(struct env *env) {
    (void)env;
    if (!fails_only) (void)count_down(NULL).code;
    return real_env->mono_ns(real_env);
}

static rc killing_open(struct env *env, const char *file, enum file_mode mode, struct file **out,
                       struct err *e) {
    (void)env;
    TRY(count_down(e));
    return real_env->files->open(real_env, file, mode, out, e);
}

static rc killing_stat(struct env *env, const char *file, struct file_stat *out, struct err *e) {
    (void)env;
    TRY(count_down(e));
    return real_env->files->stat(real_env, file, out, e);
}

static rc killing_remove(struct env *env, const char *file, struct err *e) {
    (void)env;
    TRY(count_down(e));
    return real_env->files->remove(real_env, file, e);
}

static rc killing_dirs(struct env *env, const char *dir, struct err *e) {
    (void)env;
    TRY(real_env->files->make_dirs(real_env, dir, e));
    return count_down(e);
}

static void kill_after(int calls) {
    real_env = schema->env;
    jumping = *real_env;
    killing_files = *real_env->files;
    killing_files.open = killing_open;
    killing_files.stat = killing_stat;
    killing_files.remove = killing_remove;
    killing_files.make_dirs = killing_dirs;
    jumping.files = &killing_files;
    jumping.mono_ns = killing_mono;
    calls_left = calls;
    schema->env = &jumping;
}

#define BOTH_WAYS                                                                                  \
    "-- holdfast:expand\nCREATE TABLE a(x);\n-- holdfast:contract\nDROP TABLE none;\n"             \
    "-- holdfast:revert\nDROP TABLE a;\n-- holdfast:down\nDROP TABLE a;\n"                         \
    "CREATE TABLE none(id INTEGER PRIMARY KEY, a TEXT);\n"

static bool is_killed_after(int calls) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        json_t *all;
        struct err e;
        OPEN({"1_both_ways", BOTH_WAYS});
        kill_after(calls);
        (void)rehearse_run(schema, &(struct rehearse_options){.from = "live"}, &all, &e).code;
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void file_of(const char *file, char **bytes, size_t *size) {
    FILE *out = open_memstream(bytes, size), *in = fopen(file, "rb");
    for (int c; (c = getc(in)) != EOF;) putc(c, out);
    fclose(in);
    fclose(out);
}

START_TEST(killed_anywhere_the_original_is_as_it_was) {
    char *first, *now;
    size_t first_size, now_size;
    int kills = 0;
    struct noted before = note();
    file_of(path, &first, &first_size);
    for (int calls = 1; is_killed_after(calls); calls += 1 + calls / 3) {
        file_of(path, &now, &now_size);
        ck_assert(now_size == first_size && memcmp(first, now, now_size) == 0);
        free(now);
        kills++;
    }
    ck_assert_int_gt(kills, 10);
    ck_assert_int_eq(leftovers_in(home), 0);
    free(first);
    UNTOUCHED(before);
}
END_TEST

START_TEST(refused_anywhere_it_ends_with_a_word_and_the_next_one_tidies_up) {
    struct noted before = note();
    int refused = 0;
    fails_only = true;
    for (int calls = 1; calls_left <= 0; calls += 1 + calls / 3) {
        json_t *all = NULL;
        struct err e = {.code = RC_OK};
        OPEN({"1_both_ways", BOTH_WAYS});
        kill_after(calls);
        rc r = rehearse_run(schema, &(struct rehearse_options){.from = "live"}, &all, &e);
        ck_assert_msg(r.code == RC_OK || r.code == RC_IO, "call %d: %s", calls, rc_name(r.code));
        if (is_ok(r)) ck_assert(json_is_true(json_object_get(all, "ok")));
        else ck_assert_msg(strstr(e.text, "refused") != NULL, "call %d: %s", calls, e.text);
        refused += !is_ok(r);
        json_decref(all);
        schema_close(schema);
    }
    ck_assert_int_gt(refused, 3);
    OPEN({"1_split", SPLIT CONTRACT REVERT DOWN});
    json_decref(rehearsed("live"));
    ck_assert(is_as(&before));
    free(before.bytes);
}
END_TEST

static void rehearse_beside(void) {
    static bool within;
    hf_schema *first = schema;
    if (within) return;
    within = true;
    ck_assert_int_eq(leftovers_in(home), 1);
    OPEN({"1_split", SPLIT CONTRACT REVERT DOWN});
    json_decref(rehearsed("live"));
    ck_assert_int_eq(leftovers_in(home), 1);
    schema_close(schema);
    schema = first;
}

START_TEST(one_that_is_at_work_is_left_alone) {
    struct noted before = note();
    OPEN({"1_split", SPLIT CONTRACT REVERT DOWN});
    on_event = rehearse_beside;
    json_decref(rehearsed("live"));
    UNTOUCHED(before);
}
END_TEST

START_TEST(without_room_it_does_not_begin) {
    json_t *all = NULL;
    if (!mount_tmpfs(home, "size=10m", __func__)) return;
    on(path, ROWS);
    setenv("TMPDIR", home, 1);
    struct noted before = note();
    OPEN({"1_a", "CREATE TABLE a(x);"});
    CODE(rehearse_run(schema, &(struct rehearse_options){.from = "live"}, &all, e), RC_FULL);
    UNTOUCHED(before);
}
END_TEST

START_TEST(where_it_may_not_write_it_goes_elsewhere) {
    char elsewhere[TEMP_PATH];
    temp_dir(elsewhere);
    if (!mount_tmpfs(home, "size=10m", __func__)) return;
    on(path, ROWS);
    setenv("TMPDIR", elsewhere, 1);
    struct noted before = note();
    OPEN({"1_a", "CREATE TABLE a(x);"});
    json_decref(rehearsed("live"));
    ck_assert_int_eq(leftovers_in(elsewhere), 0);
    UNTOUCHED(before);
}
END_TEST

int main(void) {
    Suite *s = suite_create("schema/rehearse_ends");
    TCase *t = tcase_create("ends");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, stopped_it_leaves_nothing);
    tcase_add_test(t, copy_can_be_stopped);
    tcase_add_test(t, statement_that_takes_for_ever_can_be_stopped);
    tcase_add_loop_test(t, what_a_killed_one_left_goes_with_the_next, 0, 2); /* 1: -keep */
    tcase_add_test(t, killed_anywhere_the_original_is_as_it_was);
    tcase_add_test(t, refused_anywhere_it_ends_with_a_word_and_the_next_one_tidies_up);
    tcase_add_test(t, one_that_is_at_work_is_left_alone);
    tcase_add_test(t, without_room_it_does_not_begin);
    tcase_add_test(t, where_it_may_not_write_it_goes_elsewhere);
    suite_add_tcase(s, t);
    return run_suite(s);
}
