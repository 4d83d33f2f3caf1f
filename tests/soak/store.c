/* Many threads of several processes on one store: nobody meets a lock, nobody starves, every sum is
 * right.
 *
 *     soak_store [-seconds 60] [-threads 16] [-processes 3] [-seed N] [-dir DIR]
 *
 * Each thread moves amounts between accounts: within main, within noise, and from one to the other
 * in one transaction of both; counts up a key by compare-and-put; rolls some back; and reads. The
 * first process streams main to a replica meanwhile. The files are made in a new directory below
 * DIR (/var/tmp), which stays if something fails.
 *
 * What must hold
 *  1. In each snapshot of a file: its accounts and what it has given away sum up to what it began
 *     with.
 *  2. Under the locks of both, and at the end: what main has given is what noise has taken.
 *  3. At the end: each commit that a thread counted is there, once, and none that was rolled back;
 *     both files pass integrity_check.
 *  4. What is restored from the replica is a prefix of main's commits, of which 1 and 3 hold.
 *  5. No call returns HF_BUSY or HF_TIMEOUT; no thread is without progress for STUCK seconds.
 *  6. No thread has less than a quarter of the commits of its process's median thread, no process
 *     less than a tenth of what the median process has.
 *
 * Waits are from the call of hf_write until its function runs, in buckets of an eighth of their
 * size.
 */
#include "holdfast.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ACCOUNTS 100
#define START 1000
#define KEYS 4
#define THREADS_MAX 64
#define PROCESSES_MAX 16
#define STUCK 20
#define BUCKETS 400

enum { TO_MAIN, TO_NOISE, TO_BOTH, WRITES };
static const char *const write_names[WRITES] = {"main", "noise", "both"};

struct waits {
    uint64_t count[BUCKETS];
    uint64_t total;
    int64_t max_ns;
};

struct worker {
    int process, thread;
    uint64_t seed;
    atomic_uint_fast64_t steps; /* for the watchdog */
    atomic_bool ended;
    uint64_t commits, moves[WRITES], rolled_back, reads, counted[KEYS];
    struct waits waits[WRITES];
    char words[300]; /* the first failure */
    uint64_t busy, timeouts, failures;
};

/* What the processes share. */
static struct shared {
    atomic_bool stop;
    atomic_bool stuck;
    struct worker worker[PROCESSES_MAX][THREADS_MAX];
} * shared;

static struct {
    int seconds, threads, processes;
    uint64_t seed;
    const char *dir;
} args = {60, 16, 3, 0, "/var/tmp"};

static char path[500], replica[500], restored[500];
static const char *const urls[] = {replica, NULL};
static hf_store *store;
#define SCHEMA(file)                                                                               \
    "CREATE TABLE IF NOT EXISTS " file ".account(id INTEGER PRIMARY KEY, amount INTEGER);"         \
    "CREATE TABLE IF NOT EXISTS " file ".moved(amount INTEGER);"

/* ---- small things ---- */

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t below(struct worker *w, uint64_t n) {
    w->seed ^= w->seed << 13, w->seed ^= w->seed >> 7, w->seed ^= w->seed << 17;
    return (w->seed >> 11) % n;
}

/* Eight buckets for each doubling: the position of the highest bit, and the three bits below it. */
static int bucket_of(int64_t ns) {
    if (ns < 8) return ns < 0 ? 0 : (int)ns;
    int high = 63 - __builtin_clzll((unsigned long long)ns);
    int b = (high - 2) * 8 + (int)((ns >> (high - 3)) & 7);
    return b < BUCKETS ? b : BUCKETS - 1;
}

static double ms_of(int b) {
    return (b < 8 ? (double)b : (double)((8 + b % 8) * (1ULL << (b / 8 - 1)))) / 1e6;
}

static void note_wait(struct waits *w, int64_t ns) {
    w->count[bucket_of(ns)]++;
    w->total++;
    if (ns > w->max_ns) w->max_ns = ns;
}

static double quantile(const struct waits *w, double q) {
    uint64_t seen = 0;
    for (int b = 0; b < BUCKETS; b++)
        if ((seen += w->count[b]) > 0 && (double)seen >= q * (double)w->total) return ms_of(b);
    return 0;
}

static void add_waits(struct waits *to, const struct waits *w) {
    for (int b = 0; b < BUCKETS; b++) to->count[b] += w->count[b];
    to->total += w->total;
    if (w->max_ns > to->max_ns) to->max_ns = w->max_ns;
}

