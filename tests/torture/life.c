/* See the header. */
#include "life.h"
#include "operations.h"

#include "source/barrier.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)
#define STEP_NS 1000000 /* a step takes some time */

/* ---- the world ---- */

static int64_t mono_now = 1000 * SECOND;

static int64_t mono(struct env *env) {
    (void)env;
    return mono_now;
}

static int64_t unix_ms(struct env *env) {
    (void)env;
    return 1795382699618 + mono_now / 1000000;
}

static void sleep_ns(struct env *env, int64_t ns) {
    (void)env;
    mono_now += ns;
}

static rc submit(struct env *env, struct job *j, struct err *e) {
    struct jobs_done *home = j->home;
    (void)env, (void)e;
    j->run(j);
    jobs_done_put(home, j);
    return ok();
}

static rc parallel(struct env *env, int most, int count, void (*fn)(void *, int), void *arg,
                   struct err *e) {
    (void)env, (void)most, (void)e;
    for (int i = 0; i < count; i++) fn(arg, i);
    return ok();
}

struct env *one_thread(void) {
    static struct env env, *real;
    if (real) return &env;
    points_pause();
    SURE(env_new_system(1, &real, &sure_err));
    points_resume();
    env = *real;
    env.mono_ns = mono, env.unix_ms = unix_ms, env.sleep_ns = sleep_ns;
    env.submit = submit, env.parallel = parallel;
    return &env;
}

void pass_time(int64_t ms) {
    mono_now += ms * 1000000;
}

/* ---- the application ---- */

static void sql(sqlite3 *db, const char *text) {
    char *words = NULL;
    MUST(sqlite3_exec(db, text, NULL, NULL, &words) == SQLITE_OK, "%s: %s", text, words);
}

static int64_t number(sqlite3 *db, const char *text) {
    sqlite3_stmt *s;
    MUST(sqlite3_prepare_v2(db, text, -1, &s, NULL) == SQLITE_OK, "%s: %s", text,
         sqlite3_errmsg(db));
    MUST(sqlite3_step(s) == SQLITE_ROW, "%s: %s", text, sqlite3_errmsg(db));
    int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return n;
}

void rows_add(const char *path, uint64_t last) {
    sqlite3 *db;
    char text[200];
    points_pause();
    MUST(sqlite3_open(path, &db) == SQLITE_OK, "%s: cannot be opened", path);
    sqlite3_busy_timeout(db, 5000);
    sql(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 0;"
            "CREATE TABLE IF NOT EXISTS t(i INTEGER PRIMARY KEY, v TEXT, b BLOB)");
    int64_t first = number(db, "SELECT coalesce(max(i), 0) + 1 FROM t");
    for (uint64_t i = (uint64_t)first; i <= last; i++) {
        snprintf(text, sizeof text,
                 "INSERT INTO t VALUES (%" PRIu64 ", 'row %" PRIu64 "', zeroblob(%" PRIu64 "))", i,
                 i, i * 100 % 1500);
        sql(db, text);
    }
    sqlite3_close(db);
    points_resume();
    outcome->committed = last;
}

void take_database(uint64_t rows) {
    points_pause();
    copy_file("../seed/" DB, DB);
    if (is_there("../seed/" DB "-wal")) copy_file("../seed/" DB "-wal", DB "-wal");
    outcome->committed = rows;
    points_resume();
}

uint64_t rows_of(const char *path) {
    sqlite3 *db;
    MUST(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK,
         "%s cannot be opened", path);
    MUST(number(db, "SELECT group_concat(integrity_check) = 'ok' FROM pragma_integrity_check"),
         "%s is damaged", path);
    int64_t any = number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 't'");
    uint64_t n = any ? (uint64_t)number(db, "SELECT count(*) FROM t") : 0;
    MUST(!any || number(db, "SELECT count(*) = sum(i <= (SELECT count(*) FROM t) AND "
                            "v = 'row ' || i AND length(b) = i * 100 % 1500) OR count(*) = 0"
                            " FROM t"),
         "%s: other rows than the first %" PRIu64, path, n);
    sqlite3_close(db);
    return n;
}

