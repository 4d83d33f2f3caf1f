/* What a source is at, as JSON: hf_source_status, and GET /status of the socket. */
#ifndef STORE_STATUS_H
#define STORE_STATUS_H

#include "source/source.h"

#include <jansson.h>

/* On the source's thread (barrier_ask). One object, on one line; the caller's, to be freed.
 *
 *     {"database": "/srv/app.db", "state": "replicating", "position": "5f1e22a09b3c4d10-1234",
 *      "commits": 12, "log_frames": 1234, "shipments": 3, "bytes": 40960,
 *      "destinations": [{"url": "s3://b/app", "state": "ready", "txid": "000000000000000a",
 *                        "safe": true, "lacks_pages": 0, "error": null,
 *                        "requests": {"put": 4, ...}}]}
 *
 * `lacks_pages` is null where all of it is lacking, or it is not known. */
MUST_USE rc status_json(const struct source *, const char *path, char **out, struct err *);
/* Of a database that is not replicated at this moment: `why` says what ended it, or is NULL while a
 * new database is waited for. */
MUST_USE rc status_json_without(const char *path, const struct err *why, char **out, struct err *);

/* Paths and the words of other machines may hold anything, and words may be cut within a character:
 * the text up to the first byte that is not UTF-8. NULL: no memory. */
json_t *json_words(const char *text);
/* free(). NULL: no memory, or no `json`. Not by json_dumps, which leaves a key out when there is no
 * memory for it, and says nothing. */
char *json_text(const json_t *json, size_t flags);

#endif
