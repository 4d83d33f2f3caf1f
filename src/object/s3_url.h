/* What an s3:// URL says (docs/format.md 2.7). Private to object/. */
#ifndef OBJECT_S3_URL_H
#define OBJECT_S3_URL_H

#include "base/rc.h"

#include <stddef.h>
#include <stdint.h>

struct s3_url {
    char bucket[256];
    char
        root[1024]; /* "a/c"; "." for s3://bucket and "" for s3://bucket/, as Litestream has them */
    char scheme[8]; /* "https" or "http" */
    char host[256]; /* with its port, without the bucket; "" for Amazon's, by region */
    char region[64]; /* "": to be found */
    char profile[64], storage_class[32], kms_key[256];
    bool path_style, path_style_said, is_loopback, sse_s3, sign_payload, content_md5, consistent;
    uint64_t timeout_s; /* of silence; 0: http.c's */
    uint64_t part_size; /* 0: by the object's size */
};

/* RC_USAGE names the parameter; no message repeats a value that may be a secret. */
MUST_USE rc s3_url_parse(const char *url, struct s3_url *out, struct err *e);
/* "endpoint=..." of the environment, as "http://host:port". */
MUST_USE rc s3_url_endpoint(const char *endpoint, struct s3_url *out, struct err *e);
/* The one form of all that lead to the same objects: what is needed to read them. RC_USAGE: too
 * long. */
MUST_USE rc s3_url_format(const struct s3_url *, char *out, size_t size, struct err *e);
extern const char *const s3_url_parameters[]; /* their names, then NULL */

#endif
