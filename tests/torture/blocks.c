/* The allocator of the program: libc's, with a record of what is in use.
 *
 * Why not only LeakSanitizer: its build is ten times slower, and its look at the process stops it
 * for 20 ms. This one looks after every point: a block is lost if no word in the writable memory of
 * the process, the stack above us or another block that is not lost points to it. What is freed is
 * overwritten, so that an old pointer in it keeps nothing, and so that whoever uses it stumbles.
 *
 * Invariants
 *  1. Nothing here allocates.
 *  2. The record lies in shared memory, which is not searched for pointers.
 */
#include "points.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef SANITIZED
#define BASE(name) __interceptor_##name
#else
#define BASE(name) __libc_##name
#endif
void *BASE(malloc)(size_t);
void *BASE(calloc)(size_t, size_t);
void *BASE(realloc)(void *, size_t);
void *BASE(memalign)(size_t, size_t);
void BASE(free)(void *);

#define BLOCKS 65536u /* in use at one time: a power of two */
#define DEPTH 12
#define POISON 0xdb

struct block {
    uintptr_t at; /* 0: never used; 1: was freed */
    size_t bytes;
    void *caller;
};

static struct block *blocks; /* by a hash of their address */
static struct callers {
    void *from[DEPTH];
    int depth;
} * callers; /* of the same place in `blocks`; NULL: not wanted */
static bool watching;
static atomic_flag busy = ATOMIC_FLAG_INIT;

static void lock(void) {
    while (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire)) continue;
}

static void unlock(void) {
    atomic_flag_clear_explicit(&busy, memory_order_release);
}

static struct block *find(uintptr_t at, bool to_fill) {
    size_t i = (at >> 4) * 0x9e3779b97f4a7c15u >> 48;
    struct block *b = &blocks[i % BLOCKS];
    for (unsigned n = 0; n < BLOCKS; n++, b = &blocks[++i % BLOCKS]) {
        if (b->at == at || (to_fill && b->at <= 1)) return b;
        if (b->at == 0) return NULL;
    }
    abort(); /* more blocks than there is room for */
}

static void *keep(void *p, size_t bytes, void *caller) {
    static _Thread_local bool inside; /* backtrace may allocate */
    if (!p || !watching || inside) return p;
    struct callers c = {{caller}, 1};
    inside = true;
    if (callers) c.depth = backtrace(c.from, DEPTH);
    inside = false;
    lock();
    struct block *b = find((uintptr_t)p, true);
    *b = (struct block){(uintptr_t)p, bytes, caller};
    if (callers) callers[b - blocks] = c;
    unlock();
    return p;
}

static void forget(void *p) {
    if (!watching) return;
    lock();
    struct block *b = find((uintptr_t)p, false);
    if (b) b->at = 1;
    unlock();
}

static bool refused(void) {
    if (!points_allocation_fails()) return false;
    errno = ENOMEM;
    return true;
}

#define CALLER __builtin_return_address(0)

#pragma GCC visibility push(default) /* for the libraries, too */

void *malloc(size_t n) {
    return refused() ? NULL : keep(BASE(malloc)(n), n, CALLER);
}

void *calloc(size_t n, size_t size) {
    return refused() ? NULL : keep(BASE(calloc)(n, size), n * size, CALLER);
}

void free(void *p) {
    if (!p) return;
    forget(p);
#ifndef SANITIZED
    memset(p, POISON, malloc_usable_size(p));
#endif
    BASE(free)(p);
}

void *realloc(void *p, size_t n) {
    if (n && refused()) return NULL;
    if (!watching || !p || !n) {
        if (p) forget(p);
        return keep(BASE(realloc)(p, n), n, CALLER);
    }
    void *moved = BASE(malloc)(n); /* always, so that the old place can be overwritten */
    if (!moved) return NULL;
    size_t before = malloc_usable_size(p);
    memcpy(moved, p, before < n ? before : n);
    free(p);
    return keep(moved, n, CALLER);
}

int posix_memalign(void **out, size_t alignment, size_t n) {
    void *p = refused() ? NULL : keep(BASE(memalign)(alignment, n), n, CALLER);
    if (p) *out = p;
    return p ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t n) {
    return refused() ? NULL : keep(BASE(memalign)(alignment, n), n, CALLER);
}

#pragma GCC visibility pop

/* ---- what is lost ---- */

static void *shared(size_t bytes) {
    void *p =
        mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) abort();
    return p;
}

void blocks_watch(bool with_callers) {
    blocks = shared(BLOCKS * sizeof *blocks);
#ifndef SANITIZED /* it knows by itself, and takes what backtrace loads for lost */
    if (with_callers) callers = shared(BLOCKS * sizeof *callers);
#endif
    (void)with_callers;
    watching = true;
}

