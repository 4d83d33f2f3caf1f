/* The store, as an application uses it, and what it is compared with: raw SQLite and etcd.
 *
 *     bench_store commits pair|alone DB SECONDS SYNC ROWS [URL]  transactions, as fast as they go
 *     bench_store barrier DB URL WAITERS SECONDS flush|ride  commit and wait, each thread, again
 *     bench_store burst DB WAITERS ROUNDS MS                 all wait for the same commit
 *     bench_store fill DB KEYS BYTES                         records, see store.h
 *     bench_store kv DB OP CLIENTS SECONDS SYNC KEYS BYTES [URL]   OP: get put scan find
 *     bench_store get DB SECONDS KEYS                        hf_get, and a prepared SELECT
 *     bench_store etcd-fill ENDPOINT KEYS BYTES
 *     bench_store etcd ENDPOINT OP CLIENTS SECONDS KEYS BYTES
 *     bench_store index DB                                   an index is built beside two writers
 *     bench_store pace DB main|noise RATE                    a writer; until its input ends
 *     bench_store noise DB PAIRS SECONDS                     main with and without writers of noise
 *     bench_store temp COUNT                                 stores for tests
 *
 * URL is a destination, or fake:MS for the library's own, whose every request takes so long. Here
 * are the modes and what they share; include/holdfast.h is all that they know of the library.
 */
#include "store.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STACK_BYTES (256 << 10)

void die(const char *what, const char *why) {
    fprintf(stderr, "bench_store: %s: %s\n", what, why);
    exit(1);
}

void must(int code, const char *what) {
    if (code != HF_OK) die(what, hf_errmsg());
}

static int64_t clock_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t now_ns(void) {
    return clock_of(CLOCK_MONOTONIC);
}

void pause_ms(int64_t ms) {
    sleep_until(now_ns() + ms * 1000000);
}

void sleep_until(int64_t ns) {
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) continue;
}

int64_t number_of(const char *text) {
    char *end;
    long long n = text ? strtoll(text, &end, 10) : -1;
    if (n < 0 || *end) die(text ? text : "an argument", "a number is wanted here");
    return n;
}

uint64_t random_from(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state >> 11;
}

uint64_t seed_of(int64_t i) {
    return ((uint64_t)i + 1) * 2654435761u + 88172645463325252u;
}

/* ---- times ---- */

static void *grown(void *old, size_t bytes) {
    void *p = realloc(old, bytes);
    if (!p) die("times", "no memory");
    return p;
}

void note(struct times *l, int64_t ns) {
    if (l->count == l->room) {
        l->room = l->room ? 2 * l->room : 4096;
        l->ns = grown(l->ns, l->room * sizeof *l->ns);
    }
    l->ns[l->count++] = ns;
}

void add_times(struct times *to, struct times *from) {
    for (size_t i = 0; i < from->count; i++) note(to, from->ns[i]);
    free(from->ns);
    *from = (struct times){0};
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

void print_times(const char *name, struct times *l) {
    if (l->count == 0) die(name, "nothing was measured");
    qsort(l->ns, l->count, sizeof *l->ns, ascending);
    printf("%s_p50_us=%.2f %s_p99_us=%.2f %s_max_us=%.2f ", name, (double)l->ns[l->count / 2] / 1e3,
           name, (double)l->ns[l->count * 99 / 100] / 1e3, name, (double)l->ns[l->count - 1] / 1e3);
    free(l->ns);
    *l = (struct times){0};
}

/* ---- threads ---- */

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    void (*run)(void *, int);
    void *arg;
    int index;
};

static void *work(void *arg) {
    struct worker *w = arg;
    pthread_barrier_wait(w->start);
    w->run(w->arg, w->index);
    return NULL;
}

void in_threads(int count, void (*run)(void *, int), void *arg) {
    struct worker *all = grown(NULL, (size_t)count * sizeof *all);
    pthread_barrier_t start;
    pthread_attr_t attr;
    pthread_barrier_init(&start, NULL, (unsigned)count);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (int i = 0; i < count; i++) {
        all[i] = (struct worker){.start = &start, .run = run, .arg = arg, .index = i};
        if (pthread_create(&all[i].thread, &attr, work, &all[i])) die("threads", "too many");
    }
    for (int i = 0; i < count; i++) pthread_join(all[i].thread, NULL);
    pthread_attr_destroy(&attr);
    pthread_barrier_destroy(&start);
    free(all);
}

struct loaded {
    const struct load *load;
    int64_t until_ns;
    pthread_mutex_t lock;
    struct times all; /* guarded by lock */
};

static void be_client(void *arg, int index) {
    struct loaded *l = arg;
    struct times mine = {0};
    /* Other values in each run: SQLite writes nothing where a put changes nothing. */
    uint64_t state = seed_of(index) ^ (uint64_t)now_ns();
    void *client = l->load->open(l->load->arg);
    int64_t before, now = now_ns();
    do {
        before = now;
        l->load->once(client, &state);
        now = now_ns();
        note(&mine, now - before);
    } while (now < l->until_ns);
    l->load->close(client);
    pthread_mutex_lock(&l->lock);
    add_times(&l->all, &mine);
    pthread_mutex_unlock(&l->lock);
}

void run_load(const struct load *load, int clients) {
    int64_t start = now_ns();
    struct loaded l = {.load = load,
                       .until_ns = start + (int64_t)(load->seconds * 1e9),
                       .lock = PTHREAD_MUTEX_INITIALIZER};
    int64_t cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    in_threads(clients, be_client, &l);
    cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("ops=%zu seconds=%.3f cpu_us=%.2f ", l.all.count, (double)(now_ns() - start) / 1e9,
           (double)cpu / 1e3 / (double)l.all.count);
    print_times("op", &l.all);
    printf("\n");
}

