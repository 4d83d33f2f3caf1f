/* The barrier: whoever must not answer before a commit is safe elsewhere waits here.
 *
 *     barrier_new(env, wake, arg, &b, e)      options.barrier = b; source_open(...)
 *     struct wait w = {.at = position, .ended = told, .deadline_ns = ...};
 *     barrier_add(b, &w)                      any thread; told(&w, ...) comes once
 *     barrier_stop(b, e)                      the run has ended: fails all, now and from now on
 *
 * It outlives a source (a database that is replaced has a source after the other). A wait ends well
 * when the destinations asked for have acknowledged every shipment up to its position. By itself it
 * costs no request: it rides the next shipment. With `flush` a shipment begins now if none is on
 * its way, else right after it: a thousand waiters, one PUT.
 *
 * Errors: RC_TIMEOUT (its outcome is not known: the commit may be safe a moment later); RC_NOTFOUND
 * (no such position in this run, no such destination); RC_CANCELLED (the source ended before);
 * RC_FENCED, RC_BEHIND, RC_CONFLICT, ... what ended the run.
 *
 * Threads: barrier_add, barrier_remove and barrier_ask are for any thread. `ended`
 * and `answer` are called without a lock, on the source's thread, or on the caller's in barrier_add
 * and barrier_ask when the barrier was stopped; they must not block.
 */
#ifndef SOURCE_BARRIER_H
#define SOURCE_BARRIER_H

#include "os/env.h"
#include "source/position.h"

struct barrier;
struct source;

/* The caller's memory; the barrier's from barrier_add until `ended` is called. */
struct wait {
    struct position at;
    bool flush;
    const char *destination; /* NULL: all of them; "any": one; or its URL, as given or shown */
    int64_t deadline_ns;     /* env->mono_ns; INT64_MAX: none */
    void (*ended)(struct wait *, rc, const struct err *);
    void *arg;             /* the caller's */
    struct position found; /* on success: up to where it is safe */
    /* the barrier's */
    bool known; /* its target is */
    uint64_t target;
    struct wait *next;
};

/* A question to the source, answered on its thread. */
struct ask {
    void (*answer)(struct ask *, struct source *); /* NULL: there is none */
    void *arg;                                     /* the caller's */
    struct ask *next;                              /* the barrier's */
};

/* `wake` makes the source's thread call source_step, or barrier_idle; it is called without a lock,
 * by those who wait. */
MUST_USE rc barrier_new(struct env *, void (*wake)(void *), void *wake_arg, struct barrier **out,
                        struct err *);
void barrier_free(struct barrier *); /* stopped */
void barrier_add(struct barrier *, struct wait *);
/* True: it was still there, and `ended` will not be called. */
bool barrier_remove(struct barrier *, struct wait *);
void barrier_ask(struct barrier *, struct ask *);
void barrier_stop(struct barrier *, const struct err *why);
bool barrier_has_stopped(struct barrier *, struct err *why); /* any thread */
/* In place of source_step while there is no source: deadlines pass, questions are answered. */
void barrier_idle(struct barrier *, int64_t now_ns, int64_t *due_ns);

#endif