#ifdef SANITIZED
int __lsan_do_recoverable_leak_check(void);

int blocks_lost(void (*tell)(size_t bytes, void *const *from, int depth)) {
    watching = false;
    (void)tell; /* it has said so itself */
    return __lsan_do_recoverable_leak_check() ? 1 : 0;
}
#else
static struct lost {
    struct block **all; /* by address */
    bool *reached;
    size_t count, *queue, queued;
} lost;

static int by_address(const void *a, const void *b) {
    const struct block *const *x = a, *const *y = b;
    return ((*x)->at > (*y)->at) - ((*x)->at < (*y)->at);
}

static void collect(void) {
    for (size_t i = 0; i < BLOCKS; i++) lost.count += blocks[i].at > 1;
    lost.all = shared(lost.count * sizeof *lost.all);
    lost.reached = shared(lost.count * sizeof *lost.reached);
    lost.queue = shared(lost.count * sizeof *lost.queue);
    size_t n = 0;
    for (size_t i = 0; i < BLOCKS; i++)
        if (blocks[i].at > 1) lost.all[n++] = &blocks[i];
    for (size_t gap = n / 2; gap; gap /= 2) /* qsort would allocate */
        for (size_t i = gap; i < n; i++)
            for (size_t j = i; j >= gap && by_address(&lost.all[j - gap], &lost.all[j]) > 0;
                 j -= gap) {
                struct block *b = lost.all[j];
                lost.all[j] = lost.all[j - gap];
                lost.all[j - gap] = b;
            }
}

/* The block in which an address lies, or the first one behind it; lost.count: none. */
static size_t block_at(uintptr_t at) {
    size_t low = 0, high = lost.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (lost.all[middle]->at + lost.all[middle]->bytes <= at) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void reach(uintptr_t word) {
    if (word < lost.all[0]->at) return;
    size_t i = block_at(word);
    if (i == lost.count || word < lost.all[i]->at || lost.reached[i]) return;
    lost.reached[i] = true;
    lost.queue[lost.queued++] = i;
}

/* Words from `at` to `end`; of blocks that may be lost nothing but what was reached counts. */
static void search(uintptr_t at, uintptr_t end, bool is_block) {
    for (at = (at + 7) & ~(uintptr_t)7; at + 8 <= end; at += 8) {
        if (!is_block && at >= lost.all[0]->at) {
            size_t i = block_at(at);
            if (i < lost.count && at >= lost.all[i]->at) {
                at = ((lost.all[i]->at + lost.all[i]->bytes + 7) & ~(uintptr_t)7) - 8;
                continue;
            }
        }
        reach(*(uintptr_t *)at);
    }
}

static void search_line(const char *line, uintptr_t stack) {
    unsigned long begin, end;
    char rights[5];
    if (sscanf(line, "%lx-%lx %4s", &begin, &end, rights) != 3) return;
    if (rights[0] != 'r' || rights[1] != 'w' || rights[3] == 's') return; /* invariant 2 */
    if (stack >= begin && stack < end) begin = stack; /* what lies below is of calls that ended */
    search(begin, end, false);
}

static void search_process(uintptr_t stack) {
    static char maps[256 << 10];
    size_t n = 0;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    for (ssize_t got; (got = read(fd, maps + n, sizeof maps - 1 - n)) > 0;) n += (size_t)got;
    close(fd);
    maps[n] = 0;
    for (char *line = maps, *next; *line; line = next) {
        next = strchr(line, '\n');
        if (!next) return;
        *next++ = 0;
        search_line(line, stack);
    }
}

/* With what the registers of those hold that called us. */
static __attribute__((noinline)) void search_all(void) {
    jmp_buf registers;
    (void)setjmp(registers);
    search_process((uintptr_t)&registers);
}

int blocks_lost(void (*tell)(size_t bytes, void *const *from, int depth)) {
    int found = 0;
    watching = false;
    collect();
    if (lost.count == 0) return 0;
    search_all();
    for (size_t i = 0; i < lost.queued; i++) { /* it grows */
        const struct block *b = lost.all[lost.queue[i]];
        search(b->at, b->at + b->bytes, true);
    }
    for (size_t i = 0; i < lost.count; i++) {
        struct block *b = lost.all[i];
        if (lost.reached[i]) continue;
        found++;
        if (callers) tell(b->bytes, callers[b - blocks].from, callers[b - blocks].depth);
        else tell(b->bytes, &b->caller, 1);
    }
    return found;
}
#endif