/* ---- raw SQLite, with the settings that docs/tuning.md gives for main ---- */

void raw_run(sqlite3 *db, const char *sql) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) die(sql, sqlite3_errmsg(db));
}

sqlite3 *raw_open(const char *path, const char *sync) {
    char sql[64];
    sqlite3 *db;
    if (sqlite3_open(path, &db) != SQLITE_OK) die(path, sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 10000);
    raw_run(db, "PRAGMA journal_mode=WAL; PRAGMA cache_size=-8192; PRAGMA mmap_size=0;"
                "PRAGMA foreign_keys=ON");
    snprintf(sql, sizeof sql, "PRAGMA synchronous=%s", sync);
    raw_run(db, sql);
    return db;
}

sqlite3_stmt *raw_prepare(sqlite3 *db, const char *sql) {
    sqlite3_stmt *s;
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL) != SQLITE_OK)
        die(sql, sqlite3_errmsg(db));
    return s;
}

void raw_step(sqlite3_stmt *s) {
    sqlite3_step(s);
    if (sqlite3_reset(s) != SQLITE_OK) die(sqlite3_sql(s), sqlite3_errmsg(sqlite3_db_handle(s)));
}

/* ---- a store ---- */

static int sync_of(const char *name) {
    if (strcmp(name, "OFF") == 0) return HF_SYNC_OFF;
    return strcmp(name, "FULL") == 0 ? HF_SYNC_FULL : HF_SYNC_NORMAL;
}

static void replicate(struct place *p, const char *url) {
    if (strncmp(url, "fake:", 5) == 0) {
        must(hf_fake_new(&p->fake), "hf_fake_new");
        hf_fake_slow(p->fake, number_of(url + 5));
        url = hf_fake_url(p->fake);
    }
    must(hf_store_replicate(p->store, (const char *[]){url, NULL}, NULL), url);
    must(hf_wait(p->store, NULL, NULL), "the first backup");
}

#define MAIN_TABLE "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)"
#define NOISE_TABLE "CREATE TABLE IF NOT EXISTS noise.seen(id INTEGER PRIMARY KEY, at)"

static int execute(hf_tx *tx, void *sql) {
    return hf_exec(tx, sql);
}

static void lengthen_log(hf_store *s) {
    static char sql[][64] = {LONG_LOG};
    for (int i = 0; i < 2; i++) must(hf_write(s, HF_MAIN, "long log", execute, sql[i]), sql[i]);
}

struct place place_open(const struct setting *s) {
    struct place p = {0};
    hf_store_options o = {.size = sizeof o,
                          .noise = s->noise,
                          .main_sync = sync_of(s->sync),
                          .timeout_ms = s->timeout_ms,
                          .main_schema = MAIN_TABLE,
                          .noise_schema = s->noise ? NOISE_TABLE : NULL};
    must(hf_store_open(s->path, &o, &p.store), s->path);
    if (s->long_log) lengthen_log(p.store);
    if (s->url) replicate(&p, s->url);
    return p;
}

void place_close(struct place *p) {
    must(hf_store_close(p->store), "hf_store_close");
    hf_fake_free(p->fake);
}

/* ---- records ---- */

void key_of(char out[KEY_BYTES], int64_t i, int64_t count) {
    snprintf(out, KEY_BYTES, "p%lld/%08lld", (long long)(i * 10 / count), (long long)i);
}

void user_of(char out[USER_BYTES], int64_t i) {
    snprintf(out, USER_BYTES, "u%08lld", (long long)i);
}

size_t value_of(char *out, size_t bytes, int64_t i, uint64_t *state) {
    char user[USER_BYTES];
    user_of(user, i);
    size_t n = (size_t)snprintf(out, 128, "{\"user\":{\"id\":\"%s\"},\"at\":%llu,\"note\":\"", user,
                                (unsigned long long)(random_from(state) % 1000000000));
    while (n + 18 < bytes) {
        uint64_t r = random_from(state);
        for (int digits = 13; digits > 0; digits--, r >>= 4) out[n++] = "0123456789abcdef"[r & 15];
        out[n++] = ' ';
    }
    return n + (size_t)snprintf(out + n, 3, "\"}");
}

int64_t random_record(uint64_t *state, int64_t count) {
    return (int64_t)(random_from(state) % (uint64_t)count);
}

int64_t random_indexed(uint64_t *state, int64_t count, int64_t followed_by) {
    return count * 3 / 10 + random_record(state, count / 10 - followed_by);
}

/* ---- modes ---- */

static const struct mode {
    const char *name;
    int least; /* arguments */
    void (*run)(char **argv);
} modes[] = {
    {"commits", 5, run_commits}, {"barrier", 5, run_barrier},
    {"burst", 4, run_burst},     {"fill", 3, run_fill},
    {"kv", 7, run_kv},           {"get", 3, run_get},
    {"etcd", 6, run_etcd},       {"etcd-fill", 3, run_etcd_fill},
    {"index", 1, run_index},     {"pace", 3, run_pace},
    {"noise", 3, run_noise},     {"temp", 1, run_temp},
};

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (argc > 1 && strcmp(argv[1], modes[i].name) == 0) {
            if (argc - 2 < modes[i].least) die(argv[1], "too few arguments");
            modes[i].run(argv + 2);
            return fflush(stdout) ? 1 : 0;
        }
    die("usage", "bench_store MODE ..., see tests/bench/store.c");
}
