/* A fixed pool of worker threads, the queues of jobs, and a parallel loop.
 *
 * Why the parallel loop makes its own threads instead of taking the pool's: it is called from jobs,
 * and workers that wait for workers stand still for ever. The caller's thread takes part, so the
 * loop always moves on, and what it waits for is a store, beside which starting a thread costs
 * nothing.
 *
 * Invariants:
 * 1. A job is in one place: with its submitter, in the queue, with one worker, or in its home.
 * 2. No callback runs under a lock.
 * 3. A jobs_done is not freed under a worker that still calls its `wake`.
 * 4. Threads made here take no signals: those belong to the program's own threads.
 */
#include "os/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#define WORKERS_DEFAULT 4
#define WORKERS_MAX 64
#define PARALLEL_MAX 64

/* First in, first out. */
struct job_queue {
    struct job *head, **tail;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    /* guarded by lock */
    struct job_queue queue;
    bool stopping;
    int queued, idle; /* jobs, and threads that wait for one */
    int thread_count;
    pthread_t threads[WORKERS_MAX];
    /* set once */
    int most;
};

struct jobs_done {
    pthread_mutex_t lock;
    pthread_cond_t quiet;
    /* guarded by lock */
    struct job_queue queue;
    int waking; /* threads between their put and the end of their wake */
    /* set once */
    void (*wake)(void *);
    void *wake_arg;
};

static void queue_init(struct job_queue *q) {
    q->head = NULL;
    q->tail = &q->head;
}

static void queue_put(struct job_queue *q, struct job *j) {
    j->next = NULL;
    *q->tail = j;
    q->tail = &j->next;
}

static struct job *queue_take(struct job_queue *q) {
    struct job *j = q->head;
    if (!j) return NULL;
    q->head = j->next;
    if (!q->head) q->tail = &q->head;
    j->next = NULL;
    return j;
}

static int start_thread(pthread_t *out, void *(*run)(void *), void *arg) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* invariant 4 */
    int errnum = pthread_create(out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return errnum;
}

static struct job *next_job(struct pool *p) {
    pthread_mutex_lock(&p->lock);
    struct job *j;
    while (!(j = queue_take(&p->queue)) && !p->stopping) {
        p->idle++;
        pthread_cond_wait(&p->work, &p->lock);
        p->idle--;
    }
    if (j) p->queued--;
    pthread_mutex_unlock(&p->lock);
    return j;
}

static void *work(void *arg) {
    struct pool *p = arg;
    for (struct job *j; (j = next_job(p));) {
        struct jobs_done *home = j->home;
        j->run(j);
        jobs_done_put(home, j);
    }
    return NULL;
}

rc pool_new(int workers, struct pool **out, struct err *e) {
    if (workers <= 0) workers = WORKERS_DEFAULT;
    if (workers > WORKERS_MAX)
        return err_set(e, RC_USAGE, "%d worker threads: at most %d", workers, WORKERS_MAX);
    struct pool *p = calloc(1, sizeof *p);
    if (!p) return err_set(e, RC_NOMEM, "no memory for the thread pool");
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    queue_init(&p->queue);
    p->most = workers;
    *out = p;
    return ok();
}

void pool_free(struct pool *p) {
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->thread_count; i++) pthread_join(p->threads[i], NULL);
    ENSURE(!p->queue.head);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* More jobs than threads that wait for one, and room for another thread. With none to be had those
 * that are there do it, later. */
static int grow_locked(struct pool *p) {
    if (p->stopping || p->queued < p->idle || p->thread_count == p->most) return 0;
    int errnum = start_thread(&p->threads[p->thread_count], work, p);
    if (errnum == 0) p->thread_count++;
    return p->thread_count ? 0 : errnum;
}

rc pool_submit(struct pool *p, struct job *j, struct err *e) {
    ENSURE(j->run && j->home);
    pthread_mutex_lock(&p->lock);
    int errnum = grow_locked(p);
    if (errnum == 0) {
        queue_put(&p->queue, j);
        p->queued++;
        pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
    return errnum ? err_errno(e, errnum, "cannot start worker thread") : ok();
}

struct jobs_done *jobs_done_new(void (*wake)(void *), void *wake_arg) {
    struct jobs_done *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->quiet, NULL);
    queue_init(&d->queue);
    d->wake = wake;
    d->wake_arg = wake_arg;
    return d;
}

void jobs_done_free(struct jobs_done *d) {
    if (!d) return;
    pthread_mutex_lock(&d->lock);
    ENSURE(!d->queue.head);
    while (d->waking) pthread_cond_wait(&d->quiet, &d->lock); /* invariant 3 */
    pthread_mutex_unlock(&d->lock);
    pthread_cond_destroy(&d->quiet);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

void jobs_done_put(struct jobs_done *d, struct job *j) {
    pthread_mutex_lock(&d->lock);
    queue_put(&d->queue, j);
    if (d->wake) {
        d->waking++;
        pthread_mutex_unlock(&d->lock);
        d->wake(d->wake_arg);
        pthread_mutex_lock(&d->lock);
        if (--d->waking == 0) pthread_cond_signal(&d->quiet);
    }
    pthread_mutex_unlock(&d->lock);
}

struct job *jobs_done_take(struct jobs_done *d) {
    pthread_mutex_lock(&d->lock);
    struct job *j = queue_take(&d->queue);
    pthread_mutex_unlock(&d->lock);
    return j;
}

struct loop {
    atomic_int next;
    int count;
    void (*fn)(void *, int);
    void *arg;
};

static void *run_loop(void *arg) {
    struct loop *l = arg;
    for (int i; (i = atomic_fetch_add(&l->next, 1)) < l->count;) l->fn(l->arg, i);
    return NULL;
}

void run_parallel(int parallel, int count, void (*fn)(void *arg, int i), void *arg) {
    struct loop l = {.next = 0, .count = count, .fn = fn, .arg = arg};
    pthread_t helpers[PARALLEL_MAX];
    int started = 0;
    if (parallel > PARALLEL_MAX) parallel = PARALLEL_MAX;
    while (started < parallel - 1 && started < count - 1 &&
           start_thread(&helpers[started], run_loop, &l) == 0)
        started++;
    run_loop(&l);
    for (int i = 0; i < started; i++) pthread_join(helpers[i], NULL);
}
