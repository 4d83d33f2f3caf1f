/* What is wrong, or dangerous, in a migration that was parsed. Nothing is run.
 *
 * An error is what apply refuses before anything runs: BEGIN, COMMIT, SAVEPOINT, PRAGMA, ATTACH,
 * VACUUM; a name of another database; a backfill without its parameters. A warning is what a
 * reviewer should see: a DROP without a down, NOT NULL without a default, ADD COLUMN STORED, an
 * index on JSON that is not guarded, a table that is rewritten, INSERT OR REPLACE.
 */
#ifndef SCHEMA_LINT_H
#define SCHEMA_LINT_H

#include "schema/set.h"

#include <jansson.h>

struct finding {
    const struct migration *migration;
    int line;
    bool error;
    const char *rule; /* "no-transaction": of docs/schema.md 5 */
    char words[300];
};
typedef void lint_each(void *arg, const struct finding *);
void lint(const struct migration *, lint_each *, void *arg);
/* The first error as an error; what apply asks. */
MUST_USE rc lint_check(const struct migration *, struct err *e);

/* Does an older program go on after this statement? DROP, RENAME and rebuilds that take something
 * away break it. */
bool statement_breaks(const struct statement *);
/* The same of all that runs until the migration is done, or what the file itself says. */
bool migration_breaks(const struct migration *);

/* [{"file":,"line":,"severity":"error","rule":,"words":}]; NULL: no memory. */
json_t *lint_json(const struct set *, bool *errors);

#endif
