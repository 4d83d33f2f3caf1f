/* What the files of this room share: the handle, and its options. See include/holdfast.h for the
 * public promises, docs/schema.md for the design. */
#ifndef SCHEMA_INTERNAL_H
#define SCHEMA_INTERNAL_H

#include "base/limits.h"
#include "base/rc.h"
#include "holdfast.h"
#include "os/env.h"
#include "schema/set.h"

#include <jansson.h>
#include <sqlite3.h>
#include <stdatomic.h>

struct presence;

struct hf_schema {
    struct env *env;
    char path[LIMIT_PATH], noise[LIMIT_PATH]; /* real paths; noise "": none */
    struct set set;
    hf_schema_options options; /* its pointers are copies or not kept */
    char app[100];
    hf_store *store;           /* NULL: opened by path */
    struct presence *presence; /* NULL: not joined */
    struct lock *lock;         /* opened when first needed */
    atomic_bool stop;          /* a run ends between two steps or batches */
    atomic_bool entered;       /* schema_enter */
    bool has_migrations;       /* it was given some: a directory, or an array */
    unsigned generation;       /* of forks, in which it was opened */
};

/* schema.c: the handle without the public clothes. */
MUST_USE rc schema_open(const char *path, const char *noise, hf_store *store,
                        const hf_schema_options *, hf_schema **out, struct err *e);
void schema_close(hf_schema *);
/* What each public function begins and ends with. A handle is used by one thread at a time, since
 * kernel locks do not tell the threads of a handle apart: RC_BUSY. RC_USAGE: it is of before a
 * fork. */
MUST_USE rc schema_enter(hf_schema *, struct err *e);
void schema_leave(hf_schema *);
/* The lock file of this handle, opened when it is first asked for. */
MUST_USE rc schema_lock(hf_schema *, struct lock **out, struct err *e);
/* Tells the application's event. Never under a lock. */
void schema_event(hf_schema *, const char *name, const char *const *pairs, int count);

#endif
