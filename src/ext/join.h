/* holdfast_schema_join(app, version): this connection is a client of the schema until it closes. */
#ifndef EXT_JOIN_H
#define EXT_JOIN_H

#include <sqlite3.h>

/* The function, on a connection. SQLite's code. */
int join_register(sqlite3 *);

#endif
