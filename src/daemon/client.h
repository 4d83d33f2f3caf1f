/* Asking the process that replicates a database, through its socket.
 *
 *     client_find("app.db", NULL, socket, e)
 *     client_wait(socket, &(struct client_wait){.timeout_ms = 30000}, &answer, e)
 *
 * Errors: the words begin with the reason, which is the code's name as the socket gives it
 * ("timeout: ...", "fenced: ..."), or "no replicator: ...": nobody is there (RC_NOTFOUND), or it
 * ended, or does not answer, before the outcome was known (RC_CANCELLED, RC_TIMEOUT).
 *
 * Any thread; nothing is kept between two calls. The caller frees *answer.
 */
#ifndef DAEMON_CLIENT_H
#define DAEMON_CLIENT_H

#include "base/limits.h"
#include "base/rc.h"

#include <stdint.h>

struct client_wait {
    const char *path;        /* of the database: an answer about another one is refused. NULL */
    const char *position;    /* NULL: everything committed until now */
    const char *destination; /* NULL: all */
    int64_t timeout_ms;
    bool flush;
};

/* `given`: a socket's path, or NULL to look for it. */
MUST_USE rc client_find(const char *database, const char *given, char socket[LIMIT_PATH],
                        struct err *e);
MUST_USE rc client_wait(const char *socket, const struct client_wait *, char **answer,
                        struct err *e);
MUST_USE rc client_sync(const char *socket, const struct client_wait *, char **answer,
                        struct err *e); /* path and timeout_ms only */
MUST_USE rc client_status(const char *socket, char **answer, struct err *e);

#endif
