/* holdfast list URL: the restore points. */
#include "cli/cli.h"
#include "replica/replica.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>

static const char help[] =
    "holdfast list [-json] URL\n"
    "  The restore points of a replica: TXID, time, level and size of each object.\n"
    "\n"
    "  holdfast list /backup/app\n";

static void print_human(const struct listing *l) {
    printf("%-20s %-20s %-24s %5s %12s\n", "txid", "from", "time", "level", "bytes");
    for (size_t i = 0; i < l->count; i++) {
        const struct replica_file *f = &l->files[i];
        char at[32];
        format_time(f->time_ms, at);
        printf("%-20" PRIu64 " %-20" PRIu64 " %-24s %5d %12" PRIu64 "\n", f->max_txid, f->min_txid,
               at, f->level, f->size_bytes);
    }
}

static void print_json(const struct listing *l) {
    json_t *all = json_array();
    for (size_t i = 0; i < l->count; i++) {
        const struct replica_file *f = &l->files[i];
        char at[32];
        format_time(f->time_ms, at);
        json_array_append_new(
            all, json_pack("{s:I, s:I, s:i, s:s, s:I, s:I}", "txid", (json_int_t)f->max_txid,
                           "min_txid", (json_int_t)f->min_txid, "level", f->level, "time", at,
                           "time_ms", (json_int_t)f->time_ms, "bytes", (json_int_t)f->size_bytes));
    }
    json_dumpf(all, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(all);
}

static int list(const char *url, bool json) {
    struct env *env = NULL;
    struct store *store = NULL;
    struct listing listing = {0};
    struct err e;
    rc r = env_new_system(1, &env, &e);
    if (is_ok(r)) r = store_open(env, url, &store, &e);
    if (is_ok(r)) r = replica_list(store, &listing, NULL, &e);
    if (is_ok(r) && listing.count == 0) r = err_set(&e, RC_NOTFOUND, "no backup at %s", url);
    if (is_ok(r) && json) print_json(&listing);
    else if (is_ok(r)) print_human(&listing);
    listing_deinit(&listing);
    store_free(store);
    env_free_system(env);
    return is_ok(r) ? 0 : cli_fail(r, &e);
}

int cmd_list(int argc, char **argv) {
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    bool json = false;
    int option;
    opterr = 0;
    while ((option = getopt_long_only(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option != 'j') return cli_bad_option(help, option, argv);
        json = true;
    }
    if (argc - optind != 1) return cli_usage(help, "list needs a URL");
    return list(argv[optind], json);
}
