/* The real system behind struct env: clocks, random bytes, and its two big parts put together: the
 * files (posix.c) and the threads (pool.c).
 *
 * Why CLOCK_MONOTONIC and not CLOCK_BOOTTIME: a laptop that slept for a night must not find every
 * deadline of the evening missed.
 *
 * Invariant: all of a struct system is set once, so any thread may use it without a lock.
 */
#include "os/pool.h"
#include "os/posix.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define NS_PER_S 1000000000

struct system {
    struct env env;
    struct pool *pool;
};

static int64_t system_unix_ms(struct env *env) {
    (void)env;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t system_mono_ns(struct env *env) {
    (void)env;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void system_random(struct env *env, void *buf, size_t n) {
    (void)env;
    for (size_t done = 0; done < n;) {
        ssize_t got = getrandom((char *)buf + done, n - done, 0);
        ENSURE(got > 0 || errno == EINTR); /* no kernel of the last ten years refuses */
        if (got > 0) done += (size_t)got;
    }
}

static void system_sleep_ns(struct env *env, int64_t ns) {
    (void)env;
    struct timespec left = {ns > 0 ? ns / NS_PER_S : 0, ns > 0 ? ns % NS_PER_S : 0};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

static rc system_submit(struct env *env, struct job *job, struct err *e) {
    return pool_submit(((struct system *)env->ctx)->pool, job, e);
}

static rc system_parallel(struct env *env, int parallel, int count, void (*fn)(void *, int),
                          void *arg, struct err *e) {
    (void)env, (void)e;
    run_parallel(parallel, count, fn, arg);
    return ok();
}

rc env_new_system(int workers, struct env **out, struct err *e) {
    struct system *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, RC_NOMEM, "no memory");
    rc r = pool_new(workers, &s->pool, e);
    if (!is_ok(r)) {
        free(s);
        return r;
    }
    s->env = (struct env){
        .ctx = s,
        .unix_ms = system_unix_ms,
        .mono_ns = system_mono_ns,
        .random = system_random,
        .sleep_ns = system_sleep_ns,
        .files = &posix_files,
        .submit = system_submit,
        .parallel = system_parallel,
    };
    *out = &s->env;
    return ok();
}

void env_free_system(struct env *env) {
    if (!env) return;
    struct system *s = env->ctx;
    pool_free(s->pool);
    free(s);
}
