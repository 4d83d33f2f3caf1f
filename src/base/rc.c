/* Result codes and errors: the words. */
#include "base/rc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A path may hold anything; an error is one line. */
static void one_line(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f) *text = '?';
}

static void PRINTF_LIKE(3, 0)
    fill(struct err *e, enum rc_code code, const char *fmt, va_list args) {
    if (!e) return;
    char text[ERR_TEXT_MAX]; /* the arguments may be the old text */
    vsnprintf(text, sizeof text, fmt, args);
    one_line(text);
    e->code = code;
    memcpy(e->text, text, sizeof text);
}

void err_fill(struct err *e, enum rc_code code, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fill(e, code, fmt, args);
    va_end(args);
}

rc err_set(struct err *e, enum rc_code code, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fill(e, code, fmt, args);
    va_end(args);
    return (rc){code};
}

static enum rc_code code_of_errno(int errnum) {
    switch (errnum) {
    case ENOSPC:
    case EDQUOT: return RC_FULL;
    case ENOENT:
    case ENOTDIR: return RC_NOTFOUND;
    case EEXIST: return RC_CONFLICT;
    case ENOMEM: return RC_NOMEM;
    default: return RC_IO;
    }
}

rc err_errno(struct err *e, int errnum, const char *fmt, ...) {
    enum rc_code code = code_of_errno(errnum);
    va_list args;
    va_start(args, fmt);
    fill(e, code, fmt, args);
    va_end(args);
    if (e) {
        const char *reason = strerror(errnum);
        size_t at = strlen(e->text), room = sizeof e->text - strlen(": ") - strlen(reason) - 1;
        if (at > room) at = room;
        snprintf(e->text + at, sizeof e->text - at, ": %s", reason);
    }
    return (rc){code};
}

rc err_prefix(struct err *e, rc r, const char *fmt, ...) {
    if (!e || is_ok(r)) return r; /* of a success there are no words */
    char old[ERR_TEXT_MAX], words[ERR_TEXT_MAX];
    memcpy(old, e->text, sizeof old);
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    one_line(words);
    size_t n = strlen(words), room = sizeof e->text - strlen(": ") - 1, keep = strlen(old);
    if (keep > room / 2) keep = room / 2; /* a long prefix leaves the reason this much */
    if (n > room - keep) n = room - keep;
    memcpy(e->text, words, n);
    snprintf(e->text + n, sizeof e->text - n, ": %.*s", (int)(room - n), old);
    return r;
}

const char *rc_name(enum rc_code code) {
    static const char *const names[] = {"ok",        "retry",    "timeout",   "busy",   "not found",
                                        "corrupt",   "conflict", "fenced",    "behind", "full",
                                        "cancelled", "usage",    "no memory", "io",     "unfit"};
    return (unsigned)code < sizeof names / sizeof *names ? names[code] : "?";
}

void ensure_failed(const char *cond, const char *file, int line) {
    fprintf(stderr, "holdfast: a bug: %s does not hold at %s:%d\n", cond, file, line);
    abort();
}
