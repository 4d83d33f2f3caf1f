/* Which programs have the database open, and how new a schema each of them knows.
 *
 * A client is a kernel lock (lock.h) and a row, in noise where there is one, else in main: written
 * once when it opens, since a heartbeat would be a commit, and a commit an upload. A row whose lock
 * is free is of somebody who is gone. A lock without a row is somebody unknown: a contract waits.
 */
#ifndef SCHEMA_CLIENTS_H
#define SCHEMA_CLIENTS_H

#include "schema/internal.h"

struct presence; /* this program's; ends with lock_close */

/* Takes a slot, writes the row, and refuses (RC_UNFIT) when the schema is newer than `version`
 * allows: before anything else is written. Under a shared gate. */
MUST_USE rc clients_join(hf_schema *, int64_t version, struct presence **out, struct err *e);
void clients_leave(struct presence *); /* NULL is fine */
/* Has the schema gone on without this program since? What a write transaction asks first. */
MUST_USE rc clients_allowed(sqlite3 *db, const char *database, int64_t version, struct err *e);

struct client {
    int slot;
    bool known; /* it has a row */
    int64_t version, pid, opened_ms;
    char app[100], host[100];
};
/* Those that live now; `mine` is left out when it is given. */
MUST_USE rc clients_each(hf_schema *, const struct presence *mine,
                         rc (*each)(void *, const struct client *, struct err *), void *arg,
                         struct err *e);
/* For a contract of `version`, with the gate held alone: RC_CONFLICT, and who it waits for. */
MUST_USE rc clients_check(hf_schema *, int64_t version, struct err *e);
json_t *clients_json(hf_schema *, struct err *e); /* NULL: e */

#endif
