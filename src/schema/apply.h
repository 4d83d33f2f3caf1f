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
    enum phase to_phase; /* how far each migration may go; PHASE_NONE: to the end */
    int64_t to_version;  /* apply: the last; revert, down: which; 0: all, or the newest */
    bool no_restore_point;
    bool need_restore_point; /* RC_NOTFOUND where nobody replicates a main that has tables */
    bool accept_lossy;
    bool assume_gone; /* contract though older clients live: they are refused from then on */
    bool no_soak;
    bool rehearsing; /* no lock, no clients, no soak, no pacing, no restore point */
};

/* Of apply, revert and down:
 *
 *     {"applied": [{"database": "main", "version": 20260901120000, "name": "..._split.sql",
 *                   "step": "expand", "phase": "expanded", "lock_ms": 1.25, "rows": 0,
 *                   "wal_bytes": 8240}],
 *      "waits": [{"database", "version", "name", "why"}],
 *      "ahead": 0,                 records that are newer than these migrations, and allowed
 *      "restore_point": null or {"name", "url", "txid", "time_ms", "after": null or {the same}}}
 *
 * "phase" is where the migration is now; "none" behind revert and down. A step that fails ends the
 * run; those before it stand. RC_CANCELLED: schema->stop.
 *
 * revert: of the newest that was begun, before its contract; down: of the newest that is done. In
 * both the triggers of sync are dropped first. Refused (RC_CONFLICT) while a program lives that
 * knows the migration, unless assume_gone. RC_USAGE: the file does not say how; it is lossy;
 * another one stands on it.
 *
 * baseline: {"recorded": [{"database", "version", "name"}]}: what is there already and was not made
 * by us is called done up to `version`, in both files. RC_CONFLICT: there is a history.
 *
 * status: {"databases": [{"database", "path", "min_version", "newest", "ahead"}],
 *          "migrations": [{"database", "version", "name", "phase", "phase_ms", "breaking",
 *                          "next": "contract" or null}],      "phase_ms" is null where it is "none"
 *          "backfills": [{"database", "version", "part", "rows", "done"}],
 *          "pending": 2, "waits": [as above], "problem": null or words}
 * history: {"steps": [{"database", "at_ms", "version", "name", "step", "lock_ms", "rows",
 *                      "others"}]}, the oldest first; "name" is null where it was taken back
 * plan:   {"steps": [{"database", "version", "name", "step", "gated", "soak_ms", "reversible",
 *                     "rows", "statements": [{"line", "sql", "cost"}]}],
 *          "findings": [{"file", "line", "severity", "rule", "words"}], "ahead": 0}
 *          reversible: "revert", "down", "lossy" or "no"; rows: of a backfill, else null;
 *          cost: "schema", "reads", "rewrites", "rows"
 * drift:  {"differs": false, "objects": [{"database", "type", "name", "what", "should", "is"}]}
 */
MUST_USE rc apply_run(hf_schema *, const struct run_options *, json_t **out, struct err *e);
MUST_USE rc revert_run(hf_schema *, const struct run_options *, json_t **out, struct err *e);
MUST_USE rc down_run(hf_schema *, const struct run_options *, json_t **out, struct err *e);
MUST_USE rc baseline_run(hf_schema *, int64_t version, json_t **out, struct err *e);
MUST_USE rc status_run(hf_schema *, json_t **out, struct err *e);
MUST_USE rc history_run(hf_schema *, json_t **out, struct err *e);
MUST_USE rc plan_run(hf_schema *, json_t **out, struct err *e);
MUST_USE rc drift_run(hf_schema *, bool *differs, json_t **out, struct err *e);

/* For rehearse.c and shape.c: one step of one migration on this connection, in one transaction. No
 * lock is taken and no gate asked. RC_RETRY: by its record it is not this step's turn. */
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
const char *step_name(enum step); /* "expand" */
/* The next step of a migration in this phase; false: it is done. */
bool step_next(const struct migration *, enum phase, enum step *out);
/* Where a migration is behind this step: what it has no section for is passed over. */
enum phase step_phase(const struct migration *, enum step);
/* Does an older program not go on behind it? */
bool step_breaks(const struct migration *, enum step);
MUST_USE rc step_run(struct sconn *, const struct migration *, enum step,
                     const struct run_options *, struct step_report *, struct err *e);

#endif
