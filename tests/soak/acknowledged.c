/* A service that tells what it promises, for tests/soak/acknowledged.py to kill.
 *
 *     soak_acknowledged DB URL [-also URL [-any]] [-own] [-sql EXTENSION] [-beside]
 *                          [-threads 4] [-interval MS] [-flush] [-restore] [-take-over] [-early]
 *
 * Each thread commits rows (an id that counts commits, a number drawn at random) and waits for
 * each. It says, one line each, in one write: "ready"; "c ID NUMBER" committed; "a ID NUMBER"
 * acknowledged; "w CODE: WORDS" a wait failed. A wait that failed otherwise than by time ends the
 * process; so does a start that is refused. The exit status is the code of holdfast.h.
 *
 * It uses a store, and waits for a place, for all until now, or by callback. -own: connections of
 * its own and hf_attach. -sql: SELECT holdfast_wait() on those. -beside: that is answered by
 * another process, and nothing is replicated here. -restore restores the database first, if it is
 * missing. -also streams to a second place, and waits for both, or with -any for one of them.
 * -early acknowledges before it waits: a liar, by whom it is seen that lost rows are found.
 */
#include "holdfast.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64

static hf_store *store;
static hf_source *source;
static struct {
    int threads;
    int64_t interval_ms;
    const char *extension, *also;
    bool any, own, beside, flush, restore, take_over, early;
} args = {.threads = 4, .interval_ms = 20};

#define SCHEMA "CREATE TABLE IF NOT EXISTS row(id INTEGER PRIMARY KEY, number INTEGER, more)"
#define INSERT "INSERT INTO row(number, more) VALUES (?, randomblob(? % 1500))"

struct client {
    pthread_t thread;
    int code;
    sqlite3 *db; /* its own, if it has one */
    sqlite3_stmt *insert, *wait;
};

struct row {
    int64_t id;
    uint32_t number;
    hf_place place;
};

/* One write, so that a line is there as a whole or not at all. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    char line[600];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    if (length >= (int)sizeof line) length = sizeof line - 1;
    if (write(STDOUT_FILENO, line, (size_t)length) != length) _exit(99); /* nobody reads */
}

static int fail(const char *what, int code) {
    say("w %s: %s: %s\n", hf_strcode(code), what, hf_errmsg());
    return code;
}

static uint32_t random_number(void) {
    uint32_t n = 0;
    return getrandom(&n, sizeof n, 0) == sizeof n ? n : 0;
}

/* ---- a store ---- */

static int add_in_tx(hf_tx *tx, void *arg) {
    struct row *row = arg;
    int64_t number = row->number;
    int code = hf_run(tx, INSERT, "ii", number, number);
    if (!code) code = hf_position(tx, &row->place);
    row->id = sqlite3_last_insert_rowid(hf_sqlite(tx));
    return code;
}

struct answer {
    sem_t come;
    int code;
};

static void told(void *arg, int code, const char *words) {
    struct answer *a = arg;
    (void)words;
    a->code = code;
    sem_post(&a->come);
}

static int wait_async(const hf_place *place, const hf_wait_options *options) {
    struct answer a;
    sem_init(&a.come, 0, 0);
    int code = hf_wait_async(store, place, options, told, &a);
    while (!code && sem_wait(&a.come) != 0) {
    }
    return code ? code : a.code;
}

static int wait_for(const struct row *row, const hf_wait_options *options) {
    switch (row->number % 3) {
    case 0: return hf_wait(store, NULL, options);
    case 1: return hf_wait(store, &row->place, options);
    default: return wait_async(&row->place, options);
    }
}

/* ---- connections of its own ---- */

static int sql_failed(struct client *c, const char *what) {
    say("w io: %s: %s\n", what, sqlite3_errmsg(c->db));
    return HF_IO;
}

