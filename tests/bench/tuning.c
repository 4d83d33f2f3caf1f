/* What each setting of the store gives: `make bench-tuning`, and docs/tuning.md has the figures.
 *
 *     bench_tuning DIR [SECONDS [PAIRS]]
 *
 * One setting at a time is varied, against the store's own, by turns in one run (A B A B ...), so
 * that a disk or a machine that changes its pace meets both. What is printed is the ratio of
 * neighbours: median, least and most. Here are the settings that are SQLite's, on plain connections
 * of SQLite; tuning_store.c has those that are the store's.
 */
#include "tuning.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROWS 200000 /* of about 230 bytes: 50 MB */
#define PAIRS_MAX 99

const char *directory;
double seconds = 0.5;
int pairs = 5;

void die(const char *what, const char *why) {
    fprintf(stderr, "bench_tuning: %s: %s\n", what, why);
    exit(1);
}

static int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

struct stopwatch start_watch(void) {
    return (struct stopwatch){now_ns(), clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
}

struct pace pace_of(const struct stopwatch *w, int64_t count) {
    struct stopwatch now = start_watch();
    double n = (double)count * 1e9;
    return (struct pace){n / (double)(now.wall_ns - w->wall_ns),
                         n / (double)(now.cpu_ns - w->cpu_ns)};
}

uint64_t dice(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state >> 11;
}

/* ---- figures ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int by_ns(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t quantile(int64_t *ns, int count, double q) {
    if (!count) return 0;
    qsort(ns, (size_t)count, sizeof *ns, by_ns);
    return ns[(int)(q * (count - 1))];
}

struct ratios {
    double all[PAIRS_MAX];
};

static void print_ratios(struct ratios *r) {
    qsort(r->all, (size_t)pairs, sizeof r->all[0], by_value);
    printf(" %6.3f | %.3f to %.3f |", r->all[pairs / 2], r->all[0], r->all[pairs - 1]);
}

void compare(const char *setting, const char *work, const void *by_default, const void *variant,
             struct pace (*run)(const void *trial)) {
    struct ratios wall, cpu, base;
    for (int i = 0; i < pairs; i++) {
        struct pace own = run(by_default), other = run(variant);
        base.all[i] = own.wall;
        wall.all[i] = other.wall / own.wall;
        cpu.all[i] = other.cpu / own.cpu;
    }
    qsort(base.all, (size_t)pairs, sizeof base.all[0], by_value);
    printf("| %s | %s | %.0f |", setting, work, base.all[pairs / 2]);
    print_ratios(&wall);
    print_ratios(&cpu);
    puts("");
    fflush(stdout);
}

/* ---- SQLite ---- */

void raw_exec(sqlite3 *db, const char *sql) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) die(sql, sqlite3_errmsg(db));
}

sqlite3 *raw_open(const char *path, const char *pragmas) {
    sqlite3 *db;
    if (sqlite3_open(path, &db) != SQLITE_OK) die(path, sqlite3_errmsg(db));
    raw_exec(db, pragmas);
    return db;
}

sqlite3_stmt *raw_prepare(sqlite3 *db, const char *sql) {
    sqlite3_stmt *st;
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK) die(sql, sqlite3_errmsg(db));
    return st;
}

static void step(sqlite3_stmt *st) {
    int code = sqlite3_step(st);
    if (code != SQLITE_DONE && code != SQLITE_ROW)
        die(sqlite3_sql(st), sqlite3_errmsg(sqlite3_db_handle(st)));
    sqlite3_reset(st);
}

/* ---- trials ---- */

enum work { UPDATE, READ, CHILD, PREPARE };
static const char *const work_names[] = {[UPDATE] = "commits of one row",
                                         [READ] = "reads of one row",
                                         [CHILD] = "commits of a child",
                                         [PREPARE] = "reads of one row"};
static const char *const work_sql[] = {[UPDATE] = "UPDATE t SET data = ?2 WHERE id = ?1",
                                       [READ] = "SELECT data FROM t WHERE id = ?1",
                                       [CHILD] = "INSERT INTO child(parent, data) VALUES (?1, ?2)",
                                       [PREPARE] = "SELECT data FROM t WHERE id = ?1"};

