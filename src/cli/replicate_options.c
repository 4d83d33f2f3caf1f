/* The options of 'holdfast replicate'. */
#include "cli/cli.h"
#include "cli/replicate.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "holdfast replicate [options] DB URL [URL...]\n"
    "  Stream every commit of a live SQLite database to one or more replicas.\n"
    "\n"
    "  -interval D          under steady writes at most one shipment per D (1s)\n"
    "  -checkpoint-pages N  length of the log at which it is checkpointed (1000)\n"
    "  -levels D,D,D        how often levels 1, 2, 3 are compacted (30s,5m,1h)\n"
    "  -snapshot D          how often a full snapshot is made (24h)\n"
    "  -keep-level0 D       how long single shipments are kept once compacted (5m)\n"
    "  -keep-snapshots D    how long snapshots are kept, and with them the past (24h)\n"
    "  -verify D            how often the replica is read back and proven (24h; 0: never)\n"
    "  -frames              write LZ4 frames, for Litestream before 0.5.16\n"
    "  -drain D             at the end, how long to try to ship what is left (30s)\n"
    "  -unfenced            go on with a store that cannot keep a second writer out\n"
    "  -take-over           go on with a replica that another machine or tool wrote\n"
    "  -adopt-local         this database is right, whatever the replica holds\n"
    "  -adopt-replica       the replica is right: keep this database aside, restore, go on\n"
    "  -exec CMD            restore DB if it is missing, ship, then run CMD until it ends\n"
    "  -exec-wait D         at its start, how long to wait for destinations (30s)\n"
    "  -exec-strict         do not run CMD before a destination has all of DB\n"
    "  -socket PATH         where those who wait for commits ask (none: nowhere; see the manual)\n"
    "  -log FORMAT          human, logfmt or json (human on a terminal, else logfmt)\n"
    "\n"
    "  holdfast replicate app.db /backup/app\n"
    "  holdfast replicate -exec 'app --serve' app.db /backup/app\n";

static bool parse_levels(const char *text, int64_t levels[4]) {
    char copy[128], *save = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    char *part = strtok_r(copy, ",", &save);
    for (int i = 1; i < 4; i++, part = strtok_r(NULL, ",", &save))
        if (!part || !parse_duration(part, &levels[i]) || levels[i] < 1) return false;
    return part == NULL;
}

enum {
    INTERVAL = 256,
    PAGES,
    LEVELS,
    SNAPSHOT,
    KEEP0,
    KEEP,
    VERIFY,
    FRAMES,
    DRAIN,
    UNFENCED,
    TAKE,
    LOCAL,
    REPLICA,
    EXEC,
    EXEC_WAIT,
    EXEC_STRICT,
    SOCKET,
    LOG
};

static const struct option options[] = {
    {"interval", required_argument, NULL, INTERVAL},
    {"checkpoint-pages", required_argument, NULL, PAGES},
    {"levels", required_argument, NULL, LEVELS},
    {"snapshot", required_argument, NULL, SNAPSHOT},
    {"keep-level0", required_argument, NULL, KEEP0},
    {"keep-snapshots", required_argument, NULL, KEEP},
    {"verify", required_argument, NULL, VERIFY},
    {"frames", no_argument, NULL, FRAMES},
    {"drain", required_argument, NULL, DRAIN},
    {"unfenced", no_argument, NULL, UNFENCED},
    {"take-over", no_argument, NULL, TAKE},
    {"adopt-local", no_argument, NULL, LOCAL},
    {"adopt-replica", no_argument, NULL, REPLICA},
    {"exec", required_argument, NULL, EXEC},
    {"exec-wait", required_argument, NULL, EXEC_WAIT},
    {"exec-strict", no_argument, NULL, EXEC_STRICT},
    {"socket", required_argument, NULL, SOCKET},
    {"log", required_argument, NULL, LOG},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool positive(const char *text, int64_t *out) {
    return parse_duration(text, out) && *out > 0;
}

/* False: the value is wrong. */
static bool take_option(struct replicate *r, int option, const char *value) {
    struct source_options *o = &r->loop.options;
    int64_t ms = 0;
    switch (option) {
    case INTERVAL: return positive(value, &o->interval_ms);
    case PAGES: {
        char *end;
        unsigned long pages = strtoul(value, &end, 10);
        o->checkpoint_pages = (uint32_t)pages;
        return *value && !*end && pages >= 10 && pages <= 100000000;
    }
    case LEVELS: return parse_levels(value, o->level_ms);
    case SNAPSHOT: return positive(value, &o->snapshot_ms);
    case KEEP0: return positive(value, &o->retention.level0_ms);
    case KEEP: return positive(value, &o->retention.snapshot_ms);
    case VERIFY:
        if (!parse_duration(value, &ms)) return false;
        o->verify_ms = ms ? ms : -1;
        return true;
    case DRAIN:
        if (!parse_duration(value, &ms)) return false;
        r->drain_ns = ms * 1000000;
        return true;
    case EXEC: r->command = value; return value[0] != 0;
    case EXEC_WAIT:
        if (!parse_duration(value, &ms)) return false;
        r->exec_wait_ns = ms * 1000000;
        return true;
    case EXEC_STRICT: r->exec_strict = true; return true;
    case SOCKET: r->waiters.path = value; return value[0] != 0;
    case FRAMES: o->encoding = LTX_FRAMES; return true;
    case UNFENCED: o->unfenced = true; return true;
    case TAKE: o->take_over = true; return true;
    case LOCAL: o->adopt_local = true; return true;
    case REPLICA: r->adopt_replica = true; return true;
    case LOG: return log_format_parse(value, &r->log.format);
    default: return false;
    }
}

static const char *takes(int option) {
    switch (option) {
    case INTERVAL:
    case SNAPSHOT:
    case KEEP0:
    case KEEP: return "more than 0: " A_DURATION;
    case PAGES: return "a number from 10 to 100000000";
    case LEVELS: return "three durations, like 30s,5m,1h";
    case EXEC: return "a command";
    case SOCKET: return "a path, or none";
    case LOG: return "human, logfmt or json";
    default: return A_DURATION;
    }
}

bool replicate_options(struct replicate *r, int argc, char **argv, int *code) {
    int option, index = 0;
    opterr = 0;
    while ((option = getopt_long_only(argc, argv, ":h", options, &index)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            *code = 0;
            return false;
        }
        if (option == '?' || option == ':') *code = cli_bad_option(help, options, option, argv);
        else if (!take_option(r, option, optarg))
            *code = cli_bad_value(help, options[index].name, optarg ? optarg : "", takes(option));
        else continue;
        return false;
    }
    *code =
        cli_arguments(help, argc, argv, 2, argc, "replicate needs a database and at least one URL");
    if (*code) return false;
    if (r->adopt_replica && r->loop.options.adopt_local) {
        *code = cli_usage(help, "-adopt-local and -adopt-replica exclude each other");
        return false;
    }
    r->loop.path = r->waiters.db = argv[optind];
    r->loop.urls = argv + optind + 1;
    r->loop.url_count = argc - optind - 1;
    return true;
}
