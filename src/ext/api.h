/* Before everything in the extension's files: SQLite's functions are those of the SQLite that has
 * loaded it, by the table that it hands over, and never those of a library beside. */
#ifndef EXT_API_H
#define EXT_API_H

#include <sqlite3ext.h>
SQLITE_EXTENSION_INIT3

#endif
