/* Torture: every allocation and every system call of an operation fails once, and from then on.
 *
 *     torture [--count 20000] [--seconds 0] [--seed 1] [--operation NAME] [--jobs 2] [--build DIR]
 *             [--call NAME]             only of this system call, or malloc
 *     torture --only source:pwrite:23:EIO+
 *
 * A run in which nothing fails counts the points of each operation. Where there are more than
 * wanted, each operation gets an equal part, and within it every k-th is taken, from one that the
 * seed chooses. A point is: the n-th allocation, or the n-th call of a name, how it fails
 * (points.c), and whether that lasts ("+").
 *
 * Of each point it is checked that the process does not crash, hang, lose memory or leave a
 * descriptor open; that an error has words and, of a command, an exit status of the man page; that
 * an answer is the right one or an error; and what the operation itself checks: that what was said
 * to be safe can be restored, from the destination alone, and that the next run goes on.
 *
 * A point behind the end of a run whose threads took another order did not fire; an earlier one is
 * taken in its place. Two lines come at the end, one for each kind of point.
 */
#include "operations.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OPERATIONS_MOST 64
#define DESCRIPTORS 256
#define SAID_MOST 65536
#define DEADLINE_S 60
#define SHOWN_MOST 5 /* findings of an operation and a kind that are printed */
#define EXIT_STATUS_MOST 10
#define CALL_ANY (-2)
#define CALL_MALLOC (-1)

struct outcome *outcome;
struct err sure_err;

/* Crashes that are not ours: words of the backtrace, and why nobody here can do anything about
 * it. */
static const struct {
    const char *function, *why;
} in_libraries[] = {
    {"GetThreadStackTopAndBottom",
     "AddressSanitizer, where a thread begins and there is no memory"},
    {NULL, NULL},
};

struct tally {
    atomic_ullong ran, unfired, succeeded, refused, found, crashed, hung, leaked, wrong_acks,
        libraries;
};

struct work {
    const struct operation *operation;
    uint64_t counted[POINT_KINDS], points[POINT_KINDS], wanted[POINT_KINDS];
    uint8_t *trace;
    struct tally tally[POINT_KINDS];
    bool shared[POINT_KINDS]; /* `wanted` is settled */
    int line;                 /* to its worker: it says that it is ready, and is told to go */
    pid_t worker;
    int64_t until_ns; /* INT64_MAX: no limit */
    struct outcome *outcome;
};

static struct work *works; /* shared with all workers */
static int work_count;
static char root[64];
static struct {
    uint64_t count, seed;
    int64_t seconds;
    int jobs;
    const char *only, *operation;
    int call; /* points of this one only; CALL_ANY, CALL_MALLOC */
} want = {.count = 20000, .seed = 1, .jobs = 2, .call = CALL_ANY};
static const char *self;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void *shared(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) abort();
    return p;
}

noreturn void found(const char *fmt, ...) {
    va_list args;
    points_pause();
    va_start(args, fmt);
    if (!outcome->found[0]) vsnprintf(outcome->found, sizeof outcome->found, fmt, args);
    va_end(args);
    _exit(1);
}

void said(rc r, const struct err *e) {
    outcome->code = (int)r.code;
    if (!is_ok(r)) snprintf(outcome->words, sizeof outcome->words, "%.*s", 500, e->text);
}

/* ---- a point's name ---- */

static void point_name(const struct operation *op, const struct point *p, char out[120]) {
    snprintf(out, 120, "%s:%s:%" PRIu64 ":%s%s", op->name,
             p->kind == POINT_CALL ? call_name(p->call) : "malloc", p->at,
             p->kind == POINT_CALL ? way_name(p->way) : "NULL", p->onward ? "+" : "");
}

/* ---- in the child: run, and count what is left ---- */

#ifndef SANITIZED
static void crashed(int sig) {
    void *from[32];
    points_stop();
    points_pause();
    backtrace_symbols_fd(from, backtrace(from, 32), STDERR_FILENO);
    signal(sig, SIG_DFL);
    raise(sig);
}
#endif

static void watch_crashes(void) {
#ifndef SANITIZED /* it says more */
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    void *warm[1];
    (void)backtrace(warm, 1); /* its first call loads a library */
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) signal(signals[i], crashed);
#endif
}

