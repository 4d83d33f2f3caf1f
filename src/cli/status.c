/* holdfast status DB URL: am I safe right now? */
#include "cli/cli.h"
#include "source/audit.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char help[] =
    "holdfast status [-json] [-late D] DB URL\n"
    "  Is what this database holds durable in that replica? Works with or without a\n"
    "  running 'holdfast replicate'.\n"
    "\n"
    "  -late D  commits not durable for longer than this are late (5s)\n"
    "  -json    machine-readable\n"
    "\n"
    "  exit status: 0 safe, 1 late, 2 unsafe or unknown\n"
    "\n"
    "  holdfast status app.db /backup/app\n";

static const char *const words[] = {"safe", "late", "unsafe"};

static void print_json(const struct status *s) {
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:i, s:I, s:f, s:i, s:i, s:I, s:b, s:i, s:s, s:i}", "state",
        words[s->safety], "class", s->class, "reason", s->reason, "txid", (json_int_t)s->txid,
        "txid_time_ms", (json_int_t)s->txid_time_ms, "commits_pending", (int)s->commits_pending,
        "bytes_pending", (json_int_t)s->bytes_pending, "lag_seconds", s->lag_seconds, "wal_frames",
        (int)s->wal_frames, "backfilled", (int)s->backfilled, "verified_ms",
        (json_int_t)s->verified_ms, "verified_ok", s->verified_ok, "reader_pid", s->holder_pid,
        "reader_name", s->holder_name, "replicator_pid", s->replicator_pid);
    if (o) json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
}

static void print_time(const char *label, int64_t ms) {
    char text[64] = "never";
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    if (ms && gmtime_r(&seconds, &tm)) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    printf("%-10s %s", label, text);
}

static void print_human(const struct status *s) {
    printf("%s%s%s\n", words[s->safety], s->reason[0] ? ": " : "", s->reason);
    printf("%-10s %" PRIu64 "\n", "durable", s->txid);
    print_time("since", s->txid_time_ms);
    printf("\n%-10s %u commits, %" PRIu64 " bytes of log, %.1f s\n", "pending", s->commits_pending,
           s->bytes_pending, s->lag_seconds);
    printf("%-10s %u frames, %u checkpointed\n", "log", s->wal_frames, s->backfilled);
    print_time("verified", s->verified_ms);
    printf("%s\n", !s->verified_ms ? "" : s->verified_ok ? " ok" : " BROKEN");
    if (s->replicator_pid) printf("%-10s process %d\n", "replicator", s->replicator_pid);
    if (s->holder_pid)
        printf("%-10s process %d (%s) keeps the log from being reset\n", "reader", s->holder_pid,
               s->holder_name);
}

static int show(const char *db, const char *url, int64_t late_ms, bool json) {
    struct env *env = NULL;
    struct store *store = NULL;
    struct status s;
    struct err e;
    rc r = env_new_system(2, &env, &e);
    if (is_ok(r)) r = store_open(env, url, &store, &e);
    if (is_ok(r)) r = source_status(env, store, db, late_ms, &s, &e);
    store_free(store);
    env_free_system(env);
    if (!is_ok(r)) {
        s = (struct status){.safety = SAFETY_UNSAFE};
        snprintf(s.reason, sizeof s.reason, "%.500s", e.text);
    }
    if (json) print_json(&s);
    else print_human(&s);
    return (int)s.safety;
}

int cmd_status(int argc, char **argv) {
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"late", required_argument, NULL, 'l'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int64_t late_ms = 5000;
    bool json = false;
    int option;
    opterr = 0;
    while ((option = getopt_long_only(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option == 'j') json = true;
        else if (option != 'l' || !parse_duration(optarg, &late_ms))
            return cli_usage(help, "unknown option or wrong value: %s", argv[optind - 1]);
    }
    if (argc - optind != 2) return cli_usage(help, "status needs a database and a URL");
    return show(argv[optind], argv[optind + 1], late_ms, json);
}
