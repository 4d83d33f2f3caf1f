/* holdfast: the command. A table of commands; each has its own file. */
#include "base/nearest.h"
#include "cli/cli.h"
#include "store/status.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int, char **);
    const char *does;
} commands[] = {
    {"replicate", cmd_replicate, "stream every commit of a live database to a replica"},
    {"wait", cmd_wait, "until what is committed can no longer be lost"},
    {"sync", cmd_sync, "the same, shipping now instead of with the next interval"},
    {"restore", cmd_restore, "bring a database back, as of now or any moment kept"},
    {"status", cmd_status, "am I safe right now?"},
    {"list", cmd_list, "the restore points of a replica"},
    {"verify", cmd_verify, "read a whole replica and prove it"},
    {"doctor", cmd_doctor, "try what a store can do"},
    {"kv", cmd_kv, "keys and values of a database, from and to a file of JSON"},
    {"schema", cmd_schema, "change the schema under running programs: migrations"},
    {"promote", cmd_promote, "make a table of the keys under a prefix"},
};
#define COMMAND_COUNT (sizeof commands / sizeof *commands)

static void print_help(FILE *to) {
    fputs("holdfast: SQLite as the main database of a service\n\n", to);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  holdfast %-10s %s\n", commands[i].name, commands[i].does);
    fputs("\n  holdfast COMMAND -h   options and an example\n  man holdfast\n", to);
}

int cli_exit_code(rc r) {
    switch (r.code) {
    case RC_OK: return 0;
    case RC_USAGE: return EXIT_USAGE;
    case RC_NOTFOUND: return EXIT_NOT_FOUND;
    case RC_CORRUPT: return EXIT_CORRUPT;
    case RC_FENCED:
    case RC_CONFLICT: return EXIT_FENCED;
    case RC_BEHIND: return EXIT_BEHIND;
    case RC_TIMEOUT: return EXIT_TIMED_OUT;
    case RC_BUSY: return EXIT_BUSY;
    case RC_UNFIT: return EXIT_UNFIT;
    case RC_CANCELLED: return EXIT_NOT_ALL_SHIPPED;
    default: return EXIT_IO;
    }
}

int cli_fail(rc r, const struct err *e) {
    fprintf(stderr, "holdfast: %s\n", e->text);
    return cli_exit_code(r);
}

int cli_print_json(json_t *o, bool whole, size_t flags) {
    char *text = whole ? json_text(o, flags) : NULL;
    json_decref(o);
    if (text) puts(text);
    else fputs("holdfast: no memory for the answer\n", stderr);
    int code = text ? 0 : EXIT_IO;
    free(text);
    return code;
}

int cli_usage(const char *help, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fputs("holdfast: ", stderr);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\nusage: %.*s\n(-h for help)\n", (int)strcspn(help, "\n"), help);
    return EXIT_USAGE;
}

#define NAMES_MOST 32

static const char *nearest_option(const char *typed, const struct option *options) {
    const char *names[NAMES_MOST + 1] = {NULL};
    char name[NAME_LONGEST + 1];
    for (int i = 0; i < NAMES_MOST && options[i].name; i++) names[i] = options[i].name;
    typed += strspn(typed, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(typed, "="), typed);
    return nearest_name(name, names);
}

int cli_bad_option(const char *help, const struct option *options, int got, char **argv) {
    const char *option = argv[optind - 1];
    if (got == ':') return cli_usage(help, "%s needs a value", option);
    const char *near = nearest_option(option, options);
    if (near) return cli_usage(help, "unknown option: %s: did you mean -%s?", option, near);
    return cli_usage(help, "unknown option: %s", option);
}

int cli_bad_value(const char *help, const char *name, const char *value, const char *takes) {
    return cli_usage(help, "-%s: '%s' is not a value for it, which is %s", name, value, takes);
}

int cli_arguments(const char *help, int argc, char **argv, int least, int most, const char *needs) {
    int count = argc - optind;
    for (int i = optind; i < argc; i++)
        if (!argv[i][0]) return cli_usage(help, "an argument is empty: %s", needs);
    if (count > most)
        return cli_usage(help, "'%s' is one argument too many: %s", argv[optind + most], needs);
    return count < least ? cli_usage(help, "%s", needs) : 0;
}

/* An answer that did not get out is none. */
static int all_written(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fputs("holdfast: standard output cannot be written\n", stderr);
    return code ? code : EXIT_IO;
}

static const char *nearest_command(const char *typed) {
    const char *names[COMMAND_COUNT + 1] = {NULL};
    for (size_t i = 0; i < COMMAND_COUNT; i++) names[i] = commands[i].name;
    return nearest_name(typed, names);
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(name, commands[i].name) == 0)
            return all_written(commands[i].run(argc - 1, argv + 1));
    if (strcmp(name, "--version") == 0 || strcmp(name, "-version") == 0 ||
        strcmp(name, "version") == 0) {
        puts("holdfast " HOLDFAST_VERSION);
        return 0;
    }
    if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-help") == 0 ||
        strcmp(name, "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (name[0]) fprintf(stderr, "holdfast: no command '%s'", name);
    const char *near = nearest_command(name);
    if (near) fprintf(stderr, ": did you mean '%s'?", near);
    if (name[0]) fputs("\n\n", stderr);
    print_help(stderr);
    return EXIT_USAGE;
}
