/* The text of a CREATE TABLE, changed by words and not by patterns.
 *
 * The texts are as sqlite_schema keeps them or as a migration has them. What is not changed stays
 * as it was written, comments and all. What comes out is freed with sqlite3_free. Whether it is
 * right is SQLite's to say, when it is run: here only its outline is known, down to the constraints
 * of a column.
 */
#ifndef SCHEMA_REBUILD_SQL_H
#define SCHEMA_REBUILD_SQL_H

#include "schema/file.h"

/* The operations of a rebuild, one after the other (fill= changes no text). RC_USAGE: no such
 * column, or a value that is more than one thing. */
MUST_USE rc create_edit(const char *sql, const struct rebuild *, char **out, struct err *e);
/* RC_USAGE: it is no CREATE TABLE of `table` with columns. */
MUST_USE rc create_check(const char *sql, const char *table, struct err *e);
/* For a table called `name`. `table`.column in it becomes column: to the whole of a CREATE TABLE
 * that is the same. */
MUST_USE rc create_named(const char *sql, const char *table, const char *name, char **out,
                         struct err *e);

/* RC_USAGE: a parenthesis too many or too few, a semicolon. */
MUST_USE rc expression_check(const char *text, struct err *e);

/* Has the text this word, out of quotes? */
bool sql_has(const char *sql, const char *word);
/* Is the name in double quotes in it? Where no column has that name SQLite takes it for a text. */
bool sql_quotes(const char *sql, const char *name);
/* CREATE TRIGGER ... UPDATE OF `column`? */
bool trigger_watches(const char *sql, const char *column);

#endif
