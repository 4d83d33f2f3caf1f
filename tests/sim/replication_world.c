/* The world: a virtual clock, coroutines, processes that die at any effect.
 *
 * Why coroutines and not threads: several requests are under way, may end in any order, and a
 * process may be gone before they end; and the same seed does it all again.
 *
 * Invariants
 *  1. Only one coroutine runs, and it gives way only in co_wait and co_sleep.
 *  2. A dead process never runs again; what it had on its stacks is left as it was. What it had
 *     sent is the network's and happens in any case.
 *  3. The clock stands still while anything runs.
 */
#include "replication.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK (512u << 10)
#define STORY 30
#define STEPS_AT_ONCE 100000

struct co {
    ucontext_t here;
    char *stack;
    void (*fn)(void *);
    void *arg;
    struct life *life;
    uint64_t turn; /* a wake-up for an earlier one is stale */
    bool ended;
    struct co *next;
};

struct event {
    int64_t when;
    uint64_t order;
    struct co *co;
    uint64_t turn;
    void (*fn)(void *);
    void *arg;
};

int64_t now_ns;
uint64_t trace_hash;
bool loud;
struct counters count;

static uint64_t random_state, world_seed, ordered;
static struct event *events;
static size_t event_count, event_capacity;
static struct co *current, *all, *spare;
static struct life *lives;
static ucontext_t scheduler;
static struct env *real_env;
static char story[STORY][200];
static unsigned told;

/* ---- chance ---- */

