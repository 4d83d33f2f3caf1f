/* The text of an object of a schema in the one form that all texts of the same meaning have.
 *
 * Alike are: blanks and comments; the case of words; quotes around a name; what ALTER TABLE leaves
 * (a column that it added, a name that it quoted, a string in double quotes that it gave single
 * ones) and the same typed by hand; the order of a column's constraints and of STRICT and WITHOUT
 * ROWID; a NULL that only says that NULL is allowed.
 */
#ifndef SCHEMA_CANONICAL_H
#define SCHEMA_CANONICAL_H

#include "base/bytes.h"
#include "base/rc.h"

/* Whether "word", which stands in double quotes, is the name of something: else it is a string. */
typedef bool canonical_known(void *arg, const char *word);

/* `sql` as sqlite_schema has it, without the object's own name; appended to `out`, which tells
 * failure (buf_check). */
void canonical(const char *sql, canonical_known *known, void *arg, struct buf *out);

#endif
