/* Undo where something fails, or the process is killed, at each effect in turn: the database is
 * what it was, or what it was before the run, and nothing else. */
#include "replicated.h"

#include "../base/memory.h"
#include "vfs.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

/* ---- the files that are not SQLite's ---- */

static struct env faulty_env;
static struct env_files faulty_files;
static atomic_int env_left; /* effects until it */
static bool env_kills;
static atomic_bool env_fired;

static bool env_now(void) {
    if (atomic_fetch_sub(&env_left, 1) != 1) return false;
    if (env_kills) kill(getpid(), SIGKILL);
    env_fired = true;
    return true;
}

#define REAL store_env()->files
#define FAIL(e)                                                                                    \
    if (env_now()) return err_set(e, RC_IO, "planted")
static rc v_file_open(struct env *env, const char *path, enum file_mode mode, struct file **out,
                      struct err *e) {
    FAIL(e);
    return REAL->open(env, path, mode, out, e);
}
static rc v_file_write(struct env *env, struct file *f, uint64_t at, const void *p, size_t n,
                       struct err *e) {
    FAIL(e);
    return REAL->write(env, f, at, p, n, e);
}
static rc v_file_read(struct env *env, struct file *f, uint64_t at, void *p, size_t n,
                      struct err *e) {
    FAIL(e);
    return REAL->read(env, f, at, p, n, e);
}
static rc v_file_reserve(struct env *env, struct file *f, uint64_t size, struct err *e) {
    FAIL(e);
    return REAL->reserve(env, f, size, e);
}
static rc v_file_sync(struct env *env, struct file *f, struct err *e) {
    FAIL(e);
    return REAL->sync(env, f, e);
}
static rc v_file_link(struct env *env, struct file *f, const char *temp, const char *path,
                      struct err *e) {
    FAIL(e);
    return REAL->link(env, f, temp, path, e);
}
static rc v_file_remove(struct env *env, const char *path, struct err *e) {
    FAIL(e);
    return REAL->remove(env, path, e);
}

static void take_env(int n, bool kills) {
    faulty_env = *store_env();
    faulty_files = *REAL;
    faulty_files.open = v_file_open;
    faulty_files.write = v_file_write;
    faulty_files.read = v_file_read;
    faulty_files.reserve = v_file_reserve;
    faulty_files.sync = v_file_sync;
    faulty_files.link = v_file_link;
    faulty_files.remove = v_file_remove;
    faulty_env.files = &faulty_files;
    env_left = n;
    env_kills = kills;
}

/* ---- memory ---- */

static atomic_long memory_left;
static atomic_bool memory_fired;
#ifndef SANITIZED
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
static bool memory_now(void) {
    if (!memory_left || atomic_fetch_sub(&memory_left, 1) != 1) return false;
    memory_fired = true;
    errno = ENOMEM; /* as malloc leaves it */
    return true;
}
#pragma GCC visibility push(default) /* the libraries' too */
void *malloc(size_t n) {
    return memory_now() ? NULL : __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    return memory_now() ? NULL : __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    return memory_now() ? NULL : __libc_realloc(p, n);
}
#pragma GCC visibility pop
#endif

/* ---- the sweep ---- */

enum sweep { DISK_FAILS, DISK_IS_FULL, DISK_KILLS, FILES_FAIL, FILES_KILL, NO_MEMORY };
static const struct {
    enum sweep kind;
    int step, least; /* each so-manieth effect; how many must have been met */
} sweeps[] = {
    {DISK_FAILS, 1, 40}, {DISK_IS_FULL, 1, 40}, {DISK_KILLS, 1, 40},
    {FILES_FAIL, 1, 20}, {FILES_KILL, 1, 20},   {NO_MEMORY, 11, 40},
};

static char after_hash[65], given[TEMP_PATH + 64], worked_on[TEMP_PATH + 64];

static void begin(enum sweep kind, int n) {
    if (kind == FILES_FAIL || kind == FILES_KILL) take_env(n, kind == FILES_KILL);
    else if (kind == NO_MEMORY) memory_left = n;
    else {
        take_vfs();
        fault_at(kind == DISK_FAILS ? FAULT_IO : kind == DISK_IS_FULL ? FAULT_FULL : FAULT_KILL, n);
    }
}

