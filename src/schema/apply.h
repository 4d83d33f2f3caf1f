/* The way of a migration: each step, with its row of history, one transaction.
 *
 *     ordinary   ->                                                          done
 *     expand -> sync -> backfill... -> verify -> [clients, soak, verify] contract -> done
 *
 * Killed anywhere the database stands at the old or the new step. One runner at a time (lock.h);
 * the others wait and find nothing left to do. Strictly in order: behind a contract that waits
 * nothing of that database is begun.
 */
#ifndef SCHEMA_APPLY_H
#define SCHEMA_APPLY_H

#include "schema/history.h"

struct run_options {
    enum phase to_phase;   /* PHASE_DONE; how far each migration may go */
    int64_t to_version;    /* 0: all */
    bool no_restore_point; /* do without one */
    bool accept_lossy;
    bool assume_gone; /* contract though older clients live: they are refused from then on */
    bool no_soak;
    bool rehearsing; /* no lock, no clients, no soak, no pacing, no restore point */
};

/* {"applied":[...steps...],"waits":[{version,why}],"ahead":n,"restore_point":...}. */
MUST_USE rc apply_run(hf_schema *, const struct run_options *, json_t **out, struct err *e);
MUST_USE rc revert_run(hf_schema *, const struct run_options *, json_t **out, struct err *e);
MUST_USE rc down_run(hf_schema *, const struct run_options *, json_t **out, struct err *e);
MUST_USE rc baseline_run(hf_schema *, int64_t version, json_t **out, struct err *e);
MUST_USE rc status_run(hf_schema *, json_t **out, struct err *e);
MUST_USE rc history_run(hf_schema *, json_t **out, struct err *e);
MUST_USE rc plan_run(hf_schema *, json_t **out, struct err *e);
MUST_USE rc drift_run(hf_schema *, bool *differs, json_t **out, struct err *e);

/* For rehearse.c and shape.c: one step of one migration on this connection, in one transaction. */
enum step {
    STEP_ORDINARY,
    STEP_EXPAND,
    STEP_SYNC,
    STEP_BACKFILL,
    STEP_VERIFY,
    STEP_CONTRACT,
    STEP_REVERT,
    STEP_DOWN
};
struct step_report {
    enum step step;
    int part; /* of backfill */
    int64_t lock_us, rows, wal_bytes;
};
/* The next step of a migration in this phase; false: it is done. */
bool step_next(const struct migration *, enum phase, enum step *out);
MUST_USE rc step_run(struct sconn *, const struct migration *, enum step,
                     const struct run_options *, struct step_report *, struct err *e);

#endif
