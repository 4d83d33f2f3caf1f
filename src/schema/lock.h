/* Who is here, and whose turn it is: kernel locks on one file beside main, "app.db-schema".
 *
 * Open-file-description locks (fcntl(2), F_OFD_SETLK) on single bytes. The kernel gives them back
 * when their holder dies, however it dies; the file is empty and means nothing by being there.
 *
 *     byte 0        the turn: who changes the schema has it alone, for the whole run
 *     byte 1        the gate: a contract has it alone, who comes to be a client shares it
 *     byte 16+slot  a client, from its opening to its close
 *
 * Any thread. In a child of fork() a handle takes nothing (RC_USAGE) and gives nothing back; but
 * the parent's locks last until the child has closed it, called execve(2) or ended, unless the
 * parent gives them back itself.
 */
#ifndef SCHEMA_LOCK_H
#define SCHEMA_LOCK_H

#include "base/rc.h"
#include "os/env.h"

#define LOCK_TURN 0
#define LOCK_GATE 1
#define LOCK_CLIENT 16
#define LOCK_CLIENTS 4096
#define LOCK_ID 64

struct lock; /* one open file; its locks end with it */

/* Opens, makes if need be, and makes sure that the file is the one that lies there. `env` is for
 * lock_wait alone. */
MUST_USE rc lock_open(struct env *, const char *database, struct lock **out, struct err *e);
void lock_close(struct lock *); /* NULL is fine */
/* RC_BUSY: somebody has it. RC_CONFLICT: the file was removed, or replaced, since it was opened: a
 * lock on it would keep nobody out. */
MUST_USE rc lock_take(struct lock *, int byte, bool shared, struct err *e);
/* Waits until the deadline (env->mono_ns), RC_TIMEOUT. */
MUST_USE rc lock_wait(struct lock *, int byte, bool shared, int64_t deadline_ns, struct err *e);
void lock_release(struct lock *, int byte);
/* Does another handle, of this process or any, hold it? */
MUST_USE rc lock_held(struct lock *, int byte, bool *held, struct err *e);
/* The first byte in [from, to) that another handle holds; -1: none. */
MUST_USE rc lock_next(struct lock *, int from, int to, int *byte, struct err *e);
/* Which file it is, as a word: another one under the same name has another. */
void lock_id(const struct lock *, char out[LOCK_ID]);

#endif
