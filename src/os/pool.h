/* The thread pool behind env->submit and env->parallel. Private to os/. */
#ifndef OS_POOL_H
#define OS_POOL_H

#include "os/env.h"

struct pool;

MUST_USE rc pool_new(int workers, struct pool **out, struct err *e);
void pool_free(struct pool *); /* runs what is queued first; never from a worker; NULL is fine */
/* A thread is begun when there are more jobs than threads that wait for one. */
MUST_USE rc pool_submit(struct pool *, struct job *, struct err *e);
/* Needs no pool; see env.h. Never fails: with no thread to be had the caller's does it all. */
void run_parallel(int parallel, int count, void (*fn)(void *arg, int i), void *arg);

#endif
