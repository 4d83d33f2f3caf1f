/* When a step that breaks older programs, or newer ones, may be run.
 *
 * The gate is a kernel lock (lock.h) that a program shares while it comes to be a client: held
 * alone, nobody comes between the look at the clients and the commit. It is taken before the
 * database's write lock, which a client that comes may be waiting for.
 */
#ifndef SCHEMA_GATES_H
#define SCHEMA_GATES_H

#include "schema/apply.h"

#define GATE_WHY 400

/* Does this step ask for the gate? A contract and an ordinary migration that break older programs;
 * revert and down, which break newer ones. */
bool gate_asked(const struct migration *, enum step);
/* why[0] is 0: it may be run, and the gate is held until gate_leave. Else it waits, for that, and
 * nothing is held. `r`: NULL: it was not begun. */
MUST_USE rc gate_enter(hf_schema *, const struct migration *, enum step, const struct record *r,
                       const struct run_options *, char why[GATE_WHY], struct err *e);
void gate_leave(hf_schema *);
/* Only the soak time: what there is to say without a lock. "" when it is over. */
void gate_soak(hf_schema *, const struct migration *, const struct record *, char why[GATE_WHY]);

#endif
