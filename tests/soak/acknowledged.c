/* A service that tells what it promises, for tests/soak/acknowledged.py to kill.
 *
 *     soak_acknowledged DB URL [-threads 4] [-interval MS] [-flush] [-restore] [-take-over]
 *                          [-early]
 *
 * Each thread commits rows (an id that counts commits, a number drawn at random) and waits for
 * each: with hf_wait for its place or for all until now, or with hf_wait_async. It says, one line
 * each, in one write: "ready"; "c ID NUMBER" committed; "a ID NUMBER" acknowledged; "w CODE WORDS"
 * a wait failed. A wait that failed otherwise than by time ends the process; so does a start that
 * is refused. The exit status is the code of holdfast.h.
 *
 * -restore restores the database first, if it is missing; then no -take-over is needed elsewhere.
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
static struct {
    int threads;
    int64_t interval_ms;
    bool flush, restore, take_over, early;
} args = {4, 20, false, false, false, false};

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
    say("w %s %s: %s\n", hf_strcode(code), what, hf_errmsg());
    return code;
}

static uint32_t random_number(void) {
    uint32_t n = 0;
    return getrandom(&n, sizeof n, 0) == sizeof n ? n : 0;
}

static int add(hf_tx *tx, void *arg) {
    struct row *row = arg;
    int code = hf_run(tx, "INSERT INTO row(number, more) VALUES (?, randomblob(?))", "ii",
                      (int64_t)row->number, (int64_t)(row->number % 1500));
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

static int add_and_wait(const hf_wait_options *options) {
    struct row row = {.number = random_number()};
    int code = hf_write(store, HF_MAIN, "add", add, &row);
    if (code) return fail("add", code);
    say("c %lld %u\n", (long long)row.id, row.number);
    if (args.early) say("a %lld %u\n", (long long)row.id, row.number);
    code = wait_for(&row, options);
    if (code) fail("wait", code);
    else if (!args.early) say("a %lld %u\n", (long long)row.id, row.number);
    return code == HF_TIMEOUT ? HF_OK : code;
}

static void *work(void *arg) {
    hf_wait_options options = {.size = sizeof options, .timeout_ms = 5000, .flush = args.flush};
    int *code = arg;
    while (!(*code = add_and_wait(&options)))
        nanosleep(&(struct timespec){.tv_nsec = random_number() % 3000000}, NULL);
    return NULL;
}

static bool take_args(int argc, char **argv) {
    for (int i = 3; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "-flush") == 0) args.flush = true;
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

int main(int argc, char **argv) {
    pthread_t threads[THREADS_MAX];
    int codes[THREADS_MAX] = {0}, code;
    if (!take_args(argc, argv)) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    hf_store_options options = {
        .size = sizeof options,
        .main_schema =
            "CREATE TABLE IF NOT EXISTS row(id INTEGER PRIMARY KEY, number INTEGER, more)"};
    hf_replicate_options replication = {.size = sizeof replication,
                                        .interval_ms = args.interval_ms,
                                        .take_over = args.take_over,
                                        .checkpoint_pages = 50,
                                        .level_ms = {0, 300, 1500, 60000}};
    const char *urls[] = {argv[2], NULL};
    int restored;
    if (args.restore && (code = hf_restore_if_missing(argv[1], urls, NULL, &restored)) != HF_OK)
        return fail("restore", code);
    if ((code = hf_store_open(argv[1], &options, &store)) != HF_OK) return fail("open", code);
    code = hf_store_replicate(store, urls, &replication);
    if (code) return fail("replicate", code);
    say("ready\n");
    for (int i = 0; i < args.threads; i++) pthread_create(&threads[i], NULL, work, &codes[i]);
    for (int i = 0; i < args.threads; i++) pthread_join(threads[i], NULL);
    return codes[0];
}
