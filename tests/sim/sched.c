/* Turns, time, and numbers.
 *
 * Actors are coroutines. One that yields may be overtaken by anybody, for as long as the numbers
 * say: now and then it stops for milliseconds, since that is what a bug of the kind "it read this,
 * and then for a long time nothing" needs. Who sleeps is not run before its time; when all sleep,
 * the clock goes on to the first that wakes.
 */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define MOST_ACTORS 24
#define STACK_SIZE (1u << 20)
#define MOST_TURNS 4000000u
#define MOST_NS (3600 * SIM_S)

static struct actor {
    ucontext_t context;
    const char *name;
    void (*body)(void *);
    void *arg;
    char *stack; /* kept for the next world */
    bool alive;
    int64_t wake_ns;
} actors[MOST_ACTORS];

static struct {
    uint64_t seed, random, hash, turns;
    int64_t now;
    int count, current, findings[FINDINGS];
    unsigned every,
        stops_every; /* one in so many calls: another goes on; this one stops for long */
    int64_t stops_ns;
    ucontext_t context;
} world;

bool sim_loud, sim_quiet;
struct sim_counters sim_count;

void sim_begin(uint64_t seed, bool loud) {
    world.seed = seed;
    world.random = seed * 0x9e3779b97f4a7c15u + 0xd1b54a32d192ed03u;
    world.hash = seed;
    world.turns = 0;
    world.now = 1000 * SIM_S;
    world.count = 0;
    world.current = -1;
    memset(world.findings, 0, sizeof world.findings);
    sim_loud = loud;
    world.every = 1 + sim_below(8);
    world.stops_every = sim_one_in(4) ? 0 : 10 + sim_below(150);
    world.stops_ns = sim_between(100 * SIM_US, 40 * SIM_MS);
}

/* ---- numbers ---- */

uint64_t sim_random(void) {
    uint64_t x = world.random += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

unsigned sim_below(unsigned n) {
    return (unsigned)(sim_random() % n);
}

bool sim_one_in(unsigned n) {
    return sim_below(n) == 0;
}

int64_t sim_between(int64_t least, int64_t most) {
    return least + (int64_t)(sim_random() % (uint64_t)(most - least + 1));
}

/* ---- what was seen ---- */

void sim_note(uint64_t what) {
    world.hash = (world.hash ^ what) * 0x9fb21c651e98df25u;
    world.hash ^= world.hash >> 29;
}

uint64_t sim_hash(void) {
    return world.hash;
}

static const char *name_of_current(void) {
    return world.current < 0 ? "world" : actors[world.current].name;
}

void sim_say(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%12.6f %-2d %-12s ", (double)(world.now - 1000 * SIM_S) / 1e9, world.current,
            name_of_current());
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

static PRINTF_LIKE(2, 0) void tell(enum finding f, const char *fmt, va_list ap) {
    char words[1200];
    vsnprintf(words, sizeof words, fmt, ap);
    SIM_SAY("FOUND: %s", words);
    if (++world.findings[f] > 2 || sim_quiet) return;
    printf("seed %" PRIu64 ", at %.6f s, %s: %s\n", world.seed,
           (double)(world.now - 1000 * SIM_S) / 1e9, name_of_current(), words);
}

void sim_found(enum finding f, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    tell(f, fmt, ap);
    va_end(ap);
}

int sim_findings(enum finding f) {
    return world.findings[f];
}

bool sim_found_any(void) {
    for (int f = 0; f < FINDINGS; f++)
        if (world.findings[f]) return true;
    return false;
}

noreturn void sim_fatal(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    sim_quiet = false;
    world.findings[ENDED] = 0;
    tell(ENDED, fmt, ap);
    va_end(ap);
    printf("it cannot go on: --only %" PRIu64 " replays it\n", world.seed);
    fflush(stdout);
    exit(1);
}

/* ---- time ---- */

int64_t sim_now(void) {
    return world.now;
}

void sim_spend(int64_t ns) {
    world.now += ns;
}

int sim_current(void) {
    return world.current;
}

static void let_others_go_on(void) {
    int me = world.current;
    world.current = -1;
    swapcontext(&actors[me].context, &world.context);
}

void sim_yield(void) {
    if (world.current < 0 || !sim_one_in(world.every)) return;
    if (world.stops_every && sim_one_in(world.stops_every))
        sim_sleep(sim_between(0, world.stops_ns));
    else let_others_go_on();
}

void sim_sleep_until(int64_t when) {
    if (world.current < 0) {
        if (when > world.now) world.now = when;
        return;
    }
    actors[world.current].wake_ns = when;
    let_others_go_on();
}

void sim_sleep(int64_t ns) {
    sim_sleep_until(world.now + ns);
}

void sim_wake(int actor) {
    if (actors[actor].wake_ns > world.now) actors[actor].wake_ns = world.now;
}

/* ---- turns ---- */

static void play(void) {
    struct actor *a = &actors[world.current];
    a->body(a->arg);
    a->alive = false;
    SIM_SAY("ends");
    let_others_go_on();
}

int sim_spawn(const char *name, void (*body)(void *), void *arg) {
    if (world.count == MOST_ACTORS) sim_fatal("more than %d actors", MOST_ACTORS);
    int i = world.count++;
    struct actor *a = &actors[i];
    if (!a->stack)
        a->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (a->stack == MAP_FAILED) sim_fatal("no memory for a stack");
    a->name = name;
    a->body = body;
    a->arg = arg;
    a->alive = true;
    a->wake_ns = 0;
    getcontext(&a->context);
    a->context.uc_stack.ss_sp = a->stack;
    a->context.uc_stack.ss_size = STACK_SIZE;
    a->context.uc_link = NULL;
    makecontext(&a->context, play, 0);
    return i;
}

/* The next one, or -1: nobody is left. */
static int choose(void) {
    int ready[MOST_ACTORS], n = 0;
    int64_t first = INT64_MAX;
    bool any = false;
    for (int i = 0; i < world.count; i++) {
        if (!actors[i].alive) continue;
        any = true;
        if (actors[i].wake_ns > world.now) {
            if (actors[i].wake_ns < first) first = actors[i].wake_ns;
        } else {
            ready[n++] = i;
        }
    }
    if (n) return ready[sim_below((unsigned)n)];
    if (!any) return -1;
    if (first == INT64_MAX) sim_fatal("all wait, and nobody for the clock");
    world.now = first;
    return choose();
}

void sim_run(void) {
    for (int next; (next = choose()) >= 0;) {
        if (++world.turns > MOST_TURNS || world.now > MOST_NS)
            sim_fatal("no end after %" PRIu64 " turns", world.turns);
        world.now += 1 + (int64_t)sim_below(2000);
        world.current = next;
        sim_note((uint64_t)next);
        sim_count.switches++;
        swapcontext(&world.context, &actors[next].context);
        world.current = -1;
    }
}
