/* What a process has once: its view of the system, and whether it was forked since.
 *
 * Why handles die in a child: its threads are gone, and SQLite's locks belong to the parent. To
 * close anything there would take them away from the parent (POSIX locks) or wait for threads that
 * are not there. So the child only learns that a handle is not its own, and opens others.
 *
 * Invariants
 *  1. The system of a process is made once and never freed: threads of any handle may use it.
 *  2. After a fork the child's first use makes another; its parent's is left as it is.
 */
#include "store/internal.h"

#include <pthread.h>
#include <stdatomic.h>

#define WORKERS 32 /* begun as they are needed; a destination that hangs has up to three */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct env *system_env_of_process; /* guarded by lock */
static atomic_uint generation = 1;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void) {
    pthread_mutex_lock(&lock);
}

static void after_fork(void) {
    pthread_mutex_unlock(&lock);
}

static void in_child(void) {
    generation++;
    system_env_of_process = NULL;
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void) {
    ENSURE(pthread_atfork(before_fork, after_fork, in_child) == 0);
}

struct env *store_env(void) {
    struct err e;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&lock);
    if (!system_env_of_process && !is_ok(env_new_system(WORKERS, &system_env_of_process, &e)))
        system_env_of_process = NULL;
    struct env *env = system_env_of_process;
    pthread_mutex_unlock(&lock);
    return env;
}

unsigned fork_generation(void) {
    pthread_once(&once, watch_forks);
    return generation;
}

rc fork_check(unsigned made_in, const char *what, struct err *e) {
    if (made_in == fork_generation()) return ok();
    return err_set(e, RC_USAGE,
                   "%s was opened before fork(): it is the parent's; open another in the child",
                   what);
}
