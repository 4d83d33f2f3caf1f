/* holdfast status DB URL: am I safe right now? */
#include "store/status.h"
#include "cli/audit.h"
#include "cli/cli.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

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

static int print_json(const struct status *s) {
    json_t *o = json_pack(
        "{s:s, s:s, s:o, s:I, s:I, s:i, s:I, s:f, s:i, s:i, s:I, s:b, s:i, s:o, s:i}", "state",
        words[s->safety], "class", s->class, "reason", json_words(s->reason), "txid",
        (json_int_t)s->txid, "txid_time_ms", (json_int_t)s->txid_time_ms, "commits_pending",
        (int)s->commits_pending, "bytes_pending", (json_int_t)s->bytes_pending, "lag_seconds",
        s->lag_seconds, "wal_frames", (int)s->wal_frames, "backfilled", (int)s->backfilled,
        "verified_ms", (json_int_t)s->verified_ms, "verified_ok", s->verified_ok, "reader_pid",
        s->holder_pid, "reader_name", json_words(s->holder_name), "replicator_pid",
        s->replicator_pid);
    return cli_print_json(o, true, JSON_COMPACT) ? SAFETY_UNSAFE : (int)s->safety;
}

static void print_human(const struct status *s) {
    char at[32];
    printf("%s%s%s\n", words[s->safety], s->reason[0] ? ": " : "", s->reason);
    if (s->txid) {
        format_time(s->txid_time_ms, at);
        printf("%-10s TXID %" PRIu64 ", shipped %s\n", "durable", s->txid, at);
    }
    if (s->commits_pending)
        printf("%-10s %u commits, %" PRIu64 " bytes of log, for up to %.1f s\n", "pending",
               s->commits_pending, s->bytes_pending, s->lag_seconds);
    printf("%-10s %u frames, %u checkpointed\n", "log", s->wal_frames, s->backfilled);
    if (s->verified_ms) {
        format_time(s->verified_ms, at);
        printf("%-10s %s %s\n", "verified", at, s->verified_ok ? "ok" : "BROKEN");
    } else if (s->txid) {
        printf("%-10s never\n", "verified");
    }
    if (s->replicator_pid) printf("%-10s process %d\n", "replicator", s->replicator_pid);
    else printf("%-10s none: no holdfast replicates this database here\n", "replicator");
    if (s->holder_pid)
        printf("%-10s process %d (%s) keeps the log from being reset\n", "reader", s->holder_pid,
               s->holder_name);
}

/* What the source cannot judge by itself, and the command that goes on. */
static void complete(struct status *s, const char *db, const char *url) {
    if (strcmp(s->class, "new") == 0 && !s->replicator_pid) {
        snprintf(s->reason, sizeof s->reason,
                 "nothing has been replicated yet: run 'holdfast replicate %.200s %.200s'", db,
                 url);
    } else if (s->verified_ms && !s->verified_ok && s->safety != SAFETY_UNSAFE) {
        s->safety = SAFETY_UNSAFE;
        snprintf(s->reason, sizeof s->reason,
                 "the last verification found the replica broken: see 'holdfast verify %.400s'",
                 url);
    }
}

static int show(const char *db, const char *url, int64_t late_ms, bool json) {
    struct env *env = NULL;
    struct store *store = NULL;
    struct status s;
    struct err e;
    rc r = env_new_system(2, &env, &e);
    if (is_ok(r)) r = store_open(env, url, &store, &e);
    if (is_ok(r)) r = audit_status(env, store, db, late_ms, &s, &e);
    store_free(store);
    env_free_system(env);
    if (!is_ok(r)) {
        s = (struct status){.safety = SAFETY_UNSAFE};
        snprintf(s.reason, sizeof s.reason, "%.500s", e.text);
    }
    if (is_ok(r)) complete(&s, db, url);
    if (json) return print_json(&s);
    if (is_ok(r)) print_human(&s);
    else printf("unsafe: %s\n", s.reason);
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
    while ((option = getopt_long_only(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option == '?' || option == ':') return cli_bad_option(help, options, option, argv);
        if (option == 'j') json = true;
        else if (!parse_duration(optarg, &late_ms))
            return cli_bad_value(help, "late", optarg, A_DURATION);
    }
    int wrong = cli_arguments(help, argc, argv, 2, 2, "status needs a database and a URL");
    if (wrong) return wrong;
    return show(argv[optind], argv[optind + 1], late_ms, json);
}
