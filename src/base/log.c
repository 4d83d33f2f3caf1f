/* Log lines: see the header. */
#include "base/log.h"

#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_ROOM 8192

/* One write per line: others write to the same place, and a line must not be torn by theirs. */
void log_init(struct log *l, FILE *to) {
    setvbuf(to, NULL, _IOLBF, LINE_ROOM);
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

#define NOT_TEXT 0xfffdu

/* One character of UTF-8; a byte that belongs to none is NOT_TEXT. Its length in bytes. */
static size_t character(const unsigned char *p, uint32_t *out) {
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    size_t more = p[0] < 0x80   ? 0
                  : p[0] < 0xc0 ? 4
                  : p[0] < 0xe0 ? 1
                  : p[0] < 0xf0 ? 2
                  : p[0] < 0xf8 ? 3
                                : 4;
    *out = NOT_TEXT;
    if (more == 4) return 1;
    uint32_t c = more ? p[0] & (0x3fu >> more) : p[0];
    for (size_t i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80) return 1;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 1;
    *out = c;
    return more + 1;
}

static bool is_control(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/* A quoted string that is right for logfmt and for JSON, and harmless on a terminal. */
static void put_quoted(FILE *to, const char *text) {
    uint32_t c;
    fputc('"', to);
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        size_t n = character(p, &c);
        if (c == '"' || c == '\\') fprintf(to, "\\%c", *p);
        else if (is_control(c) || c == NOT_TEXT) fprintf(to, "\\u%04x", c);
        else fwrite(p, 1, n, to);
        p += n;
    }
    fputc('"', to);
}

static bool is_plain(const char *text) {
    uint32_t c;
    if (!*text) return false;
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        p += character(p, &c);
        if (is_control(c) || c == NOT_TEXT || c == ' ' || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return true;
}

static void put_value(FILE *to, const char *text) {
    if (is_plain(text)) fputs(text, to);
    else put_quoted(to, text);
}

/* What a user names is text, whatever it looks like. */
static bool is_number(const char *key, const char *text) {
    const char *p = text + (*text == '-');
    size_t whole = strspn(p, "0123456789");
    if (strcmp(key, "db") == 0 || whole == 0 || whole > 20 || (whole > 1 && *p == '0'))
        return false;
    p += whole;
    if (*p == '.') {
        size_t rest = strspn(++p, "0123456789");
        if (rest == 0) return false;
        p += rest;
    }
    return *p == 0;
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
            if (is_number(pairs[i], pairs[i + 1])) fputs(pairs[i + 1], l->to);
            else put_quoted(l->to, pairs[i + 1]);
        } else {
            fprintf(l->to, " %s=", pairs[i]);
            put_value(l->to, pairs[i + 1]);
        }
    }
    fputs(l->format == LOG_JSON ? "}\n" : "\n", l->to);
    fflush(l->to);
}
