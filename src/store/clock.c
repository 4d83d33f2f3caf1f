/* Time that stands still when told to: see the header.
 *
 * Why sleeping moves it: what sleeps waits for something outside, a lock or a header, and gives up
 * after a while of this clock. If that while never passed, it would hang.
 *
 * Invariants
 *  1. It never goes back.
 *  2. Runners are woken under the lock: one that has left is not woken.
 */
#include "store/clock.h"

#include "store/runner.h"

#include <stdlib.h>

#define MOMENT_NS 1000000
#define STANDING_LOOK_NS 20000000 /* of files that others may change meanwhile */

struct clock {
    struct env env; /* first */
    struct env *real;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    /* guarded by lock */
    bool stands;
    int64_t mono_ns, unix_ms; /* while it stands */
    int64_t shift_ns;         /* by which it is ahead of the real one */
    struct hf_source *joined[RUNNER_URLS * 8];
    int joined_count;
};

static int64_t mono_locked(struct clock *c) {
    return (c->stands ? c->mono_ns : c->real->mono_ns(c->real)) + c->shift_ns;
}

static int64_t clock_mono(struct env *env) {
    struct clock *c = (struct clock *)env;
    pthread_mutex_lock(&c->lock);
    int64_t now = mono_locked(c);
    pthread_mutex_unlock(&c->lock);
    return now;
}

static int64_t clock_unix(struct env *env) {
    struct clock *c = (struct clock *)env;
    pthread_mutex_lock(&c->lock);
    int64_t now = (c->stands ? c->unix_ms : c->real->unix_ms(c->real)) + c->shift_ns / 1000000;
    pthread_mutex_unlock(&c->lock);
    return now;
}

static void wake_locked(struct clock *c) {
    for (int i = 0; i < c->joined_count; i++) runner_wake(c->joined[i]);
    pthread_cond_broadcast(&c->moved);
}

bool clock_pass(struct clock *c, int64_t ns) {
    if (!c) return false;
    pthread_mutex_lock(&c->lock);
    bool stands = c->stands;
    if (stands) c->shift_ns += ns;
    if (stands) pthread_cond_broadcast(&c->moved);
    pthread_mutex_unlock(&c->lock);
    if (stands) c->real->sleep_ns(c->real, MOMENT_NS);
    return stands;
}

static void clock_sleep(struct env *env, int64_t ns) {
    struct clock *c = (struct clock *)env;
    if (!clock_pass(c, ns)) c->real->sleep_ns(c->real, ns);
}

rc clock_new(struct env *real, struct clock **out, struct err *e) {
    struct clock *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, RC_NOMEM, "no memory");
    c->real = real;
    c->env = *real; /* its context, too: files and threads are the system's */
    c->env.mono_ns = clock_mono;
    c->env.unix_ms = clock_unix;
    c->env.sleep_ns = clock_sleep;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = c;
    return ok();
}

void clock_free(struct clock *c) {
    if (!c) return;
    ENSURE(c->joined_count == 0);
    pthread_cond_destroy(&c->moved);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

struct env *clock_env(struct clock *c) {
    return &c->env;
}

void clock_stop(struct clock *c) {
    pthread_mutex_lock(&c->lock);
    if (!c->stands) {
        c->mono_ns = c->real->mono_ns(c->real);
        c->unix_ms = c->real->unix_ms(c->real);
        c->stands = true;
    }
    wake_locked(c);
    pthread_mutex_unlock(&c->lock);
}

void clock_advance(struct clock *c, int64_t ns) {
    pthread_mutex_lock(&c->lock);
    c->shift_ns += ns;
    wake_locked(c);
    pthread_mutex_unlock(&c->lock);
}

void clock_join(struct clock *c, struct hf_source *r) {
    if (!c) return;
    pthread_mutex_lock(&c->lock);
    ENSURE(c->joined_count < (int)(sizeof c->joined / sizeof *c->joined));
    c->joined[c->joined_count++] = r;
    pthread_mutex_unlock(&c->lock);
}

void clock_leave(struct clock *c, struct hf_source *r) {
    if (!c) return;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < c->joined_count; i++)
        if (c->joined[i] == r) c->joined[i--] = c->joined[--c->joined_count];
    pthread_mutex_unlock(&c->lock);
}

int64_t clock_wait_ns(struct clock *c, int64_t due, int64_t now) {
    if (due <= now) return 0;
    if (!c) return due - now;
    pthread_mutex_lock(&c->lock);
    bool stands = c->stands;
    pthread_mutex_unlock(&c->lock);
    return stands ? STANDING_LOOK_NS : due - now;
}

void clock_wait(struct clock *c, int64_t (*until)(void *), void *arg) {
    pthread_mutex_lock(&c->lock);
    for (int64_t left; (left = until(arg) - mono_locked(c)) > 0;) {
        int64_t at = c->real->mono_ns(c->real) + left;
        struct timespec t = {at / 1000000000, at % 1000000000};
        if (c->stands) pthread_cond_wait(&c->moved, &c->lock);
        else pthread_cond_timedwait(&c->moved, &c->lock, &t);
    }
    pthread_mutex_unlock(&c->lock);
}

void clock_tell(struct clock *c) {
    pthread_mutex_lock(&c->lock);
    pthread_cond_broadcast(&c->moved);
    pthread_mutex_unlock(&c->lock);
}