__attribute__((format(printf, 2, 3))) static void failed(struct worker *w, const char *format,
                                                         ...) {
    va_list list;
    w->failures++;
    if (w->words[0]) return;
    va_start(list, format);
    vsnprintf(w->words, sizeof w->words, format, list);
    va_end(list);
}

static void judge(struct worker *w, int code, const char *what) {
    if (code == HF_OK) return;
    w->busy += code == HF_BUSY;
    w->timeouts += code == HF_TIMEOUT;
    failed(w, "%s: %s: %s", what, hf_strcode(code), hf_errmsg());
}

static int number_of(hf_tx *tx, const char *sql, int64_t *out) {
    sqlite3_stmt *row;
    int code = hf_query(tx, &row, sql, "");
    if (!code && (code = hf_step(tx, row)) == HF_ROW) {
        *out = sqlite3_column_int64(row, 0);
        code = HF_OK;
    }
    return code;
}

/* ---- what a thread does ---- */

enum { ROLLED_BACK = 1000, WRONG };

struct step {
    struct worker *w;
    int64_t asked_ns;
    int kind;
    bool give_up;
};

#define SUM(file)                                                                                  \
    "SELECT (SELECT sum(amount) FROM " file ".account) + (SELECT amount FROM " file ".moved)"

static int check_file(hf_tx *tx, struct worker *w, bool noise) {
    int64_t sum = 0;
    int code = number_of(tx, noise ? SUM("noise") : SUM("main"), &sum);
    if (code || sum == ACCOUNTS * START) return code;
    failed(w, "%s sums up to %lld", noise ? "noise" : "main", (long long)sum);
    return WRONG;
}

static int check_both(hf_tx *tx, struct worker *w) {
    int64_t left = 0;
    int code = number_of(
        tx, "SELECT (SELECT amount FROM main.moved) + (SELECT amount FROM noise.moved)", &left);
    if (code || left == 0) return code;
    failed(w, "main and noise differ by %lld", (long long)left);
    return WRONG;
}

static int add(hf_tx *tx, const char *file, uint64_t account, int64_t amount) {
    int code = hf_run(tx,
                      strcmp(file, "main") == 0
                          ? "UPDATE main.account SET amount = amount + ? WHERE id = ?"
                          : "UPDATE noise.account SET amount = amount + ? WHERE id = ?",
                      "ii", amount, (int64_t)account);
    return code ? code : hf_changes(tx) == 1 ? HF_OK : WRONG;
}

static int count_up(hf_tx *tx, unsigned k) {
    char key[20], *value = NULL, next[30];
    size_t bytes;
    snprintf(key, sizeof key, "count/%u", k);
    int code = hf_kv_get(tx, key, &value, &bytes);
    if (code) return code;
    snprintf(next, sizeof next, "%llu", strtoull(value, NULL, 10) + 1);
    hf_value now = hf_json(value);
    code = hf_kv_swap(tx, key, &now, hf_json(next));
    hf_free(value);
    return code;
}

static int move(hf_tx *tx, void *arg) {
    struct step *s = arg;
    struct worker *w = s->w;
    int64_t amount = (int64_t)below(w, 50);
    uint64_t from = 1 + below(w, ACCOUNTS), to = 1 + below(w, ACCOUNTS);
    note_wait(&w->waits[s->kind], now_ns() - s->asked_ns);
    int code = add(tx, s->kind == TO_NOISE ? "noise" : "main", from, -amount);
    if (!code) code = add(tx, s->kind == TO_MAIN ? "main" : "noise", to, amount);
    if (!code && s->kind == TO_BOTH) {
        code = hf_run(tx, "UPDATE main.moved SET amount = amount + ?", "i", amount);
        if (!code) code = hf_run(tx, "UPDATE noise.moved SET amount = amount - ?", "i", amount);
        if (!code) code = check_both(tx, w);
    }
    if (!code && s->kind != TO_NOISE)
        code = hf_run(tx, "INSERT INTO main.done VALUES (?, ?, ?)", "iii", (int64_t)w->process,
                      (int64_t)w->thread, (int64_t)w->commits);
    if (!code && s->kind == TO_MAIN) code = count_up(tx, (unsigned)(w->commits % KEYS));
    return code ? code : s->give_up ? ROLLED_BACK : HF_OK;
}

static void write_once(struct worker *w) {
    static const int scopes[WRITES] = {HF_MAIN, HF_NOISE, HF_BOTH};
    struct step s = {.w = w, .give_up = below(w, 10) == 0, .kind = (int)below(w, WRITES)};
    s.asked_ns = now_ns();
    int code = hf_write(store, scopes[s.kind], write_names[s.kind], move, &s);
    if (code == ROLLED_BACK) {
        w->rolled_back++;
    } else if (code == WRONG) { /* said already */
    } else if (code != HF_OK) {
        judge(w, code, write_names[s.kind]);
    } else {
        w->moves[s.kind]++;
        if (s.kind == TO_MAIN) w->counted[w->commits % KEYS]++;
        if (s.kind != TO_NOISE) w->commits++;
    }
}

