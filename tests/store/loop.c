/* The loop around a source, where the database is replaced under it and cannot be asked for. */
#include "../os/temp.h"

#include "source/barrier.h"
#include "store/loop.h"
#include "store/mem.h"

#include <sqlite3.h>
#include <string.h>

static struct env *real, env;
static struct env_files files;
static struct err err;
static struct store *replica;
static int starts, waits;
static bool no_log, shipped;

static void must(rc r) {
    ck_assert_msg(is_ok(r), "%s", err.text);
}

static rc ask(struct env *e, const char *path, struct file_stat *out, struct err *why) {
    size_t n = strlen(path);
    if (no_log && n > 4 && strcmp(path + n - 4, "-wal") == 0)
        return err_set(why, RC_IO, "%s: Input/output error", path);
    return real->files->stat(e, path, out, why);
}

static void on_event(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg, (void)pairs, (void)count;
    starts += strcmp(name, "start") == 0;
    waits += strcmp(name, "database.old_log") == 0;
    shipped |= strcmp(name, "ship") == 0;
}

static void keep(struct store *s) {
    (void)s; /* one replica for both databases */
}

static rc open_store(struct env *e, const char *url, struct store **out, struct err *why) {
    (void)e, (void)url, (void)why;
    *out = replica;
    return ok();
}

static rc opened(void *arg, struct err *e) {
    (void)arg, (void)e;
    return ok();
}

static enum loop_order until_first_shipped(void *arg, int64_t *until) {
    (void)arg, (void)until;
    return shipped ? LOOP_END : LOOP_GO_ON;
}

static enum loop_order until_told(void *arg, int64_t *until) {
    (void)arg, (void)until;
    return waits || starts > 1 ? LOOP_END : LOOP_GO_ON;
}

static void wake(void *watch) {
    (void)watch;
}

static void ask_no_more(void *arg) {
    (void)arg;
    no_log = true;
}

static void make(const char *path, sqlite3 **out) {
    ck_assert_int_eq(sqlite3_open(path, out), SQLITE_OK);
    ck_assert_int_eq(
        sqlite3_exec(*out, "PRAGMA journal_mode=WAL; CREATE TABLE t(b)", NULL, NULL, NULL),
        SQLITE_OK);
}

/* It may be the old one's, and SQLite would copy that into the new database. */
START_TEST(a_log_that_cannot_be_asked_for_is_waited_for) {
    struct loop_owner owner = {
        .open_store = open_store, .opened = opened, .asked = until_first_shipped};
    char dir[TEMP_PATH], path[TEMP_PATH * 2], other[TEMP_PATH * 2];
    char url[] = "mem", *urls[] = {url};
    sqlite3 *app, *next;
    struct store_ops kept;
    temp_dir(dir);
    snprintf(path, sizeof path, "%s/app.db", dir);
    snprintf(other, sizeof other, "%s/new.db", dir);
    setenv("RUNTIME_DIRECTORY", below(dir, "run"), 1);
    must(env_new_system(2, &real, &err));
    env = *real;
    files = *real->files;
    files.stat = ask;
    env.files = &files;
    must(store_new_mem(&env, &replica, &err));
    kept = *replica->ops;
    void (*drop)(struct store *) = kept.free;
    kept.free = keep;
    replica->ops = &kept;
    make(path, &app);
    make(other, &next);
    sqlite3_close(next);
    struct loop l = {.owner = &owner,
                     .env = &env,
                     .path = path,
                     .urls = urls,
                     .url_count = 1,
                     .options = {.event = on_event}};
    must(watch_new(&l.watch, &err));
    must(barrier_new(&env, wake, NULL, &l.options.barrier, &err));
    must(loop_open(&l, &err));
    must(loop_run(&l, &err));
    ck_assert_int_eq(rename(other, path), 0);
    owner.closing = ask_no_more;
    owner.asked = until_told;
    must(loop_run(&l, &err));
    ck_assert_int_eq(starts, 1);
    ck_assert_int_eq(waits, 1);
    owner.closing = NULL;
    loop_close(&l);
    sqlite3_close(app);
    barrier_stop(l.options.barrier, &err);
    barrier_free(l.options.barrier);
    watch_free(l.watch);
    drop(replica);
    env_free_system(real);
}
END_TEST

int main(void) {
    Suite *s = suite_create("loop");
    TCase *t = tcase_create("loop");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_test(t, a_log_that_cannot_be_asked_for_is_waited_for);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