static void open_descriptors(bool out[DESCRIPTORS]) {
    for (int fd = 0; fd < DESCRIPTORS; fd++) out[fd] = fcntl(fd, F_GETFD) >= 0;
}

static void tell_lost(size_t bytes, void *const *from, int depth) {
    fprintf(stderr, "lost: %zu bytes, allocated by\n", bytes);
    backtrace_symbols_fd(from, depth, STDERR_FILENO);
}

static void redirect(const char *path, int to) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (fd < 0 || dup2(fd, to) < 0 || close(fd) != 0) abort();
}

static noreturn void run_child(const struct operation *op, const struct point *p, uint8_t *trace) {
    bool before[DESCRIPTORS], after[DESCRIPTORS];
    char link[40], path[200];
    redirect("said.out", STDOUT_FILENO);
    redirect("said.err", STDERR_FILENO);
    watch_crashes();
    alarm(DEADLINE_S);
    open_descriptors(before);
    blocks_watch(want.only != NULL);
    if (p) points_arm(p, &outcome->seen, want.only != NULL);
    else {
        outcome->seen.trace = trace;
        points_count(&outcome->seen);
    }
    points_resume();
    op->run();
    points_pause();
    points_stop();
    open_descriptors(after);
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        if (!after[fd] || before[fd]) continue;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        found("DESCRIPTOR left open: %.*s", n > 0 ? (int)n : 1, n > 0 ? path : "?");
    }
    int lost = blocks_lost(tell_lost);
    if (lost) found("LEAK: %d blocks", lost);
    outcome->ended = true;
    _exit(0);
}

/* ---- in its parent: what is to be said of it ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_all(const char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static size_t read_said(const char *path, char out[SAID_MOST]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, SAID_MOST - 1);
    if (fd >= 0) close(fd);
    out[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

/* Each number becomes one '0', and so do the blanks before it. */
static void keep_shape(char *text) {
    char *to = text;
    for (const char *p = text; *p; p++) {
        bool in_number = to > text && to[-1] == '0';
        bool digit = (*p >= '0' && *p <= '9') || (*p == '.' && in_number);
        if (digit && in_number) continue;
        while (digit && to > text && to[-1] == ' ') to--;
        *to++ = digit ? '0' : *p;
    }
    *to = 0;
}

/* The directory of the run, which is another one each time, is called "here". */
static void read_answer(const struct operation *op, char out[SAID_MOST]) {
    static char text[SAID_MOST];
    char dir[300];
    if (!getcwd(dir, sizeof dir)) abort();
    read_said("said.out", text);
    char *to = out, *from = text;
    for (char *p; (p = strstr(from, dir)); from = p + strlen(dir)) {
        to = mempcpy(to, from, (size_t)(p - from));
        to = mempcpy(to, "here", 4);
    }
    strcpy(to, from);
    if (op->answer == ANSWER_SHAPE) keep_shape(out);
}

struct baseline {
    int code;
    char answer[SAID_MOST];
};

/* Fills outcome->found. */
static void judge(const struct operation *op, const struct baseline *base) {
    static char text[SAID_MOST];
    char *out = outcome->found;
    size_t room = sizeof outcome->found;
    if (!outcome->code && op->never_0)
        snprintf(out, room, "WRONG ANSWER: it said that all is well");
    if (op->is_command && (outcome->code < 0 || outcome->code > EXIT_STATUS_MOST))
        snprintf(out, room, "exit status %d is not in the man page", outcome->code);
    if (op->is_command && outcome->code != base->code && !read_said("said.err", text) &&
        !read_said("said.out", text))
        snprintf(out, room, "exit status %d, and not a word", outcome->code);
    if (!op->is_command && outcome->code && !outcome->words[0])
        snprintf(out, room, "code %d has no words", outcome->code);
    if (op->answer == ANSWER_ANY || outcome->code != base->code) return;
    read_answer(op, text);
    if (strcmp(text, base->answer) != 0)
        snprintf(out, room, "WRONG ANSWER with status %d: %.300s", outcome->code, text);
}

static pid_t begin_child(void) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) abort();
    return pid;
}

