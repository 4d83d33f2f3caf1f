/* A rehearsal: all that is pending, with revert and down, on a copy; what it took is measured.
 *
 *     {"source": "replica", "url": "s3://b/app", "txid": "00000000000004d2",
 *      "steps": [{"database": "main", "version": 20260901120000, "name": "..._split.sql",
 *                 "step": "expand", "phase": "expanded", "lock_ms": 1.25, "rows": 0,
 *                 "wal_bytes": 8240, "upload_bytes": 5120}],
 *      "revert": [{"database", "version", "name", "lock_ms", "shape_equal": true,
 *                  "contents_equal": true,
 *                  "objects": [{"type", "name", "what", "should", "is"}], "tables": ["user"]}],
 *      "down": [the same, and "lossy": false],
 *      "checks": [{"database", "integrity": "ok", "orphans_before": 0, "orphans": 0,
 *                  "shape_before": "sha256", "shape_after": "sha256"}],
 *      "warnings": [{"name", "line", "words"}],
 *      "ok": true, "error": null}
 *
 * "source" is "replica" or "live"; url and txid are null where it is live. "upload_bytes" is what a
 * replica of main was really sent, null for noise. "shape_equal" and "contents_equal" say whether
 * the state before the migration came back; null where it had been begun before. "objects" and
 * "tables" name what did not.
 */
#ifndef SCHEMA_REHEARSE_H
#define SCHEMA_REHEARSE_H

#include "schema/apply.h"

struct rehearse_options {
    const char
        *from; /* "replica", "live", or a replica's URL; NULL: the replica, if there is one */
    const char *keep; /* a directory in which the copies stay; NULL: they are removed */
};

/* RC_CONFLICT: a step failed, or revert or down did not bring back what it must: the words say
 * which, and *out is there and says more. Every other error: *out is untouched. RC_FULL: no room
 * for a copy. RC_NOTFOUND: no replica. RC_CANCELLED: schema->stop. */
MUST_USE rc rehearse_run(hf_schema *, const struct rehearse_options *, json_t **out, struct err *e);

#endif
