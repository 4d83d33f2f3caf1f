/* The pool, finished jobs, the parallel loop; clocks and random bytes. */
#include "temp.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define PRODUCERS 4
#define JOBS 500 /* of each producer */

struct counted {
    struct job job; /* first */
    atomic_int *runs_of_all;
    int runs, arrivals;
};

static struct env *start(int workers) {
    struct env *env = NULL;
    OK(env_new_system(workers, &env, e));
    return env;
}

static void run_counted(struct job *job) {
    struct counted *c = (struct counted *)job;
    c->runs++;
    atomic_fetch_add(c->runs_of_all, 1);
}

struct producer {
    struct env *env;
    struct jobs_done *done;
    atomic_int *runs;
    struct counted jobs[JOBS];
};

static void *produce(void *arg) {
    struct producer *p = arg;
    for (int i = 0; i < JOBS; i++) {
        p->jobs[i] =
            (struct counted){.job = {.run = run_counted, .home = p->done}, .runs_of_all = p->runs};
        OK(p->env->submit(p->env, &p->jobs[i].job, e));
    }
    return NULL;
}

static void count_wake(void *arg) {
    atomic_fetch_add((atomic_int *)arg, 1);
}

START_TEST(every_job_runs_once_and_arrives_once) {
    static struct producer producers[PRODUCERS];
    atomic_int runs = 0, wakes = 0;
    struct env *env = start(3);
    struct jobs_done *done = jobs_done_new(count_wake, &wakes);
    pthread_t threads[PRODUCERS];
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i].env = env, producers[i].done = done, producers[i].runs = &runs;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (int taken = 0; taken < PRODUCERS * JOBS;) { /* while they are being produced */
        struct job *j = jobs_done_take(done);
        if (j) ((struct counted *)j)->arrivals++, taken++;
    }
    for (int i = 0; i < PRODUCERS; i++) pthread_join(threads[i], NULL);
    ck_assert_ptr_null(jobs_done_take(done));
    jobs_done_free(done); /* waits for the last wake */
    ck_assert_int_eq(wakes, PRODUCERS * JOBS);
    ck_assert_int_eq(runs, PRODUCERS * JOBS);
    for (int i = 0; i < PRODUCERS; i++)
        for (int k = 0; k < JOBS; k++) {
            ck_assert_int_eq(producers[i].jobs[k].runs, 1);
            ck_assert_int_eq(producers[i].jobs[k].arrivals, 1);
        }
    env_free_system(env);
}
END_TEST

struct slow_wake {
    sem_t begun, freeing;
    bool ended;
};

static void wake_slowly(void *arg) {
    struct slow_wake *w = arg;
    sem_post(&w->begun);
    sem_wait(&w->freeing);
    for (int i = 0; i < 10000; i++) sched_yield();
    w->ended = true;
}

START_TEST(finished_jobs_are_not_freed_under_a_wake) {
    struct slow_wake w = {.ended = false};
    atomic_int runs = 0;
    sem_init(&w.begun, 0, 0);
    sem_init(&w.freeing, 0, 0);
    struct env *env = start(1);
    struct jobs_done *done = jobs_done_new(wake_slowly, &w);
    struct counted job = {.job = {.run = run_counted, .home = done}, .runs_of_all = &runs};
    OK(env->submit(env, &job.job, e));
    sem_wait(&w.begun);
    ck_assert_ptr_eq(jobs_done_take(done), &job.job);
    sem_post(&w.freeing);
    jobs_done_free(done);
    ck_assert(w.ended);
    env_free_system(env);
}
END_TEST

START_TEST(one_worker_keeps_the_order) {
    static struct counted jobs[JOBS];
    atomic_int runs = 0;
    struct env *env = start(1);
    struct jobs_done *done = jobs_done_new(NULL, NULL);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct counted){.job = {.run = run_counted, .home = done}, .runs_of_all = &runs};
        OK(env->submit(env, &jobs[i].job, e));
    }
    env_free_system(env); /* runs what is queued */
    for (int i = 0; i < JOBS; i++) ck_assert_ptr_eq(jobs_done_take(done), &jobs[i].job);
    ck_assert_ptr_null(jobs_done_take(done));
    jobs_done_free(done);
}
END_TEST

static struct env *submit_env;
static struct counted follower;

static void run_and_submit(struct job *job) {
    run_counted(job);
    OK(submit_env->submit(submit_env, &follower.job, e));
}