static void check(const struct operation *op) {
    int status;
    pid_t pid = begin_child();
    if (pid == 0) {
        redirect("check.err", STDERR_FILENO);
        watch_crashes();
        alarm(2 * DEADLINE_S);
        op->check();
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0) continue;
    if (!outcome->found[0] && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        snprintf(outcome->found, sizeof outcome->found, "the check itself ended with %d", status);
}

enum end { END_WELL, END_FOUND, END_CRASHED, END_HUNG, END_LIBRARY };

static enum end crash_of(int status) {
    static char text[SAID_MOST];
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        snprintf(outcome->found, sizeof outcome->found, "HANGS: not ended after %d s", DEADLINE_S);
        return END_HUNG;
    }
    read_said("said.err", text);
    for (size_t i = 0; in_libraries[i].function; i++)
        if (strstr(text, in_libraries[i].function)) return END_LIBRARY;
    snprintf(outcome->found, sizeof outcome->found, "CRASH: %s %d",
             WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exit", WEXITSTATUS(status));
    return END_CRASHED;
}

static enum end attend(const struct operation *op, const struct point *p, uint8_t *trace,
                       const struct baseline *base) {
    int status;
    memset(outcome, 0, sizeof *outcome);
    outcome->nothing_fails = !p;
    if (p) outcome->point = *p;
    pid_t pid = begin_child();
    if (pid == 0) run_child(op, p, trace);
    while (waitpid(pid, &status, 0) < 0) continue;
    enum end end = END_WELL;
    if (!outcome->found[0]) {
        if (!WIFEXITED(status) || !outcome->ended) end = crash_of(status);
        else if (base) judge(op, base);
    }
    if (!outcome->found[0] && op->check) check(op);
    return end == END_WELL && outcome->found[0] ? END_FOUND : end;
}

/* A directory of its own, beside seed, in which everything happens. */
static void enter(const char *name) {
    if (mkdir(name, 0700) != 0 || chdir(name) != 0) abort();
    char run[300];
    if (!getcwd(run, sizeof run - 4) || mkdir("run", 0700) != 0) abort();
    strcat(run, "/run");
    setenv("RUNTIME_DIRECTORY", run, 1);
}

static void leave(const char *name) {
    if (chdir("..") != 0) abort();
    remove_all(name);
}

static void count_end(struct tally *t, enum end end) {
    const char *f = outcome->found;
    if (end == END_LIBRARY) t->libraries++;
    else if (f[0]) t->found++;
    t->crashed += end == END_CRASHED;
    t->hung += end == END_HUNG;
    t->leaked += strncmp(f, "LEAK", 4) == 0 || strncmp(f, "DESCRIPTOR", 10) == 0;
    t->wrong_acks += strncmp(f, "WRONG ACK", 9) == 0;
    if (end == END_WELL) outcome->code ? t->refused++ : t->succeeded++;
}

static void tell_found(struct work *w, const struct point *p) {
    char name[120];
    point_name(w->operation, p, name);
    if (w->tally[p->kind].found > SHOWN_MOST) return;
    printf("found: %s: %s\n  replay: %s --only %s\n", name, outcome->found, self, name);
    fflush(stdout);
}

/* ---- the points of an operation ---- */

/* The i-th of all. */
static struct point point_at(const struct work *w, enum point_kind kind, uint64_t i) {
    if (kind == POINT_ALLOCATION) return (struct point){kind, 0, i / 2 + 1, 0, i % 2};
    uint64_t of_call[256] = {0};
    for (uint64_t n = 0; n < w->counted[kind]; n++) {
        unsigned call = w->trace[n];
        of_call[call]++;
        for (unsigned which = 0; call_way(call, which); which++) {
            int way = call_way(call, which);
            unsigned modes = way_may_last(way) ? 2 : 1;
            if (i < modes) return (struct point){kind, call, of_call[call], way, i == 1};
            i -= modes;
        }
    }
    abort();
}

static uint64_t points_of(const struct work *w, enum point_kind kind) {
    if (kind == POINT_ALLOCATION) return 2 * w->counted[kind];
    uint64_t n = 0;
    for (uint64_t i = 0; i < w->counted[kind]; i++)
        for (unsigned which = 0; call_way(w->trace[i], which); which++)
            n += way_may_last(call_way(w->trace[i], which)) ? 2 : 1;
    return n;
}

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t greatest_divisor(uint64_t a, uint64_t b) {
    return b ? greatest_divisor(b, a % b) : a;
}

/* One point, or one before it where it did not fire. */
static void run_point(struct work *w, struct point p, const struct baseline *base) {
    struct tally *t = &w->tally[p.kind];
    char name[40];
    enum end end = END_WELL;
    snprintf(name, sizeof name, "p%d", (int)getpid());
    for (int tries = 0; tries < 4; tries++, p.at -= p.at / 4) {
        enter(name);
        end = attend(w->operation, &p, NULL, base);
        leave(name);
        if (outcome->seen.fired || outcome->found[0]) break;
        t->unfired++;
    }
    if (!outcome->seen.fired && !outcome->found[0]) return;
    t->ran++;
    count_end(t, end);
    if (outcome->found[0] && end != END_LIBRARY) tell_found(w, &p);
}

/* Every `jobs`-th of those that are wanted, in an order in which time may run out at any moment. */
static void run_points(struct work *w, int job, int jobs, const struct baseline *base) {
    uint64_t count[POINT_KINDS], all = 0;
    for (int k = 0; k < POINT_KINDS; k++) all += count[k] = w->wanted[k];
    uint64_t stride = all * 618 / 1000 + 1;
    while (all && greatest_divisor(stride, all) != 1) stride++;
    for (uint64_t i = (uint64_t)job; i < all && now_ns() < w->until_ns; i += (uint64_t)jobs) {
        uint64_t at = i * stride % all;
        enum point_kind kind = at < count[0] ? POINT_ALLOCATION : POINT_CALL;
        if (kind) at -= count[0];
        uint64_t from = mix(want.seed) % w->points[kind];
        uint64_t which = (at * w->points[kind] / count[kind] + from) % w->points[kind];
        run_point(w, point_at(w, kind, which), base);
    }
}

/* OPERATION:CALL:N:MODE, CALL a system call's name or malloc. */
static bool parse_only(struct point *p) {
    char call[24], mode[24];
    if (sscanf(want.only, "%*[^:]:%23[^:]:%" SCNu64 ":%23s", call, &p->at, mode) != 3) return false;
    int number = call_named(call);
    p->kind = number < 0 ? POINT_ALLOCATION : POINT_CALL;
    p->call = number < 0 ? 0 : (unsigned)number;
    size_t n = strlen(mode);
    p->onward = mode[n - 1] == '+';
    if (p->onward) mode[n - 1] = 0;
    p->way = way_named(mode);
    return p->at && (number < 0 ? strcmp(call, "malloc") == 0 : p->way != 0);
}

static void show(const char *path) {
    static char text[SAID_MOST];
    if (read_said(path, text)) fputs(text, stderr);
}

static int replay(struct work *w, const struct baseline *base) {
    struct point p = {0};
    if (!parse_only(&p)) {
        fprintf(stderr, "--only %s: not OPERATION:CALL:N:MODE\n", want.only);
        return 2;
    }
    enter("only");
    enum end end = attend(w->operation, &p, NULL, base);
    show("said.out");
    show("said.err");
    show("check.err");
    leave("only");
    struct tally *t = &w->tally[p.kind];
    t->ran = outcome->seen.fired > 0;
    count_end(t, end);
    fprintf(stderr, "%s: code %d, %s, acked %" PRIu64 " of %" PRIu64 "%s%s\n", want.only,
            outcome->code, outcome->words[0] ? outcome->words : "no words", outcome->acked,
            outcome->committed, outcome->found[0] ? ", found: " : "", outcome->found);
    return 0;
}

/* ---- a worker: prepares, counts, waits for its turn, and shares it ---- */

static void keep_wanted(struct work *w, enum point_kind kind) {
    uint64_t kept = 0;
    if (kind == POINT_ALLOCATION && want.call == CALL_MALLOC) return;
    for (uint64_t i = 0; kind == POINT_CALL && i < w->counted[kind]; i++)
        if (w->trace[i] == want.call) w->trace[kept++] = (uint8_t)want.call;
    w->counted[kind] = kept;
}

static void count_points(struct work *w, struct baseline *base) {
    const struct operation *op = w->operation;
    enter("baseline");
    (void)attend(op, NULL, w->trace, NULL);
    if (outcome->found[0] || !outcome->ended || (!outcome->code == op->never_0)) {
        show("said.out");
        show("said.err");
        fprintf(stderr, "%s: with nothing that fails: code %d, %s %s\n", op->name, outcome->code,
                outcome->words, outcome->found);
        exit(2);
    }
    base->code = outcome->code;
    read_answer(op, base->answer);
    leave("baseline");
    for (int k = 0; k < POINT_KINDS; k++) {
        w->counted[k] = outcome->seen.counted[k];
        if (k == POINT_CALL && w->counted[k] > TRACE_MOST) w->counted[k] = TRACE_MOST;
        if (want.call != CALL_ANY) keep_wanted(w, (enum point_kind)k);
        w->points[k] = points_of(w, (enum point_kind)k);
    }
}

static int work(struct work *w, int line) {
    static struct baseline base;
    char dir[120], byte = 0;
    snprintf(dir, sizeof dir, "%s/%s", root, w->operation->name);
    if (mkdir(dir, 0700) != 0 || chdir(dir) != 0) abort();
    outcome = w->outcome;
    points_pause(); /* until a child runs */
    enter("seed");
    if (w->operation->prepare) w->operation->prepare();
    if (chdir("..") != 0) abort();
    count_points(w, &base);
    if (write(line, &byte, 1) != 1 || read(line, &byte, 1) != 1) return 0;
    if (want.only) return replay(w, &base);
    int jobs = w->operation->waits ? 8 * want.jobs : want.jobs;
    for (int job = 0; job < jobs; job++) {
        if (begin_child() != 0) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        outcome = shared(sizeof *outcome);
        run_points(w, job, jobs, &base);
        exit(0);
    }
    int status, bad = 0;
    while (wait(&status) > 0) bad |= status;
    return bad ? 2 : 0;
}

/* ---- the whole ---- */

static const struct operation *const rooms[] = {source_operations, store_operations,
                                                command_operations, bucket_operations};

static bool is_wanted(const struct operation *op) {
    size_t n = strlen(op->name);
    if (want.only) return strncmp(want.only, op->name, n) == 0 && want.only[n] == ':';
    return want.operation ? strcmp(want.operation, op->name) == 0 : !op->only_named;
}

static void begin_worker(struct work *w, const struct operation *op) {
    int line[2];
    w->operation = op;
    w->trace = shared(TRACE_MOST);
    w->outcome = shared(sizeof *w->outcome);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) != 0) abort();
    w->worker = begin_child();
    if (w->worker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(line[0]);
        exit(work(w, line[1]));
    }
    close(line[1]);
    w->line = line[0];
}

