/* Where AWS credentials come from: the order, the names and the files of AWS's own tools.
 *
 *   1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY [, AWS_SESSION_TOKEN] (or LITESTREAM_ACCESS_KEY_ID,
 *      LITESTREAM_SECRET_ACCESS_KEY)
 *   2. web identity: AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, by STS
 *   3. a profile of ~/.aws/credentials and ~/.aws/config: keys, or a role by web identity
 *   4. a container's: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI
 *   5. the instance's (IMDSv2), asked last and for 1 s
 *
 * With a profile that the caller names, 1 and 2 are left out. The first that has any is asked from
 * then on. What expires is renewed five minutes before, or at half its time if it has less than
 * ten; when that fails the old ones are used while they are valid, and each minute it is tried
 * again.
 * Secrets are in no error's words, and are wiped when freed.
 */
#ifndef OBJECT_CREDENTIALS_H
#define OBJECT_CREDENTIALS_H

#include "object/http.h"

struct credentials {
    char access_key[256];
    char secret_key[256];
    char session_token[8192]; /* "" if none */
};

/* The environment's variables that hold secrets; NULL ends them. A child must not inherit them. */
extern const char *const credentials_variables[];

struct credential_source;
/* `profile`: "" takes $AWS_PROFILE, or "default". `region`: for STS; "" takes $AWS_REGION, the
 * profile's, or STS's global endpoint. Reads the profile, and asks nobody yet. RC_USAGE: a profile
 * of that name is nowhere, or a line of the files cannot be meant. */
MUST_USE rc credentials_new(struct env *, struct http *, const char *profile, const char *region,
                            struct credential_source **out, struct err *);
void credentials_free(struct credential_source *); /* NULL is fine */
/* A copy of what is valid now; asks only if it must. Any thread; one at a time does the asking.
 * `refused`: the server did not take these, so ask (and read the files) anew, but not more often
 * than every three seconds; what comes may be the same. NULL: none was refused.
 * RC_NOTFOUND: none anywhere; the words name every place looked at. RC_USAGE: what is configured
 * cannot be used. RC_RETRY, RC_TIMEOUT: a service did not answer. RC_IO: a service refused. */
MUST_USE rc credentials_get(struct credential_source *, const struct credentials *refused,
                            struct credentials *out, struct err *);
/* The region of the profile in use, or "". */
const char *credentials_region(const struct credential_source *);

#endif
