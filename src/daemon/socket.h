/* The barrier for other processes: HTTP/1.1 and JSON on a Unix socket.
 *
 *     struct socket_options o = {.env = env, .barrier = b, .database = "app.db"};
 *     socket_new(&s, &o, e)
 *     socket_database(s, e)       there is a database now, or another: it can be found
 *     barrier_stop(b, &why); socket_free(s)
 *
 *     POST /wait    {"path", "file", "position", "timeout_ms", "flush", "destination"}
 *     POST /sync    {"path", "file", "timeout_ms"}: flush, all destinations
 *     GET  /status
 *
 * 200 {"position", "waited_ms"}, or {"error": the code's name, "words"} with 400 usage, 403 another
 * user, 404 not this database, or no such position or destination, 405, 409 fenced, conflict,
 * behind, 413 over 64 KiB, 503 no database or the replication ended, 504 timeout, 500 the rest.
 *
 * Any user may try; only ours and root are answered. One thread serves all. A client that hangs up
 * is no longer waited for. Callable from one thread.
 */
#ifndef DAEMON_SOCKET_H
#define DAEMON_SOCKET_H

#include "os/env.h"
#include "source/barrier.h"

struct socket;

struct socket_options {
    struct env *env;
    struct barrier *barrier; /* outlives the socket */
    const char *database;    /* it need not be there yet */
    const char *path;        /* NULL: in the runtime directory (daemon/place.h) */
};

MUST_USE rc socket_new(struct socket **out, const struct socket_options *, struct err *e);
/* Makes it found by the device and inode that the database has now. */
MUST_USE rc socket_database(struct socket *, struct err *e);
const char *socket_path(const struct socket *);
/* The barrier has been stopped. Those who have been told so still get their answer. NULL is
 * fine. */
void socket_free(struct socket *);

#endif
