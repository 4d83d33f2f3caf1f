/* A bucket, and one signed request to it, repeated while that may help. Private to object/s3*. */
#ifndef OBJECT_S3_CALL_H
#define OBJECT_S3_CALL_H

#include "object/object.h"
#include "object/s3_url.h"
#include "object/sigv4.h"

#include <pthread.h>

struct s3 {
    struct store store; /* first */
    struct s3_url at;
    struct http *http;
    struct credential_source *credentials;
    char customer_key[64], customer_key_md5[32]; /* SSE-C, base64; "" if none */
    pthread_mutex_t lock;
    /* guarded by lock */
    char region[64];
    int64_t skew_ms; /* the server's clock less ours */
};

/* One request, to be repeated as it is. */
struct call {
    enum request_kind kind;
    const char *method;
    const char *key;   /* below the root; NULL: the bucket itself */
    const char *query; /* escaped, sorted */
    const void *body;
    struct file *body_file;
    uint64_t body_size;
    const char *body_hash; /* NULL: of `body` */
    bool creates;          /* If-None-Match: * */
    bool writes;           /* an object begins: its metadata and how it is stored go along */
    bool has_customer_key; /* SSE-C is said */
    int64_t time_ms;       /* of the object, if it writes */
    const char *range, *if_match;
    void *into;
    size_t into_size;
    struct buf *text; /* the reply's whole body goes here, that of the last attempt */
    int attempts;     /* 0: ATTEMPTS */
};

/* On success reply->status is 2xx. http_reply_deinit in either case. RC_NOTFOUND: no such object
 * (not: no such bucket); RC_CONFLICT: a condition did not hold; RC_CORRUPT: the range lies behind
 * the end; RC_UNFIT: the server does not know how; RC_RETRY, RC_TIMEOUT: the outcome is unknown;
 * RC_IO: refused. */
MUST_USE rc s3_call(struct s3 *, const struct call *, struct http_reply *reply, struct err *);
MUST_USE rc s3_create(struct s3 *, struct call *, struct err *); /* PUT one object */

MUST_USE rc s3_upload_open(struct store *, const char *key, uint64_t size_most,
                           struct object_upload **out, struct err *);
MUST_USE rc s3_upload_write(struct object_upload *, const void *bytes, size_t n, struct err *);
MUST_USE rc s3_upload_commit(struct object_upload *, int64_t time_ms, struct err *);
void s3_upload_abort(struct object_upload *);

static inline struct s3 *s3_of(struct store *s) {
    return (struct s3 *)s;
}

#endif
