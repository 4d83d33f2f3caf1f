/* What files and services say about credentials, by name; and the profiles of the files that AWS's
 * own tools share: [NAME] of ~/.aws/credentials (or $AWS_SHARED_CREDENTIALS_FILE) over
 * [profile NAME] of ~/.aws/config (or $AWS_CONFIG_FILE). Private to object/.
 *
 * Of the lines of other profiles only the brackets must be right. A line that is indented deeper
 * than the setting above it belongs to that, and is skipped. '#' and ';' begin a comment, in a
 * value after a blank. Names of settings may be in any case.
 */
#ifndef OBJECT_PROFILE_H
#define OBJECT_PROFILE_H

#include "os/env.h"

enum value {
    ACCESS_KEY,
    SECRET_KEY,
    SESSION_TOKEN,
    EXPIRATION,
    CODE, /* of a service's failure, and its words */
    MESSAGE,
    REGION,
    ROLE_ARN,
    TOKEN_FILE,
    SESSION_NAME,
    UNSUPPORTED, /* the name of a setting that gives credentials in a way that we do not know */
    VALUES
};
struct values {
    char *of[VALUES]; /* NULL: not said */
    bool no_memory;
};
/* Skips names that it does not know, and a NULL for the text; the last text of a name counts. */
void values_put(struct values *, const char *name, const char *text);
void values_wipe(struct values *); /* and empty again; usable as AUTO(values_wipe) */

struct profile {
    const char *name;
    bool found; /* in one of the files */
    struct values values;
};
/* `name` is filled in, the rest is zero; the caller wipes the values. A file that cannot be read is
 * no error: `looked` says what was where. RC_USAGE: a line that cannot be meant; of what stands in
 * the files the words have nothing. */
MUST_USE rc profile_read(struct env *, struct profile *, char *looked, size_t size, struct err *);
/* What one file's text (it is cut up) says. `path`: for the words. */
MUST_USE rc profile_parse(struct profile *, bool is_config, char *text, const char *path,
                          struct err *);

/* A small file as text. RC_NOTFOUND, RC_USAGE (not a plain file, too large, not text), RC_IO. */
MUST_USE rc secret_file_read(struct env *, const char *path, char **out, struct err *);
void secret_free(char **text); /* wipes it first; usable as AUTO(secret_free) */

#endif
