/* Which programs have the database open, and how new a schema each of them knows.
 *
 * A client is a kernel lock (lock.h) and a row of holdfast_client, in noise where there is one,
 * else in main: written once when it opens, since a heartbeat would be a commit, and a commit an
 * upload. A row whose lock is free is of somebody who is gone. A lock without a row is somebody
 * unknown: a contract waits. So it does for a process that lives and whose row was written under
 * another lock file, which somebody has removed.
 */
#ifndef SCHEMA_CLIENTS_H
#define SCHEMA_CLIENTS_H

#include "schema/internal.h"

/* Of "main", or the name of an attached file. Made by whoever comes first, and not by
 * history_prepare; the extension writes the same. */
#define CLIENT_TABLE(schema)                                                                       \
    "CREATE TABLE IF NOT EXISTS " schema ".holdfast_client(lock TEXT NOT NULL,"                    \
    " slot INTEGER NOT NULL, app TEXT NOT NULL, version INTEGER NOT NULL, pid INTEGER NOT NULL,"   \
    " host TEXT NOT NULL, opened_ms INTEGER NOT NULL, PRIMARY KEY(lock, slot))"
#define CLIENT_COLUMNS "slot, app, version, pid, host, lock, opened_ms"
#define CLIENT_ROW(schema)                                                                         \
    "INSERT OR REPLACE INTO " schema ".holdfast_client(" CLIENT_COLUMNS ")"                        \
    " VALUES (?, ?, ?, ?, ?, ?, ?)"

struct presence; /* this program's; ends with lock_close */

/* Takes a slot, writes the row, and refuses (RC_UNFIT) when the schema is newer than `version`
 * allows: before anything else is written. Under a shared gate. From then on each transaction that
 * writes the handle's store, if it is of one, is asked the same. */
MUST_USE rc clients_join(hf_schema *, int64_t version, struct presence **out, struct err *e);
void clients_leave(struct presence *); /* NULL is fine; not in a child of fork() */

struct client {
    int slot;   /* -1: of a lock file that was removed under it */
    bool alive; /* else it is a row that was left behind */
    bool known; /* it has a row */
    int64_t version, pid, opened_ms;
    char app[100], host[100];
};
/* Those that live now; `mine` is left out when it is given. */
MUST_USE rc clients_each(hf_schema *, const struct presence *mine,
                         rc (*each)(void *, const struct client *, struct err *), void *arg,
                         struct err *e);
/* For a contract of `version`, with the gate held alone: RC_CONFLICT, and who it waits for:
 * "control 40 (pid 123 on host) knows only 20260820090000". */
MUST_USE rc clients_check(hf_schema *, int64_t version, struct err *e);
/* [{"slot", "app", "version", "pid", "host", "opened_ms", "alive"}], with this handle's own; what
 * is not known is null. */
MUST_USE rc clients_json(hf_schema *, json_t **out, struct err *e);

#endif