/* ---- the source ---- */

static void event(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg;
    if (!getenv("TORTURE_EVENTS")) return;
    fprintf(stderr, "%s", name);
    for (int i = 0; i < count; i++) fprintf(stderr, " %s", pairs[i]);
    fputc('\n', stderr);
}

/* Whoever waits steps. */
static void wake(void *arg) {
    (void)arg;
}

static rc begin(struct life *l, const char *db, const char *url, bool take_over, struct err *e) {
    struct env *env = one_thread();
    struct store *store = NULL;
    *l = (struct life){0};
    TRY(barrier_new(env, wake, NULL, &l->barrier, e));
    struct source_options o = {.checkpoint_pages = 8,
                               .verify_ms = 3600000,
                               .barrier = l->barrier,
                               .take_over = take_over,
                               .event = event,
                               .wake = wake};
    TRY(source_open(&l->source, env, db, &o, e));
    TRY(store_open(env, url, &store, e));
    return source_add(l->source, store, e);
}

rc life_begin(struct life *l, const char *db, const char *url, struct err *e) {
    return begin(l, db, url, false, e);
}

rc life_take_over(struct life *l, const char *db, const char *url, struct err *e) {
    return begin(l, db, url, true, e);
}

static rc step(struct life *l, bool changed, struct err *e) {
    int64_t due;
    TRY(source_step(l->source, mono_now, changed, &due, e));
    int64_t least = mono_now + STEP_NS, most = mono_now + SECOND;
    mono_now = due < least ? least : due > most ? most : due;
    return ok();
}

struct ended {
    bool is;
    rc how;
    struct err *e;
};

static void told(struct wait *w, rc r, const struct err *e) {
    struct ended *ended = w->arg;
    ended->is = true;
    ended->how = r;
    if (!is_ok(r)) *ended->e = *e;
}

rc life_safe(struct life *l, struct err *e) {
    struct ended ended = {.e = e};
    struct wait w = {
        .flush = true, .deadline_ns = mono_now + 120 * SECOND, .ended = told, .arg = &ended};
    struct err why;
    uint64_t rows = outcome->committed;
    bool looked = false;
    barrier_add(l->barrier, &w);
    rc r = ok();
    for (int64_t until = w.deadline_ns + SECOND; is_ok(r) && !ended.is;) {
        MUST(mono_now < until, "a wait does not end though its time is over");
        r = step(l, !looked, &why);
        looked = true;
    }
    if (!ended.is) barrier_stop(l->barrier, &why);
    MUST(ended.is, "a wait does not end though its run has");
    if (is_ok(ended.how)) outcome->acked = rows;
    if (!is_ok(r)) *e = why;
    return is_ok(r) ? ended.how : r;
}

rc life_steps(struct life *l, int64_t ms, struct err *e) {
    int64_t until = mono_now + ms * 1000000;
    while (mono_now < until) TRY(step(l, false, e));
    return ok();
}

void life_end(struct life *l, rc r, struct err *e) {
    struct err none = {.code = RC_CANCELLED, .text = "it ended"};
    if (l->source) source_free(l->source);
    if (l->barrier) barrier_stop(l->barrier, is_ok(r) ? &none : e);
    barrier_free(l->barrier);
}

static rc live(struct life *l, const char *db, const char *url, uint64_t rows, struct err *e) {
    TRY(life_begin(l, db, url, e));
    TRY(life_safe(l, e));
    rows_add(db, rows / 2);
    TRY(life_safe(l, e));
    pass_time(31000); /* level 1 is due */
    rows_add(db, rows / 2 + 2);
    TRY(life_safe(l, e));
    TRY(life_steps(l, 2000, e));
    pass_time(400000); /* level 2, and the retention of level 0 */
    rows_add(db, rows);
    TRY(life_safe(l, e));
    TRY(life_steps(l, 2000, e));
    pass_time(3600000); /* level 3; and it is verified */
    TRY(life_steps(l, 5000, e));
    source_drain(l->source);
    return life_safe(l, e);
}

