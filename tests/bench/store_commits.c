/* Transactions as fast as one thread can, of raw SQLite and of hf_write; and stores for tests.
 *
 * `pair` is both in one process, in turns of 50 ms on a file each: what the machine does besides
 * meets both. `alone` is hf_write by itself, with a replica: what is shipped in the background must
 * not be counted against another.
 *
 * Both ways are what a careful application would write: prepared statements, BEGIN IMMEDIATE, the
 * same settings. A transaction is timed from before its begin to the return of its commit.
 */
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_BYTES 200
#define TEXTS 1024
#define TURN_NS 50000000
#define INSERT "INSERT INTO t(v) VALUES (?)"

static char texts[TEXTS][TEXT_BYTES + 1];

static void make_texts(void) {
    static const char *const words[] = {"node", "key", "policy", "seen", "route", "relay",
                                        "peer", "map", "tunnel", "user", "host",  "port"};
    uint64_t state = seed_of(0);
    for (int i = 0; i < TEXTS; i++)
        for (size_t n = 0; n + 12 < TEXT_BYTES;) {
            uint64_t r = random_from(&state);
            n += (size_t)snprintf(texts[i] + n, 13, "%s%llu ", words[r % 12],
                                  (unsigned long long)(r >> 4) % 1000);
        }
}

struct job {
    const char *name;
    int rows;
    struct times all;
    int64_t ns; /* of all its turns */
    uint64_t state;
    sqlite3_stmt *begin, *insert, *commit; /* raw */
    hf_store *store;
};

static const char *next_text(struct job *j) {
    return texts[random_from(&j->state) % TEXTS];
}

static void commit_raw(struct job *j) {
    raw_step(j->begin);
    for (int i = 0; i < j->rows; i++) {
        sqlite3_bind_text(j->insert, 1, next_text(j), -1, SQLITE_STATIC);
        raw_step(j->insert);
    }
    raw_step(j->commit);
}

static int add_rows(hf_tx *tx, void *arg) {
    struct job *j = arg;
    int code = HF_OK;
    for (int i = 0; i < j->rows && code == HF_OK; i++) code = hf_run(tx, INSERT, "s", next_text(j));
    return code;
}

static void commit_store(struct job *j) {
    must(hf_write(j->store, HF_MAIN, "add rows", add_rows, j), "hf_write");
}

static void take_turn(struct job *j) {
    int64_t start = now_ns(), now = start;
    while (now < start + TURN_NS) {
        int64_t before = now;
        if (j->store) commit_store(j);
        else commit_raw(j);
        now = now_ns();
        note(&j->all, now - before);
    }
    j->ns += now - start;
}

static void print_job(struct job *j) {
    printf("way=%s tx=%zu seconds=%.4f ", j->name, j->all.count, (double)j->ns / 1e9);
    print_times("tx", &j->all);
    printf("\n");
}

/* Of each so many seconds, the first turn not counted. */
static void measure(struct job *jobs, int count, double seconds) {
    for (int i = 0; i < count; i++) {
        take_turn(&jobs[i]);
        jobs[i].all.count = 0, jobs[i].ns = 0;
    }
    while (jobs[count - 1].ns < (int64_t)(seconds * 1e9))
        for (int i = 0; i < count; i++) take_turn(&jobs[i]);
    for (int i = 0; i < count; i++) print_job(&jobs[i]);
}

static void measure_pair(struct job *store, const char *path, const char *sync, double seconds) {
    char other[4096];
    snprintf(other, sizeof other, "%s-raw", path);
    sqlite3 *db = raw_open(other, sync);
    raw_run(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    static const char *const long_log[] = {LONG_LOG};
    for (int i = 0; i < 2; i++) raw_run(db, long_log[i]);
    struct job raw = {.name = "raw",
                      .rows = store->rows,
                      .state = seed_of(1),
                      .begin = raw_prepare(db, "BEGIN IMMEDIATE"),
                      .insert = raw_prepare(db, INSERT),
                      .commit = raw_prepare(db, "COMMIT")};
    measure((struct job[]){raw, *store}, 2, seconds);
    sqlite3_finalize(raw.begin), sqlite3_finalize(raw.insert), sqlite3_finalize(raw.commit);
    sqlite3_close(db);
}

void run_commits(char **argv) {
    double seconds = strtod(argv[2], NULL);
    make_texts();
    struct place p = place_open(
        &(struct setting){.path = argv[1], .sync = argv[3], .url = argv[5], .long_log = true});
    struct job store = {
        .name = "store", .rows = (int)number_of(argv[4]), .state = seed_of(1), .store = p.store};
    if (strcmp(argv[0], "pair") == 0) measure_pair(&store, argv[1], argv[3], seconds);
    else measure(&store, 1, seconds);
    place_close(&p);
}

/* ---- stores for tests ---- */

#define TABLE "CREATE TABLE node(name TEXT PRIMARY KEY, ip TEXT)"

static int64_t open_temp(void) {
    hf_store_options o = {.size = sizeof o, .noise = "", .main_schema = TABLE};
    hf_store *s;
    int64_t start = now_ns();
    must(hf_store_open_temp(&o, &s), "hf_store_open_temp");
    int64_t took = now_ns() - start;
    must(hf_store_close(s), "hf_store_close");
    return took;
}

/* The same by hand, of one file: a directory, a log, a table. */
static int64_t open_raw(void) {
    char dir[] = "/dev/shm/bench-store-XXXXXX", path[64];
    int64_t start = now_ns();
    if (!mkdtemp(dir)) die(dir, "cannot be made");
    snprintf(path, sizeof path, "%s/app.db", dir);
    sqlite3 *db = raw_open(path, "NORMAL");
    raw_run(db, TABLE);
    int64_t took = now_ns() - start;
    sqlite3_close(db);
    unlink(path);
    rmdir(dir);
    return took;
}

void run_temp(char **argv) {
    struct times raw = {0}, store = {0};
    for (int64_t i = 0; i < number_of(argv[0]); i++) {
        note(&raw, open_raw());
        note(&store, open_temp());
    }
    printf("count=%zu ", store.count);
    print_times("raw", &raw);
    print_times("store", &store);
    printf("\n");
}
