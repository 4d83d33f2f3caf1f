/* What is wrong, or dangerous, in a migration that was parsed. Nothing is run.
 *
 * An error is what apply refuses before anything runs; a warning is what a reviewer should see. The
 * rules stand at the head of lint.c, and in docs/schema.md 5.
 */
#ifndef SCHEMA_LINT_H
#define SCHEMA_LINT_H

#include "schema/set.h"

#include <jansson.h>
#include <sqlite3.h>

struct finding {
    const struct migration *migration;
    int line;
    bool error;
    const char *rule; /* "transaction" */
    char words[300];
};
typedef void lint_each(void *arg, const struct finding *);
/* RC_NOMEM: not all of it was looked at. */
MUST_USE rc lint(const struct migration *m, lint_each *each, void *arg, struct err *e);
/* The first error as an error; what apply asks. */
MUST_USE rc lint_check(const struct migration *, struct err *e);

/* Does an older program go on after this statement? DROP, RENAME and rebuilds that take something
 * away break it. */
bool statement_breaks(const struct statement *);
/* The same of all that runs until the migration is done, or what the file itself says. */
bool migration_breaks(const struct migration *);

/* In which line of the file SQLite's last error of this statement is: sqlite3_error_offset, where
 * that is known, else the statement's first. */
int statement_error_line(sqlite3 *db, const struct statement *);

/* {"file":,"line":,"severity":"error","rule":,"words":}; NULL: no memory. */
json_t *finding_json(const struct finding *);
/* An array of them; NULL: no memory. */
json_t *lint_json(const struct set *, bool *errors);

#endif
