/* The applications that the benchmarks measure, and a launcher that measures programs.
 *
 *     bench_writer fill DB MB SEED                a table of text with an index, about MB large
 *     bench_writer touch DB ROWS SEED             changes random rows of it, ten a transaction
 *     bench_writer lone DB DIR COUNT SYNC SEED    single commits; waits for the object of each
 *     bench_writer saturated DB SECONDS SYNC AUTO commits as fast as they go
 *     bench_writer stamps DB SECONDS RATE SEED    when each commit was made, and where in the log
 *     bench_writer create-paced DB                the tables for paced
 *     bench_writer paced DB SECONDS RATE UPGRADES serial|apart SEED
 *     bench_writer large DB MB SEED               one transaction of about MB
 *     bench_writer run FILE COMMAND...            its time and memory into FILE
 *
 * Each prints words key=value for the Python beside it. Any surprise is a message and exit 1: a
 * figure measured over an error would be worth nothing.
 *
 * Why a launcher: getrusage of a child counts the memory of the process that it was forked from,
 * and Python is larger than what is measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRIVAL_MS 10000
#define BODY_BYTES 300
#define VALUE_BYTES 200
#define HOT_ROWS 20000

static void die(const char *what, const char *why) {
    fprintf(stderr, "bench_writer: %s: %s\n", what, why);
    exit(1);
}

static bool is(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_until(int64_t ns) {
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) continue;
}

static uint64_t random_from(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state >> 11;
}

static uint64_t seed_of(const char *text) {
    return strtoull(text, NULL, 10) * 2654435761u + 88172645463325252u;
}

/* ---- SQLite ---- */

static sqlite3 *open_database(const char *path) {
    sqlite3 *db;
    if (sqlite3_open(path, &db) != SQLITE_OK) die(path, sqlite3_errmsg(db));
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, 10000);
    return db;
}

static void run(sqlite3 *db, const char *sql) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) die(sql, sqlite3_errmsg(db));
}

static void pragma(sqlite3 *db, const char *name, const char *value) {
    char sql[100];
    snprintf(sql, sizeof sql, "PRAGMA %s=%s", name, value);
    run(db, sql);
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql) {
    sqlite3_stmt *s;
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL) != SQLITE_OK)
        die(sql, sqlite3_errmsg(db));
    return s;
}

static int try_step(sqlite3_stmt *s) {
    sqlite3_step(s);
    return sqlite3_reset(s);
}

static void step(sqlite3_stmt *s) {
    if (try_step(s) != SQLITE_OK) die(sqlite3_sql(s), sqlite3_errmsg(sqlite3_db_handle(s)));
}

static int64_t number(sqlite3 *db, const char *sql) {
    sqlite3_stmt *s = prepare(db, sql);
    if (sqlite3_step(s) != SQLITE_ROW) die(sql, sqlite3_errmsg(db));
    int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return n;
}

