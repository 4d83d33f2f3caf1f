/* The hold: from its start to its end there is no instant without a read transaction of ours.
 *
 * While it stands nobody can take away a frame that we have not seen, whatever checkpoint runs, on
 * any SQLite (also those with the WAL-reset bug, 3.7.0 to 3.51.2).
 *
 *           begin            mark moves
 *   NONE ----------> M <------------------+
 *     |              |  \________________/
 *     |              | quiet: all backfilled, all captured
 *     +------------> Z ---- first frame beyond: PASSIVE is OK, then --> M
 *
 *   M  our reader is on a mark >= 1: the log cannot be reset; checkpoints copy up to our mark.
 *   Z  our reader is on mark 0: the next writer may reset the log once; nobody can backfill.
 *
 * The mark never moves past what has been captured: `capture` is called after the new reader began
 * and before the old one ends, and must take in everything up to the header's frame count.
 */
#ifndef SOURCE_HOLD_H
#define SOURCE_HOLD_H

#include "source/live.h"

enum hold_state { HOLD_NONE, HOLD_M, HOLD_Z };

/* Test hooks: called with the name of every gap between two steps. NULL outside tests. */
extern void (*hold_gap)(const char *where);

struct hold {
    struct live *live;
    rc (*capture)(void *, struct err *);
    void *arg;
    int current; /* the reader that holds */
    enum hold_state state;
    uint32_t mark, mark_least;       /* M: bounds of our mark */
    struct walindex_header given_up; /* the header at which a new reader gave its mark up again, */
    int64_t given_up_ns, asked_ns;   /* and when; when the system was asked for locks */
    struct walindex_header z;        /* Z: the header when it was entered */
    int64_t z_ns;                    /* and when */
    bool on_0;                       /* Z: surely on mark 0, and not on one at the very end */
    struct walindex_header waited;   /* Z: the header since `waiting` */
    int64_t waiting;                 /* mono ns since when a checkpoint is in the way; 0: none is */
    uint64_t moves, entered_z, resets_seen;
};

/* Reader 0 of `live` has begun; find out where it stands. After it state is M or Z and *seen is a
 * header all of whose frames are held. */
MUST_USE rc hold_start(struct hold *, struct walindex_header *seen, struct err *e);
/* M -> M: to the newest frame. Does nothing when there is nothing beyond the mark, nor, unless
 * `at_once`, when a checkpoint might have to wait for the new one. */
MUST_USE rc hold_refresh(struct hold *, bool at_once, struct err *e);
/* M -> Z if everything is backfilled and captured up to `position`; else nothing. */
MUST_USE rc hold_enter_z(struct hold *, const struct walindex_header *position, struct err *e);
/* Z -> M if there is a frame beyond; stays in Z while another checkpoint is in flight, for as long
 * as that one may have an old header. If there is none, sees to it that we are on mark 0. */
MUST_USE rc hold_leave_z(struct hold *, struct err *e);

#endif
