/* Which programs may still write a database: those that know its schema from `min_version` on.
 *
 * A contract sets it, in the row of holdfast_schema (schema/history.h). Here, and not in schema/,
 * because each transaction of a store that writes asks; and with nothing but SQLite, because the
 * extension has a copy.
 */
#ifndef STORE_MIN_VERSION_H
#define STORE_MIN_VERSION_H

#include "base/rc.h"

#include <sqlite3.h>
#include <stdint.h>

#define SCHEMA_FORMAT 1 /* of holdfast_schema and the tables beside it */

/* `schema`: "main" or the name it was attached by. `version`: the newest that the program knows,
 * which calls itself `app` (NULL, "": it does not say). RC_UNFIT: the database has gone on without
 * it. Where nobody has ever used migrations all may. */
MUST_USE rc min_version_check(sqlite3 *db, const char *schema, const char *app, int64_t version,
                              struct err *e);

#endif
