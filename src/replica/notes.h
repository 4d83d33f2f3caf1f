/* The notes beside a replica (docs/format.md 3.4, 3.5): small JSON objects, replaced whole. */
#ifndef REPLICA_NOTES_H
#define REPLICA_NOTES_H

#include "base/limits.h"
#include "object/object.h"

#include <jansson.h>

#define VERIFIED_KEY "holdfast/verified.json" /* the last verification of a run */

/* NULL where there is none; json_decref(*out). RC_CORRUPT: it is no JSON, or too long. */
MUST_USE rc note_read(struct store *, const char *key, json_t **out, struct err *e);
/* `note` may be NULL: RC_NOMEM. RC_FULL: it has grown too long. */
MUST_USE rc note_write(struct store *, const char *key, const json_t *note, struct err *e);

/* TXIDs whose restore must stay possible; free(*out). RC_CORRUPT: delete nothing. */
MUST_USE rc replica_read_pins(struct store *, uint64_t **out, size_t *count, struct err *);
/* One more; none if it is there already. */
MUST_USE rc replica_pin(struct store *, uint64_t txid, const char *why, struct err *e);

#endif
