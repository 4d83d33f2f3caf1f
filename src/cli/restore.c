/* holdfast restore URL OUT, and restore -fast-forward URL DB. */
#include "cli/cli.h"
#include "source/fast_forward.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
    "holdfast restore [options] URL OUT\n"
    "  Bring a database back from a replica. OUT must not exist.\n"
    "\n"
    "  -txid N            as of this TXID (decimal, or 16 hexadecimal digits)\n"
    "  -timestamp T       as of before this time: 2026-11-23T10:00:00Z, or '10m ago'\n"
    "  -fast-forward      OUT exists and is older: bring it to the replica's tip\n"
    "  -parallel N        how many ranges are fetched at once (number of CPUs, at least 4)\n"
    "  -if-replica-exists succeed and do nothing when there is no backup\n"
    "  -if-db-not-exists  succeed and do nothing when OUT exists\n"
    "  -json              machine-readable\n"
    "\n"
    "  holdfast restore /backup/app app.db\n";

struct restore_command {
    struct restore_options options;
    bool fast_forward, if_replica_exists, if_db_not_exists, json;
    const char *url, *out;
};

/* The bar: a thread that looks at the numbers, five times a second, on a terminal only. */
struct bar {
    struct progress *progress;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool over, running;
    struct timespec start;
};

static double since(const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static void draw(const struct bar *b) {
    static const char full[] = "########################################";
    unsigned long long total = atomic_load(&b->progress->bytes_total);
    unsigned long long done = atomic_load(&b->progress->bytes_done);
    double seconds = since(&b->start), rate = seconds > 0 ? (double)done / seconds : 0;
    int width = total ? (int)(40 * done / total) : 0;
    if (width > 40) width = 40;
    fprintf(stderr, "\r[%.*s%*s] %llu / %llu MB  %.0f MB/s  ETA %.0f s  ", width, full, 40 - width,
            "", done >> 20, total >> 20, rate / 1e6,
            rate > 0 && total > done ? (double)(total - done) / rate : 0.0);
}

static void *bar_run(void *arg) {
    struct bar *b = arg;
    pthread_mutex_lock(&b->lock);
    while (!b->over) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 200000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&b->ended, &b->lock, &until);
        draw(b);
    }
    pthread_mutex_unlock(&b->lock);
    fputc('\n', stderr);
    return NULL;
}

static void bar_start(struct bar *b, struct progress *p) {
    *b = (struct bar){
        .progress = p, .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
    clock_gettime(CLOCK_MONOTONIC, &b->start);
    b->running = isatty(2) && pthread_create(&b->thread, NULL, bar_run, b) == 0;
}

static void bar_stop(struct bar *b) {
    if (!b->running) return;
    pthread_mutex_lock(&b->lock);
    b->over = true;
    pthread_cond_signal(&b->ended);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
}

static void report(const struct restore_command *c, const struct restore_result *r,
                   double seconds) {
    char at[32];
    format_time(r->time_ms, at);
    if (c->json) {
        json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:i, s:i, s:I, s:b, s:f}", "url", c->url,
                              "path", c->out, "txid", (json_int_t)r->txid, "time", at, "page_size",
                              (int)r->page_size, "pages", (int)r->page_count, "bytes_fetched",
                              (json_int_t)r->bytes_fetched, "sum_checked", r->sum_checked,
                              "seconds", seconds);
        if (o) json_dumpf(o, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(o);
        return;
    }
    if (r->page_count == 0) {
        printf("%s is at the replica's tip already: TXID %" PRIu64 "\n", c->out, r->txid);
        return;
    }
    printf("restored %s to TXID %" PRIu64
           " of %s: %u pages of %u bytes, %.1f MB fetched, %.2f s, %s\n",
           c->out, r->txid, at, r->page_count, r->page_size, (double)r->bytes_fetched / 1e6,
           seconds, r->sum_checked ? "proven by its sum" : "checksums of all files right");
}

static int restore(struct restore_command *c) {
    struct env *env = NULL;
    struct store *store = NULL;
    struct progress progress = {0};
    struct restore_result result = {0};
    struct err e;
    struct bar bar;
    c->options.progress = &progress;
    bar_start(&bar, &progress);
    rc r = env_new_system(1, &env, &e);
    if (is_ok(r)) r = store_open(env, c->url, &store, &e);
    if (is_ok(r) && c->fast_forward)
        r = source_fast_forward(env, store, c->out, c->options.parallel, &progress, &result, &e);
    else if (is_ok(r)) r = replica_restore(store, c->out, &c->options, &result, &e);
    bar_stop(&bar);
    store_free(store);
    env_free_system(env);
    if (r.code == RC_NOTFOUND && c->if_replica_exists && !c->options.target.txid &&
        !c->options.target.time_ms) {
        printf("no backup at %s\n", c->url);
        return 0;
    }
    if (r.code == RC_CONFLICT && !c->fast_forward) r.code = RC_USAGE; /* the output is in the way */
    if (!is_ok(r)) return cli_fail(r, &e);
    report(c, &result, since(&bar.start));
    return 0;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool take_option(struct restore_command *c, int option, const char *value) {
    switch (option) {
    case 't': return parse_txid(value, &c->options.target.txid);
    case 'T': return parse_time(value, now_ms(), &c->options.target.time_ms);
    case 'p': {
        char *end;
        long n = strtol(value, &end, 10);
        c->options.parallel = (int)n;
        return *value && !*end && n > 0 && n <= 256;
    }
    case 'f': c->fast_forward = true; return true;
    case 'r': c->if_replica_exists = true; return true;
    case 'd': c->if_db_not_exists = true; return true;
    case 'j': c->json = true; return true;
    default: return false;
    }
}

int cmd_restore(int argc, char **argv) {
    static const struct option options[] = {{"txid", required_argument, NULL, 't'},
                                            {"timestamp", required_argument, NULL, 'T'},
                                            {"parallel", required_argument, NULL, 'p'},
                                            {"fast-forward", no_argument, NULL, 'f'},
                                            {"if-replica-exists", no_argument, NULL, 'r'},
                                            {"if-db-not-exists", no_argument, NULL, 'd'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct restore_command c = {0};
    int option, index = 0;
    opterr = 0;
    while ((option = getopt_long_only(argc, argv, ":h", options, &index)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option == '?' || option == ':') return cli_bad_option(help, option, argv);
        if (!take_option(&c, option, optarg))
            return cli_usage(help, "-%s: '%s' is not a value for it", options[index].name, optarg);
    }
    if (argc - optind != 2) return cli_usage(help, "restore needs a URL and an output");
    if (c.options.target.txid && c.options.target.time_ms)
        return cli_usage(help, "-txid and -timestamp exclude each other");
    if (c.fast_forward && (c.options.target.txid || c.options.target.time_ms))
        return cli_usage(help, "-fast-forward goes to the tip: no -txid, no -timestamp");
    c.url = argv[optind];
    c.out = argv[optind + 1];
    if (c.if_db_not_exists && access(c.out, F_OK) == 0) {
        printf("%s exists already\n", c.out);
        return 0;
    }
    return restore(&c);
}
