/* What a statement does to the objects of a schema. Private to breaks.c and lint.c. */
#ifndef SCHEMA_DEEDS_H
#define SCHEMA_DEEDS_H

#include "schema/file.h"

#include <jansson.h>

#define DEED_KEY_SIZE 200

struct deed {
    enum { DOES_ELSE, CREATES, DROPS, ALTERS } verb;
    struct token kind, name, then; /* TABLE; user; what follows */
    bool maybe;                    /* IF NOT EXISTS */
};
struct deed deed_of(const char *sql);
/* "table user"; false: the name is too long to be compared. */
bool deed_key(struct token kind, struct token name, char out[DEED_KEY_SIZE]);

/* What a migration made is nobody else's: an object with the keys of what is there by its doing.
 * False: no memory, and it is as if it had not been made. */
MUST_USE bool deed_remember(json_t *created, const struct statement *);
bool deed_is_own(const json_t *created, const struct statement *);

/* The line of the first statement that breaks; 0: none does. *forgot is set when there was no
 * memory to tell what is the migration's own. */
int first_break(const struct migration *, bool *forgot);

#endif
