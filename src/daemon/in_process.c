/* The socket for a source that runs in an application: this room is above the store's, so it hands
 * itself down when it is loaded. */
#include "daemon/socket.h"
#include "store/runner.h"

static rc start(struct env *env, struct barrier *b, const char *database, void **out,
                struct err *e) {
    struct socket *s;
    TRY(socket_new(&s, &(struct socket_options){.env = env, .barrier = b, .database = database},
                   e));
    *out = s;
    return ok();
}

static rc database(void *s, struct err *e) {
    return socket_database(s, e);
}

static void stop(void *s) {
    socket_free(s);
}

static const struct runner_server server = {start, database, stop};

__attribute__((constructor)) static void hand_down(void) {
    runner_server = &server;
}
