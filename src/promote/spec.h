/* A spec: which keys become a table, and how. Written by analyze, edited by people.
 *
 *     -- holdfast:promote node prefix=/node/ key=/node/{id}
 *     -- col id    TEXT key
 *     -- col name  TEXT $.name notnull
 *     -- col ip    TEXT $.ip index
 *     -- col up    BOOL $.up
 *     -- col city  TEXT $.address."the city"
 *     -- rest extra
 *
 * A line that begins with "---" is a remark. A value of the first line may stand in quotes, with \"
 * for a quote in it. db=noise: the keys are in noise. Source: docs/promote.md 2.
 *
 * Invariants of one that was parsed
 *  1. Names are letters, digits and underscores; no two are the same in any case.
 *  2. key= begins with prefix=; each of its parts is a column, and each key column one part;
 *     between two parts there is text.
 *  3. No path is the beginning of another, and none has a step into an array: what is taken out of
 *     a value can be put back.
 *  4. spec_print writes what spec_parse reads as the same.
 */
#ifndef PROMOTE_SPEC_H
#define PROMOTE_SPEC_H

#include "base/bytes.h"
#include "base/rc.h"

#include <stddef.h>

#define LIMIT_SPEC (1u << 20) /* bytes of a spec */
#define LIMIT_SPEC_NAME 40u   /* bytes of a name */
#define LIMIT_SPEC_COLUMNS 100u
#define LIMIT_SPEC_PARTS 4u          /* of a key */
#define SPEC_MARK "holdfast:promote" /* of the first line */

enum column_type { COLUMN_TEXT, COLUMN_INT, COLUMN_REAL, COLUMN_BOOL };
const char *column_type_name(enum column_type); /* "TEXT" */

struct column {
    char name[LIMIT_SPEC_NAME + 1];
    enum column_type type;
    char *path; /* "$.ip", in the one spelling of store/kv.h; NULL: of the key */
    bool notnull, index;
};

struct spec {
    char name[LIMIT_SPEC_NAME + 1], rest[LIMIT_SPEC_NAME + 1];
    bool noise;
    char *prefix;
    /* literal[0] column[part[0]] literal[1] column[part[1]] ... literal[part_count], "" at its
     * end. */
    char *literal[LIMIT_SPEC_PARTS + 1];
    size_t part[LIMIT_SPEC_PARTS], part_count;
    struct column column[LIMIT_SPEC_COLUMNS];
    size_t count;
};

/* `name` is for errors: "node.promote:3: ...". RC_CORRUPT: it is no spec, and why. */
MUST_USE rc spec_parse(const char *name, const char *text, size_t size, struct spec **out,
                       struct err *e);
void spec_free(struct spec *); /* NULL is fine */
/* Can a table or a column of a promotion be called so? RC_CORRUPT: why not. */
MUST_USE rc spec_check_name(const char *name, struct err *e);
/* "/node/{id}" */
void spec_print_key(const struct spec *, struct buf *out);
/* " prefix=/node/", in quotes where it must be */
void spec_print_value(struct buf *out, const char *name, const char *value);
/* Each line behind `indent`. */
void spec_print(const struct spec *, const char *indent, struct buf *out);
/* "text" by sqlite3_mprintf's form: %Q, %w. */
void buf_say(struct buf *, const char *fmt, ...);

#endif