static bool has_fired(void) {
    return fault_fired || env_fired || memory_fired;
}

#define DONE 0
#define DONE_ALL_THE_SAME 50
#define NOTHING_FIRED 51

/* What the child ends with: a code, or one of the above. */
static int undo_with(enum sweep kind, int n) {
    static hf_schema its;
    struct err e;
    json_t *out = NULL;
    struct env *env = store_env();
    box_open(&its, env);
    snprintf(its.path, sizeof its.path, "%s", worked_on);
    its.options.event = NULL;
    begin(kind, n);
    if (faulty_env.files) its.env = &faulty_env;
    rc r = undo_run(&its, replica, false, &out, &e);
    memory_left = 0;
    if (is_ok(r)) return has_fired() ? DONE_ALL_THE_SAME : NOTHING_FIRED;
    if (!has_fired()) fprintf(stderr, "%s\n", e.text);
    return has_fired() ? (int)r.code : 100;
}

static void copy_anew(void) {
    char command[TEMP_PATH * 4];
    snprintf(command, sizeof command, "rm -f '%s'* && cp '%s' '%s'", worked_on, given, worked_on);
    ck_assert_int_eq(system(command), 0);
}

static bool is_legal(int code, enum sweep kind) {
    if (code == RC_IO || code == RC_FULL) return kind != NO_MEMORY;
    if (code == RC_NOMEM) return true;
    return code == RC_CORRUPT || code == RC_BUSY || code == RC_RETRY; /* of what was read back */
}

/* True: no fault was left. */
static bool one_round(enum sweep kind, int n, bool *was_killed) {
    int status;
    char now[65];
    int64_t rows;
    copy_anew();
    pid_t child = fork();
    if (child == 0) _exit(undo_with(kind, n));
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    *was_killed = WIFSIGNALED(status);
    int code = *was_killed ? -1 : WEXITSTATUS(status);
    if (*was_killed) ck_assert_int_eq(WTERMSIG(status), SIGKILL);
    read_hash(worked_on, now, &rows);
    bool is_old = strcmp(now, after_hash) == 0, is_new = strcmp(now, before_hash) == 0;
    ck_assert_msg(is_old || is_new, "at %d, code %d: neither", n, code);
    if (code == NOTHING_FIRED || code == DONE_ALL_THE_SAME)
        ck_assert_msg(is_new, "at %d: not undone", n);
    else if (code >= 0) ck_assert_msg(is_legal(code, kind), "at %d: code %d", n, code);
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(worked_on, &db), SQLITE_OK);
    ck_assert_int_eq(number(db, "SELECT count(*) FROM pragma_integrity_check WHERE"
                                " integrity_check <> 'ok'"),
                     0);
    sqlite3_close(db);
    return code == NOTHING_FIRED;
}

START_TEST(whatever_fails_the_database_is_the_old_or_the_new) {
    enum sweep kind = sweeps[_i].kind;
    int n = 1, met = 0;
    bool was_killed;
#ifdef SANITIZED
    if (kind == NO_MEMORY) {
        printf("skipped: whatever_fails...: a sanitizer has its own malloc\n");
        return;
    }
#endif
    fill(300);
    to_directory();
    migrate("a");
    end_replication();
    sconn_close(&conn);
    sql("PRAGMA wal_checkpoint(TRUNCATE)");
    int64_t rows;
    read_hash(app_path, after_hash, &rows);
    sqlite3_close(app);
    app = NULL;
    snprintf(given, sizeof given, "%s", app_path);
    snprintf(worked_on, sizeof worked_on, "%s/worked-on.db", app_dir);
    for (; !one_round(kind, n, &was_killed); n += sweeps[_i].step) {
        met++;
        if (kind == NO_MEMORY) n += n / 30; /* more and more seldom */
    }
    ck_assert_int_ge(met, sweeps[_i].least);
}
END_TEST

int main(void) {
    Suite *s = suite_create("schema/undo_faults");
    TCase *t = tcase_create("faults");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, box_setup, box_teardown);
    ADD_ROWS(t, whatever_fails_the_database_is_the_old_or_the_new, sweeps);
    suite_add_tcase(s, t);
    return run_suite(s);
}
