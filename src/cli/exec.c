/* The application under replicate -exec: see the header.
 *
 * Why a process group of its own: each signal must reach the application once. In our group a
 * Ctrl-C would reach it twice, from the terminal and from us; and `sh -c 'a; b'` passes nothing on
 * to what it runs. So we pass signals on to all of the group, and lend it the terminal, as a shell
 * does.
 *
 * Why no pidfd: the kernel says SIGCHLD anyway, and as process 1 of a container we are sent the
 * ends of orphans, too.
 *
 * Invariants
 *  1. Between fork and exec only async-signal-safe calls are made: other threads may have held any
 *     lock.
 *  2. A handler only sets flags and wakes.
 */
#include "cli/exec.h"

#include "object/credentials.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- signals ---- */

atomic_int stop_signals;
static atomic_uint arrived;
static atomic_bool *_Atomic cancel_flag;
static struct watch *_Atomic signal_watch;

static void on_signal(int number) {
    int saved = errno;
    atomic_fetch_or(&arrived, 1u << number);
    if (number == SIGINT || number == SIGTERM) {
        stop_signals++;
        atomic_bool *flag = atomic_load(&cancel_flag);
        if (flag) atomic_store(flag, true);
    }
    if (signal_watch) watch_wake(signal_watch);
    errno = saved;
}

static void catch (int number) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(number, &action, NULL);
}

void signals_catch(struct watch *watch, bool with_application) {
    static const int ours[] = {SIGINT, SIGTERM, SIGUSR1};
    static const int passed_on[] = {SIGQUIT, SIGUSR2, SIGCHLD};
    struct sigaction before;
    signal_watch = watch;
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) catch (ours[i]);
    if (!with_application) return;
    for (size_t i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++) catch (passed_on[i]);
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) catch (SIGHUP);
}

void signals_no_more(void) {
    signal_watch = NULL;
}

unsigned signals_take(void) {
    return atomic_exchange(&arrived, 0);
}

void signals_cancel(atomic_bool *flag) {
    atomic_store(&cancel_flag, flag);
    if (flag && stop_signals) atomic_store(flag, true);
}

/* ---- the child ---- */

/* Beside credentials_variables: what leads to credentials, and what whoever started us meant for
 * our process alone. A name that ends in '*' stands for all that begin so. */
static const char *const kept_back[] = {
    "AWS_SECURITY_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_*",
    "HOLDFAST_SSE_CUSTOMER_KEY",
    "LITESTREAM_*",
    "NOTIFY_SOCKET",
    "WATCHDOG_*",
    "LISTEN_*",
    "HOLDFAST_SOCKET", /* ours is put in its place */
    NULL,
};

static bool is_named(const char *variable, const char *const *names) {
    size_t length = strcspn(variable, "=");
    for (; *names; names++) {
        size_t n = strlen(*names);
        bool begins = (*names)[n - 1] == '*';
        if (begins ? strncmp(variable, *names, n - 1) == 0
                   : length == n && strncmp(variable, *names, n) == 0)
            return true;
    }
    return false;
}

/* `more`: a variable of ours, or NULL. */
static char **environment_without_secrets(char *more) {
    size_t count = 0, kept = 0;
    while (environ[count]) count++;
    char **out = calloc(count + 2, sizeof *out);
    for (size_t i = 0; out && i < count; i++)
        if (!is_named(environ[i], credentials_variables) && !is_named(environ[i], kept_back))
            out[kept++] = environ[i];
    if (out) out[kept] = more;
    return out;
}

static struct rlimit descriptors; /* as we found them, if we raised them */

void descriptors_raise(unsigned wanted) {
    struct rlimit more;
    if (getrlimit(RLIMIT_NOFILE, &more) != 0 || more.rlim_cur >= wanted) return;
    descriptors = more;
    more.rlim_cur = more.rlim_max < wanted ? more.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &more) != 0) { /* forbidden: then fewer can wait at once */
    }
}

/* In the new process, up to exec. */
static void become(const char *command, char **environment, pid_t parent, bool terminal) {
    sigset_t none;
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    setpgid(0, 0);
    if (terminal) { /* SIGTTOU is ignored for the one moment in which we are in the background */
        struct sigaction ignore = {.sa_handler = SIG_IGN};
        sigaction(SIGTTOU, &ignore, NULL);
        tcsetpgrp(STDIN_FILENO, getpid());
        sigaction(SIGTTOU, &by_default, NULL);
    }
    sigaction(SIGPIPE, &by_default, NULL); /* exec resets what is caught, not what is ignored */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_TIMERSLACK, 50000UL); /* the kernel's own: it is inherited */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(126); /* it died before that */
    closefrom(STDERR_FILENO + 1);
    if (descriptors.rlim_cur) setrlimit(RLIMIT_NOFILE, &descriptors);
    execle("/bin/sh", "sh", "-c", command, (char *)NULL, environment);
    _exit(127);
}

rc child_start(struct child *c, const char *command, const char *socket, struct err *e) {
    pid_t parent = getpid();
    char variable[LIMIT_PATH + 32];
    snprintf(variable, sizeof variable, "HOLDFAST_SOCKET=%s", socket ? socket : "");
    char **environment = environment_without_secrets(socket ? variable : NULL);
    if (!environment) return err_set(e, RC_NOMEM, "no memory");
    c->has_terminal = tcgetpgrp(STDIN_FILENO) == getpgrp();
    c->pid = fork();
    if (c->pid == 0) become(command, environment, parent, c->has_terminal);
    int errnum = errno;
    free(environment);
    if (c->pid < 0) {
        c->pid = 0;
        return err_errno(e, errnum, "fork");
    }
    setpgid(c->pid, c->pid); /* here, too: a signal may be passed on before it has got there */
    return ok();
}

/* Ctrl-Z stops the application and not us, so that nobody gets the terminal: let it go on. */
static void go_on(const struct child *c, int status) {
    if (c->has_terminal && WSTOPSIG(status) == SIGTSTP) kill(-c->pid, SIGCONT);
}

static void take_terminal_back(const struct child *c) {
    if (!c->has_terminal) return;
    signal(SIGTTOU, SIG_IGN);
    tcsetpgrp(STDIN_FILENO, getpgrp());
    signal(SIGTTOU, SIG_DFL);
}

bool child_ended(struct child *c) {
    int status;
    pid_t pid;
    while (c->pid && (pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (pid != c->pid) continue;
        if (WIFSTOPPED(status)) {
            go_on(c, status);
            continue;
        }
        c->ended = true;
        c->status = status;
        take_terminal_back(c);
    }
    return c->ended;
}

void child_signal(const struct child *c, int number) {
    if (c->pid && !c->ended) kill(-c->pid, number);
}

int child_exit_status(const struct child *c) {
    return WIFSIGNALED(c->status) ? 128 + WTERMSIG(c->status) : WEXITSTATUS(c->status);
}

/* ---- the word to the service manager ---- */

void notify(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof to.sun_path) return;
    memcpy(to.sun_path, path, strlen(path));
    if (path[0] == '@') to.sun_path[0] = 0; /* an abstract one: not ended by a zero */
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to, size) < 0) {
        /* a courtesy: whoever waits for it has a deadline of its own */
    }
    close(fd);
}
