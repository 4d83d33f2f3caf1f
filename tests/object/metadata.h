/* A service on loopback that hands out credentials: it answers each request by the first of its
 * routes that the request begins with, and keeps what it was asked. A thread of the test. */
#ifndef TESTS_OBJECT_METADATA_H
#define TESTS_OBJECT_METADATA_H

#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define ASKED_MAX 64
#define ROUTES_MAX 4

struct service {
    int listener;
    char url[64];
    pthread_t thread;
    struct route {
        const char *begins; /* "GET /path"; NULL ends them */
        int status;         /* 0: never answers, and the connection stays open */
        const char *body;
    } routes[ROUTES_MAX]; /* changed only while nothing is asked */
    atomic_int count;
    char *asked[ASKED_MAX]; /* whole requests; below `count` they stay as they are */
};

/* All of a request, or NULL. */
static inline char *service_read(int socket) {
    size_t size = 0, room = 1 << 18;
    char *text = calloc(1, room), *end = NULL;
    for (;;) {
        ssize_t n = recv(socket, text + size, room - size - 1, 0);
        if (n <= 0) break;
        size += (size_t)n;
        if (!end) end = strstr(text, "\r\n\r\n");
        const char *length = end ? strcasestr(text, "\r\nContent-Length:") : NULL;
        size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
        if (end && size >= (size_t)(end + 4 - text) + body) return text;
    }
    free(text);
    return NULL;
}

static inline void *service_run(void *arg) {
    struct service *s = arg;
    for (;;) {
        int socket = accept(s->listener, NULL, NULL);
        if (socket < 0) return NULL;
        char *text = service_read(socket), head[128];
        const struct route *r = s->routes;
        while (text && r->begins && strncmp(text, r->begins, strlen(r->begins)) != 0) r++;
        int n = atomic_load(&s->count);
        if (text && n < ASKED_MAX) {
            s->asked[n] = text;
            atomic_store(&s->count, n + 1);
        }
        if (!text || (r->begins && r->status == 0)) continue;
        const char *body = r->begins ? r->body : "no such thing";
        int size = snprintf(head, sizeof head,
                            "HTTP/1.1 %d x\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                            r->begins ? r->status : 404, strlen(body));
        send(socket, head, (size_t)size, MSG_NOSIGNAL);
        send(socket, body, strlen(body), MSG_NOSIGNAL);
        close(socket);
    }
}

static inline void service_start(struct service *s) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(s->listener, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(s->listener, 64), 0);
    ck_assert_int_eq(getsockname(s->listener, (struct sockaddr *)&at, &size), 0);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d", ntohs(at.sin_port));
    ck_assert_int_eq(pthread_create(&s->thread, NULL, service_run, s), 0);
}

static inline void service_stop(struct service *s) {
    shutdown(s->listener, SHUT_RDWR); /* accept fails */
    pthread_join(s->thread, NULL);
    close(s->listener);
    for (int i = 0; i < atomic_load(&s->count); i++) free(s->asked[i]);
}

#endif
