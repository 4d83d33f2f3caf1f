/* Log lines: see the header. */
#include "base/log.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

void log_init(struct log *l, FILE *to) {
    l->to = to;
    l->format = isatty(fileno(to)) ? LOG_HUMAN : LOG_LOGFMT;
}

bool log_format_parse(const char *text, enum log_format *out) {
    static const char *const names[] = {"human", "logfmt", "json"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum log_format)i;
            return true;
        }
    return false;
}

/* A quoted string that is right for logfmt and for JSON. */
static void put_quoted(FILE *to, const char *text) {
    fputc('"', to);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\') fprintf(to, "\\%c", *p);
        else if (*p < 0x20) fprintf(to, "\\u%04x", *p);
        else fputc(*p, to);
    }
    fputc('"', to);
}

static void put_value(FILE *to, const char *text) {
    if (text[0] && !strpbrk(text, " \"=\\\t\n")) fputs(text, to);
    else put_quoted(to, text);
}

static void time_text(char *out, size_t size, bool date) {
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t n =
        date ? strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm) : strftime(out, size, "%H:%M:%S", &tm);
    snprintf(out + n, size - n, ".%03ldZ", now.tv_nsec / 1000000);
}

void log_pairs(struct log *l, const char *event, const char *const *pairs, int count) {
    char at[40];
    time_text(at, sizeof at, l->format != LOG_HUMAN);
    if (l->format == LOG_JSON) fprintf(l->to, "{\"time\":\"%s\",\"event\":\"%s\"", at, event);
    else if (l->format == LOG_LOGFMT) fprintf(l->to, "time=%s event=%s", at, event);
    else fprintf(l->to, "%s %s", at, event);
    for (int i = 0; i + 1 < count; i += 2) {
        if (l->format == LOG_JSON) {
            fputc(',', l->to);
            put_quoted(l->to, pairs[i]);
            fputc(':', l->to);
            put_quoted(l->to, pairs[i + 1]);
        } else {
            fprintf(l->to, " %s=", pairs[i]);
            put_value(l->to, pairs[i + 1]);
        }
    }
    fputs(l->format == LOG_JSON ? "}\n" : "\n", l->to);
    fflush(l->to);
}
