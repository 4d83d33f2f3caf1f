/* A source that is stepped by hand beside an application's connection, under a clock that stands
 * still between two steps. Its destinations are the test's. */
#ifndef TESTS_SOURCE_STEPPED_H
#define TESTS_SOURCE_STEPPED_H

#include "../os/temp.h"

#include "source/internal.h"
#include "stores/stores.h"

#include <semaphore.h>
#include <stdatomic.h>

#define SECOND 1000000000LL

static struct env *real, env;
static atomic_llong mono_now, unix_shift; /* a worker sleeps, too */
static struct source *source;
static struct err err;
static sqlite3 *app;
static char db_path[TEMP_PATH * 2];
static sem_t woken;

static inline int64_t fake_mono(struct env *e) {
    (void)e;
    return mono_now;
}

static inline int64_t fake_unix(struct env *e) {
    (void)e;
    return 1795382699618 + unix_shift + mono_now / 1000000;
}

static inline void fake_sleep(struct env *e, int64_t ns) {
    (void)e;
    mono_now += ns;
}

static inline void on_wake(void *arg) {
    (void)arg;
    sem_post(&woken);
}

static inline void must(rc r) {
    ck_assert_msg(is_ok(r), "%s", err.text);
}

static inline void sql_on(sqlite3 *db, const char *text) {
    char *words = NULL;
    ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &words) == SQLITE_OK, "%s", words);
}

static inline void sql(const char *text) {
    sql_on(app, text);
}

/* No power is cut here, and a sync takes as long as a hundred steps. */
static inline void open_app(void) {
    ck_assert_int_eq(sqlite3_open(db_path, &app), SQLITE_OK);
    sql("PRAGMA synchronous = OFF");
}

/* The clock, and a directory with app.db, in WAL mode with a table t. */
static inline void stepped_setup(int workers) {
    char dir[TEMP_PATH];
    temp_dir(dir);
    snprintf(db_path, sizeof db_path, "%s/app.db", dir);
    setenv("RUNTIME_DIRECTORY", below(dir, "run"), 1);
    must(env_new_system(workers, &real, &err));
    env = *real;
    env.mono_ns = fake_mono;
    env.unix_ms = fake_unix;
    env.sleep_ns = fake_sleep;
    mono_now = 1000 * SECOND;
    sem_init(&woken, 0, 0);
    open_app();
    sql("PRAGMA journal_mode = WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, b)");
}

static inline void stop(void) {
    source_free(source);
    source = NULL;
}

static inline bool busy(void) {
    for (int i = 0; i < source->dest_count; i++) {
        const struct dest *d = &source->dest[i];
        if (d->open_task.busy || d->keep_task.busy || d->verify_task.busy || d->ship.task.busy ||
            d->compact.task.busy)
            return true;
    }
    return false;
}

static inline rc step_once(int64_t *due) {
    return source_step(source, mono_now, false, due, &err);
}

/* One step; then the end of a job, or the time at which the next is due. */
static inline rc step(void) {
    int64_t due;
    TRY(step_once(&due));
    if (busy()) sem_wait(&woken);
    else if (due > mono_now) mono_now = due;
    return ok();
}

static inline bool shipped(void) {
    return source_left(source, NULL, 0) == 0;
}

static inline void run_until_shipped(void) {
    for (int i = 0; i < 10000 && !shipped(); i++) must(step());
    ck_assert(shipped());
}

#endif
