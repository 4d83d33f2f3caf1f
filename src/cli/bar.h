/* How far a restore, a verification or an import is: a bar with rate and time left on a terminal, a
 * line every ten seconds elsewhere, on stderr, from a thread of its own between start and stop. */
#ifndef CLI_BAR_H
#define CLI_BAR_H

#include "replica/replica.h"

#include <pthread.h>
#include <time.h>

struct bar {
    const char *what;
    struct progress *progress;
    bool on_terminal;
    struct timespec start;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool over, running;
};

void bar_start(struct bar *, const char *what, struct progress *);
double bar_stop(struct bar *); /* seconds since the start */

#endif
