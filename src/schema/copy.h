/* Copies of a database, to try things on, and the directory in which they lie.
 *
 * The directory is beside the database, or in $TMPDIR where there is no room or no permission. It
 * is called .app.db-rehearsal-<16 digits>, and goes with work_close; of a process that was killed
 * the next one finds it by that name, and by its lock, which nobody holds any more.
 *
 * The original is only read: no byte of it or of its log is changed, and none is checkpointed.
 */
#ifndef SCHEMA_COPY_H
#define SCHEMA_COPY_H

#include "os/system.h"
#include "schema/conn.h"

struct work {
    struct env *env;
    char dir[LIMIT_PATH];
    struct lock_file lock;
    bool keep;
};

/* With room for so many bytes, or RC_FULL. `keep`: a directory that is made, or empty, and stays;
 * NULL: none. RC_CONFLICT: it is not empty. */
MUST_USE rc work_open(hf_schema *, const char *keep, uint64_t bytes, struct work *out,
                      struct err *e);
void work_close(struct work *); /* and all in it; nothing, if it was not opened */
void work_path(const struct work *, const char *name, char out[LIMIT_PATH]);
/* A database of it, with its log. */
void work_remove(const struct work *, const char *path);

/* To be read; sconn_close. */
MUST_USE rc original_open(hf_schema *, bool noise, struct sconn *out, struct err *e);
/* Of its file and its log; 0: there is none. */
uint64_t copy_size(hf_schema *, bool noise);
/* All pages as they are at one moment, in a new file. RC_CANCELLED: schema->stop. */
MUST_USE rc copy_database(hf_schema *, sqlite3 *from, const char *to, struct err *e);
MUST_USE rc copy_original(hf_schema *, bool noise, const char *to, struct err *e);
/* Of main, from its replica; `url` then is as people may see it. */
MUST_USE rc copy_restored(hf_schema *, char url[LIMIT_PATH], const char *to, uint64_t *txid,
                          struct err *e);

#endif
