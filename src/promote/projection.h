/* A spec as SQL: what of a key and its value is in which column, and back.
 *
 * All of it is text for people to read, in a migration; json_extract and its like, no operators
 * that came later. `row` is put before a column's name: "new.", "p.", "".
 *
 * The same words mean the same everywhere:
 *
 *     node           the table
 *     node_kv        the keys as rows of the table; kv_why: why one does not fit
 *     node_value     the rows as keys and values
 *     node_differs   where the two do not agree
 *     node_v         the keys as a view that uses the indexes on DBX
 *     holdfast_reject(name, key, why, at_ms)   the keys that do not fit, of all promotions
 */
#ifndef PROMOTE_PROJECTION_H
#define PROMOTE_PROJECTION_H

#include "promote/spec.h"

/* A name as SQL has it: in quotes where it is a keyword. */
void put_name(struct buf *, const char *name);

/* Is `key` below the prefix? "new.Key >= '/node/' AND new.Key < '/node0'" */
void put_range(struct buf *, const struct spec *, const char *key);
/* A row's key: "'/node/' || new.id" */
void put_key(struct buf *, const struct spec *, const char *row);
/* Is a row of the table that of `key`? "id = substr(old.Key, 7) AND '/node/' || id = old.Key" */
void put_row_of(struct buf *, const struct spec *, const char *key);

enum { KEY_COLUMNS = 1, MEMBERS = 2, REST = 4 };
/* "new.id, new.name, new.extra"; lines of more than six are broken before `indent`. */
void put_columns(struct buf *, const struct spec *, int which, const char *row, const char *indent);
/* "(p.name, p.extra) IS (new.name, new.extra)"; `which` is of MEMBERS and REST. */
void put_same(struct buf *, const struct spec *, int which, const char *left, const char *is,
              const char *right, const char *indent);

/* SELECT kv_key, <columns>, kv_why FROM DBX ...: what node_kv is. */
void put_rows_of_keys(struct buf *, const struct spec *);
/* SELECT <key columns>, kv_key, kv_value FROM node: what node_value is. */
void put_values_of_rows(struct buf *, const struct spec *);
/* SELECT kv_key, kv_what ...: what node_differs is; of node_kv, node and holdfast_reject. */
void put_differences(struct buf *, const struct spec *);
/* SELECT <columns> FROM DBX ...: what node_v is. Its terms are those of the indexes on DBX. */
MUST_USE rc put_indexed(struct buf *, const struct spec *, struct err *e);
/* The CREATE INDEX of one column on DBX, as hf_kv_index makes it; *name is of the index. */
MUST_USE rc put_index(struct buf *, const struct spec *, const struct column *, char name[32],
                      struct err *e);
/* CREATE TABLE node(...) STRICT */
void put_table(struct buf *, const struct spec *);

#endif