static int look(hf_tx *tx, void *arg) {
    struct worker *w = arg;
    int code = check_file(tx, w, false);
    return code ? code : check_file(tx, w, true);
}

static void *work(void *arg) {
    struct worker *w = arg;
    while (!atomic_load(&shared->stop)) {
        if (below(w, 2)) {
            write_once(w);
        } else {
            int code = hf_read(store, "look", look, w);
            if (code != WRONG) judge(w, code, "read");
            w->reads++;
        }
        atomic_fetch_add(&w->steps, 1);
    }
    atomic_store(&w->ended, true);
    return NULL;
}

/* ---- a process ---- */

static int open_store(void) {
    hf_store_options o = {
        .size = sizeof o,
        .noise = "",
        .main_schema = SCHEMA("main") "CREATE TABLE IF NOT EXISTS done(process, thread, number,"
                                      " PRIMARY KEY(process, thread, number)) WITHOUT ROWID",
        .noise_schema = SCHEMA("noise"),
        .timeout_ms = 2 * 1000 * STUCK,
    };
    return hf_store_open(path, &o, &store);
}

/* Until the time is over and every thread has ended; false if one does not move. */
static bool watch(struct worker *w) {
    uint64_t seen[THREADS_MAX] = {0};
    int64_t moved[THREADS_MAX], until = now_ns() + (int64_t)args.seconds * 1000000000;
    for (int i = 0; i < args.threads; i++) moved[i] = now_ns();
    for (int left = args.threads; left > 0;) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        if (now_ns() > until) atomic_store(&shared->stop, true);
        left = 0;
        for (int i = 0; i < args.threads; i++) {
            uint64_t steps = atomic_load(&w[i].steps);
            bool ended = atomic_load(&w[i].ended);
            left += !ended;
            if (steps != seen[i] || ended) moved[i] = now_ns();
            seen[i] = steps;
            if (now_ns() - moved[i] < (int64_t)STUCK * 1000000000) continue;
            failed(&w[i], "no progress in %d s: a deadlock", STUCK);
            return false;
        }
    }
    return true;
}

static int run_process(int process) {
    pthread_t threads[THREADS_MAX];
    struct worker *w = shared->worker[process];
    int code = open_store();
    if (!code && process == 0) code = hf_store_replicate(store, urls, NULL);
    judge(w, code, "open");
    if (code) return 1;
    for (int i = 0; i < args.threads; i++) {
        w[i].process = process;
        w[i].thread = i;
        w[i].seed =
            args.seed * 1000003 + (uint64_t)(process * 1009 + i) * 7919 + 88172645463325252u;
        pthread_create(&threads[i], NULL, work, &w[i]);
    }
    if (!watch(w)) {
        atomic_store(&shared->stuck, true);
        atomic_store(&shared->stop, true);
        return 1; /* the threads end with the process */
    }
    for (int i = 0; i < args.threads; i++) pthread_join(threads[i], NULL);
    code = hf_store_close(store);
    judge(w, code, "close");
    return code != HF_OK;
}

static int fill(hf_tx *tx, void *arg) {
    int code = HF_OK;
    char key[20];
    (void)arg;
    for (int i = 1; !code && i <= ACCOUNTS; i++) {
        code =
            hf_run(tx, "INSERT INTO main.account VALUES (?, ?)", "ii", (int64_t)i, (int64_t)START);
        if (!code)
            code = hf_run(tx, "INSERT INTO noise.account VALUES (?, ?)", "ii", (int64_t)i,
                          (int64_t)START);
    }
    if (!code)
        code = hf_exec(tx, "INSERT INTO main.moved VALUES (0);"
                           "INSERT INTO noise.moved VALUES (0)");
    for (unsigned k = 0; !code && k < KEYS; k++) {
        snprintf(key, sizeof key, "count/%u", k);
        code = hf_kv_put(tx, key, hf_json("0"));
    }
    return code;
}

static int prepare(int process) {
    struct worker *w = shared->worker[process];
    int code = open_store();
    if (!code) code = hf_write(store, HF_BOTH, "fill", fill, NULL);
    if (!code) code = hf_store_close(store);
    judge(w, code, "prepare");
    return code != HF_OK;
}

static int restore(int process) {
    int done = 0, code = hf_restore_if_missing(restored, urls, NULL, &done);
    judge(shared->worker[process], code, "restore");
    return code || !done;
}

