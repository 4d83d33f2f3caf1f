/* What an object's key may look like, and what URLs share. Private to object/. */
#ifndef OBJECT_KEY_H
#define OBJECT_KEY_H

#include "base/nearest.h"
#include "base/rc.h"

/* RC_USAGE unless `key` is shorter than LIMIT_KEY and made of parts between single slashes, none of
 * which is empty, begins with a dot (a temporary file's, and "..") or has a control character. */
MUST_USE rc key_check(const char *key, struct err *e);
/* The same for a directory to list; "" is the root. */
MUST_USE rc key_check_dir(const char *dir, struct err *e);
const char *key_name(const char *key); /* its last part */

/* %41 is A. `out` has room for all of `in`. RC_USAGE. */
MUST_USE rc url_decode(const char *in, char *out, struct err *e);

#endif