START_TEST(a_job_submitted_by_a_job_is_run_before_the_end) {
    atomic_int runs = 0;
    struct jobs_done *done = jobs_done_new(NULL, NULL);
    struct counted first = {.job = {.run = run_and_submit, .home = done}, .runs_of_all = &runs};
    follower = (struct counted){.job = {.run = run_counted, .home = done}, .runs_of_all = &runs};
    submit_env = start(2);
    OK(submit_env->submit(submit_env, &first.job, e));
    env_free_system(submit_env);
    ck_assert_int_eq(runs, 2);
    while (jobs_done_take(done)) continue;
    jobs_done_free(done);
}
END_TEST

static const struct {
    int parallel, count;
} loops[] = {{1, 10}, {4, 1000}, {4, 1}, {4, 0}, {0, 3}, {-1, 3}, {3, -1}, {1000, 2000}};

static void count_index(void *arg, int i) {
    atomic_fetch_add(&((atomic_int *)arg)[i], 1);
}

START_TEST(parallel_runs_every_index_once) {
    static atomic_int seen[2001];
    struct env *env = start(1);
    OK(env->parallel(env, loops[_i].parallel, loops[_i].count, count_index, seen, e));
    for (int i = 0; i <= 2000; i++) ck_assert_int_eq(seen[i], i < loops[_i].count);
    env_free_system(env);
}
END_TEST

static void meet(void *arg, int i) {
    (void)i;
    pthread_barrier_wait(arg);
}

START_TEST(parallel_is_as_parallel_as_asked) {
    pthread_barrier_t barrier;
    struct env *env = start(1);
    pthread_barrier_init(&barrier, NULL, 6);
    OK(env->parallel(env, 6, 12, meet, &barrier, e)); /* with fewer threads nobody gets through */
    env_free_system(env);
    pthread_barrier_destroy(&barrier);
}
END_TEST

struct nested {
    struct job job; /* first */
    struct env *env;
    atomic_int *sum;
};

static void add_one(void *arg, int i) {
    (void)i;
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void loop_in_loop(void *arg, int i) {
    (void)i;
    struct nested *n = arg;
    OK(n->env->parallel(n->env, 2, 10, add_one, n->sum, e));
}

static void run_nested(struct job *job) {
    struct nested *n = (struct nested *)job;
    OK(n->env->parallel(n->env, 3, 5, loop_in_loop, n, e));
}

START_TEST(parallel_inside_jobs_moves_on) {
    static struct nested jobs[8];
    atomic_int sum = 0;
    struct env *env = start(2);
    struct jobs_done *done = jobs_done_new(NULL, NULL);
    for (int i = 0; i < 8; i++) {
        jobs[i] = (struct nested){{.run = run_nested, .home = done}, env, &sum};
        OK(env->submit(env, &jobs[i].job, e));
    }
    env_free_system(env);
    ck_assert_int_eq(sum, 8 * 5 * 10);
    int arrived = 0;
    while (jobs_done_take(done)) arrived++;
    ck_assert_int_eq(arrived, 8);
    jobs_done_free(done);
}
END_TEST

START_TEST(too_many_workers_are_refused) {
    struct env *env = NULL;
    CODE(env_new_system(1000000, &env, e), RC_USAGE);
    ck_assert_ptr_null(env);
    env_free_system(NULL);
    jobs_done_free(NULL);
}
END_TEST

START_TEST(the_clock_goes_on_and_random_bytes_differ) {
    struct env *env = start(0);
    uint8_t a[300], b[300];
    int64_t before = env->mono_ns(env);
    env->sleep_ns(env, 1000000);
    env->sleep_ns(env, -5);
    ck_assert_int_ge(env->mono_ns(env) - before, 1000000);
    ck_assert_int_gt(env->unix_ms(env), 1700000000000);
    env->random(env, a, sizeof a);
    env->random(env, b, sizeof b);
    ck_assert_mem_ne(a, b, sizeof a);
    ck_assert_mem_ne(a, a + 150, 150);
    env_free_system(env);
}
END_TEST

int main(void) {
    Suite *s = suite_create("threads");
    TCase *t = tcase_create("threads");
    tcase_add_test(t, every_job_runs_once_and_arrives_once);
    tcase_add_test(t, finished_jobs_are_not_freed_under_a_wake);
    tcase_add_test(t, one_worker_keeps_the_order);
    tcase_add_test(t, a_job_submitted_by_a_job_is_run_before_the_end);
    ADD_ROWS(t, parallel_runs_every_index_once, loops);
    tcase_add_test(t, parallel_is_as_parallel_as_asked);
    tcase_add_test(t, parallel_inside_jobs_moves_on);
    tcase_add_test(t, too_many_workers_are_refused);
    tcase_add_test(t, the_clock_goes_on_and_random_bytes_differ);
    suite_add_tcase(s, t);
    return run_suite(s);
}
