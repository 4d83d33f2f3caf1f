/* A run: from the turn to its end, over both files. What apply, revert, down and baseline share.
 *
 *     struct run r = {.schema = s, .options = o};
 *     rc result = run_begin(&r, e);
 *     ... run_step(&r, m, step, &waits, e) ...
 *     run_end(&r);
 *     if (is_ok(result)) result = run_json(&r, out, e);
 *     run_deinit(&r);
 *
 * It lives in one place: the connections know where it is.
 */
#ifndef SCHEMA_RUN_H
#define SCHEMA_RUN_H

#include "schema/apply.h"
#include "schema/safety.h"

struct side {
    struct sconn c; /* .db NULL: there is no such file */
    struct records records;
    size_t ahead;
    const struct migration *behind; /* one that is not done: nothing newer is begun */
};

struct run {
    hf_schema *schema;
    const struct run_options *options;
    struct side side[2]; /* main, noise */
    json_t *applied, *waits;
    struct lock *turn; /* NULL: not held */
    bool asked_point, has_point, has_after, wrote_main;
    int64_t point_version;
    char id[12];
    struct restore_point point, after;
};

/* Opens to look, reads the records; not whether they agree with the files. */
MUST_USE rc run_look(struct run *, struct err *e);
/* Waits for the turn, opens to write, reads, and checks. A run that looked before begins anew. */
MUST_USE rc run_begin(struct run *, struct err *e);
/* Each file's records against the migrations. */
MUST_USE rc run_check(struct run *, struct err *e);
/* The second restore point, and the turn is given back. */
void run_end(struct run *);
void run_deinit(struct run *);

/* Where a migration is, by what was read last; behind each step it is read again. */
enum phase run_phase(const struct run *, const struct migration *);
/* The gates, the restore point, the step. *waits: it may not be run now, and "waits" says why. */
MUST_USE rc run_step(struct run *, const struct migration *, enum step, bool *waits, struct err *e);
MUST_USE rc run_wait(struct run *, const struct migration *, const char *why, struct err *e);
/* {"applied", "waits", "ahead", "restore_point"}. */
MUST_USE rc run_json(struct run *, json_t **out, struct err *e);

const char *database_name(bool noise); /* "main", "noise" */
/* Appends, and takes `item`, which may be NULL: no memory. */
MUST_USE rc json_add(json_t *array, json_t *item, struct err *e);

#endif