rc life_whole(const char *db, const char *url, uint64_t rows, struct err *e) {
    struct life l;
    rc r = live(&l, db, url, rows, e);
    life_end(&l, r, e);
    return r;
}

/* ---- afterwards ---- */

/* The rows that the replica has; 0 where there is no backup. */
static uint64_t restored_rows(const char *url) {
    struct env *env = one_thread();
    struct store *store;
    struct restore_result result;
    struct restore_options o = {0};
    struct verify_result v;
    struct err e;
    remove("restored");
    SURE(store_open(env, url, &store, &sure_err));
    rc r = replica_verify(store, 1, NULL, &v, &e);
    MUST(is_ok(r) || r.code == RC_NOTFOUND, "verify: %s", e.text);
    r = replica_restore(store, "restored", &o, &result, &e);
    store_free(store);
    if (r.code == RC_NOTFOUND && !outcome->acked) return 0;
    MUST(is_ok(r), "restore: %s", e.text);
    return rows_of("restored");
}

/* Where nothing could be renamed, neither the owner's note nor the run file could be written: then
 * nobody knows that the replica is ours, and the words name the option that goes on. */
static bool has_no_name(const struct err *e) {
    return strstr(e->text, "no owner note") && strstr(e->text, "-take-over") &&
           outcome->point.kind == POINT_CALL && outcome->point.onward &&
           outcome->point.call == (unsigned)call_named("rename");
}

void life_check(const char *db, const char *url) {
    struct life l;
    struct err e;
    uint64_t acked = outcome->acked, rows = restored_rows(url);
    MUST(rows >= acked, "WRONG ACK: %" PRIu64 " rows were said to be safe, %" PRIu64 " are there",
         acked, rows);
    MUST(rows <= outcome->committed, "%" PRIu64 " rows, more than there were", rows);
    uint64_t here = rows_of(db);
    MUST(here == outcome->committed, "the database itself has %" PRIu64 " rows of %" PRIu64, here,
         outcome->committed);
    rc r = life_begin(&l, db, url, &e);
    if (is_ok(r)) r = life_safe(&l, &e);
    life_end(&l, r, &e);
    if (!is_ok(r) && has_no_name(&e)) {
        r = life_take_over(&l, db, url, &e);
        if (is_ok(r)) r = life_safe(&l, &e);
        life_end(&l, r, &e);
    }
    MUST(is_ok(r), "the next run does not go on: %s", e.text);
    rows = restored_rows(url);
    MUST(rows == here, "after the next run the replica has %" PRIu64 " rows of %" PRIu64, rows,
         here);
    sqlite3 *app;
    MUST(sqlite3_open(db, &app) == SQLITE_OK, "%s", db);
    sql(app, "PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_close(app);
    MUST(same_bytes(db, "restored"), "other pages than the database's, though its rows are there");
}

/* ---- files ---- */

static size_t read_all(const char *path, char **out) {
    FILE *f = fopen(path, "rb");
    struct stat st;
    MUST(f && fstat(fileno(f), &st) == 0, "%s is not there", path);
    *out = malloc((size_t)st.st_size + 1);
    size_t n = fread(*out, 1, (size_t)st.st_size, f);
    fclose(f);
    return n;
}

void copy_file(const char *from, const char *to) {
    char *bytes;
    size_t n = read_all(from, &bytes);
    FILE *f = fopen(to, "wb");
    MUST(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0, "%s cannot be written", to);
    free(bytes);
}

bool same_bytes(const char *a, const char *b) {
    char *x, *y;
    size_t n = read_all(a, &x), m = read_all(b, &y);
    bool same = n == m && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same;
}

bool is_there(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

int names_with(const char *dir, const char *words) {
    int n = 0;
    DIR *d = opendir(dir);
    MUST(d, "%s is not there", dir);
    for (struct dirent *entry; (entry = readdir(d));) n += strstr(entry->d_name, words) != NULL;
    closedir(d);
    return n;
}
