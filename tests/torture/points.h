/* Points: the n-th allocation, or the n-th system call, of a piece of work fails; once, or from
 * then on.
 *
 *     points_count();    work();  points_stop(&seen);      how many there are, and which calls
 *     points_arm(&point); work();  points_stop(&seen);      seen.fired: it was reached
 *
 * The program defines malloc and the wrappers of system calls itself, so that every library in the
 * process comes by here: SQLite, curl, jansson, OpenSSL, and libc where it calls malloc. Outside of
 * count and arm everything goes through untouched, and so does what a thread does between
 * points_pause and points_resume: the part of a test that is an application, or looks at results.
 *
 * A failing call has not been made. Exceptions, as in life: a close that fails has closed; a short
 * read or write has done a part; DROP is an fsync that fails once and takes with it what was
 * written since the last one that went well, so that the next one "succeeds".
 */
#ifndef TORTURE_POINTS_H
#define TORTURE_POINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum point_kind { POINT_ALLOCATION, POINT_CALL, POINT_KINDS };

/* How a call may fail, beside with an errno. */
enum { FAIL_SHORT = -1, FAIL_DROP = -2 };

struct point {
    enum point_kind kind;
    unsigned call; /* which; call_named */
    uint64_t at;   /* 1: the first of that call, or the first allocation */
    int way;       /* an errno, FAIL_SHORT, FAIL_DROP; of an allocation 0 */
    bool onward;   /* all later ones, too */
};

#define TRACE_MOST 200000u

/* In memory that the parent sees. */
struct points_seen {
    uint64_t counted[POINT_KINDS];
    uint64_t fired;
    uint8_t *trace; /* TRACE_MOST: which call the n-th was; written when counting */
};

void points_count(struct points_seen *);
void points_arm(const struct point *, struct points_seen *, bool loud);
void points_stop(void);
void points_pause(void);
void points_resume(void);

/* The ways in which a call may fail; 0 behind the last. An errno, FAIL_SHORT or FAIL_DROP. */
int call_way(unsigned call, unsigned which);
const char *call_name(unsigned call);
int call_named(const char *name); /* -1: none is */
/* EINTR is no state that lasts. */
bool way_may_last(int way);
const char *way_name(int way);
int way_named(const char *name); /* 0: none is called so */

/* ---- memory ---- */

/* Whether this allocation is to fail. */
bool points_allocation_fails(void);

/* From now on every block is remembered; `deep`: with the calls that led to it. */
void blocks_watch(bool deep);
/* Blocks that were allocated since, and that nothing in the process points to any more: each is
 * told. In a sanitizer's build it is LeakSanitizer that looks. */
int blocks_lost(void (*tell)(size_t bytes, void *const *from, int depth));

#endif
