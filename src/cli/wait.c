/* holdfast wait DB, holdfast sync DB: until what is committed can no longer be lost. */
#include "cli/cli.h"
#include "daemon/client.h"
#include "os/system.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char wait_help[] =
    "holdfast wait [options] DB\n"
    "  Wait until every commit so far is safe in the replicas. A running 'holdfast replicate'\n"
    "  answers; by itself it costs no upload.\n"
    "\n"
    "  -timeout D        how long to wait (30s)\n"
    "  -flush            ship now, instead of with the next interval\n"
    "  -destination URL  of this one alone, or any for one of them; else of all\n"
    "  -position P       not of all commits, but up to here: holdfast_position() of the extension\n"
    "  -socket PATH      where to ask, instead of where the replicator of DB is found\n"
    "  -where            say where that is, and wait for nothing\n"
    "\n"
    "  holdfast wait app.db && echo safe\n";

static const char sync_help[] =
    "holdfast sync [options] DB\n"
    "  Ship what is committed so far to every replica, now, and wait until it is safe.\n"
    "\n"
    "  -timeout D    how long to wait (30s)\n"
    "  -socket PATH  where to ask, instead of where the replicator of DB is found\n"
    "\n"
    "  holdfast sync app.db\n";

enum { TIMEOUT = 256, FLUSH, DESTINATION, POSITION, SOCKET, WHERE };

static const struct option wait_options[] = {
    {"timeout", required_argument, NULL, TIMEOUT},
    {"flush", no_argument, NULL, FLUSH},
    {"destination", required_argument, NULL, DESTINATION},
    {"position", required_argument, NULL, POSITION},
    {"socket", required_argument, NULL, SOCKET},
    {"where", no_argument, NULL, WHERE},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};
static const struct option sync_options[] = {
    {"timeout", required_argument, NULL, TIMEOUT},
    {"socket", required_argument, NULL, SOCKET},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

struct asked {
    struct client_wait wait;
    const char *help, *socket;
    const struct option *options;
    bool where;
};

typedef rc ask_function(const char *, const struct client_wait *, char **, struct err *);

static bool take_option(struct asked *a, int option, const char *value) {
    switch (option) {
    case TIMEOUT: return parse_duration(value, &a->wait.timeout_ms);
    case FLUSH: a->wait.flush = true; return true;
    case DESTINATION: a->wait.destination = value; return value[0] != 0;
    case POSITION: a->wait.position = value; return value[0] != 0;
    case SOCKET: a->socket = value; return value[0] != 0;
    case WHERE: a->where = true; return true;
    default: return false;
    }
}

static const char *takes(int option) {
    switch (option) {
    case TIMEOUT: return A_DURATION;
    case DESTINATION: return "any or a URL";
    case POSITION: return "now or a position";
    default: return "a path";
    }
}

static int run(struct asked *a, const char *db, ask_function *ask) {
    char real[LIMIT_PATH], socket[LIMIT_PATH], *answer = NULL;
    struct err e;
    rc r = system_real_path(db, real, &e);
    if (is_ok(r)) r = client_find(real, a->socket, socket, &e);
    if (is_ok(r) && a->where) puts(socket);
    a->wait.path = real;
    if (is_ok(r) && !a->where) r = ask(socket, &a->wait, &answer, &e);
    free(answer);
    return is_ok(r) ? 0 : cli_fail(r, &e);
}

static int command(struct asked *a, int argc, char **argv, ask_function *ask) {
    int option, index = 0;
    opterr = 0;
    while ((option = getopt_long_only(argc, argv, ":h", a->options, &index)) != -1) {
        if (option == 'h') {
            fputs(a->help, stdout);
            return 0;
        }
        if (option == '?' || option == ':')
            return cli_bad_option(a->help, a->options, option, argv);
        if (!take_option(a, option, optarg))
            return cli_bad_value(a->help, a->options[index].name, optarg, takes(option));
    }
    int wrong = cli_arguments(a->help, argc, argv, 1, 1, "a database is needed");
    return wrong ? wrong : run(a, argv[optind], ask);
}

int cmd_wait(int argc, char **argv) {
    struct asked a = {.wait.timeout_ms = 30000, .help = wait_help, .options = wait_options};
    return command(&a, argc, argv, client_wait);
}

int cmd_sync(int argc, char **argv) {
    struct asked a = {.wait.timeout_ms = 30000, .help = sync_help, .options = sync_options};
    return command(&a, argc, argv, client_sync);
}
