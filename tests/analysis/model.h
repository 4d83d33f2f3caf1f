/* What an analyser that sees one file at a time cannot know: an error is no success. It is included
 * before all else then (tests/proof/analysis.py), and by nothing else. */
#ifndef TESTS_ANALYSIS_MODEL_H
#define TESTS_ANALYSIS_MODEL_H

#include "base/rc.h"

static inline rc model_rc(enum rc_code code) {
    if (code == RC_OK) __builtin_unreachable();
    return (rc){code};
}
static inline rc model_errno(struct err *e, int errnum) {
    rc r = err_errno(e, errnum, "%s", "");
    if (r.code == RC_OK) __builtin_unreachable();
    return r;
}
#define err_set(e, code, ...) (err_fill(e, code, __VA_ARGS__), model_rc(code))
#define err_errno(e, errnum, ...) (err_fill(e, RC_IO, __VA_ARGS__), model_errno(e, errnum))
#define err_prefix(e, r, ...) (err_fill(e, RC_IO, __VA_ARGS__), (r))
#undef ENSURE
#define ENSURE(cond) ((cond) ? (void)0 : __builtin_unreachable())

#endif
