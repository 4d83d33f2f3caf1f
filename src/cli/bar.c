/* The progress of a long command. Only this thread writes to stderr while it runs. */
#include "cli/bar.h"

#include <stdio.h>
#include <unistd.h>

#define WIDTH 40
#define REDRAW_MS 200
#define LINE_MS 10000

static double since(const struct timespec *start) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/* "12.3 of 500.0 MB  45 MB/s  11 s left"; without a total "12.3 MB  45 MB/s" */
static void numbers(const struct bar *b, char out[128]) {
    double total = (double)atomic_load(&b->progress->bytes_total) / 1e6;
    double done = (double)atomic_load(&b->progress->bytes_done) / 1e6;
    double seconds = since(&b->start), rate = seconds > 0 ? done / seconds : 0;
    int n = total > 0 ? snprintf(out, 128, "%.1f of %.1f MB  %.0f MB/s", done, total, rate)
                      : snprintf(out, 128, "%.1f MB  %.0f MB/s", done, rate);
    if (rate > 0 && total > done)
        snprintf(out + n, 128 - (size_t)n, "  %.0f s left", (total - done) / rate);
}

static void draw(const struct bar *b) {
    static const char full[] = "########################################";
    static const char *const phases[] = {"reading the list", "reading indexes", NULL, "checking",
                                         "done"};
    unsigned long long total = atomic_load(&b->progress->bytes_total);
    unsigned long long done = atomic_load(&b->progress->bytes_done);
    const char *phase = phases[atomic_load(&b->progress->phase) % 5];
    char text[128];
    numbers(b, text);
    if (total && done > total) done = total;
    if (!total || (phase && (done == 0 || done == total))) {
        fprintf(stderr, "\r%s: %s\033[K", b->what, phase ? phase : text);
        return;
    }
    int width = (int)(WIDTH * done / total);
    fprintf(stderr, "\r[%.*s%*s] %s\033[K", width, full, WIDTH - width, "", text);
}

static void say(const struct bar *b) {
    char text[128];
    numbers(b, text);
    fprintf(stderr, "%s: %s\n", b->what, text);
}

/* False: it is over. */
static bool wait_ms(struct bar *b, long ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ms % 1000 * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (!b->over && pthread_cond_clockwait(&b->ended, &b->lock, CLOCK_MONOTONIC, &until) == 0)
        continue;
    return !b->over;
}

static void *run(void *arg) {
    struct bar *b = arg;
    pthread_mutex_lock(&b->lock);
    while (wait_ms(b, b->on_terminal ? REDRAW_MS : LINE_MS)) {
        if (b->on_terminal) draw(b);
        else say(b);
    }
    pthread_mutex_unlock(&b->lock);
    if (b->on_terminal) fputs("\r\033[K", stderr);
    return NULL;
}

void bar_start(struct bar *b, const char *what, struct progress *p) {
    *b = (struct bar){.what = what,
                      .progress = p,
                      .on_terminal = isatty(2),
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .ended = PTHREAD_COND_INITIALIZER};
    clock_gettime(CLOCK_MONOTONIC, &b->start);
    b->running = pthread_create(&b->thread, NULL, run, b) == 0;
}

double bar_stop(struct bar *b) {
    if (b->running) {
        pthread_mutex_lock(&b->lock);
        b->over = true;
        pthread_cond_signal(&b->ended);
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->thread, NULL);
    }
    return since(&b->start);
}