static int connect_client(struct client *c, const char *path) {
    const char *wait =
        args.flush ? "SELECT holdfast_wait(5000, 'flush')" : "SELECT holdfast_wait(5000)";
    bool good =
        sqlite3_open(path, &c->db) == SQLITE_OK &&
        sqlite3_busy_timeout(c->db, 10000) == SQLITE_OK &&
        sqlite3_exec(c->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" SCHEMA, NULL,
                     NULL, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(c->db, INSERT, -1, &c->insert, NULL) == SQLITE_OK;
    if (good && args.extension)
        good = sqlite3_enable_load_extension(c->db, 1) == SQLITE_OK &&
               sqlite3_load_extension(c->db, args.extension, NULL, NULL) == SQLITE_OK &&
               sqlite3_prepare_v2(c->db, wait, -1, &c->wait, NULL) == SQLITE_OK;
    return good ? HF_OK : sql_failed(c, "connect");
}

static int add_by_sql(struct client *c, struct row *row) {
    sqlite3_bind_int64(c->insert, 1, row->number);
    sqlite3_bind_int64(c->insert, 2, row->number);
    bool good = sqlite3_step(c->insert) == SQLITE_DONE;
    row->id = sqlite3_last_insert_rowid(c->db);
    if (sqlite3_reset(c->insert) != SQLITE_OK || !good) return sql_failed(c, "add");
    return args.extension ? HF_OK : hf_position_of(c->db, &row->place);
}

static int wait_by_sql(struct client *c) {
    int code = sqlite3_step(c->wait) == SQLITE_ROW ? HF_OK : HF_CANCELLED;
    if (code) {
        const char *words = sqlite3_errmsg(c->db);
        if (strncmp(words, "timeout:", 8) == 0) code = HF_TIMEOUT;
        if (strncmp(words, "fenced:", 7) == 0) code = HF_FENCED;
        say("w %s\n", words);
    }
    sqlite3_reset(c->wait);
    return code;
}

/* ---- a thread ---- */

static int add(struct client *c, struct row *row) {
    int code = store ? hf_write(store, HF_MAIN, "add", add_in_tx, row) : add_by_sql(c, row);
    return code && store ? fail("add", code) : code;
}

static int wait_until_safe(struct client *c, const struct row *row) {
    hf_wait_options options = {.size = sizeof options, .timeout_ms = 5000, .flush = args.flush};
    options.destination = args.any ? "any" : NULL;
    if (c->wait) return wait_by_sql(c);
    int code = store ? wait_for(row, &options) : hf_source_wait(source, &row->place, &options);
    return code ? fail("wait", code) : HF_OK;
}

static int add_and_wait(struct client *c) {
    struct row row = {.number = random_number()};
    int code = add(c, &row);
    if (code) return code;
    say("c %lld %u\n", (long long)row.id, row.number);
    if (args.early) say("a %lld %u\n", (long long)row.id, row.number);
    code = wait_until_safe(c, &row);
    if (!code && !args.early) say("a %lld %u\n", (long long)row.id, row.number);
    return code == HF_TIMEOUT ? HF_OK : code;
}

static void *work(void *arg) {
    struct client *c = arg;
    while (!(c->code = add_and_wait(c)))
        nanosleep(&(struct timespec){.tv_nsec = random_number() % 3000000}, NULL);
    return NULL;
}

/* ---- */

static bool take_args(int argc, char **argv) {
    for (int i = 3; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "-flush") == 0) args.flush = true;
        else if (strcmp(argv[i], "-any") == 0) args.any = true;
        else if (strcmp(argv[i], "-also") == 0 && more) args.also = argv[++i];
        else if (strcmp(argv[i], "-own") == 0) args.own = true;
        else if (strcmp(argv[i], "-beside") == 0) args.beside = true;
        else if (strcmp(argv[i], "-sql") == 0 && more) args.extension = argv[++i];
        else if (strcmp(argv[i], "-restore") == 0) args.restore = true;
        else if (strcmp(argv[i], "-take-over") == 0) args.take_over = true;
        else if (strcmp(argv[i], "-early") == 0) args.early = true;
        else if (strcmp(argv[i], "-threads") == 0 && more)
            args.threads = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "-interval") == 0 && more)
            args.interval_ms = strtol(argv[++i], NULL, 10);
        else return false;
    }
    return argc >= 3 && args.threads > 0 && args.threads <= THREADS_MAX;
}

static int begin(const char *path, const char *url, struct client *first) {
    const char *urls[] = {url, args.also, NULL};
    hf_store_options options = {.size = sizeof options, .main_schema = SCHEMA};
    hf_replicate_options replication = {.size = sizeof replication,
                                        .interval_ms = args.interval_ms,
                                        .take_over = args.take_over,
                                        .checkpoint_pages = 50,
                                        .level_ms = {0, 300, 1500, 60000}};
    int restored, code = HF_OK;
    if (args.restore) code = hf_restore_if_missing(path, urls, NULL, &restored);
    if (code) return fail("restore", code);
    if (!args.own) {
        code = hf_store_open(path, &options, &store);
        if (code) return fail("open", code);
        code = hf_store_replicate(store, urls, &replication);
        return code ? fail("replicate", code) : code;
    }
    code = connect_client(first, path);
    if (code || args.beside) return code;
    code = hf_attach(first->db, urls, &replication, &source);
    return code ? fail("attach", code) : code;
}

int main(int argc, char **argv) {
    static struct client clients[THREADS_MAX];
    if (!take_args(argc, argv)) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int code = begin(argv[1], argv[2], &clients[0]);
    for (int i = 1; !code && args.own && i < args.threads; i++)
        code = connect_client(&clients[i], argv[1]);
    if (code) return code;
    say("ready\n");
    for (struct client *c = clients; c < clients + args.threads; c++)
        pthread_create(&c->thread, NULL, work, c);
    for (struct client *c = clients; c < clients + args.threads; c++) {
        pthread_join(c->thread, NULL);
        if (!code || c->code == HF_FENCED) code = c->code;
    }
    hf_detach(source);
    hf_store_close(store); /* both say what the waits have said */
    return code;
}
