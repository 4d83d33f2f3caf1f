/* Requests and answers in JSON, on loopback, by libmicrohttpd: a thread for each connection, so
 * that a request may be answered by straight-line code that waits.
 *
 * A request is valid while it is answered. It has at most one ?FIELD=VALUE; a POST has an object of
 * JSON. Others are refused before `answer` is called.
 */
#ifndef EXAMPLES_HTTP_H
#define EXAMPLES_HTTP_H

#include <jansson.h>
#include <signal.h>

struct http {
    const char *method, *path;
    const char *field, *value; /* NULL: there is none */
    json_t *in;                /* of a POST */
    json_t *out;               /* what is answered when all is well; taken */
    char error[500];           /* the words when it is not */
};

/* Serves until one of the signals `stop`, which are blocked in each thread; then those who wait are
 * answered. `answer` returns the status. Prints the URL; 0 is a port that is free. */
int http_serve(int port, const sigset_t *stop, unsigned (*answer)(struct http *));

#endif
