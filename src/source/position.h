/* A position: a place in the history of one database's commits, as its log tells it.
 *
 * It is read from the wal-index header through a connection's own handles, so it costs no lock, no
 * statement and no descriptor. It covers every commit that had returned before it was read. It
 * means something to whoever holds that database now, and nothing to a later run: there it is
 * refused, never guessed.
 */
#ifndef SOURCE_POSITION_H
#define SOURCE_POSITION_H

#include "base/rc.h"

#include <sqlite3.h>
#include <stdint.h>

#define POSITION_TEXT_SIZE 32

enum position_kind {
    POSITION_NOW = 0,     /* everything committed before it is asked about */
    POSITION_FRAME = 1,   /* up to a frame of a log */
    POSITION_NOTHING = 2, /* there is nothing to wait for: noise, an empty transaction */
};

struct position {
    uint32_t kind, frame, salt[2]; /* of its log, mixed with the boot in which it was taken */
};
struct position position_of(uint32_t frame, const uint32_t salt[2]); /* in this boot */

/* Of everything committed to `schema` ("main") of a connection that is in WAL mode and has read
 * once. RC_USAGE: not in WAL mode. RC_BUSY: a commit is being published; ask again. */
MUST_USE rc position_read(sqlite3 *, const char *schema, struct position *out, struct err *);

/* "now", "nothing", or salts and frame: "5f1e22a09b3c4d10-1234". */
void position_text(const struct position *, char out[POSITION_TEXT_SIZE]);
bool position_parse(const char *text, struct position *out);

#endif
