/* Durations, times and TXIDs as people write them. */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LONGEST_MS 3e12 /* 95 years: in nanoseconds it still fits */

static bool unit_ms(const char *unit, int64_t *out) {
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"", 1000}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(unit, units[i].name) == 0) {
            *out = units[i].ms;
            return true;
        }
    return false;
}

bool parse_duration(const char *text, int64_t *ms) {
    char *end;
    int64_t unit;
    if (!isdigit((unsigned char)text[0])) return false;
    errno = 0;
    double n = strtod(text, &end);
    if (errno || !unit_ms(end, &unit) || n * (double)unit > LONGEST_MS) return false;
    *ms = (int64_t)(n * (double)unit);
    return true;
}

static bool parse_ago(const char *text, int64_t now_ms, int64_t *ms) {
    char copy[64];
    int64_t back;
    size_t n = strlen(text);
    if (n < 5 || n >= sizeof copy || strcmp(text + n - 4, " ago") != 0) return false;
    snprintf(copy, sizeof copy, "%.*s", (int)(n - 4), text);
    if (!parse_duration(copy, &back)) return false;
    *ms = now_ms - back;
    return true;
}

/* "Z", "+02:00" or "-0530"; to minutes east. */
static bool parse_offset(const char *text, int *minutes) {
    int hours, rest;
    char sign;
    *minutes = 0;
    if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0) return true;
    int end = -1;
    if (sscanf(text, "%c%2d:%2d%n", &sign, &hours, &rest, &end) != 3 || end < 0 || text[end])
        return false;
    if ((sign != '+' && sign != '-') || hours > 23 || rest > 59 || hours < 0 || rest < 0)
        return false;
    *minutes = (hours * 60 + rest) * (sign == '-' ? -1 : 1);
    return true;
}

bool parse_time(const char *text, int64_t now_ms, int64_t *ms) {
    struct tm tm = {0};
    char *end, *digits;
    double fraction = 0;
    int minutes;
    if (parse_ago(text, now_ms, ms)) return true;
    end = strptime(text, "%Y-%m-%d", &tm);
    if (!end || (*end != 'T' && *end != 't' && *end != ' ')) return false;
    end = strptime(end + 1, "%H:%M:%S", &tm);
    if (!end) return false;
    if (*end == '.') {
        digits = end;
        if (!isdigit((unsigned char)end[1])) return false;
        fraction = strtod(digits, &end);
    }
    if (!parse_offset(end, &minutes)) return false;
    int day = tm.tm_mday; /* timegm turns a 30th of February into a day of March */
    *ms = ((int64_t)timegm(&tm) - (int64_t)minutes * 60) * 1000 + (int64_t)(fraction * 1000 + 0.5);
    return tm.tm_mday == day && *ms > 0;
}

bool parse_txid(const char *text, uint64_t *txid) {
    char *end;
    int base = strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16 ? 16 : 10;
    if (!isxdigit((unsigned char)text[0])) return false;
    errno = 0;
    unsigned long long v = strtoull(text, &end, base);
    if (errno || *end || v == 0) return false;
    *txid = v;
    return true;
}

void format_time(int64_t ms, char out[32]) {
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[24];
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, 32, "%s.%03dZ", text, (int)(ms % 1000));
}