static bool await_ready(struct work *w) {
    char byte;
    if (read(w->line, &byte, 1) == 1) return true;
    fprintf(stderr, "torture: %s could not be prepared: %s\n", w->operation->name,
            w->outcome->found);
    return false;
}

/* Each operation and kind gets the same part, or all that it has; what is left over goes to the
 * others. */
static void share_out(void) {
    uint64_t left = want.count;
    int open = work_count * POINT_KINDS;
    for (bool again = true; again && open;) {
        again = false;
        uint64_t part = left / (uint64_t)open;
        for (int i = 0; i < work_count * POINT_KINDS; i++) {
            struct work *w = &works[i / POINT_KINDS];
            int k = i % POINT_KINDS;
            if (w->shared[k] || w->points[k] > part) continue;
            w->shared[k] = true;
            w->wanted[k] = w->points[k];
            left -= w->points[k];
            open--;
            again = true;
        }
    }
    for (int i = 0; i < work_count * POINT_KINDS; i++) {
        struct work *w = &works[i / POINT_KINDS];
        if (!w->shared[i % POINT_KINDS]) {
            w->wanted[i % POINT_KINDS] = left / (uint64_t)open;
            left -= left / (uint64_t)open--;
        }
    }
}

static bool run_worker(struct work *w, int64_t until_ns) {
    int status;
    char byte = 1;
    w->until_ns = until_ns;
    if (write(w->line, &byte, 1) != 1) return false;
    while (waitpid(w->worker, &status, 0) < 0) continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void print_operation(const struct work *w) {
    const struct tally *a = &w->tally[POINT_ALLOCATION], *c = &w->tally[POINT_CALL];
    printf("%-16s %7llu of %7" PRIu64 " allocations, %7llu of %7" PRIu64 " calls: found %llu\n",
           w->operation->name, (unsigned long long)a->ran, w->points[POINT_ALLOCATION],
           (unsigned long long)c->ran, w->points[POINT_CALL],
           (unsigned long long)(a->found + c->found));
    fflush(stdout);
}

static uint64_t print_kind(enum point_kind k, double seconds) {
    unsigned long long ran = 0, of = 0, points = 0, n[9] = {0};
    for (int i = 0; i < work_count; i++) {
        const struct tally *t = &works[i].tally[k];
        ran += t->ran, of += works[i].wanted[k], points += works[i].points[k];
        n[0] += t->found, n[1] += t->crashed, n[2] += t->hung, n[3] += t->leaked;
        n[4] += t->wrong_acks, n[5] += t->refused, n[6] += t->succeeded, n[7] += t->libraries;
        n[8] += t->unfired;
    }
    printf("tier=torture.%s ran=%llu of=%llu found=%llu seconds=%.1f operations=%d points=%llu "
           "crashed=%llu hung=%llu leaked=%llu wrong_acks=%llu refused=%llu succeeded=%llu "
           "in_libraries=%llu unfired=%llu\n",
           k == POINT_ALLOCATION ? "allocations" : "calls", ran, of, n[0], seconds, work_count,
           points, n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8]);
    return n[0];
}

