/* The migrations that a program or a directory carries: in order, checked, with their hash chain.
 *
 *     migrations/20260901120000_split_name.sql         of main
 *     migrations/noise/20260901130000_sightings.sql    of noise
 *     migrations/holdfast.sum                          a line each: file sha256 chain
 *
 * Versions are unique and ordered over both databases. The chain of a migration is
 * SHA-256(chain of the one before || name || sha256), so two branches that each add one write the
 * same line of holdfast.sum differently, and version control sees the conflict.
 */
#ifndef SCHEMA_SET_H
#define SCHEMA_SET_H

#include "holdfast.h"
#include "os/env.h"
#include "schema/file.h"

#define SUM_FILE "holdfast.sum"
#define LIMIT_MIGRATIONS 100000u

struct set {
    struct migration **at; /* by version */
    size_t count;
    bool has_sum; /* the directory has a holdfast.sum: it was compared */
};

/* RC_NOTFOUND: no such directory. RC_CORRUPT: a file's syntax, or holdfast.sum says otherwise, and
 * of which file. RC_CONFLICT: two of one version. */
MUST_USE rc set_load(struct env *, const char *dir, struct set *out, struct err *e);
/* Names as in a directory, "noise/..." for noise; ends with a name that is NULL. */
MUST_USE rc set_of_array(const hf_migration *, struct set *out, struct err *e);
void set_deinit(struct set *);
const struct migration *set_find(const struct set *, int64_t version); /* NULL */
int64_t set_newest(const struct set *);                                /* 0: none */

/* As set_load without the comparison, then writes holdfast.sum; *changed: it was otherwise. */
MUST_USE rc set_write_sum(struct env *, const char *dir, bool *changed, struct err *e);
/* A new file from the template, its version the UTC time (or one more than the newest, where the
 * directory counts with fewer digits), and holdfast.sum. *path is to be freed. */
MUST_USE rc set_new_file(struct env *, const char *dir, const char *name, bool noise,
                         const char *text /* NULL: the template */, char **path, struct err *e);

#endif