static uint64_t next_random(void) {
    uint64_t x = random_state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint32_t below(uint32_t n) {
    return (uint32_t)((next_random() >> 32) * n >> 32);
}

bool chance(uint32_t in_1000) {
    return below(1000) < in_1000;
}

int64_t between(int64_t low, int64_t high) {
    return low + (int64_t)(next_random() % (uint64_t)(high - low + 1));
}

/* ---- the story ---- */

void trace(const char *fmt, ...) {
    char *line = story[told++ % STORY];
    int n =
        snprintf(line, 40, "%" PRId64 ".%06" PRId64 " ", now_ns / SECOND, now_ns % SECOND / 1000);
    va_list args;
    va_start(args, fmt);
    vsnprintf(line + n, sizeof story[0] - (size_t)n, fmt, args);
    va_end(args);
    for (const char *p = line; *p; p++) trace_hash = (trace_hash ^ (uint8_t)*p) * 0x100000001b3u;
    if (loud) fprintf(stderr, "%s\n", line);
}

void violated(const char *invariant, const char *fmt, ...) {
    va_list args;
    printf("FOUND seed=%" PRIu64 " invariant=\"%s\": ", world_seed, invariant);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    for (unsigned i = told > STORY ? told - STORY : 0; i < told && !loud; i++)
        printf("    %s\n", story[i % STORY]);
    fflush(stdout);
    _exit(1); /* the process is this seed's, and those that ran before it */
}

/* ---- events ---- */

static void push(struct event ev) {
    if (event_count == event_capacity) {
        event_capacity = event_capacity ? event_capacity * 2 : 64;
        events = realloc(events, event_capacity * sizeof *events);
        ENSURE(events);
    }
    ev.order = (uint64_t)below(1u << 31) << 32 | (ordered++ & UINT32_MAX);
    events[event_count++] = ev;
}

void at(int64_t when, void (*fn)(void *), void *arg) {
    push((struct event){.when = when, .fn = fn, .arg = arg});
}

static bool is_held(const struct event *ev) {
    return ev->co && ev->co->life && ev->co->life->machine && ev->co->life->machine->paused;
}

static bool is_stale(const struct event *ev) {
    return ev->co && (ev->co->ended || ev->turn != ev->co->turn);
}

/* The index of the next, or event_count. */
static size_t next_event(int64_t until) {
    size_t best = event_count;
    for (size_t i = 0; i < event_count; i++) {
        while (i < event_count && is_stale(&events[i])) events[i] = events[--event_count];
        if (i == event_count) break;
        const struct event *ev = &events[i], *b = &events[best < event_count ? best : i];
        if (ev->when > until || is_held(ev)) continue;
        if (best >= event_count || ev->when < b->when ||
            (ev->when == b->when && ev->order < b->order))
            best = i;
    }
    return best < event_count ? best : event_count;
}

void machine_pause(struct machine *m, bool paused) {
    m->paused = paused;
    for (size_t i = 0; i < event_count && !paused; i++)
        if (events[i].co && events[i].co->life && events[i].co->life->machine == m &&
            events[i].when < now_ns)
            events[i].when = now_ns;
}

static void recycle_ended(void) {
    for (struct co **at = &all, *co; (co = *at) != NULL;) {
        if (!co->ended) {
            at = &co->next;
            continue;
        }
        *at = co->next;
        co->turn++;
        co->next = spare;
        spare = co;
    }
}

/* A process's own; whoever runs in it. */
static void enter_machine(const struct machine *m) {
    static const struct machine *inside;
    if (!m || m == inside) return;
    setenv("RUNTIME_DIRECTORY", m->run_dir, 1);
    inside = m;
}

static void run_co(struct co *co) {
    current = co;
    if (co->life) enter_machine(co->life->machine);
    co->turn++;
    count.switches++;
    swapcontext(&scheduler, &co->here);
    current = NULL;
    if (co->ended) recycle_ended();
}

void world_run(int64_t until) {
    unsigned at_once = 0;
    int64_t last = now_ns;
    for (size_t i; (i = next_event(until)) != event_count;) {
        struct event ev = events[i];
        events[i] = events[--event_count];
        if (ev.when > now_ns) now_ns = ev.when;
        at_once = now_ns == last ? at_once + 1 : 0;
        last = now_ns;
        if (at_once > STEPS_AT_ONCE)
            violated("I13 bounded", "%u events without a moment in between", at_once);
        if (ev.co) run_co(ev.co);
        else ev.fn(ev.arg);
    }
    if (until > now_ns) now_ns = until;
}

/* ---- coroutines ---- */

static void enter(void) {
    for (;;) {
        struct co *self = current;
        self->fn(self->arg);
        self->ended = true;
        swapcontext(&self->here, &scheduler);
    }
}

void co_start(struct life *life, void (*fn)(void *), void *arg, int64_t when) {
    struct co *co = spare;
    if (co) spare = co->next;
    else {
        co = calloc(1, sizeof *co);
        ENSURE(co);
        co->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ENSURE(co->stack != MAP_FAILED);
        ENSURE(mprotect(co->stack, 4096, PROT_NONE) == 0);
    }
    getcontext(&co->here);
    co->here.uc_stack.ss_sp = co->stack;
    co->here.uc_stack.ss_size = STACK;
    makecontext(&co->here, enter, 0);
    co->fn = fn;
    co->arg = arg;
    co->life = life;
    co->ended = false;
    co->next = all;
    all = co;
    push((struct event){.when = when, .co = co, .turn = co->turn});
}

struct co *co_current(void) {
    return current;
}

struct life *co_life(void) {
    return current ? current->life : NULL;
}

static void give_way(void) {
    struct co *self = current;
    swapcontext(&self->here, &scheduler);
}

void co_wait(int64_t until) {
    ENSURE(current);
    push((struct event){
        .when = until > now_ns ? until : now_ns, .co = current, .turn = current->turn});
    give_way();
}

void co_sleep(int64_t ns) {
    int64_t until = now_ns + ns;
    while (now_ns < until) co_wait(until);
}

void co_wake(struct co *co) {
    if (co && !co->ended && co != current)
        push((struct event){.when = now_ns, .co = co, .turn = co->turn});
}

/* ---- processes ---- */

void life_end(struct life *l) {
    l->dead = true;
    for (struct co *co = all; co; co = co->next)
        if (co->life == l && co != current) co->ended = true;
    if (!current) recycle_ended();
}

static void tell_gone(void *arg) {
    struct life *l = arg;
    l->gone(l);
}

void effect(struct life *l, const char *what) {
    if (!l || l->dead) return;
    l->effects++;
    if (l->effects != l->crash_at) return;
    trace("%s dies at effect %u: %s", l->machine->name, l->effects, what);
    count.crashes++;
    life_end(l);
    at(now_ns, tell_gone, l);
    if (co_life() != l) return; /* it is another's doing, and this one cannot go on afterwards */
    current->ended = true;
    give_way();
    ENSURE(!"a dead process runs");
}

/* ---- the environment of a process ---- */

static struct life *life_of(struct env *env) {
    return env->ctx;
}

static int64_t sim_unix(struct env *env) {
    struct machine *m = life_of(env)->machine;
    return 1795382699618 + now_ns / MS + (m ? m->clock_ms : 0);
}

static int64_t sim_mono(struct env *env) {
    (void)env;
    return now_ns;
}

static void sim_random(struct env *env, void *buf, size_t n) {
    (void)env;
    for (size_t i = 0; i < n; i++) ((uint8_t *)buf)[i] = (uint8_t)below(256);
}

/* A busy machine sleeps longer than it was asked to. */
static void sim_sleep(struct env *env, int64_t ns) {
    (void)env;
    if (current) co_sleep(ns < MS ? MS : ns);
    else now_ns += ns;
}

static void run_job(void *arg) {
    struct job *job = arg;
    job->run(job);
    jobs_done_put(job->home, job);
}

static rc sim_submit(struct env *env, struct job *job, struct err *e) {
    (void)e;
    co_start(life_of(env), run_job, job, now_ns + between(0, 2 * MS));
    return ok();
}

static rc sim_parallel(struct env *env, int parallel, int n, void (*fn)(void *, int), void *arg,
                       struct err *e) {
    (void)env, (void)parallel, (void)e;
    for (int i = 0; i < n; i++) fn(arg, i);
    return ok();
}

/* What is written can fail, and each call is an effect. */
static rc file_fault(struct env *env, const char *what, struct err *e) {
    struct life *l = life_of(env);
    effect(l, what);
    if (l->calm || !chance(faults.files)) return ok();
    count.faults++;
    return err_set(e, chance(500) ? RC_FULL : RC_IO, "%s: injected fault", what);
}

static rc sim_open(struct env *env, const char *path, enum file_mode mode, struct file **out,
                   struct err *e) {
    if (mode != FILE_READ) TRY(file_fault(env, "open", e));
    return real_env->files->open(real_env, path, mode, out, e);
}

static rc sim_write(struct env *env, struct file *f, uint64_t where, const void *buf, size_t n,
                    struct err *e) {
    TRY(file_fault(env, "write", e));
    return real_env->files->write(real_env, f, where, buf, n, e);
}

static rc sim_sync(struct env *env, struct file *f, struct err *e) {
    TRY(file_fault(env, "sync", e));
    return real_env->files->sync(real_env, f, e);
}

static rc sim_link(struct env *env, struct file *f, const char *temp, const char *path,
                   struct err *e) {
    TRY(file_fault(env, "link", e));
    return real_env->files->link(real_env, f, temp, path, e);
}

static rc sim_rename(struct env *env, const char *from, const char *to, bool replace,
                     struct err *e) {
    TRY(file_fault(env, "rename", e));
    rc r = real_env->files->rename(real_env, from, to, replace, e);
    effect(life_of(env), "renamed");
    return r;
}

static rc sim_remove(struct env *env, const char *path, struct err *e) {
    TRY(file_fault(env, "remove", e));
    return real_env->files->remove(real_env, path, e);
}

struct life *life_new(struct machine *m, void *arg, void (*gone)(struct life *)) {
    static struct env_files files;
    struct life *l = calloc(1, sizeof *l);
    ENSURE(l);
    files = *real_env->files;
    files.open = sim_open;
    files.write = sim_write;
    files.sync = sim_sync;
    files.link = sim_link;
    files.rename = sim_rename;
    files.remove = sim_remove;
    l->env = (struct env){.ctx = l,
                          .unix_ms = sim_unix,
                          .mono_ns = sim_mono,
                          .random = sim_random,
                          .sleep_ns = sim_sleep,
                          .files = &files,
                          .submit = sim_submit,
                          .parallel = sim_parallel};
    l->machine = m;
    l->arg = arg;
    l->gone = gone;
    l->born_ns = now_ns;
    l->next = lives;
    lives = l;
    return l;
}

/* ---- a seed ---- */

void world_begin(uint64_t seed, struct env *real) {
    real_env = real;
    world_seed = seed;
    random_state = seed * 0x2545f4914f6cdd1du + 1;
    now_ns = 1000 * SECOND;
    trace_hash = 0xcbf29ce484222325u;
    ordered = 0;
    told = 0;
}

void world_end(void) {
    event_count = 0;
    for (struct co *co = all; co; co = co->next) co->ended = true;
    recycle_ended();
    for (struct life *next, *l = lives; l; l = next) {
        next = l->next;
        free(l);
    }
    lives = NULL;
}
