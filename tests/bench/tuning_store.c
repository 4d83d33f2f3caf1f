/* The settings that are the store's own: how writers wait, readers, and the interval of
 * shipments. */
#include "tuning.h"

#include "holdfast.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define WRITERS 8
#define WAITS_MAX 400000

static void must(int code, const char *what) {
    if (code != HF_OK) die(what, hf_errmsg());
}

static void in_threads(int count, void *(*run)(void *), void *arg) {
    pthread_t threads[64];
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, run, arg)) die("thread", "cannot start");
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

/* ---- how writers wait ---- */

enum way { STORE, TIMEOUT, DEFERRED };
static const char *const way_names[] = {"the store", "busy_timeout, BEGIN IMMEDIATE",
                                        "busy_timeout, BEGIN, read, write"};
struct contest {
    enum way way;
    char path[512];
    hf_store *store;
    int64_t end_ns;
    pthread_mutex_t lock;
    /* guarded by lock */
    int64_t *waits;
    int count;
    atomic_int done, busy;
};

static void note(struct contest *c, int64_t ns) {
    pthread_mutex_lock(&c->lock);
    if (c->count < WAITS_MAX) c->waits[c->count++] = ns;
    pthread_mutex_unlock(&c->lock);
    c->done++;
}

static int add(hf_tx *tx, void *began) {
    *(int64_t *)began = now_ns();
    return hf_run(tx, "UPDATE t SET n = n + 1", NULL);
}

static void write_by_store(struct contest *c) {
    while (now_ns() < c->end_ns) {
        int64_t asked = now_ns(), began = 0;
        must(hf_write(c->store, HF_MAIN, "add", add, &began), "hf_write");
        note(c, began - asked);
    }
}

/* True: done, or busy and counted. */
static bool try(struct contest *c, sqlite3 *db, const char *sql) {
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (code == SQLITE_OK) return true;
    if (code != SQLITE_BUSY) die(sql, sqlite3_errmsg(db));
    c->busy++;
    if (!sqlite3_get_autocommit(db)) raw_exec(db, "ROLLBACK");
    return false;
}

static void write_raw(struct contest *c) {
    sqlite3 *db = raw_open(c->path, "PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 10000");
    bool deferred = c->way == DEFERRED;
    while (now_ns() < c->end_ns) {
        int64_t asked = now_ns();
        if (!try(c, db, deferred ? "BEGIN; SELECT n FROM t" : "BEGIN IMMEDIATE")) continue;
        int64_t began = now_ns();
        if (try(c, db, "UPDATE t SET n = n + 1") && try(c, db, "COMMIT")) note(c, began - asked);
    }
    sqlite3_close(db);
}

static void *contend(void *arg) {
    struct contest *c = arg;
    if (c->way == STORE) write_by_store(c);
    else write_raw(c);
    return NULL;
}

static void contest(enum way way) {
    struct contest c = {.way = way, .lock = PTHREAD_MUTEX_INITIALIZER};
    hf_store_options o = {.size = sizeof o,
                          .main_schema = "CREATE TABLE IF NOT EXISTS t(n); INSERT INTO t SELECT 0 "
                                         "WHERE NOT EXISTS (SELECT 1 FROM t)"};
    snprintf(c.path, sizeof c.path, "%s/tuning-waits.db", directory);
    must(hf_store_open(c.path, &o, &c.store), "open");
    c.waits = calloc(WAITS_MAX, sizeof *c.waits);
    c.end_ns = now_ns() + (int64_t)(seconds * 4e9);
    in_threads(WRITERS, contend, &c);
    printf("| %s | %.0f | %.3f | %.1f | %.1f | %.0f | %d |\n", way_names[way],
           c.done / (seconds * 4), (double)quantile(c.waits, c.count, 0.5) / 1e6,
           (double)quantile(c.waits, c.count, 0.99) / 1e6,
           (double)quantile(c.waits, c.count, 1) / 1e6,
           (double)quantile(c.waits, c.count, 1) / (double)(quantile(c.waits, c.count, 0.5) + 1),
           c.busy);
    fflush(stdout);
    free(c.waits);
    must(hf_store_close(c.store), "close");
}

void tune_waits(void) {
    printf("\n%d threads that write one row each, again and again; waits in ms\n\n"
           "| writers | commits/s | median | p99 | longest | longest/median | BUSY |\n"
           "|---|---|---|---|---|---|---|\n",
           WRITERS);
    for (int i = 0; i < 2; i++)
        for (enum way w = STORE; w <= DEFERRED; w++) contest(w);
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/tuning-waits.db%s", directory, ends[i]);
        remove(path);
    }
}

/* ---- readers ---- */

struct reading {
    hf_store *store;
    int64_t end_ns;
    atomic_llong count;
};

