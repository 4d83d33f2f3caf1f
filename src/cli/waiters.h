/* Those who wait for commits to be safe, beside 'holdfast replicate': its barrier, and the socket
 * by which other processes reach that.
 *
 *     waiters_init(&w, env, watch, path, db, e)   options.barrier = w.barrier
 *     waiters_serve(&w, &log, e); then, whenever a database was opened, waiters_found(&w, &log)
 *     waiters_end(&w, why)                        all who wait are told; nobody waits from now on
 *     waiters_deinit(&w)
 */
#ifndef CLI_WAITERS_H
#define CLI_WAITERS_H

#include "base/log.h"
#include "daemon/socket.h"
#include "os/system.h"

struct waiters {
    struct env *env;
    struct barrier *barrier;
    struct socket *socket;
    const char *db, *path; /* -socket; NULL: the default */
    bool ended;
};

MUST_USE rc waiters_init(struct waiters *, struct env *, struct watch *, struct err *);
/* A socket whose place was chosen must be there; of the default one a failure is only said. */
MUST_USE rc waiters_serve(struct waiters *, struct log *, struct err *);
void waiters_found(struct waiters *, struct log *);
void waiters_end(struct waiters *, rc, const struct err *why);
void waiters_deinit(struct waiters *);

#endif
