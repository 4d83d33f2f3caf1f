/* Log lines: an event and its pairs. Only cli/ logs, once, where a thing is handled. Event names
 * and keys are an interface. Not thread-safe: one thread logs. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdio.h>

enum log_format { LOG_HUMAN, LOG_LOGFMT, LOG_JSON };

struct log {
    FILE *to;
    enum log_format format;
};

/* Human when `to` is a terminal, logfmt otherwise. */
void log_init(struct log *, FILE *to);
bool log_format_parse(const char *text, enum log_format *out);
/* A value may hold any bytes: what is not UTF-8 is shown as U+FFFD, control characters as \u00xx.
 * `pairs`: key, value, key, value; count is their number together. */
void log_pairs(struct log *, const char *event, const char *const *pairs, int count);

#endif
