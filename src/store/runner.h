/* A source on a thread of its own: what `holdfast replicate` is for a machine, for one process.
 *
 *     runner_new(env, path, urls, &options, &r, e)      takes nothing; copies what it keeps
 *     runner_start(r, e)        begins the thread; returns when the start is known to be good
 *     ... barrier_add(r->barrier, ...), barrier_ask(r->barrier, ...)       any thread
 *     runner_stop(r, e)         ships what is left, ends the thread
 *     runner_release(r)         the last one frees it
 *
 * Whoever keeps a pointer to it while another may stop it takes a share of it (runner_retain): it
 * then stays readable, and its barrier says that the run has ended.
 *
 * Threads: everything here is for any thread, but runner_new, _start and _stop, which are for the
 * one that owns it.
 */
#ifndef STORE_RUNNER_H
#define STORE_RUNNER_H

#include "holdfast.h"
#include "os/system.h"
#include "source/barrier.h"
#include "store/loop.h"

#include <pthread.h>

#define RUNNER_URLS 8

/* A way for other processes to wait, set where it is linked (daemon/in_process.c); NULL: there is
 * none. All of it is called on the run's thread. */
struct runner_server {
    rc (*start)(struct env *, struct barrier *, const char *database, void **out, struct err *);
    rc (*database)(void *server, struct err *); /* there is one now, or another */
    void (*stop)(void *server);                 /* the barrier has been stopped */
};
extern const struct runner_server *runner_server;

struct runner_options {
    struct source_options source;
    int64_t start_ms, drain_ms;
    bool serve;                   /* through runner_server */
    uint64_t older[RESTORE_URLS]; /* for source_older */
    bool keep_to_file;            /* as in store/loop.h */
    struct clock *clock;
    void (*ended)(void *arg); /* on its thread: nobody looks after the log any more; may be NULL */
    void *ended_arg;
};

struct hf_source {
    /* set before the thread begins */
    struct barrier *barrier;
    char path[LIMIT_PATH];
    char *urls[RUNNER_URLS];
    int64_t start_ns, drain_ns;
    bool serve;
    void (*told_end)(void *);
    void *told_arg;
    unsigned generation; /* fork_generation() */
    pthread_t thread;
    bool has_thread;

    atomic_int shares;
    atomic_bool stopping, ended;
    atomic_ullong device, inode; /* of the database that is open */
    struct hf_source *next;      /* replicate.c, under its lock */

    pthread_mutex_t lock;
    pthread_cond_t start_known;
    /* guarded by lock */
    bool started;
    struct err start; /* code RC_OK: good */

    /* the thread's; anybody's after it has ended */
    struct loop loop;
    void *server; /* NULL: none */
    int64_t begun_ns;
    struct err end; /* code RC_OK: everything was shipped */
};

MUST_USE rc runner_new(struct env *, const char *path, const char *const *urls,
                       const struct runner_options *, struct hf_source **out, struct err *);
/* RC_BEHIND, RC_CONFLICT, ...: nothing was shipped, and the thread has ended. */
MUST_USE rc runner_start(struct hf_source *, struct err *);
/* RC_TIMEOUT: not all was shipped in time. Else what ended the run before. */
MUST_USE rc runner_stop(struct hf_source *, struct err *);
bool runner_is_this_thread(const struct hf_source *); /* called by one of its callbacks */
void runner_wake(void *runner);
/* For a commit hook: the database has just changed. */
void runner_saw_commit(void *runner);
void runner_retain(struct hf_source *);
void runner_release(struct hf_source *); /* NULL is fine */

#endif
