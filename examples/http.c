/* See the header. */
#include "http.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BODY_MAX (64 << 10)
#define CONNECTIONS_MAX 1000u
#define IDLE_S 60u
#define LAST_ANSWERS_S 40

struct call {
    struct http http;
    int fields;
    char body[BODY_MAX + 1]; /* one more: it is too long */
    size_t size;
};

static atomic_int under_way; /* requests without an answer */
static atomic_bool stopping;

static unsigned refuse(struct http *h, unsigned status, const char *words, const char *more) {
    snprintf(h->error, sizeof h->error, "%s%s", words, more);
    return status;
}

static unsigned call_answer(struct call *c, unsigned (*answer)(struct http *)) {
    struct http *h = &c->http;
    json_error_t e = {.text = ""};
    if (c->size > BODY_MAX) return refuse(h, 413, "too large", "");
    if (c->fields > 1) return refuse(h, 400, "one ?FIELD=VALUE at most", "");
    if (strcmp(h->method, "POST") == 0) {
        h->in = json_loadb(c->body, c->size, JSON_REJECT_DUPLICATES, &e);
        if (!json_is_object(h->in)) return refuse(h, 400, "not an object of JSON: ", e.text);
    }
    return answer(h);
}

static enum MHD_Result take_field(void *arg, enum MHD_ValueKind kind, const char *field,
                                  const char *value) {
    struct call *c = arg;
    (void)kind;
    c->http.field = field;
    c->http.value = value ? value : "";
    c->fields++;
    return MHD_YES;
}

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct http *h,
                                   unsigned status) {
    json_t *said = status < 300 ? json_incref(h->out) : json_pack("{s:s}", "error", h->error);
    char *text = said ? json_dumps(said, JSON_COMPACT) : NULL;
    struct MHD_Response *answer =
        MHD_create_response_from_buffer(text ? strlen(text) : 0, text, MHD_RESPMEM_MUST_FREE);
    json_decref(said);
    if (!answer) return MHD_NO;
    if (text) MHD_add_response_header(answer, "Content-Type", "application/json");
    if (stopping) MHD_add_response_header(answer, "Connection", "close");
    enum MHD_Result sent = MHD_queue_response(connection, status, answer);
    MHD_destroy_response(answer);
    return sent;
}

/* Called at the head of a request, for each piece of its body, and at its end. */
static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *piece,
                              size_t *size, void **state) {
    unsigned (**answer)(struct http *) = arg;
    struct call *c = *state;
    (void)version;
    if (!c) {
        *state = calloc(1, sizeof *c);
        under_way += *state != NULL;
        return *state ? MHD_YES : MHD_NO;
    }
    if (*size) {
        size_t room = sizeof c->body - c->size, taken = *size < room ? *size : room;
        memcpy(c->body + c->size, piece, taken);
        c->size += taken;
        *size = 0;
        return MHD_YES;
    }
    c->http.method = method;
    c->http.path = path;
    MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_field, c);
    return send_answer(connection, &c->http, call_answer(c, *answer));
}

static void end_call(void *arg, struct MHD_Connection *connection, void **state,
                     enum MHD_RequestTerminationCode code) {
    struct call *c = *state;
    (void)arg, (void)connection, (void)code;
    if (!c) return;
    under_way--;
    json_decref(c->http.in);
    json_decref(c->http.out);
    free(c);
}

int http_serve(int port, const sigset_t *stop, unsigned (*answer)(struct http *)) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC, 0, NULL,
        NULL, handle, &answer, MHD_OPTION_SOCK_ADDR, &here, MHD_OPTION_NOTIFY_COMPLETED, end_call,
        NULL, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S,
        MHD_OPTION_END);
    int signal;
    if (!daemon) return perror("listen on 127.0.0.1"), 1;
    printf("http://127.0.0.1:%d\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    sigwait(stop, &signal);
    stopping = true;
    close(MHD_quiesce_daemon(daemon)); /* nobody new */
    for (int i = 0; i < 100 * LAST_ANSWERS_S && under_way; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    MHD_stop_daemon(daemon);
    return 0;
}