#define OWN                                                                                        \
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192;"           \
    "PRAGMA mmap_size = 0; PRAGMA foreign_keys = 1; PRAGMA wal_autocheckpoint = 1000;"

struct trial {
    enum work work;
    int page_bytes;
    const char *pragmas; /* after the store's own */
    int defensive;
};

static void path_of(char out[512], int page_bytes) {
    snprintf(out, 512, "%s/tuning-%d.db", directory, page_bytes);
}

static void fill(int page_bytes) {
    char path[512], sql[1024];
    path_of(path, page_bytes);
    remove(path);
    snprintf(sql, sizeof sql,
             "PRAGMA page_size = %d; PRAGMA journal_mode = WAL;"
             "CREATE TABLE t(id INTEGER PRIMARY KEY, data TEXT);"
             "CREATE TABLE child(parent INTEGER REFERENCES t(id), data TEXT);"
             "WITH n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             "INSERT INTO t SELECT i, hex(randomblob(100)) FROM n;"
             "PRAGMA wal_checkpoint(TRUNCATE)",
             page_bytes, ROWS);
    sqlite3_close(raw_open(path, sql));
}

/* New content each time: an UPDATE to the same bytes writes nothing. */
static void bind(sqlite3_stmt *st, uint64_t *state) {
    char data[201];
    sqlite3_bind_int64(st, 1, (int64_t)(dice(state) % ROWS) + 1);
    if (sqlite3_bind_parameter_count(st) == 1) return;
    for (int i = 0; i < 200; i += 10)
        snprintf(data + i, 11, "%010llx", (unsigned long long)(dice(state) & 0xffffffffff));
    sqlite3_bind_text(st, 2, data, 200, SQLITE_TRANSIENT);
}

static struct pace work(sqlite3 *db, const struct trial *t) {
    sqlite3_stmt *begin = raw_prepare(db, "BEGIN IMMEDIATE"), *commit = raw_prepare(db, "COMMIT");
    sqlite3_stmt *st = raw_prepare(db, work_sql[t->work]);
    bool writes = t->work == UPDATE || t->work == CHILD;
    if (!writes) raw_exec(db, "SELECT sum(length(data)) FROM t"); /* the cache is warm */
    uint64_t state = (uint64_t)now_ns() | 1;
    int64_t end = now_ns() + (int64_t)(seconds * 1e9), count = 0;
    struct stopwatch watch = start_watch();
    for (; now_ns() < end; count++) {
        if (t->work == PREPARE) {
            sqlite3_finalize(st);
            st = raw_prepare(db, work_sql[t->work]);
        }
        if (writes) step(begin);
        bind(st, &state);
        step(st);
        if (writes) step(commit);
    }
    struct pace pace = pace_of(&watch, count);
    sqlite3_finalize(begin);
    sqlite3_finalize(commit);
    sqlite3_finalize(st);
    return pace;
}

static struct pace run(const void *trial) {
    const struct trial *t = trial;
    char path[512];
    path_of(path, t->page_bytes);
    sqlite3 *db = raw_open(path, OWN);
    raw_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    raw_exec(db, t->pragmas);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, t->defensive, (int *)NULL);
    struct pace pace = work(db, t);
    raw_exec(db, "PRAGMA journal_mode = WAL");
    sqlite3_close(db);
    return pace;
}

static void vary(const char *setting, struct trial variant) {
    struct trial own = {.work = variant.work, .page_bytes = 4096, .pragmas = "", .defensive = 1};
    if (own.work == PREPARE) own.work = READ;
    compare(setting, work_names[variant.work], &own, &variant, run);
}

