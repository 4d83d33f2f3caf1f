/* A connection that is the application's own: what may be done with it, and where its file is. */
#ifndef STORE_APPLICATION_H
#define STORE_APPLICATION_H

#include "base/limits.h"
#include "source/position.h"

#include <sqlite3.h>

/* It is one of this process's SQLite that the library uses, which may be used by threads.
 * RC_USAGE: of another copy; RC_UNFIT: built or configured for one thread. */
MUST_USE rc application_check(sqlite3 *, struct err *);
/* The file of main. RC_USAGE: in memory, temporary. */
MUST_USE rc application_path(sqlite3 *, char out[LIMIT_PATH], struct err *);
/* Of everything committed to main so far. */
MUST_USE rc application_position(sqlite3 *, struct position *out, struct err *);

#endif
