/* Where the socket of a database is.
 *
 *     <runtime directory>/socket/<device, hexadecimal>-<inode>     as `stat -c %D-%i app.db` has it
 *
 * is a link to the socket of the process that replicates the file with that device and inode. The
 * socket itself has a name made of the database's path, or one that the user gave, so that it is
 * there before the database is, and stays when the database is replaced.
 */
#ifndef DAEMON_PLACE_H
#define DAEMON_PLACE_H

#include "base/limits.h"
#include "base/rc.h"

#define PLACE_NAME 64

/* The directory, made if it is absent; ours alone (0700), or RC_CONFLICT. */
MUST_USE rc place_dir(char out[LIMIT_PATH], struct err *e);
/* "socket/<device>-<inode>". RC_NOTFOUND: no such database. */
MUST_USE rc place_name(const char *database, char out[PLACE_NAME], struct err *e);
/* Where it is to be asked: in our own runtime directory, then in those of services and other users
 * that the database's owner trusts, then $HOLDFAST_SOCKET. RC_NOTFOUND, with who replicates it all
 * the same, if that can be told. */
MUST_USE rc place_find(const char *database, char out[LIMIT_PATH], struct err *e);

#endif