static void tune_sqlite(void) {
    static const struct {
        const char *setting;
        struct trial trial;
    } all[] = {
        {"the store's own, against itself", {UPDATE, 4096, "", 1}},
        {"the store's own, against itself", {READ, 4096, "", 1}},
        {"synchronous OFF", {UPDATE, 4096, "PRAGMA synchronous = OFF", 1}},
        {"synchronous FULL", {UPDATE, 4096, "PRAGMA synchronous = FULL", 1}},
        {"journal DELETE, synchronous FULL",
         {UPDATE, 4096, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL", 1}},
        {"cache 2 MiB (SQLite's default)", {UPDATE, 4096, "PRAGMA cache_size = -2000", 1}},
        {"cache 64 MiB", {UPDATE, 4096, "PRAGMA cache_size = -65536", 1}},
        {"cache 2 MiB (SQLite's default)", {READ, 4096, "PRAGMA cache_size = -2000", 1}},
        {"cache 64 MiB", {READ, 4096, "PRAGMA cache_size = -65536", 1}},
        {"page 8192", {UPDATE, 8192, "", 1}},
        {"page 16384", {UPDATE, 16384, "", 1}},
        {"page 8192", {READ, 8192, "", 1}},
        {"page 16384", {READ, 16384, "", 1}},
        {"mmap 256 MiB", {UPDATE, 4096, "PRAGMA mmap_size = 268435456", 1}},
        {"mmap 256 MiB", {READ, 4096, "PRAGMA mmap_size = 268435456", 1}},
        {"checkpoint at 4000 pages", {UPDATE, 4096, "PRAGMA wal_autocheckpoint = 4000", 1}},
        {"checkpoint at 16000 pages", {UPDATE, 4096, "PRAGMA wal_autocheckpoint = 16000", 1}},
        {"foreign keys off", {CHILD, 4096, "PRAGMA foreign_keys = 0", 1}},
        {"not defensive", {UPDATE, 4096, "", 0}},
        {"prepared anew each time", {PREPARE, 4096, "", 1}},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) vary(all[i].setting, all[i].trial);
}

/* What a sync of this disk takes: the ratios of `synchronous` are about nothing else. */
static double sync_us(void) {
    static const char page[4096];
    int64_t ns[100];
    char path[512];
    path_of(path, 4096);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    for (int i = 0; fd >= 0 && i < 100; i++) {
        int64_t start = now_ns();
        if (pwrite(fd, page, sizeof page, i * 4096) < 0 || fdatasync(fd) < 0) die(path, "sync");
        ns[i] = now_ns() - start;
    }
    if (fd < 0 || close(fd) < 0) die(path, "sync");
    return (double)quantile(ns, 100, 0.5) / 1e3;
}

static void clean(void) {
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    static const int pages[] = {4096, 8192, 16384};
    for (int i = 0; i < 12; i++) {
        char path[520];
        path_of(path, pages[i / 4]);
        strcat(path, ends[i % 4]);
        remove(path);
    }
}

int main(int argc, char **argv) {
    double load[3] = {0};
    time_t now = time(NULL);
    char date[32];
    if (argc < 2) die("usage", "bench_tuning DIR [SECONDS [PAIRS]]");
    directory = argv[1];
    if (argc > 2) seconds = strtod(argv[2], NULL);
    if (argc > 3) pairs = atoi(argv[3]);
    if (seconds <= 0 || pairs < 1 || pairs > PAIRS_MAX)
        die("usage", "SECONDS > 0, 1 <= PAIRS <= 99");
    strftime(date, sizeof date, "%Y-%m-%d %H:%M", gmtime(&now));
    getloadavg(load, 3);
    printf(
        "%s UTC, SQLite %s, load %.1f %.1f %.1f, %g s, %d pairs; a page and its sync: %.0f us\n\n",
        date, sqlite3_libversion(), load[0], load[1], load[2], seconds, pairs, sync_us());
    printf("| setting | work | the store's own, a second | ratio | least to most | ratio per CPU "
           "second | least to most |\n"
           "|---|---|---|---|---|---|---|\n");
    for (int page = 4096; page <= 16384; page *= 2) fill(page);
    tune_sqlite();
    clean();
    tune_readers();
    tune_waits();
    tune_interval();
    return 0;
}
