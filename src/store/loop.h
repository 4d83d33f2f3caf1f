/* The loop around a source, on the thread of whoever calls it: `holdfast replicate` on its only
 * one, the library on one that it keeps for that (store/runner.h).
 *
 *     struct loop l = {.env = env, .watch = w, .path = "app.db", .urls = urls, .url_count = 2,
 *                      .options = {.barrier = b, ...}, .owner = &owner, .arg = mine};
 *     loop_open(&l, e); loop_run(&l, e);          until owner.asked says that it is to end
 *     loop_drain(&l, patience_ns, left, e); loop_close(&l)
 *
 * It waits in one place, for the files to change, for a job to end, for whoever wakes the watch, or
 * for the time at which the source wants to be stepped. When the database is replaced or deleted it
 * ships what it still can of the old one, waits for the new one, and begins again with the start-up
 * classes.
 *
 * Errors are those of source_step, and final.
 */
#ifndef STORE_LOOP_H
#define STORE_LOOP_H

#include "os/system.h"
#include "source/source.h"
#include "store/restore.h"

#include <stdatomic.h>

struct clock; /* store/clock.h: time that may stand still */

enum loop_order { LOOP_GO_ON, LOOP_END, LOOP_END_AT_ONCE };

/* All of it is called on the loop's thread. */
struct loop_owner {
    rc (*open_store)(struct env *, const char *url, struct store **out, struct err *);
    rc (*opened)(void *arg, struct err *); /* the database, and its destinations were added */
    void (*closing)(void *arg);            /* the source goes now; may be NULL */
    /* Asked after each wait, and in between. It may bring *until_ns forward: by then it wants to be
     * asked again. At once: a drain ends with what it has. */
    enum loop_order (*asked)(void *arg, int64_t *until_ns);
};

struct loop {
    /* the owner's, who sets it before the first call */
    const struct loop_owner *owner;
    void *arg;
    struct env *env;
    struct clock *clock; /* NULL: time is the system's */
    struct watch *watch;
    const char *path;
    char *const *urls;
    int url_count;
    uint64_t older[RESTORE_URLS]; /* of the first of urls, for source_older */
    struct source_options options;
    bool keep_to_file; /* a database that is replaced or deleted is an error */
    bool patient;      /* whoever makes a new one may keep it locked for as long as he likes */

    atomic_bool asleep; /* it waits for longer than a commit may: wake it; any thread */

    /* the loop's; zero at first */
    struct source *source; /* NULL: no database is open */
    struct old_files old;
    bool changed, armed;
};

MUST_USE rc loop_open(struct loop *, struct err *);
/* One step and one wait, until then at the latest. */
MUST_USE rc loop_turn(struct loop *, int64_t until_ns, struct err *);
MUST_USE rc loop_run(struct loop *, struct err *);
/* Ship what is left; in the end `left` says what it was ("": nothing). */
MUST_USE rc loop_drain(struct loop *, int64_t patience_ns, char left[ERR_TEXT_MAX], struct err *);
void loop_close(struct loop *);

#endif
