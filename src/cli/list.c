/* holdfast list URL: the restore points. */
#include "cli/cli.h"
#include "replica/replica.h"
#include "store/status.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

static const char help[] =
    "holdfast list [-json] URL\n"
    "  The restore points of a replica: TXID, time, level and size of each object.\n"
    "\n"
    "  holdfast list /backup/app\n";

struct points {
    struct replica_file *files;
    size_t count, objects;
};

static void print_human(const struct points *p) {
    printf("%-20s %-24s %5s %-20s %12s\n", "TXID", "TIME", "LEVEL", "FROM", "BYTES");
    for (size_t i = 0; i < p->count; i++) {
        const struct replica_file *f = &p->files[i];
        char at[32];
        format_time(f->time_ms, at);
        printf("%-20" PRIu64 " %-24s %5d %-20" PRIu64 " %12" PRIu64 "\n", f->max_txid, at, f->level,
               f->min_txid, f->size_bytes);
    }
    if (p->objects > p->count)
        printf("and %zu objects that end where nothing can be restored\n", p->objects - p->count);
}

/* An array; of a failure an object. */
static int print_json(const struct points *p, const char *error) {
    json_t *all = error ? json_pack("{s:o}", "error", json_words(error)) : json_array();
    bool whole = true;
    for (size_t i = 0; i < p->count; i++) {
        const struct replica_file *f = &p->files[i];
        char at[32];
        format_time(f->time_ms, at);
        json_t *point =
            json_pack("{s:I, s:I, s:i, s:s, s:I, s:I}", "txid", (json_int_t)f->max_txid, "min_txid",
                      (json_int_t)f->min_txid, "level", f->level, "time", at, "time_ms",
                      (json_int_t)f->time_ms, "bytes", (json_int_t)f->size_bytes);
        whole = json_array_append_new(all, point) == 0 && whole;
    }
    return cli_print_json(all, whole, JSON_INDENT(1));
}

/* With the times that restore -timestamp goes by: those in the headers. */
static rc read_points(const char *url, struct env *env, struct points *out, struct err *e) {
    struct store *store = NULL;
    struct listing listing = {0};
    TRY(store_open(env, url, &store, e));
    rc r = replica_list_backup(store, &listing, NULL, e);
    if (is_ok(r) && listing.count == 0) r = replica_no_backup(store, e);
    if (is_ok(r)) r = listing_read_times(store, &listing, 0, e);
    if (is_ok(r)) r = listing_points(&listing, &out->files, &out->count, e);
    out->objects = listing.count;
    listing_deinit(&listing);
    store_free(store);
    return r;
}

static int list(const char *url, bool json) {
    struct env *env = NULL;
    struct points points = {0};
    struct err e;
    rc r = env_new_system(1, &env, &e);
    if (is_ok(r)) r = read_points(url, env, &points, &e);
    int code = json ? print_json(&points, is_ok(r) ? NULL : e.text) : 0;
    if (!json && is_ok(r)) print_human(&points);
    free(points.files);
    env_free_system(env);
    return is_ok(r) ? code : cli_fail(r, &e);
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
        if (option != 'j') return cli_bad_option(help, options, option, argv);
        json = true;
    }
    int wrong = cli_arguments(help, argc, argv, 1, 1, "list needs a URL");
    if (wrong) return wrong;
    return list(argv[optind], json);
}
