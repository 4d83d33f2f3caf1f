/* Time that stands still when told to: an env whose clock is moved by hand, for tests of what
 * happens in an hour.
 *
 * Until clock_stop it is the system's. From then on it moves by clock_advance, and by what a thread
 * sleeps through env->sleep_ns. Any thread; a NULL clock is the system's own.
 */
#ifndef STORE_CLOCK_H
#define STORE_CLOCK_H

#include "os/env.h"

struct clock;
struct hf_source;

MUST_USE rc clock_new(struct env *real, struct clock **out, struct err *);
void clock_free(struct clock *); /* nobody has joined; NULL is fine */
struct env *clock_env(struct clock *);
void clock_stop(struct clock *);
void clock_advance(struct clock *, int64_t ns);
/* A runner is woken when its clock is stopped or moved. */
void clock_join(struct clock *, struct hf_source *);
void clock_leave(struct clock *, struct hf_source *);
/* How long to sleep, in real nanoseconds, for what is due then. */
int64_t clock_wait_ns(struct clock *, int64_t due_ns, int64_t now_ns);
/* Of a clock that stands still: after a moment it is `ns` later. False: it runs by itself. */
bool clock_pass(struct clock *, int64_t ns);
/* Until `until` says, which is asked again whenever the clock has moved, and after clock_tell. */
void clock_wait(struct clock *, int64_t (*until)(void *arg), void *arg);
void clock_tell(struct clock *); /* what `until` looks at has changed */

#endif
