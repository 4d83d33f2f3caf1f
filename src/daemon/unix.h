/* Stream sockets of this machine, by path, of any length: the name that a socket address has room
 * for is 107 bytes, so a path is reached through its directory's descriptor. */
#ifndef DAEMON_UNIX_H
#define DAEMON_UNIX_H

#include "base/rc.h"

#include <stdbool.h>
#include <stdint.h>

/* Listens there, for our user and root (mode 0600), without blocking. What a dead process left is
 * replaced. RC_BUSY: somebody answers there. RC_CONFLICT: something else has the name. */
MUST_USE rc unix_listen(const char *path, int *fd, struct err *e);
/* Without blocking from then on. RC_NOTFOUND: nobody listens there. RC_BUSY: full until the
 * deadline (CLOCK_MONOTONIC). RC_IO: no permission, among others. */
MUST_USE rc unix_connect(const char *path, int64_t deadline_ns, int *fd, struct err *e);
bool unix_is_socket(const char *path); /* a socket, or a link to one */
bool unix_is_heard(const char *path);  /* somebody listens there */
/* Whether the other side is our user or root: as it was when it connected. */
bool unix_peer_is_ours(int fd);

#endif
