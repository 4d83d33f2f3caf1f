/* One request on the socket, from its first line to its answer. All on the socket's thread, but
 * the ends of waits and questions, which hand it back to that thread (struct desk). */
#ifndef DAEMON_REQUEST_H
#define DAEMON_REQUEST_H

#include "base/bytes.h"
#include "base/limits.h"
#include "daemon/socket.h"

#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>

/* Where requests that wait are kept, and come back to. */
struct desk {
    struct env *env;
    struct barrier *barrier;
    const char *database;
    int hang_ups; /* epoll: connections that wait, told when their client hangs up */
    int bell;     /* eventfd: something has come back */
    int open;     /* requests that have not been answered to the end */
    int waiting;  /* those that are with the barrier; at most `room` */
    int room;
    pthread_mutex_t lock;
    struct request *back; /* guarded by lock */
};

/* MHD's callbacks; the closure is the desk. */
enum MHD_Result request_handle(void *desk, struct MHD_Connection *, const char *url,
                               const char *method, const char *version, const char *upload,
                               size_t *upload_size, void **closure);
void request_completed(void *desk, struct MHD_Connection *, void **closure,
                       enum MHD_RequestTerminationCode);

/* Those that came back go on. */
void desk_take_back(struct desk *);
void request_hung_up(struct request *);

#endif
