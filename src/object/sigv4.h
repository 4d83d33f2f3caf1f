/* AWS Signature Version 4: "Authenticating Requests (AWS Signature Version 4)" of the Amazon S3 API
 * reference. Pure: no clock, no environment. Private to object/, but for sha256_hex. */
#ifndef OBJECT_SIGV4_H
#define OBJECT_SIGV4_H

#include "base/bytes.h"
#include "object/credentials.h"

#define SHA256_HEX_SIZE 65
#define SIGV4_TIME_SIZE 17 /* "20261124T213026Z" */

/* A header that is signed: `name` in lower case. */
struct sigv4_header {
    const char *name, *value;
};

struct sigv4_request {
    const char *method;
    const char *path;                   /* escaped, as sent */
    const char *query;                  /* escaped and sorted by name, as sent; "" if none */
    const struct sigv4_header *headers; /* sorted by name; "host" and "x-amz-date" are among them */
    int header_count;
    const char *payload_hash; /* what x-amz-content-sha256 says */
    const char *region, *service;
    char time[SIGV4_TIME_SIZE]; /* what x-amz-date says */
};

void sigv4_time(int64_t unix_ms, char out[SIGV4_TIME_SIZE]);
/* Everything but A-Z a-z 0-9 - . _ ~ becomes %XX; a slash too unless it is kept. */
void sigv4_escape(struct buf *out, const char *text, bool keep_slash);
/* False: OpenSSL has no memory for it. */
MUST_USE bool sha256_hex(const void *bytes, size_t n, char out[SHA256_HEX_SIZE]);
void hex_of(const uint8_t *bytes, size_t n, char *out); /* 2n digits and a NUL */
/* The value of the Authorization header, NUL-terminated, into `out`. */
MUST_USE rc sigv4_sign(const struct sigv4_request *, const struct credentials *, struct buf *out,
                       struct err *);

#endif
