/* An application that runs under `holdfast replicate -exec`, the signals of both, and the word to
 * whoever started us. One thread calls everything here.
 *
 *     signals_catch(&wake, true); child_start(&c, "app --serve", &e); notify("READY=1");
 *     for (;;) { wait until woken; see signals_take, child_ended(&c) }
 */
#ifndef CLI_EXEC_H
#define CLI_EXEC_H

#include "base/rc.h"
#include "os/system.h"

#include <stdatomic.h>
#include <sys/types.h>

/* Caught from now on, each waking `watch`: SIGINT, SIGTERM, SIGUSR1; with an application also
 * SIGHUP (unless it was ignored), SIGQUIT, SIGUSR2 and the application's end. */
void signals_catch(struct watch *watch, bool with_application);
void signals_no_more(void); /* the watch may go */
/* Those that came since the last call, as bits 1 << number. */
unsigned signals_take(void);
/* How many of SIGINT and SIGTERM have come: the second one cuts a drain short. */
extern atomic_int stop_signals;
/* Set at the first of them: for work that must not be waited for. May be NULL. */
void signals_cancel(atomic_bool *flag);

/* As many as the system grants; the application gets what we were given. */
void descriptors_raise(unsigned wanted);

struct child {
    pid_t pid; /* 0: not started */
    bool ended, has_terminal;
    int status; /* as waitpid gives it, once ended */
};
/* `command` by /bin/sh -c, in a process group of its own, which gets the terminal if we have it.
 * `socket` becomes its HOLDFAST_SOCKET; NULL: it has none.
 * What it inherits: environment without secrets and without what was meant for us, standard input,
 * output and error, nothing else; signals as they were before signals_catch. It is told to end
 * (SIGTERM) when we die. */
MUST_USE rc child_start(struct child *, const char *command, const char *socket, struct err *e);
/* Takes the ends of processes; whether it has ended by now. Never waits. */
bool child_ended(struct child *);
void child_signal(const struct child *, int number); /* to all of its group */
/* Its own, or 128 + n for the signal that ended it. */
int child_exit_status(const struct child *);

/* To $NOTIFY_SOCKET, as sd_notify does; nobody asked: nothing. */
void notify(const char *state);

#endif
