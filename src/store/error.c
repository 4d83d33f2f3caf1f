/* Errors and options of the public functions: words per thread, codes one to one. */
#include "store/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)HF_UNFIT == (int)RC_UNFIT && (int)HF_FENCED == (int)RC_FENCED,
               "the public codes are those of base/rc.h");

static _Thread_local char words[ERR_TEXT_MAX];

const char *hf_errmsg(void) {
    return words;
}

const char *hf_strcode(int code) {
    if (code == HF_ROW) return "row";
    return code >= 0 && code <= HF_UNFIT ? rc_name((enum rc_code)code) : "the application's own";
}

const char *hf_version(void) {
    return HOLDFAST_VERSION;
}

void hf_free(void *p) {
    free(p);
}

int done(rc r, const struct err *e) {
    if (!is_ok(r)) snprintf(words, sizeof words, "%s", e->text);
    return (int)r.code;
}

int fail(enum rc_code code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof words, fmt, ap);
    va_end(ap);
    return (int)code;
}

rc sql_error(struct err *e, sqlite3 *db, int code, const char *doing) {
    const char *said = db ? sqlite3_errmsg(db) : sqlite3_errstr(code);
    switch (code & 0xff) {
    case SQLITE_LOCKED: /* by nobody but this connection */
        return err_set(e, RC_USAGE, "%s: %s: a query of this transaction is not at its end", doing,
                       said);
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL: return err_set(e, RC_BUSY, "%s: %s", doing, said);
    case SQLITE_NOMEM: return err_set(e, RC_NOMEM, "%s: no memory", doing);
    case SQLITE_FULL: return err_set(e, RC_FULL, "%s: %s", doing, said);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT: return err_set(e, RC_CORRUPT, "%s: %s", doing, said);
    case SQLITE_CONSTRAINT: return err_set(e, RC_CONFLICT, "%s: %s", doing, said);
    case SQLITE_INTERRUPT: return err_set(e, RC_CANCELLED, "%s: %s", doing, said);
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_AUTH:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG: return err_set(e, RC_USAGE, "%s: %s", doing, said);
    case SQLITE_READONLY:
        if (code == SQLITE_READONLY)
            return err_set(e, RC_USAGE, "%s: a write in a read transaction: begin it with hf_write",
                           doing);
        return err_set(e, RC_IO, "%s: %s", doing, said);
    default: return err_set(e, RC_IO, "%s: %s", doing, said);
    }
}

rc take_options(const void *given, void *out, size_t size, const char *name, struct err *e) {
    size_t its;
    memset(out, 0, size);
    if (!given) return ok();
    memcpy(&its, given, sizeof its);
    if (its < sizeof its || its > 65536)
        return err_set(e, RC_USAGE, "%s: its member `size` is not set: {.size = sizeof (%s)}", name,
                       name);
    for (size_t i = size; i < its; i++)
        if (((const unsigned char *)given)[i])
            return err_set(e, RC_UNFIT, "%s: an option that this library (%s) does not know", name,
                           HOLDFAST_VERSION);
    memcpy(out, given, its < size ? its : size);
    return ok();
}
