/* Replication under faults: what the files of this simulator share.
 *
 *     replication.c   one seed: machines, their applications, their sources, people; the command
 *     replication_world.c      a virtual clock, coroutines, processes that die at any effect
 *     replication_bucket.c     object stores whose requests are lost, late, repeated, refused
 *     replication_oracle.c     what every state was, what every object must hold: the invariants
 *     replication_damage.c     objects that are lost or wrong, and what must be said of them
 *
 * One thread, one process, one seed at a time. All that is random comes from one generator, so a
 * seed repeats itself to the last event.
 */
#ifndef SIM_REPLICATION_H
#define SIM_REPLICATION_H

#include "replica/replica.h"
#include "source/internal.h"

#define MS ((int64_t)1000000)
#define SECOND (1000 * MS)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define BUCKETS 3
#define SECRET "hunter2"
#define PINS "holdfast/pins.json"
#define OLD_NODE 1 /* wrote what a seed begins with */

/* ---- world.c ---- */

struct co;   /* a coroutine of a process */
struct life; /* a process */

struct machine {
    const char *name;
    char dir[64], db[80], run_dir[80];
    int64_t clock_ms; /* how far its wall clock is off */
    bool paused;      /* nothing on it moves, but what it has sent is under way */
};

struct life {
    struct env env; /* its env->ctx is this */
    struct machine *machine;
    bool dead;
    bool calm; /* no faults for it */
    unsigned effects, crash_at, calls;
    int64_t born_ns;
    void (*gone)(struct life *); /* it died at an effect */
    void *arg;
    struct life *next;
};

extern int64_t now_ns;
extern uint64_t trace_hash;
extern bool loud;

void world_begin(uint64_t seed, struct env *real);
void world_end(void);
/* Runs what is due up to `until`. */
void world_run(int64_t until);

uint32_t below(uint32_t n); /* [0, n) */
bool chance(uint32_t in_1000);
int64_t between(int64_t low, int64_t high);

struct life *life_new(struct machine *, void *arg, void (*gone)(struct life *));
void life_end(struct life *); /* its events and coroutines are no more; idempotent */
/* Something that others can see happens, or might: here a process can die. */
void effect(struct life *, const char *what);
void machine_pause(struct machine *, bool paused);

void co_start(struct life *, void (*fn)(void *), void *arg, int64_t at);
struct co *co_current(void);
void co_sleep(int64_t ns);
void co_wait(int64_t until);                          /* or until woken */
void co_wake(struct co *);                            /* NULL is fine */
struct life *co_life(void);                           /* of the coroutine that runs; NULL outside */
void at(int64_t when, void (*fn)(void *), void *arg); /* of nobody: happens in any case */

/* One line of the story: goes into the hash, and is kept for when something is found. */
void trace(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Something was found. Prints the last events and ends this seed. */
noreturn void violated(const char *invariant, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct counters {
    uint64_t seeds, lives, crashes, refusals, steps, commits, ships, acks, waits, waits_safe, calls,
        faults, lates, risen, conflicts, lists_torn, lists_stale, objects, compactions, deletes,
        plans, restores, pages, takeovers, fenced, rollbacks, adopted, jumps, damages, damages_told,
        fast_forwards, switches, outages, verifies, looks_holed, pins, by_time, verify_told;
};
extern struct counters count;

/* ---- bucket.c ---- */

struct page_hash {
    uint32_t pgno;
    uint64_t hash;
};
struct object {
    char key[KEY_SIZE];
    uint8_t *bytes;
    size_t size;
    int64_t sender_ns;                 /* since when its sender lives */
    int64_t time_ms, born_ns, gone_ns; /* gone_ns 0: it is there */
    /* of LTX files, decoded when it came */
    bool ltx;
    struct replica_file file;
    struct ltx_header header;
    struct page_hash *pages;
    uint32_t page_count;
};

struct slot { /* level 0, for ever */
    uint64_t node, acked_node, checksum;
    int state;
    int64_t time_ms;
    bool there, fence;
    bool risen; /* after retention had freed its name came what another run had sent for it */
};

struct bucket {
    const char *name;
    enum object_layout layout;
    struct object *objects;
    size_t count, capacity;
    /* the oracle's */
    uint64_t first;          /* slots begin here */
    struct slot *slots, old; /* of one that is long in use TXID 1, too */
    size_t slot_count, slot_capacity;
    uint64_t acked;      /* newest acknowledged to anybody */
    int64_t newest_ms;   /* the latest wall clock of any writer */
    int64_t damaged_ns;  /* the store lost an object; 0: it never did */
    int64_t holed_ns;    /* and its newest state cannot be made since then */
    bool late;           /* what is done now was sent minutes ago */
    bool untidy;         /* it may hold what no writer knows of: a level looks as if it had holes */
    uint64_t turned[16]; /* TXIDs after which a person chose another history */
    int turns;
};
extern struct retention promised;
extern struct bucket buckets[BUCKETS];
extern int bucket_count;

struct faults { /* per 1,000 calls */
    uint32_t refuse, lose, lose_reply, late, twice, conflict, cut, stale, slow;
    uint32_t files;
    bool outage; /* nothing works */
};
extern struct faults faults;

void bucket_deinit(struct bucket *);
struct object *bucket_find(struct bucket *, const char *key);            /* that is there */
struct store *bucket_open(struct bucket *, struct life *, struct env *); /* life NULL: no faults */
void bucket_list(const struct bucket *, struct listing *out);
struct bucket *bucket_of(const struct store *);

/* ---- oracle.c ---- */

struct state {
    int parent; /* -1: none */
    uint32_t pages;
    uint64_t *hash; /* per page; 0: free, nobody knows what is in it */
};
int state_new(int parent, const uint8_t *bytes, size_t size, uint32_t page_size);
bool state_descends(int state, int from); /* or is it */
void state_check_file(const char *path, int state, const char *invariant);
void oracle_begin(uint32_t page_size);
void oracle_end(void);

/* A source is about to put the state `state` into slot `txid`. */
void oracle_attempt(struct bucket *, uint64_t txid, uint64_t node, int state, bool turns);
void oracle_object(struct bucket *, struct object *);  /* it has come */
void oracle_damaged(struct bucket *);                  /* it has lost something */
void oracle_removed(struct bucket *, const char *key); /* it has gone */
void oracle_acked(struct bucket *, uint64_t txid, uint64_t node);
struct slot *oracle_slot(struct bucket *, uint64_t txid); /* NULL: never was */
/* Everything that was promised has a plan, and each plan leads there. */
void oracle_promises(struct bucket *);
/* The state that the bucket alone gives, now. */
int oracle_newest(struct bucket *);
uint64_t oracle_newest_txid(struct bucket *);
void oracle_restores(struct bucket *, const char *dir, struct env *, int sample);
rc oracle_restore(struct bucket *, const char *dir, struct env *, struct target,
                  struct restore_result *, struct err *);
extern char oracle_restored[120]; /* where to */
/* The TXIDs that can be restored, ascending; by itself and not by the planner's rule. */
uint64_t *oracle_restorable(const struct listing *, size_t *n);
/* Fills its header and pages. */
rc oracle_read(struct object *, uint64_t *checksum, struct err *);

/* ---- damage.c ---- */
void oracle_damage(struct bucket *, const char *dir, struct env *, int times);

#endif
