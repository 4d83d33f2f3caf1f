/* HTTP/1.1 requests over libcurl, one at a time per thread, connections kept and used again.
 *
 * TLS is always verified: the system's certificates, or those of the file that $AWS_CA_BUNDLE
 * names. Nothing follows a redirect: the caller sees the 3xx. A reply is a reply whatever its
 * status; an error means that there is none, or not all of one.
 *
 * Threads: any; a `struct http` may be used by many at once, a request and its reply by one.
 */
#ifndef OBJECT_HTTP_H
#define OBJECT_HTTP_H

#include "os/env.h"

#include <stdatomic.h>

struct http;
MUST_USE rc http_new(struct env *, struct http **out, struct err *);
void http_free(struct http *); /* no request may be under way; NULL is fine */

#define HTTP_HEADERS_MAX 24
struct http_request {
    const char *method;                    /* "GET", "PUT" ... */
    const char *url;                       /* escaped */
    const char *headers[HTTP_HEADERS_MAX]; /* "Name: value"; NULL ends them */
    const void *body;                      /* NULL: `body_file`, or none */
    struct file *body_file;                /* read from its beginning */
    uint64_t body_size;
    /* What the reply's body becomes, if the status is 2xx: `into`, which must take exactly
     * into_size bytes; else `sink`, called for each piece; else text in the reply. Bodies of other
     * replies are always text. */
    void *into;
    size_t into_size;
    rc (*sink)(void *arg, const void *bytes, size_t n, struct err *);
    void *sink_arg;
    int64_t timeout_ms;           /* for all of it; 0: 30 s and what the bytes need at 64 KiB/s */
    int silence_s;                /* gives up when hardly anything moves for this long; 0: 15 */
    const atomic_bool *abandoned; /* once true, nobody waits for it any more; NULL: never */
    bool no_proxy; /* $http_proxy and the like are not for this one (metadata services) */
};

#define HTTP_TEXT_MAX 65536
struct http_reply {
    int status;
    size_t got;     /* bytes that arrived in `into`, also when the call failed */
    char *text;     /* ended by a NUL; "" if none; at most HTTP_TEXT_MAX bytes of it */
    char etag[128]; /* as sent, quotes included; "" if none, as all below */
    char date[64];  /* RFC 9110 5.6.7 */
    char last_modified[64];
    char retry_after[64];   /* seconds or a date */
    char bucket_region[64]; /* x-amz-bucket-region */
    char time[64];          /* x-amz-meta-litestream-timestamp */
    char content_range[64]; /* "bytes 0-99/1000" */
    int64_t content_length; /* -1 if none */
};

/* RC_RETRY: the connection failed or broke, and what the other side did is unknown. RC_TIMEOUT: the
 * same after a deadline. RC_IO: it can never work (a bad certificate, no such protocol). */
MUST_USE rc http_do(struct http *, const struct http_request *, struct http_reply *, struct err *);
void http_reply_deinit(struct http_reply *);

#endif
