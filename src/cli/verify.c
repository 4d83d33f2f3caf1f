/* holdfast verify URL: read the whole replica and prove it; -source DB: compare it with the
 * database. */
#include "cli/audit.h"
#include "cli/bar.h"
#include "cli/cli.h"
#include "store/status.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>

static const char help[] =
    "holdfast verify [-json] [-source DB] URL\n"
    "  Read every object of a replica and prove it, or name the first that breaks it.\n"
    "\n"
    "  -source DB  also compare it page by page with the live database\n"
    "  -json       machine-readable\n"
    "\n"
    "  holdfast verify -source app.db /backup/app\n";

struct verification {
    struct verify_result replica;
    struct audit_result audit;
    bool audited;
};

static int print_json(const struct verification *v, rc r, const struct err *e) {
    json_t *o = json_pack(
        "{s:b, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "ok", is_ok(r), "error",
        json_words(is_ok(r) ? "" : e->text), "files", (json_int_t)v->replica.files, "pages",
        (json_int_t)v->replica.pages, "bytes", (json_int_t)v->replica.bytes, "txid",
        (json_int_t)v->replica.txid, "links_checked", (json_int_t)v->replica.links_checked,
        "links_unknown", (json_int_t)v->replica.links_unknown, "broken", v->replica.broken);
    bool whole = !v->audited ||
                 (!json_object_set_new(o, "compared_pages", json_integer(v->audit.pages)) &&
                  !json_object_set_new(o, "pending_pages", json_integer(v->audit.pages_pending)) &&
                  !json_object_set_new(o, "differing_pages", json_integer(v->audit.differing)));
    return cli_print_json(o, whole, JSON_COMPACT);
}

static void print_human(const struct verification *v) {
    printf("replica ok: %" PRIu64 " objects, %" PRIu64 " pages, proven to TXID %" PRIu64
           "; %" PRIu64 " states checked by their sum, %" PRIu64 " without one\n",
           v->replica.files, v->replica.pages, v->replica.txid, v->replica.links_checked,
           v->replica.links_unknown);
    if (v->audited)
        printf("source ok: %u pages equal TXID %" PRIu64 ", %u changed since\n", v->audit.pages,
               v->audit.txid, v->audit.pages_pending);
}

static rc run(const char *url, const char *db, struct progress *progress, struct verification *v,
              struct err *e) {
    struct env *env = NULL;
    struct store *store = NULL;
    rc r = env_new_system(1, &env, e);
    if (is_ok(r)) r = store_open(env, url, &store, e);
    if (is_ok(r)) r = replica_verify(store, 0, progress, &v->replica, e);
    if (is_ok(r) && db) {
        r = audit_source(env, store, db, &v->audit, e);
        v->audited = true;
    }
    store_free(store);
    env_free_system(env);
    return r;
}

static int verify(const char *url, const char *db, bool json) {
    struct verification v = {0};
    struct progress progress = {0};
    struct err e;
    struct bar bar;
    bar_start(&bar, "verify", &progress);
    rc r = run(url, db, &progress, &v, &e);
    (void)bar_stop(&bar);
    int code = json ? print_json(&v, r, &e) : 0;
    if (!json && is_ok(r)) print_human(&v);
    return is_ok(r) ? code : cli_fail(r, &e);
}

int cmd_verify(int argc, char **argv) {
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"source", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *db = NULL;
    bool json = false;
    int option;
    opterr = 0;
    while ((option = getopt_long_only(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option == 'j') json = true;
        else if (option == 's') db = optarg;
        else return cli_bad_option(help, options, option, argv);
    }
    int wrong = cli_arguments(help, argc, argv, 1, 1, "verify needs a URL");
    if (wrong) return wrong;
    return verify(argv[optind], db, json);
}