static void parse_arguments(int argc, char **argv) {
    static const struct option options[] = {{"count", required_argument, NULL, 'c'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"seed", required_argument, NULL, 'x'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"operation", required_argument, NULL, 'p'},
                                            {"jobs", required_argument, NULL, 'j'},
                                            {"build", required_argument, NULL, 'b'},
                                            {"call", required_argument, NULL, 'l'},
                                            {NULL, 0, NULL, 0}};
    int option;
    self = argv[0];
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) switch (option) {
        case 'c': want.count = strtoull(optarg, NULL, 10); break;
        case 's': want.seconds = strtoll(optarg, NULL, 10); break;
        case 'x': want.seed = strtoull(optarg, NULL, 10); break;
        case 'o': want.only = optarg; break;
        case 'p': want.operation = optarg; break;
        case 'j': want.jobs = atoi(optarg); break;
        case 'l': want.call = call_named(optarg); break;
        case 'b': setenv("TORTURE_BUILD", optarg, 1); break;
        default: exit(2);
        }
}

static bool begin_workers(void) {
    bool good = true;
    for (size_t room = 0; room < sizeof rooms / sizeof *rooms; room++)
        for (const struct operation *op = rooms[room]; op->name; op++)
            if (is_wanted(op)) begin_worker(&works[work_count++], op);
    for (int i = 0; i < work_count; i++) good = await_ready(&works[i]) && good;
    if (!work_count) fprintf(stderr, "torture: no such operation\n");
    return good && work_count;
}

