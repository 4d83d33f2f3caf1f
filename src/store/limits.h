/* The bounds of this room on what comes from outside; the others stand in base/limits.h. */
#ifndef STORE_LIMITS_H
#define STORE_LIMITS_H

#define LIMIT_KV_KEY 4096u         /* bytes of a key, and of a prefix */
#define LIMIT_KV_VALUE 1000000000u /* bytes of a member of an imported file; SQLite's own limit */
#define LIMIT_JSON_PATH 1024u      /* bytes of "$.user.id" in its one spelling */
#define LIMIT_WATCH_CHANGES 100000 /* committed, and not yet told to all watches */
#define LIMIT_WATCH_BYTES 67108864 /* of their keys and values */

#endif
