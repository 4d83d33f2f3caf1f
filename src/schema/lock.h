/* Who is here, and whose turn it is: kernel locks on one file beside main, "app.db-schema".
 *
 * Open-file-description locks (fcntl(2), F_OFD_SETLK) on single bytes. The kernel gives them back
 * when their holder dies, however it dies; the file is empty and means nothing by being there.
 *
 *     byte 0        the turn: who changes the schema has it alone, for the whole run
 *     byte 1        the gate: a contract has it alone, who comes to be a client shares it
 *     byte 16+slot  a client, from its opening to its close
 *
 * Any thread. A handle is closed by a child of fork() without harm, and does not hold in it.
 */
#ifndef SCHEMA_LOCK_H
#define SCHEMA_LOCK_H

#include "base/rc.h"
#include "os/env.h"

#define LOCK_TURN 0
#define LOCK_GATE 1
#define LOCK_CLIENT 16
#define LOCK_CLIENTS 4096

struct lock; /* one open file; its locks end with it */

/* Opens, makes if need be, and makes sure that the file is the one that lies there. */
MUST_USE rc lock_open(struct env *, const char *database, struct lock **out, struct err *e);
void lock_close(struct lock *); /* NULL is fine */
/* RC_BUSY: somebody has it. */
MUST_USE rc lock_take(struct lock *, int byte, bool shared, struct err *e);
/* Waits until the deadline (env->mono_ns), RC_TIMEOUT. */
MUST_USE rc lock_wait(struct lock *, int byte, bool shared, int64_t deadline_ns, struct err *e);
void lock_release(struct lock *, int byte);
/* Does another handle, of this process or any, hold it? */
MUST_USE rc lock_held(struct lock *, int byte, bool *held, struct err *e);

#endif
