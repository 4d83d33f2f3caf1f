/* What the commands share: options' values, errors to people, exit codes. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/limits.h"
#include "base/log.h"
#include "base/rc.h"

#include <getopt.h>
#include <jansson.h>
#include <stdint.h>

/* The table of the man page. */
enum {
    EXIT_IO = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_CORRUPT = 4,
    EXIT_FENCED = 5,
    EXIT_BEHIND = 6,
    EXIT_NOT_ALL_SHIPPED = 7,
    EXIT_TIMED_OUT = 8,
    EXIT_BUSY = 9,
    EXIT_UNFIT = 10,
    EXIT_WAITS = 11, /* of schema apply: all is done that may be; a contract waits */
};

int cmd_replicate(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_wait(int argc, char **argv);
int cmd_sync(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_kv(int argc, char **argv);
int cmd_schema(int argc, char **argv);
int cmd_promote(int argc, char **argv);

int cli_exit_code(rc r);
/* "holdfast: words" on stderr; the exit code for the result. */
int cli_fail(rc r, const struct err *e);
/* The same for wrong arguments, with the first line of the command's help. */
int cli_usage(const char *help, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Prints and frees it. `whole`: all that belongs in it could be put there. Without memory for that,
 * nothing is printed, and the words are on stderr: an exit code, or 0. */
int cli_print_json(json_t *, bool whole, size_t flags);

/* For getopt_long_only with ":h": what is wrong with the argument that it stopped at. */
int cli_bad_option(const char *help, const struct option *, int got, char **argv);
int cli_bad_value(const char *help, const char *name, const char *value, const char *takes);
#define A_DURATION "a number with ms, s, m, h or d, like 250ms or 24h"
/* 0, or what is wrong with the arguments behind the options: too few, too many, an empty one. */
int cli_arguments(const char *help, int argc, char **argv, int least, int most, const char *needs);

/* The noise that main remembers; *out "" if there is none, or it is not there. (schema.c) */
void remembered_noise(const char *db, char out[LIMIT_PATH]);

/* "250ms", "1s", "5m", "24h", "7d"; a bare number is seconds. To milliseconds. */
bool parse_duration(const char *text, int64_t *ms);
/* RFC 3339 ("2026-11-23T10:00:00Z", with fraction and offset) or "10m ago". To Unix
 * milliseconds. */
bool parse_time(const char *text, int64_t now_ms, int64_t *ms);
/* A decimal TXID, or 16 hexadecimal digits as in file names. */
bool parse_txid(const char *text, uint64_t *txid);
/* "2026-11-23T10:00:00.123Z" */
void format_time(int64_t ms, char out[32]);

#endif
