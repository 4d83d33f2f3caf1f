/* holdfast restore URL OUT, and restore -fast-forward URL DB. */
#include "cli/bar.h"
#include "cli/cli.h"
#include "store/fast_forward.h"
#include "store/status.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
    "holdfast restore [options] URL OUT\n"
    "  Bring a database back from a replica, also one of Litestream 0.3. OUT must not exist.\n"
    "\n"
    "  -txid N            as of this TXID (decimal, or 16 hexadecimal digits)\n"
    "  -timestamp T       as of before this time: 2026-11-23T10:00:00Z, or '10m ago'\n"
    "  -fast-forward      OUT exists and is older: bring it to the replica's tip\n"
    "  -parallel N        how many ranges are fetched at once, 1 to 64 (number of CPUs, at least "
    "4)\n"
    "  -if-replica-exists succeed and do nothing when there is no backup\n"
    "  -if-db-not-exists  succeed and do nothing when OUT exists\n"
    "  -json              machine-readable\n"
    "\n"
    "  holdfast restore /backup/app app.db\n";

struct restore_command {
    struct restore_options options;
    bool fast_forward, if_replica_exists, if_db_not_exists, json;
    const char *url, *out;
    double seconds;
};

/* One object, whatever happened. */
static int print_json(const struct restore_command *c, const struct restore_result *r,
                      const char *error) {
    char at[32];
    json_t *o = json_pack("{s:o, s:o, s:b}", "url", json_words(c->url), "path", json_words(c->out),
                          "restored", r->page_count > 0);
    bool whole = true;
    if (error) whole &= !json_object_set_new(o, "error", json_words(error));
    if (r->txid) whole &= !json_object_set_new(o, "txid", json_integer((json_int_t)r->txid));
    if (r->page_count)
        whole &= !json_object_set_new(o, "format", json_string(*r->generation ? "v0.3" : "ltx"));
    if (*r->generation) {
        whole &= !json_object_set_new(o, "generation", json_string(r->generation));
        whole &= !json_object_set_new(o, "index", json_integer(r->index));
    }
    if (r->page_count) {
        format_time(r->time_ms, at);
        json_t *more =
            json_pack("{s:s, s:i, s:i, s:I, s:b, s:f}", "time", at, "page_size", (int)r->page_size,
                      "pages", (int)r->page_count, "bytes_fetched", (json_int_t)r->bytes_fetched,
                      "sum_checked", r->sum_checked, "seconds", c->seconds);
        whole &= !json_object_update(o, more);
        json_decref(more);
    }
    return cli_print_json(o, whole, JSON_COMPACT);
}

static void print_human(const struct restore_command *c, const struct restore_result *r) {
    char at[32];
    if (r->page_count == 0) {
        printf("%s is at the replica's tip already: TXID %" PRIu64 "\n", c->out, r->txid);
        return;
    }
    format_time(r->time_ms, at);
    printf("restored %s to ", c->out);
    if (*r->generation)
        printf("WAL index %08" PRIx32 " of Litestream 0.3's generation %s", r->index,
               r->generation);
    else printf("TXID %" PRIu64, r->txid);
    printf(" of %s: %u pages of %u bytes, %.1f MB fetched, %.2f s, %s\n", at, r->page_count,
           r->page_size, (double)r->bytes_fetched / 1e6, c->seconds,
           r->sum_checked ? "proven by its sum" : "checksums of all files right");
}

/* Nothing was done, and that was asked for. */
static int nothing_to_do(const struct restore_command *c, const char *words, const char *what) {
    if (c->json) return print_json(c, &(struct restore_result){0}, NULL);
    printf("%s%s: nothing to do\n", words, what);
    return 0;
}

static rc run(struct restore_command *c, struct progress *progress, struct restore_result *result,
              struct err *e) {
    struct env *env = NULL;
    struct store *store = NULL;
    c->options.progress = progress;
    rc r = env_new_system(1, &env, e);
    if (is_ok(r)) r = store_open(env, c->url, &store, e);
    if (is_ok(r) && c->fast_forward)
        r = fast_forward_database(env, store, c->out, c->options.parallel, progress, result, e);
    else if (is_ok(r)) r = replica_restore(store, c->out, &c->options, result, e);
    store_free(store);
    env_free_system(env);
    return r;
}

static int restore(struct restore_command *c) {
    struct progress progress = {0};
    struct restore_result result = {0};
    struct err e;
    struct bar bar;
    bar_start(&bar, "restore", &progress);
    rc r = run(c, &progress, &result, &e);
    c->seconds = bar_stop(&bar);
    if (r.code == RC_NOTFOUND && c->if_replica_exists && !c->fast_forward &&
        !c->options.target.txid && !c->options.target.time_ms)
        return nothing_to_do(c, "no backup at ", c->url);
    if (r.code == RC_CONFLICT && !c->fast_forward) r.code = RC_USAGE; /* the output is in the way */
    int code = c->json ? print_json(c, &result, is_ok(r) ? NULL : e.text) : 0;
    if (!c->json && is_ok(r)) print_human(c, &result);
    return is_ok(r) ? code : cli_fail(r, &e);
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
        return *value && !*end && n > 0 && n <= 64;
    }
    case 'f': c->fast_forward = true; return true;
    case 'r': c->if_replica_exists = true; return true;
    case 'd': c->if_db_not_exists = true; return true;
    case 'j': c->json = true; return true;
    default: return false;
    }
}

static const char *takes(int option) {
    return option == 't'   ? "a decimal number, or 16 hexadecimal digits"
           : option == 'T' ? "a time like 2026-11-23T10:00:00Z, or like '10m ago'"
                           : "a number from 1 to 64";
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
        if (option == '?' || option == ':') return cli_bad_option(help, options, option, argv);
        if (!take_option(&c, option, optarg))
            return cli_bad_value(help, options[index].name, optarg, takes(option));
    }
    int wrong = cli_arguments(help, argc, argv, 2, 2, "restore needs a URL and an output");
    if (wrong) return wrong;
    if (c.options.target.txid && c.options.target.time_ms)
        return cli_usage(help, "-txid and -timestamp exclude each other");
    if (c.fast_forward && c.if_db_not_exists)
        return cli_usage(help, "-fast-forward and -if-db-not-exists exclude each other");
    if (c.fast_forward && (c.options.target.txid || c.options.target.time_ms))
        return cli_usage(help, "-fast-forward goes to the tip: no -txid, no -timestamp");
    c.url = argv[optind];
    c.out = argv[optind + 1];
    if (c.if_db_not_exists && access(c.out, F_OK) == 0)
        return nothing_to_do(&c, c.out, " exists already");
    return restore(&c);
}