static int64_t wal_bytes(const char *path) {
    char wal[4096];
    struct stat st;
    snprintf(wal, sizeof wal, "%s-wal", path);
    return stat(wal, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* Pages that a connection has written into the log. */
static int64_t pages_written(sqlite3 *db) {
    int now = 0, unused;
    sqlite3_db_status(db, SQLITE_DBSTATUS_CACHE_WRITE, &now, &unused, 0);
    return now;
}

/* ---- text: words of a fixed vocabulary and some that are all their own, about 2:1 in LZ4 ---- */

#define WORDS 256

static char words[WORDS][24];

static void make_words(uint64_t seed) {
    static const char *const syllables[] = {"ka", "lo", "mi", "ter", "an", "so",  "ru", "vel",
                                            "ni", "da", "os", "pre", "ul", "ing", "ch", "est"};
    for (size_t i = 0; i < WORDS; i++) {
        words[i][0] = 0;
        for (uint64_t n = 2 + random_from(&seed) % 4; n > 0; n--)
            strcat(words[i], syllables[random_from(&seed) % 16]);
    }
}

static size_t text(char *out, size_t size, uint64_t *state) {
    size_t n = 0;
    while (n + 24 < size) {
        uint64_t r = random_from(state);
        if (r % 64 == 0) n += (size_t)sprintf(out + n, "%llx ", (unsigned long long)(r >> 4));
        else {
            uint64_t a = (r >> 6) % WORDS, b = (r >> 15) % WORDS, c = (r >> 25) % WORDS;
            n += (size_t)sprintf(out + n, "%s ", words[a * b / WORDS * c / WORDS]);
        }
    }
    return n;
}

static void insert_text(sqlite3 *db, int64_t pages_max, uint64_t *state) {
    sqlite3_stmt *insert = prepare(db, "INSERT INTO note(name, body) VALUES (?, ?)");
    char name[24], body[2 * BODY_BYTES];
    for (int64_t i = 1; i % 4096 || number(db, "PRAGMA page_count") < pages_max; i++) {
        uint64_t r = random_from(state);
        snprintf(name, sizeof name, "%s-%llu", words[r % WORDS], (unsigned long long)(r % 1000003));
        size_t n = text(body, BODY_BYTES / 2 + r % BODY_BYTES, state);
        sqlite3_bind_text(insert, 1, name, -1, SQLITE_STATIC);
        sqlite3_bind_text(insert, 2, body, (int)n, SQLITE_STATIC);
        step(insert);
    }
    sqlite3_finalize(insert);
}

static void fill(const char *path, int64_t mb, uint64_t seed) {
    sqlite3 *db = open_database(path);
    make_words(seed);
    pragma(db, "journal_mode", "OFF");
    pragma(db, "synchronous", "OFF");
    pragma(db, "cache_size", "-65536");
    run(db, "BEGIN; CREATE TABLE note(id INTEGER PRIMARY KEY, name TEXT, body TEXT)");
    insert_text(db, mb * 256 * 91 / 100, &seed); /* the index is the rest */
    run(db, "CREATE INDEX note_name ON note(name); COMMIT");
    pragma(db, "journal_mode", "WAL");
    sqlite3_close(db);
}

static void touch(const char *path, int64_t rows, uint64_t seed) {
    sqlite3 *db = open_database(path);
    make_words(seed);
    int64_t last = number(db, "SELECT max(id) FROM note");
    sqlite3_stmt *update = prepare(db, "UPDATE note SET body = ? WHERE id = ?");
    char body[BODY_BYTES];
    for (int64_t i = 0; i < rows; i++) {
        if (i % 10 == 0) run(db, "BEGIN IMMEDIATE");
        sqlite3_bind_text(update, 1, body, (int)text(body, sizeof body, &seed), SQLITE_STATIC);
        sqlite3_bind_int64(update, 2, 1 + (int64_t)(random_from(&seed) % (uint64_t)last));
        step(update);
        if (i % 10 == 9) run(db, "COMMIT");
    }
    sqlite3_finalize(update);
    sqlite3_close(db);
}

static void large(const char *path, int64_t mb, uint64_t seed) {
    sqlite3 *db = open_database(path);
    make_words(seed);
    int64_t start = now_ns(), before = number(db, "PRAGMA page_count");
    run(db, "BEGIN");
    run(db, "CREATE TABLE IF NOT EXISTS note(id INTEGER PRIMARY KEY, name TEXT, body TEXT)");
    insert_text(db, before + mb * 256, &seed);
    run(db, "COMMIT");
    printf("pages=%lld seconds=%.2f wal_bytes=%lld\n", (long long)pages_written(db),
           (double)(now_ns() - start) / 1e9, (long long)wal_bytes(path));
    sqlite3_close(db);
}

/* ---- a lone commit ---- */

static bool is_object(const struct inotify_event *event) {
    size_t n = event->len ? strlen(event->name) : 0;
    return n > 4 && (is(event->name + n - 4, ".ltx") || is(event->name + n - 4, ".lz4"));
}

/* The time at which an object was seen; its name. 0: none came. */
static int64_t wait_for_object(int fd, int timeout_ms, char name[256]) {
    char events[4096] __attribute__((aligned(8)));
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t until = now_ns() + (int64_t)timeout_ms * 1000000;
    for (int64_t now = until - 1; now <= until; now = now_ns()) {
        if (poll(&p, 1, timeout_ms) <= 0) return 0;
        int64_t seen = now_ns();
        ssize_t n = read(fd, events, sizeof events);
        for (ssize_t at = 0; at < n;) {
            struct inotify_event *event = (struct inotify_event *)(events + at);
            at += (ssize_t)(sizeof *event + event->len);
            if (!is_object(event)) continue;
            snprintf(name, 256, "%s", event->name);
            return seen;
        }
    }
    return 0;
}

/* What the file system takes by itself for the same: a file written, synced, linked. */
static int64_t link_ns(const char *dir, size_t size) {
    static char zero[1 << 16];
    char self[64], path[4200];
    int64_t start = now_ns();
    int fd = open(dir, O_RDWR | O_TMPFILE, 0600);
    if (fd < 0) die(dir, strerror(errno));
    for (size_t left = size; left > 0;) {
        ssize_t n = write(fd, zero, left < sizeof zero ? left : sizeof zero);
        if (n <= 0) die(dir, strerror(errno));
        left -= (size_t)n;
    }
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    snprintf(path, sizeof path, "%s/probe", dir);
    if (fdatasync(fd) != 0 || linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0)
        die(path, strerror(errno));
    int64_t took = now_ns() - start;
    close(fd);
    unlink(path);
    return took;
}

static void lone(const char *path, const char *dir, int count, const char *sync, uint64_t seed) {
    char name[256], object[4500], place[4096];
    struct stat st;
    sqlite3 *db = open_database(path);
    pragma(db, "synchronous", sync);
    run(db, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v BLOB)");
    sqlite3_stmt *insert = prepare(db, "INSERT INTO t(v) VALUES (randomblob(200))");
    sqlite3_stmt *begin = prepare(db, "BEGIN IMMEDIATE"), *commit = prepare(db, "COMMIT");
    snprintf(place, sizeof place, "%s", path);
    *strrchr(place, '/') = 0;
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0 || inotify_add_watch(fd, dir, IN_CREATE | IN_MOVED_TO) < 0)
        die(dir, strerror(errno));
    wait_for_object(fd, ARRIVAL_MS, name); /* of the table */
    for (int i = 0; i < count; i++) {
        sleep_until(now_ns() + 100000000 + (int64_t)(random_from(&seed) % 300000000));
        while (wait_for_object(fd, 0, name)) continue;
        int64_t start = now_ns();
        step(begin), step(insert), step(commit);
        int64_t committed = now_ns();
        int64_t seen = wait_for_object(fd, ARRIVAL_MS, name);
        if (!seen) die(dir, "no object for a commit within 10 s");
        snprintf(object, sizeof object, "%s/%s", dir, name);
        if (stat(object, &st) != 0) die(object, strerror(errno));
        sleep_until(now_ns() + 30000000);
        printf("commit_us=%.1f way_us=%.1f link_us=%.1f bytes=%lld\n",
               (double)(committed - start) / 1e3, (double)(seen - committed) / 1e3,
               (double)link_ns(place, (size_t)st.st_size) / 1e3, (long long)st.st_size);
    }
    sqlite3_finalize(insert), sqlite3_finalize(begin), sqlite3_finalize(commit);
    sqlite3_close(db);
}

/* ---- many commits ---- */

struct latencies {
    uint32_t *ns;
    size_t count, room;
};

static void note(struct latencies *l, int64_t ns) {
    if (l->count == l->room) {
        l->room = l->room ? 2 * l->room : 1 << 20;
        l->ns = realloc(l->ns, l->room * sizeof *l->ns);
        if (!l->ns) die("latencies", "no memory");
    }
    l->ns[l->count++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void print_latencies(const char *name, struct latencies *l) {
    if (l->count == 0) return;
    qsort(l->ns, l->count, sizeof *l->ns, ascending);
    printf("%s_p50_us=%.1f %s_p99_us=%.1f %s_max_us=%.1f ", name, l->ns[l->count / 2] / 1e3, name,
           l->ns[l->count * 99 / 100] / 1e3, name, l->ns[l->count - 1] / 1e3);
    free(l->ns);
}

static void saturated(const char *path, double seconds, const char *sync,
                      const char *autocheckpoint) {
    static char values[1 << 20];
    uint64_t state = 88172645463325252u;
    struct latencies commits = {0};
    sqlite3 *db = open_database(path);
    pragma(db, "synchronous", sync);
    pragma(db, "wal_autocheckpoint", autocheckpoint);
    run(db, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v TEXT)");
    make_words(1);
    for (size_t n = 0; n + BODY_BYTES < sizeof values;) n += text(values + n, BODY_BYTES, &state);
    sqlite3_stmt *insert = prepare(db, "INSERT INTO t(v) VALUES (?)");
    sqlite3_stmt *begin = prepare(db, "BEGIN IMMEDIATE"), *commit = prepare(db, "COMMIT");
    int64_t start = now_ns(), now = start, until = start + (int64_t)(seconds * 1e9);
    while (now < until) {
        step(begin);
        for (int i = 0; i < 4; i++) {
            size_t at = random_from(&state) % (sizeof values / 2); /* somewhere in the text */
            sqlite3_bind_text(insert, 1, values + at, VALUE_BYTES, SQLITE_STATIC);
            step(insert);
        }
        int64_t before = now_ns();
        step(commit);
        now = now_ns();
        note(&commits, now - before);
    }
    printf("tx=%zu seconds=%.4f pages=%lld wal_bytes=%lld ", commits.count,
           (double)(now - start) / 1e9, (long long)pages_written(db), (long long)wal_bytes(path));
    print_latencies("commit", &commits);
    printf("sqlite=%s\n", sqlite3_libversion());
    sqlite3_finalize(insert), sqlite3_finalize(begin), sqlite3_finalize(commit);
    sqlite3_close(db);
}

/* ---- commits and where they are in the log ---- */

/* SQLite calls it when a commit has just become visible. The salts tell one log from the next;
 * `arg` is when COMMIT began: it became visible after that, and before now. */
static int stamp(void *arg, sqlite3 *db, const char *name, int frames) {
    static const int AUTOMATIC = 1000; /* SQLite's own checkpoints, which this hook replaces */
    uint8_t salt[8];
    sqlite3_file *log;
    int64_t now = now_ns();
    sqlite3_file_control(db, name, SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (log->pMethods->xRead(log, salt, sizeof salt, 16) != SQLITE_OK) die("salts", "unreadable");
    printf("%lld ", (long long)now);
    for (int i = 0; i < 8; i++) printf("%02x", salt[i]);
    printf(" %d %lld\n", frames, (long long)*(int64_t *)arg);
    if (frames >= AUTOMATIC) sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, 0, 0);
    return SQLITE_OK;
}

/* Rows that are updated, and one that is added; the gaps are from half to one and a half of
 * 1/RATE; RATE 0: none. A stop by SIGTERM is between two transactions. */
static volatile sig_atomic_t told_to_stop;

static void be_told(int number) {
    (void)number;
    told_to_stop = 1;
}

static void stamps(const char *path, double seconds, double rate, uint64_t seed) {
    sqlite3 *db = open_database(path);
    pragma(db, "synchronous", "NORMAL");
    signal(SIGTERM, be_told);
    int64_t began;
    sqlite3_wal_hook(db, stamp, &began);
    sqlite3_stmt *begin = prepare(db, "BEGIN IMMEDIATE"), *commit = prepare(db, "COMMIT");
    sqlite3_stmt *update = prepare(db, "UPDATE hot SET n = n + 1 WHERE id = ?");
    sqlite3_stmt *insert = prepare(db, "INSERT INTO journal(v) VALUES (hex(randomblob(100)))");
    int64_t due = now_ns(), until = due + (int64_t)(seconds * 1e9);
    while (!told_to_stop && now_ns() < until) {
        sqlite3_bind_int64(update, 1, (int64_t)(random_from(&seed) % HOT_ROWS));
        step(begin), step(update), step(insert);
        began = now_ns();
        step(commit);
        if (rate == 0) continue;
        due += (int64_t)((0.5 + (double)(random_from(&seed) % 1000000) / 1e6) * 1e9 / rate);
        if (due < now_ns()) due = now_ns(); /* what was missed is not made up for */
        else fflush(stdout);
        sleep_until(due);
    }
    sqlite3_finalize(begin), sqlite3_finalize(commit);
    sqlite3_finalize(update), sqlite3_finalize(insert);
    sqlite3_close(db);
}

/* One connection that writes at a pace, one that upgrades reads to writes. An application whose
 * writers take turns (serial) can only be refused by somebody else. */
struct paced {
    const char *path;
    int64_t start, until;
    bool serial;
    pthread_mutex_t turn;
    /* per thread: the writer, the upgrader */
    double rate[2];
    uint64_t seed[2], tx[2], busy[2], snapshot[2];
    int64_t pages[2];
    struct latencies latencies[2];
};

/* True: done; false: refused and rolled back. */
static bool judge(struct paced *p, int who, sqlite3 *db, int code) {
    if (code == SQLITE_OK) return true;
    if (code == SQLITE_BUSY_SNAPSHOT) p->snapshot[who]++;
    else if ((code & 0xff) == SQLITE_BUSY) p->busy[who]++;
    else die("paced", sqlite3_errmsg(db));
    if (!sqlite3_get_autocommit(db)) run(db, "ROLLBACK");
    return false;
}

static void pace(struct paced *p, int who, sqlite3 *db, bool (*transaction)(void *, int64_t),
                 void *arg) {
    double every = 1e9 / p->rate[who];
    for (int64_t i = 0;; i++) {
        int64_t due = p->start + (int64_t)((double)i * every);
        if (due >= p->until) break;
        sleep_until(due);
        int64_t row = (int64_t)(random_from(&p->seed[who]) % HOT_ROWS);
        if (p->serial) pthread_mutex_lock(&p->turn);
        int64_t before = now_ns();
        if (transaction(arg, row)) p->tx[who]++;
        note(&p->latencies[who], now_ns() - before);
        if (p->serial) pthread_mutex_unlock(&p->turn);
    }
    p->pages[who] = pages_written(db);
}

struct statements {
    struct paced *paced;
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *select, *update, *insert;
};

static bool write_one(void *arg, int64_t row) {
    struct statements *s = arg;
    sqlite3_bind_int64(s->update, 1, row);
    if (!judge(s->paced, 0, s->db, try_step(s->begin))) return false;
    step(s->update), step(s->insert);
    return judge(s->paced, 0, s->db, try_step(s->commit));
}

static bool upgrade_one(void *arg, int64_t row) {
    struct statements *s = arg;
    sqlite3_bind_int64(s->select, 1, row);
    sqlite3_bind_int64(s->update, 1, row);
    step(s->begin);
    if (!judge(s->paced, 1, s->db, try_step(s->select))) return false;
    if (!judge(s->paced, 1, s->db, try_step(s->update))) return false;
    return judge(s->paced, 1, s->db, try_step(s->commit));
}

static void pace_connection(struct paced *p, int who) {
    sqlite3 *db = open_database(p->path);
    struct statements s = {.paced = p, .db = db};
    pragma(db, "synchronous", "NORMAL");
    s.begin = prepare(db, who == 0 ? "BEGIN IMMEDIATE" : "BEGIN");
    s.commit = prepare(db, "COMMIT");
    s.select = prepare(db, "SELECT n FROM hot WHERE id = ?");
    s.update = prepare(db, "UPDATE hot SET n = n + 1 WHERE id = ?");
    s.insert = prepare(db, "INSERT INTO journal(v) VALUES (hex(randomblob(100)))");
    pace(p, who, db, who == 0 ? write_one : upgrade_one, &s);
    sqlite3_finalize(s.begin), sqlite3_finalize(s.commit), sqlite3_finalize(s.select);
    sqlite3_finalize(s.update), sqlite3_finalize(s.insert);
    sqlite3_close(db);
}

static void *upgrader(void *arg) {
    pace_connection(arg, 1);
    return NULL;
}

static void create_paced(const char *path) {
    sqlite3 *db = open_database(path);
    pragma(db, "journal_mode", "WAL");
    run(db, "CREATE TABLE hot(id INTEGER PRIMARY KEY, n, v TEXT);"
            "CREATE TABLE journal(id INTEGER PRIMARY KEY, v TEXT);"
            "INSERT INTO hot SELECT value, 0, hex(randomblob(100)) FROM"
            " (WITH RECURSIVE i(value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM i"
            "  WHERE value < 19999) SELECT value FROM i)");
    sqlite3_close(db);
}

static void paced(const char *path, double seconds, double rate, double upgrades, bool serial,
                  uint64_t seed) {
    struct paced p = {.path = path, .serial = serial, .turn = PTHREAD_MUTEX_INITIALIZER};
    p.rate[0] = rate, p.rate[1] = upgrades;
    p.seed[0] = seed, p.seed[1] = seed + 1;
    sqlite3 *db = open_database(path); /* so that the log is there in the end */
    number(db, "SELECT count(*) FROM hot");
    p.start = now_ns() + 1000000;
    p.until = p.start + (int64_t)(seconds * 1e9);
    pthread_t thread;
    if (pthread_create(&thread, NULL, upgrader, &p) != 0) die("pthread_create", "failed");
    pace_connection(&p, 0);
    pthread_join(thread, NULL);
    double took = (double)(now_ns() - p.start) / 1e9;
    printf("rate=%.1f upgrades=%.1f busy_writer=%llu busy_upgrades=%llu snapshots=%llu pages=%lld "
           "wal_bytes=%lld ",
           (double)p.tx[0] / took, (double)p.tx[1] / took, (unsigned long long)p.busy[0],
           (unsigned long long)p.busy[1], (unsigned long long)(p.snapshot[0] + p.snapshot[1]),
           (long long)(p.pages[0] + p.pages[1]), (long long)wal_bytes(path));
    print_latencies("writer", &p.latencies[0]);
    print_latencies("upgrade", &p.latencies[1]);
    printf("\n");
    sqlite3_close(db);
}

/* ---- the launcher ---- */

static volatile sig_atomic_t child;

static void pass_on(int number) {
    if (child) kill(child, number);
}

static void launch(const char *out, char **command) {
    FILE *f = fopen(out, "w");
    if (!f) die(out, strerror(errno));
    int64_t start = now_ns();
    pid_t pid = fork();
    if (pid < 0) die("fork", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fclose(f);
        execvp(command[0], command);
        die(command[0], strerror(errno));
    }
    child = pid;
    signal(SIGTERM, pass_on);
    signal(SIGINT, SIG_IGN); /* the terminal gives it to the child as well */
    fprintf(f, "pid=%d ", (int)pid);
    fflush(f);
    int status;
    struct rusage use;
    while (wait4(pid, &status, 0, &use) < 0)
        if (errno != EINTR) die("wait4", strerror(errno));
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    fprintf(f, "seconds=%.4f user=%.4f system=%.4f peak_kb=%ld code=%d\n",
            (double)(now_ns() - start) / 1e9,
            (double)use.ru_utime.tv_sec + (double)use.ru_utime.tv_usec / 1e6,
            (double)use.ru_stime.tv_sec + (double)use.ru_stime.tv_usec / 1e6, use.ru_maxrss, code);
    fclose(f);
    exit(code);
}

int main(int argc, char **argv) {
    const char *mode = argc > 2 ? argv[1] : "";
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (is(mode, "run") && argc > 3) launch(argv[2], argv + 3);
    else if (is(mode, "fill") && argc == 5)
        fill(argv[2], strtoll(argv[3], NULL, 10), seed_of(argv[4]));
    else if (is(mode, "touch") && argc == 5)
        touch(argv[2], strtoll(argv[3], NULL, 10), seed_of(argv[4]));
    else if (is(mode, "large") && argc == 5)
        large(argv[2], strtoll(argv[3], NULL, 10), seed_of(argv[4]));
    else if (is(mode, "lone") && argc == 7)
        lone(argv[2], argv[3], (int)strtol(argv[4], NULL, 10), argv[5], seed_of(argv[6]));
    else if (is(mode, "saturated") && argc == 6)
        saturated(argv[2], strtod(argv[3], NULL), argv[4], argv[5]);
    else if (is(mode, "stamps") && argc == 6)
        stamps(argv[2], strtod(argv[3], NULL), strtod(argv[4], NULL), seed_of(argv[5]));
    else if (is(mode, "create-paced")) create_paced(argv[2]);
    else if (is(mode, "paced") && argc == 8)
        paced(argv[2], strtod(argv[3], NULL), strtod(argv[4], NULL), strtod(argv[5], NULL),
              is(argv[6], "serial"), seed_of(argv[7]));
    else die("usage", "see the head of writer.c");
    return 0;
}
