/* Result codes and errors.
 *
 * Inside Holdfast every function that can fail returns `rc` and, on failure, fills the caller's
 * `struct err` with a code and words. `rc` is a struct so that an errno or an SQLite code cannot be
 * returned by mistake. Log or return, never both: only cli/ prints.
 *
 *     rc widget_open(struct widget *w, struct err *e) {
 *         TRY(part_open(&w->part, e));
 *         if (w->size > LIMIT_WIDGET) return err_set(e, RC_CORRUPT, "widget: %u is too large",
 * w->size); return ok();
 *     }
 */
#ifndef BASE_RC_H
#define BASE_RC_H

#include <stdbool.h>
#include <stdnoreturn.h>

/* Few codes, chosen by what the caller can do about it; the detail is in the words. */
enum rc_code {
    RC_OK = 0,
    RC_RETRY,     /* passing fault: the same call may succeed later */
    RC_TIMEOUT,   /* a deadline passed; the outcome may be unknown */
    RC_BUSY,      /* somebody else holds it */
    RC_NOTFOUND,  /* it is not there */
    RC_CORRUPT,   /* bytes from outside are not what they must be */
    RC_CONFLICT,  /* it exists already (create-only), or two things disagree */
    RC_FENCED,    /* another writer owns the replica */
    RC_BEHIND,    /* the local database lacks what the replica has */
    RC_FULL,      /* no space */
    RC_CANCELLED, /* asked to stop */
    RC_USAGE,     /* the caller's arguments are wrong */
    RC_NOMEM,
    RC_IO,    /* the system refused; errno is in the words */
    RC_UNFIT, /* the object store lacks something that safety needs */
};

typedef struct {
    enum rc_code code;
} rc;

#define ERR_TEXT_MAX 1000

/* Owned by the caller, valid until its next use. `text` is one line without a full stop
 * (control characters become "?"). */
struct err {
    enum rc_code code;
    char text[ERR_TEXT_MAX];
};

#define MUST_USE __attribute__((warn_unused_result))
#define AUTO(fn) __attribute__((cleanup(fn)))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

static inline rc ok(void) {
    return (rc){RC_OK};
}
static inline bool is_ok(rc r) {
    return r.code == RC_OK;
}

/* Fill `e` (may be NULL). */
void err_fill(struct err *e, enum rc_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Fill `e` (may be NULL) and return the code. */
MUST_USE rc err_set(struct err *e, enum rc_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same for a failed system call: ENOSPC and EDQUOT become RC_FULL, ENOENT RC_NOTFOUND, EEXIST
 * RC_CONFLICT, ENOMEM RC_NOMEM, all else RC_IO; ": <strerror>" is appended. */
MUST_USE rc err_errno(struct err *e, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Put "words: " before the text of `e`; returns `r` as it was. What is too long is cut, but neither
 * part takes more than half of the room from the other. */
MUST_USE rc err_prefix(struct err *e, rc r, const char *fmt, ...) PRINTF_LIKE(3, 4);
const char *rc_name(enum rc_code code); /* "retry", "timeout", ... */

#define TRY(call)                                                                                  \
    do {                                                                                           \
        rc try_rc_ = (call);                                                                       \
        if (!is_ok(try_rc_)) return try_rc_;                                                       \
    } while (0)

/* A programmer's error; kept in release builds. Never for data from outside. */
#define ENSURE(cond) ((cond) ? (void)0 : ensure_failed(#cond, __FILE__, __LINE__))
noreturn void ensure_failed(const char *cond, const char *file, int line);

#endif
