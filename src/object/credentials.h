/* Where AWS credentials come from: the order, the names and the files of AWS's own tools.
 *
 *   1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY [, AWS_SESSION_TOKEN] (or LITESTREAM_ACCESS_KEY_ID,
 *      LITESTREAM_SECRET_ACCESS_KEY)
 *   2. web identity: AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, by STS
 *   3. a profile of ~/.aws/credentials and ~/.aws/config
 *   4. a container's: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI
 *   5. the instance's (IMDSv2), asked last and for 1 s
 *
 * A named profile goes first. Those that expire are renewed five minutes before they do; a file
 * that changed is read again. Secrets are in no error's words, and are wiped when freed.
 */
#ifndef OBJECT_CREDENTIALS_H
#define OBJECT_CREDENTIALS_H

#include "object/http.h"

struct credentials {
    char access_key[256];
    char secret_key[256];
    char session_token[8192]; /* "" if none */
};

struct credential_source;
/* `profile`: "" takes $AWS_PROFILE, or "default". `region`: for STS. Asks nobody yet. */
MUST_USE rc credentials_new(struct env *, struct http *, const char *profile, const char *region,
                            struct credential_source **out, struct err *);
void credentials_free(struct credential_source *); /* NULL is fine */
/* A copy of what is valid now; asks only if it must. Any thread; one at a time does the asking.
 * `refused`: the server did not take these, so get others if there can be others (NULL: none).
 * RC_NOTFOUND: none anywhere; the words name every place looked at. RC_RETRY, RC_TIMEOUT: a service
 * did not answer. */
MUST_USE rc credentials_get(struct credential_source *, const struct credentials *refused,
                            struct credentials *out, struct err *);
/* The region of the profile in use, or "". */
const char *credentials_region(const struct credential_source *);

#endif
