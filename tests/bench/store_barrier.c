/* The barrier: how long a commit waits until it is safe elsewhere, and what that costs in requests.
 *
 * barrier: each of so many threads commits and waits, again and again, as the handlers of a service
 * do. burst: they wait for one commit, which comes after more than the interval (1 s) of quiet and
 * is shipped at once; the count of objects is exact then, whatever the machine does meanwhile.
 */
#include "store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUIET_MS 1100

static int add_row(hf_tx *tx, void *arg) {
    (void)arg;
    return hf_run(tx, "INSERT INTO t(v) VALUES (?)", "s", "a registration, which is answered");
}

struct waiters {
    struct place place;
    hf_wait_options options;
    int64_t until_ns;
    pthread_mutex_t lock;
    struct times all; /* guarded by lock */
};

static void commit_and_wait(void *arg, int index) {
    struct waiters *w = arg;
    struct times mine = {0};
    (void)index;
    do {
        must(hf_write(w->place.store, HF_MAIN, "add row", add_row, NULL), "hf_write");
        int64_t committed = now_ns();
        must(hf_wait(w->place.store, NULL, &w->options), "hf_wait");
        note(&mine, now_ns() - committed);
    } while (now_ns() < w->until_ns);
    pthread_mutex_lock(&w->lock);
    add_times(&w->all, &mine);
    pthread_mutex_unlock(&w->lock);
}

/* Where the destination is another, store.py counts between the two times what a proxy saw. */
void run_barrier(char **argv) {
    int waiters = (int)number_of(argv[2]);
    struct waiters w = {
        .place = place_open(&(struct setting){.path = argv[0], .sync = "NORMAL", .url = argv[1]}),
        .options = {.size = sizeof w.options, .flush = !strcmp(argv[4], "flush")},
        .lock = PTHREAD_MUTEX_INITIALIZER};
    uint64_t before = w.place.fake ? hf_fake_puts(w.place.fake) : 0;
    int64_t start = now_ns();
    w.until_ns = start + (int64_t)(strtod(argv[3], NULL) * 1e9);
    in_threads(waiters, commit_and_wait, &w);
    int64_t end = now_ns();
    printf("commits=%zu seconds=%.3f puts=%llu from_ns=%lld to_ns=%lld ", w.all.count,
           (double)(end - start) / 1e9,
           (unsigned long long)(w.place.fake ? hf_fake_puts(w.place.fake) - before : 0),
           (long long)start, (long long)end);
    print_times("wait", &w.all);
    printf("\n");
    place_close(&w.place);
}

/* ---- many for one ---- */

struct burst {
    struct place place;
    hf_place at;
    pthread_barrier_t committed;
    pthread_mutex_t lock;
    struct times all; /* guarded by lock */
};

static int add_row_and_ask(hf_tx *tx, void *arg) {
    int code = hf_position(tx, arg);
    return code == HF_OK ? add_row(tx, NULL) : code;
}

static void wait_once(void *arg, int index) {
    struct burst *b = arg;
    if (index == 0)
        must(hf_write(b->place.store, HF_MAIN, "add row", add_row_and_ask, &b->at), "hf_write");
    pthread_barrier_wait(&b->committed);
    int64_t start = now_ns();
    must(hf_wait(b->place.store, &b->at, NULL), "hf_wait");
    int64_t took = now_ns() - start;
    pthread_mutex_lock(&b->lock);
    note(&b->all, took);
    pthread_mutex_unlock(&b->lock);
}

void run_burst(char **argv) {
    char url[32];
    snprintf(url, sizeof url, "fake:%lld", (long long)number_of(argv[3]));
    struct burst b = {
        .place = place_open(&(struct setting){.path = argv[0], .sync = "NORMAL", .url = url}),
        .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_barrier_init(&b.committed, NULL, (unsigned)number_of(argv[1]));
    for (int64_t round = 0; round < number_of(argv[2]); round++) {
        pause_ms(QUIET_MS);
        uint64_t before = hf_fake_puts(b.place.fake);
        in_threads((int)number_of(argv[1]), wait_once, &b);
        printf("waiters=%zu puts=%llu ", b.all.count,
               (unsigned long long)(hf_fake_puts(b.place.fake) - before));
        print_times("wait", &b.all);
        printf("\n");
    }
    pthread_barrier_destroy(&b.committed);
    place_close(&b.place);
}
