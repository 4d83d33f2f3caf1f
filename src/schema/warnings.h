/* What a rehearsal cannot show, since the copy has no rows where they would matter. */
#ifndef SCHEMA_WARNINGS_H
#define SCHEMA_WARNINGS_H

#include "schema/apply.h"

/* The tables that have no row: {"user": true}. json_decref(*out). */
MUST_USE rc empty_tables(struct sconn *, json_t **out, struct err *e);
/* Appends {"name", "line", "words"} for each statement of the step that would be refused on a table
 * with rows, or do something to them, and whose table had none. */
MUST_USE rc warn_of_empty(const struct migration *, enum step, json_t *empty, json_t *warnings,
                          struct err *e);
/* Where its first section begins. */
int step_line(const struct migration *, enum step);

#endif
