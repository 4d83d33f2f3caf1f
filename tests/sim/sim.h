/* A world of one thread: actors that take turns, a clock that only moves when they do, SQLite's
 * files seen call by call, and the true history of one database.
 *
 * A seed is one world. Everything that could differ between two runs of it is decided by its
 * random numbers: who goes on after each call of the VFS, how long things take, what the actors
 * do. So the same seed does the same, which the hash of its trace shows.
 *
 *     sim_begin(seed, loud)            the numbers, the clock, no actors
 *     sim_spawn("writer", body, arg)   as many as there are
 *     sim_run()                        until all have returned
 *
 * sched.c: turns, time, numbers. vfs.c: SQLite's files and locks. oracle.c: the history.
 * apps.c: what applications do. interleave.c: the source among them, and what is checked.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "base/rc.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_US INT64_C(1000)
#define SIM_MS INT64_C(1000000)
#define SIM_S INT64_C(1000000000)

/* ---- sched.c ---- */
void sim_begin(uint64_t seed, bool loud);
int sim_spawn(const char *name, void (*body)(void *), void *arg);
void sim_run(void);
int sim_current(void); /* -1: none, the one who set the world up */
void sim_yield(void);  /* another may go on, at the seed's rate */
void sim_sleep(int64_t ns);
void sim_sleep_until(int64_t when); /* INT64_MAX: until it is woken */
void sim_wake(int actor);           /* now; of one that does not sleep nothing */
void sim_spend(int64_t ns);         /* something took so long, and nobody else went on */
int64_t sim_now(void);
unsigned sim_below(unsigned n); /* [0, n) */
bool sim_one_in(unsigned n);
int64_t sim_between(int64_t least, int64_t most);
uint64_t sim_random(void);

/* What was seen, for the hash; and its words, when loud. */
void sim_note(uint64_t what);
uint64_t sim_hash(void);
extern bool sim_loud;
void sim_say(const char *fmt, ...) PRINTF_LIKE(1, 2); /* when loud: the time, who, and that */
#define SIM_SAY(...)                                                                               \
    do {                                                                                           \
        if (sim_loud) sim_say(__VA_ARGS__);                                                        \
    } while (0)

/* Something is wrong. The world goes on to its end. */
enum finding {
    DIFFERENT, /* pages of the replica and of the database */
    LOST,      /* rows that were acknowledged */
    HARMED,    /* the database itself */
    ENDED,     /* the source gave up, or did not come to its end */
    FINDINGS
};
void sim_found(enum finding, const char *fmt, ...) PRINTF_LIKE(2, 3);
int sim_findings(enum finding); /* of this world */
bool sim_found_any(void);
extern bool sim_quiet; /* they are expected: count and say nothing */
/* It cannot go on: says so and ends the program (exit 1). */
noreturn void sim_fatal(const char *fmt, ...) PRINTF_LIKE(1, 2);

extern struct sim_counters {
    uint64_t switches, calls, commits, checkpoints, reads, lives;
    uint64_t shipments, pages, undefined, objects, streamed, restores, acked;
} sim_count;

/* ---- vfs.c ---- */
void vfs_install(void);                  /* the default VFS from now on */
void vfs_watch(const char *path);        /* whose database and log are the world's */
void vfs_on_change(void (*)(void));      /* told of each write to either, as inotify would be */
void vfs_pid(int actor, int pid);        /* whose locks those of this actor are */
void vfs_move_lock_page(uint32_t byte);  /* SQLite's, and ours; while nothing is open */
const volatile uint8_t *vfs_index(void); /* the wal-index; NULL: nobody has it open */

/* ---- oracle.c: what was committed, commit by commit, taken from the frames that SQLite writes
 * and the header that it publishes. The files themselves are never read for it. ---- */
struct boundary {
    uint32_t salt[2], frame, pages;
    int64_t ns;
};
void oracle_begin(uint32_t page_size, uint32_t lock_page);
void oracle_base(const uint8_t *image, uint32_t pages); /* the database as it is at boundary 0 */
void oracle_log_written(uint64_t at, const void *bytes, size_t n);
void oracle_log_gone(void);
/* Between any two calls of the VFS: is there a new commit? And is nBackfill <= mxFrame? */
void oracle_look(void);
int oracle_newest(void); /* a boundary's number */
const struct boundary *oracle_boundary(int k);
/* The boundary of this name at or after `from`, -1: there is none. */
int oracle_find(int from, const uint32_t salt[2], uint32_t frame);
/* The page at boundary k; NULL: nobody ever wrote it (a page that was allocated and freed in one
 * transaction holds what it may), or it is the lock page. */
const uint8_t *oracle_page(uint32_t pgno, int k);
/* How many pages differ from boundary k; the first of them. */
uint32_t oracle_differ(int k, const uint8_t *image, uint32_t pages, uint32_t *first);

/* ---- apps.c ---- */
struct app_options {
    const char *path;
    int writers, readers, checkpointers;
    bool fixed; /* SQLite has no WAL-reset bug: checkpoints need no care while nobody holds */
};
void apps_create(const struct app_options *, uint32_t page_size); /* the database; boundary 0 */
void apps_start(void);
bool apps_are_done(void);  /* the writers */
void apps_hold(bool held); /* from now on somebody holds, or nobody */
bool apps_checkpoint_runs(void);
void apps_close_all(bool closed); /* the last one that closes copies and deletes the log */
bool apps_all_closed(void);
/* Integrity, else `f`; and each row that was acknowledged and no other. `what` names the file. */
void apps_check(const char *path, enum finding f, const char *what);
void apps_end(void); /* the last connection; the log is copied and gone */

#endif