/* No handle outlives a fork: each process opens its own, the parent none. */
static pid_t start(int (*run)(int), int process) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(run(process));
}

static bool ended_well(pid_t pid) {
    int status;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

/* ---- the judgement, by SQLite alone ---- */

static int wrong;

static int64_t ask(sqlite3 *db, const char *sql) {
    sqlite3_stmt *row = NULL;
    int64_t n = INT64_MIN;
    if (sqlite3_prepare_v2(db, sql, -1, &row, NULL) == SQLITE_OK && sqlite3_step(row) == SQLITE_ROW)
        n = sqlite3_column_int64(row, 0);
    sqlite3_finalize(row);
    return n;
}

static void expect(const char *what, int64_t got, int64_t wanted) {
    if (got == wanted) return;
    printf("  WRONG: %s: %lld, not %lld\n", what, (long long)got, (long long)wanted);
    wrong++;
}

static bool is_whole(sqlite3 *db, const char *integrity_check) {
    sqlite3_stmt *row = NULL;
    bool good = sqlite3_prepare_v2(db, integrity_check, -1, &row, NULL) == SQLITE_OK &&
                sqlite3_step(row) == SQLITE_ROW &&
                strcmp((const char *)sqlite3_column_text(row, 0), "ok") == 0;
    sqlite3_finalize(row);
    return good;
}

/* What holds at each commit of main. Returns how many there were. */
static int64_t check_main(sqlite3 *db) {
    expect("sum of main", ask(db, SUM("main")), ACCOUNTS * START);
    expect("numbers without a gap",
           ask(db, "SELECT count(*) FROM (SELECT 1 FROM done GROUP BY process, thread"
                   " HAVING count(*) <> max(number) + 1)"),
           0);
    expect("main is whole", is_whole(db, "PRAGMA main.integrity_check"), 1);
    return ask(db, "SELECT count(*) FROM done");
}

static void check_files(uint64_t commits, const uint64_t counted[KEYS]) {
    char sql[700];
    sqlite3 *db = NULL;
    expect("opened", sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    snprintf(sql, sizeof sql, "ATTACH '%.*s-noise.db' AS noise", (int)strlen(path) - 3, path);
    expect("attached", sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    expect("commits", check_main(db), (int64_t)commits);
    expect("sum of noise", ask(db, SUM("noise")), ACCOUNTS * START);
    expect("noise is whole", is_whole(db, "PRAGMA noise.integrity_check"), 1);
    expect("moved",
           ask(db, "SELECT (SELECT amount FROM main.moved) + (SELECT amount FROM noise.moved)"), 0);
    for (unsigned k = 0; k < KEYS; k++) {
        snprintf(sql, sizeof sql, "SELECT Value FROM main.DBX WHERE Key = 'count/%u'", k);
        expect("a key counted up", ask(db, sql), (int64_t)counted[k]);
    }
    sqlite3_close(db);
}

/* The first process ended when others were still writing: its replica is a prefix. */
static void check_restored(uint64_t commits) {
    sqlite3 *db = NULL;
    expect("opened", sqlite3_open_v2(restored, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    int64_t n = check_main(db);
    expect("some were shipped", n > (int64_t)commits / 2 && n <= (int64_t)commits, 1);
    sqlite3_close(db);
}

/* ---- the report ---- */

static int by_size(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_size);
    return values[count / 2];
}

static double writes_of(const struct worker *w) {
    return (double)(w->moves[TO_MAIN] + w->moves[TO_NOISE] + w->moves[TO_BOTH] + w->rolled_back);
}

/* The writes of each thread, and the wait of each against the median of all in the process. */
static double print_process(int process) {
    struct worker *w = shared->worker[process];
    double writes[THREADS_MAX], longest[THREADS_MAX], total = 0;
    for (int i = 0; i < args.threads; i++) {
        writes[i] = writes_of(&w[i]);
        total += writes[i];
        longest[i] = 0;
        for (int k = 0; k < WRITES; k++)
            if ((double)w[i].waits[k].max_ns / 1e6 > longest[i])
                longest[i] = (double)w[i].waits[k].max_ns / 1e6;
    }
    double middle = median(writes, args.threads), middle_wait = median(longest, args.threads);
    printf(
        "process %d: %.0f writes/s; of a thread: least %.0f, median %.0f, most %.0f writes"
        " (most/median %.2f)\n           longest wait of a thread: median %.0f ms, most %.0f ms\n",
        process, total / args.seconds, writes[0], middle, writes[args.threads - 1],
        writes[args.threads - 1] / middle, middle_wait, longest[args.threads - 1]);
    for (int k = 0; k < WRITES; k++) {
        static struct waits all;
        memset(&all, 0, sizeof all);
        for (int i = 0; i < args.threads; i++) add_waits(&all, &w[i].waits[k]);
        double p50 = quantile(&all, 0.5), most = (double)all.max_ns / 1e6;
        printf("  %-6s %8llu waits: median %8.3f ms, p99 %8.3f ms, max %9.3f ms, max/median %.0f\n",
               write_names[k], (unsigned long long)all.total, p50, quantile(&all, 0.99), most,
               p50 > 0 ? most / p50 : 0);
    }
    if (writes[0] * 4 < middle) {
        printf("  WRONG: a thread had less than a quarter of the median's writes\n");
        wrong++;
    }
    return total;
}

static void report(void) {
    uint64_t commits = 0, busy = 0, timeouts = 0, reads = 0, back = 0, counted[KEYS] = {0};
    double totals[PROCESSES_MAX];
    for (int p = 0; p < args.processes; p++) {
        totals[p] = print_process(p);
        for (int i = 0; i < args.threads; i++) {
            const struct worker *w = &shared->worker[p][i];
            commits += w->commits, busy += w->busy, timeouts += w->timeouts;
            reads += w->reads, back += w->rolled_back;
            for (int k = 0; k < KEYS; k++) counted[k] += w->counted[k];
            if (!w->failures) continue;
            printf("  WRONG: process %d, thread %d: %llu failures, the first: %s\n", p, i,
                   (unsigned long long)w->failures, w->words);
            wrong++;
        }
    }
    double middle = median(totals, args.processes);
    printf("processes: least/median %.2f, most/median %.2f\n", totals[0] / middle,
           totals[args.processes - 1] / middle);
    if (totals[0] * 10 < middle) {
        printf("  WRONG: a process had less than a tenth of the median's writes\n");
        wrong++;
    }
    check_files(commits, counted);
    check_restored(commits);
    printf("%llu commits of main, %llu rolled back, %llu reads; %llu SQLITE_BUSY, %llu timeouts,"
           " %d deadlocks, %d wrong\n",
           (unsigned long long)commits, (unsigned long long)back, (unsigned long long)reads,
           (unsigned long long)busy, (unsigned long long)timeouts,
           atomic_load(&shared->stuck) ? 1 : 0, wrong);
}

/* ---- */

static bool take_args(int argc, char **argv) {
    args.seed = (uint64_t)now_ns();
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "-seconds") == 0) args.seconds = (int)strtol(value, NULL, 10);
        else if (strcmp(name, "-threads") == 0) args.threads = (int)strtol(value, NULL, 10);
        else if (strcmp(name, "-processes") == 0) args.processes = (int)strtol(value, NULL, 10);
        else if (strcmp(name, "-seed") == 0) args.seed = strtoull(value, NULL, 10);
        else if (strcmp(name, "-dir") == 0) args.dir = value;
        else return false;
    }
    return argc % 2 == 1 && args.seconds > 0 && args.threads > 0 && args.threads <= THREADS_MAX &&
           args.processes > 0 && args.processes <= PROCESSES_MAX;
}

int main(int argc, char **argv) {
    char dir[400];
    pid_t pids[PROCESSES_MAX];
    bool good = true;
    if (!take_args(argc, argv)) return fprintf(stderr, "soak_store: see its first lines\n"), 2;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(dir, sizeof dir, "%.300s/holdfast-store-XXXXXX", args.dir);
    if (shared == MAP_FAILED || !mkdtemp(dir)) return perror(dir), 2;
    snprintf(path, sizeof path, "%s/app.db", dir);
    snprintf(replica, sizeof replica, "%s/replica", dir);
    snprintf(restored, sizeof restored, "%s/restored.db", dir);
    printf("%d processes of %d threads for %d s, seed %llu, in %s\n", args.processes, args.threads,
           args.seconds, (unsigned long long)args.seed, dir);
    fflush(stdout);
    expect("prepared", ended_well(start(prepare, 0)), 1);
    for (int p = 0; !wrong && p < args.processes; p++) pids[p] = start(run_process, p);
    for (int p = 0; !wrong && p < args.processes; p++) good &= ended_well(pids[p]);
    expect("every process ended well", good, 1);
    expect("restored", ended_well(start(restore, 0)), 1);
    report();
    if (!wrong) {
        char command[500];
        snprintf(command, sizeof command, "rm -rf -- '%s'", dir);
        if (system(command) != 0) wrong++;
    }
    return wrong != 0;
}