static int read_some(hf_tx *tx, void *arg) {
    struct sqlite3_stmt *st;
    (void)arg;
    int code =
        hf_query(tx, &st, "SELECT sum(length(data)) FROM t WHERE id BETWEEN 100 AND 400", "");
    while (code == HF_OK && (code = hf_step(tx, st)) == HF_ROW) code = HF_OK;
    return code;
}

static void *read_often(void *arg) {
    struct reading *r = arg;
    for (; now_ns() < r->end_ns; r->count++) {
        struct sqlite3_stmt *st;
        hf_tx *tx;
        must(hf_begin(r->store, HF_READ, "read", &tx), "read");
        must(hf_query(tx, &st, "SELECT sum(length(data)) FROM t WHERE id BETWEEN 100 AND 400", ""),
             "query");
        if (hf_step(tx, st) != HF_ROW) die("read", hf_errmsg());
        must(hf_commit(tx), "commit");
    }
    return NULL;
}

static struct pace read_with(const void *readers) {
    struct reading r = {0};
    hf_store_options o = {
        .size = sizeof o,
        .readers = *(const int *)readers,
        .main_schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, data TEXT);"
                       "WITH n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
                       "INSERT INTO t SELECT i, hex(randomblob(100)) FROM n"};
    must(hf_store_open_temp(&o, &r.store), "open");
    must(hf_read(r.store, "warm", read_some, NULL), "read");
    struct stopwatch watch = start_watch();
    r.end_ns = now_ns() + (int64_t)(seconds * 1e9);
    in_threads(WRITERS, read_often, &r);
    struct pace pace = pace_of(&watch, r.count);
    must(hf_store_close(r.store), "close");
    return pace;
}

void tune_readers(void) {
    static const int by_default = 16, variants[] = {1, 2, 4};
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "readers %d", variants[i]);
        compare(name, "8 threads that read", &by_default, &variants[i], read_with);
    }
}

/* ---- the interval ---- */

struct shipping {
    hf_store *store;
    int flush;
    int64_t end_ns, waits[4096];
    int count;
};

static int put(hf_tx *tx, void *arg) {
    (void)arg;
    return hf_run(tx, "INSERT INTO t(data) VALUES (hex(randomblob(100)))", NULL);
}

static void *write_steadily(void *arg) {
    struct shipping *s = arg;
    while (now_ns() < s->end_ns) {
        must(hf_write(s->store, HF_MAIN, "steady", put, NULL), "hf_write");
        sqlite3_sleep(5);
    }
    return NULL;
}

static void wait_often(struct shipping *s) {
    hf_wait_options o = {.size = sizeof o, .flush = s->flush};
    while (now_ns() < s->end_ns && s->count < 4096) {
        must(hf_write(s->store, HF_MAIN, "waited for", put, NULL), "hf_write");
        int64_t start = now_ns();
        must(hf_wait(s->store, NULL, &o), "hf_wait");
        s->waits[s->count++] = now_ns() - start;
        sqlite3_sleep(20);
    }
}

static void ship(int64_t interval_ms, int flush) {
    struct shipping s = {.flush = flush};
    hf_store_options o = {.size = sizeof o,
                          .main_schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, data TEXT)"};
    hf_replicate_options r = {.size = sizeof r, .interval_ms = interval_ms};
    hf_fake *fake;
    pthread_t writer;
    must(hf_fake_new(&fake), "fake");
    must(hf_store_open_temp(&o, &s.store), "open");
    const char *const urls[] = {hf_fake_url(fake), NULL};
    must(hf_store_replicate(s.store, urls, &r), "replicate");
    must(hf_wait(s.store, NULL, NULL), "hf_wait");
    hf_fake_slow(fake, 30);
    uint64_t puts = hf_fake_puts(fake);
    double length = seconds * 12;
    s.end_ns = now_ns() + (int64_t)(length * 1e9);
    if (pthread_create(&writer, NULL, write_steadily, &s)) die("thread", "cannot start");
    wait_often(&s);
    pthread_join(writer, NULL);
    printf("| %lld ms | %s | %.0f | %.0f | %.0f | %.0f |\n", (long long)interval_ms,
           flush ? "flush" : "ride", (double)(hf_fake_puts(fake) - puts) * 60 / length,
           (double)quantile(s.waits, s.count, 0.5) / 1e6,
           (double)quantile(s.waits, s.count, 0.99) / 1e6,
           (double)quantile(s.waits, s.count, 1) / 1e6);
    fflush(stdout);
    hf_fake_slow(fake, 0);
    must(hf_store_close(s.store), "close");
    hf_fake_free(fake);
}

void tune_interval(void) {
    printf("\na writer of 200 commits a second, beside one who waits for each of its own; puts take"
           " 30 ms;\nwaits in ms\n\n"
           "| interval | wait | puts/min | median | p99 | longest |\n|---|---|---|---|---|---|\n");
    static const int64_t intervals[] = {100, 1000, 3000};
    for (int i = 0; i < 3; i++) ship(intervals[i], 0);
    ship(1000, 1);
}
