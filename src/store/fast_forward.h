/* Bring a local database that is behind up to its replica's tip.
 *
 * Builds a copy beside it, proves it, and renames it over; only what differs is fetched when the
 * local state is one of the replica's. RC_BUSY while anyone has the database open; RC_CONFLICT if
 * it holds commits that the replica lacks, or if that cannot be told. Leaves -wal and -shm removed.
 */
#ifndef STORE_FAST_FORWARD_H
#define STORE_FAST_FORWARD_H

#include "replica/replica.h"

MUST_USE rc fast_forward_database(struct env *, struct store *, const char *db, int parallel,
                                  struct progress *, struct restore_result *, struct err *e);
/* The same whatever the local database holds: what was there is kept as *saved (`LIMIT_PATH`). */
MUST_USE rc fast_forward_adopt(struct env *, struct store *, const char *db, int parallel,
                               struct progress *, struct restore_result *, char *saved,
                               struct err *e);

#endif