/* The runtime directories of this machine are searched by a start; here they are empty, where we
 * may make them so. */
static void be_alone(void) {
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return;
    if (mount("tmpfs", "/run", "tmpfs", 0, NULL) != 0) return;
    (void)mount("tmpfs", "/dev/shm", "tmpfs", 0, NULL);
}

int main(int argc, char **argv) {
    parse_arguments(argc, argv);
    be_alone();
    snprintf(root, sizeof root, "/dev/shm/holdfast-torture-XXXXXX");
    works = shared(OPERATIONS_MOST * sizeof *works);
    if (!mkdtemp(root) || setenv("TMPDIR", root, 1) != 0) return 2;
    int64_t began = now_ns();
    bool good = begin_workers();
    uint64_t bad = 0;
    if (good && !want.only) share_out();
    for (int i = 0; good && i < work_count; i++) {
        int64_t left = want.seconds * INT64_C(1000000000) - (now_ns() - began);
        int64_t until = want.seconds ? now_ns() + left / (work_count - i) : INT64_MAX;
        good = run_worker(&works[i], until);
        if (!want.only) print_operation(&works[i]);
    }
    double seconds = (double)(now_ns() - began) / 1e9;
    for (int k = 0; good && k < POINT_KINDS; k++) bad += print_kind((enum point_kind)k, seconds);
    remove_all(root);
    return !good ? 2 : bad ? 1 : 0;
}
