/* What a restart finds: a database judged by itself (model.h), and a replica by what it gives back.
 */
#ifndef TESTS_CRASH_JUDGE_H
#define TESTS_CRASH_JUDGE_H

#include "object/object.h"

#include <stdbool.h>
#include <stdint.h>

struct verdict {
    bool there;      /* a database; a backup */
    bool bad;        /* `words` say why */
    bool hole;       /* removals were undone in such a way that verify takes it for damage */
    bool forked;     /* holds what a writer with -fork did */
    uint64_t commit; /* the last one in it */
    char words[300];
};

/* The database is recovered, so it must be a copy. One that is not there, or has no bytes, is not
 * `there`. */
void judge_database(const char *path, struct verdict *out);
/* Every object is decoded, every state proven, the newest restored to `scratch` (which is removed),
 * and every note read. `any_names`: some removals of a level may be undone, and older ones not.
 * That looks as if what lies between were lost, and verify says so; then each object is read for
 * itself, and the restore decides. */
void judge_replica(struct env *, const char *root, const char *scratch, bool any_names,
                   struct verdict *out);

#endif
