/* The source among enemies: one process steps it by hand, others do to its database whatever SQLite
 * lets them, and in every gap between two steps of the hold something happens.
 *
 *     sim_hold WRITER SECONDS [SEED]
 *
 * WRITER is tests/soak/writer.c; three of them run, and are killed with -9 now and then. The
 * replica is in memory, behind a store that loses requests and replies. Every so often the source
 * is freed and opened anew, on the same replica: it has to go on by itself.
 *
 * Checked at every shipment, on the bytes that were put:
 *  1. What the slots up to it make, applied in order, has the sum that its header says (all pages,
 *     anew).
 *  2. If an independent connection stood at exactly that boundary: it is that database, byte for
 *     byte.
 * At the end of every life: the replica verifies, compacted files included.
 *
 * The truth of 2 comes from a connection that begins to read before a step; when the step has cut
 * exactly there, it is serialised before it lets go. It does not stand in the way of most steps.
 */
#include "base/hash.h"
#include "format/names.h"
#include "replica/replica.h"
#include "source/internal.h"
#include "stores/stores.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WRITERS 3
#define LIFE_NS 600000000

static char dir[] = "/dev/shm/holdfast-sim-XXXXXX", db_path[64];
static const char *writer_program;
static struct env *env;
static struct store *replica;
static struct source *source;
static struct err err;
static sqlite3 *enemy, *witness;
static struct {
    pid_t pid;
    int in;
} writers[WRITERS];

/* What the slots up to `txid` make. */
static struct {
    uint64_t txid;
    uint32_t page_size, pages;
    uint8_t *bytes;
    struct ltx_header last;
} made;

static struct {
    bool there;
    struct walindex_header at;
    uint8_t *bytes;
    uint64_t size;
} truth;

static struct {
    uint64_t lives, steps, shipments, sums, unknown, compared, gaps, deeds, kills, moves, entered_z,
        resets;
} count;

static noreturn void fail(const char *what) {
    fprintf(stderr, "FAILED at shipment %" PRIu64 ", TXID %" PRIu64 ", state %d: %s\n",
            count.shipments, made.txid, source ? (int)source->hold.state : -1, what);
    exit(1); /* the database stays in its directory */
}

static void must(rc r, const char *doing) {
    if (is_ok(r)) return;
    fprintf(stderr, "%s: %s\n", doing, err.text);
    fail(doing);
}

/* Workers ask, too. */
static uint64_t random_state;

static unsigned below(unsigned n) {
    uint64_t x = __atomic_add_fetch(&random_state, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (unsigned)((x ^ (x >> 31)) % n);
}

/* ---- the enemies ---- */

static void start_writer(int i) {
    int to[2];
    char seed[24];
    snprintf(seed, sizeof seed, "%u", below(1u << 30));
    if (pipe2(to, O_CLOEXEC) != 0) fail("pipe");
    /* Not fork: the child would hold the run's lock until it has become another program. */
    char *const words[] = {(char *)writer_program, db_path, seed, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    if (posix_spawn(&writers[i].pid, writer_program, &actions, NULL, words, environ) != 0)
        fail("start a writer");
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    writers[i].in = to[1];
}

static void end_writer(int i, int number) {
    int status;
    if (waitpid(writers[i].pid, &status, WNOHANG) == writers[i].pid)
        fail("a writer ended by itself");
    kill(writers[i].pid, number);
    waitpid(writers[i].pid, &status, 0);
    close(writers[i].in);
}

static void kill_a_writer(void) {
    int i = (int)below(WRITERS);
    end_writer(i, SIGKILL);
    start_writer(i);
    count.kills++;
}

static void exec_on(sqlite3 *db, const char *sql) {
    sqlite3_exec(db, sql, NULL, NULL, NULL); /* often busy, which is as good */
    if (!sqlite3_get_autocommit(db)) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
}

static void deed(void) {
    static const int modes[] = {SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_FULL,
                                SQLITE_CHECKPOINT_RESTART, SQLITE_CHECKPOINT_TRUNCATE};
    count.deeds++;
    switch (below(12)) {
    case 0: exec_on(enemy, "PRAGMA incremental_vacuum(50)"); return;
    case 1: exec_on(enemy, "VACUUM"); return;
    case 2: kill_a_writer(); return;
    case 3:
    case 4:
    case 5:
        exec_on(enemy, "BEGIN IMMEDIATE; UPDATE t SET v = v + 1 WHERE id % 7 = 0;"
                       "UPDATE audit SET n = n + 1 WHERE k = 'seq'; COMMIT");
        return;
    case 6: usleep(below(3000)); return;
    default: sqlite3_wal_checkpoint_v2(enemy, NULL, modes[below(4)], NULL, NULL);
    }
}

static void in_the_gap(const char *where) {
    (void)where;
    count.gaps++;
    for (unsigned n = below(4) ? 0 : 1 + below(3); n > 0; n--) deed();
}

static enum fault decide(void *arg, const char *op, const char *key) {
    (void)arg, (void)op, (void)key;
    unsigned k = below(150);
    return k < 3 ? (enum fault)(1 + k) : FAULT_NONE;
}

/* ---- a checkpoint that is slow where it hurts ----
 *
 * SQLite's WAL-reset bug needs a checkpointer that has read the header of a log that is all copied,
 * is stopped, and goes on when the log has been reset. This one, on a thread of its own, waits
 * there: it is where SQLite lets go of mapped pages, because the header has changed. Only while a
 * source holds: without one it corrupts the database within seconds (3.40.1). */
static struct {
    pthread_t thread;
    sqlite3 *db;
    struct sqlite3_io_methods methods;
    int (*unfetch)(sqlite3_file *, sqlite3_int64, void *);
    atomic_bool stop;
    pthread_mutex_t nobody_holds;
    uint64_t waits;
} slow = {.nobody_holds = PTHREAD_MUTEX_INITIALIZER};

static int wait_then_unfetch(sqlite3_file *file, sqlite3_int64 at, void *page) {
    slow.waits++;
    usleep(1000 + below(30000));
    return slow.unfetch(file, at, page);
}

static void *checkpoint_slowly(void *arg) {
    (void)arg;
    while (!slow.stop) {
        pthread_mutex_lock(&slow.nobody_holds);
        sqlite3_wal_checkpoint_v2(slow.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        pthread_mutex_unlock(&slow.nobody_holds);
        usleep(below(60000));
    }
    return NULL;
}

static void start_slow_checkpoints(sqlite3 *db) {
    sqlite3_file *file = NULL;
    slow.db = db;
    exec_on(db, "PRAGMA schema_version");
    sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    slow.methods = *file->pMethods;
    slow.unfetch = slow.methods.xUnfetch;
    slow.methods.xUnfetch = wait_then_unfetch;
    file->pMethods = &slow.methods;
    if (pthread_create(&slow.thread, NULL, checkpoint_slowly, NULL) != 0) fail("thread");
}

static void end_slow_checkpoints(void) {
    slow.stop = true;
    pthread_join(slow.thread, NULL);
    sqlite3_close(slow.db);
}

/* ---- what was shipped ---- */

static rc apply_header(void *arg, const struct ltx_header *h, struct err *e) {
    (void)arg, (void)e;
    made.last = *h;
    made.page_size = h->page_size;
    made.bytes = realloc(made.bytes, (size_t)h->commit * h->page_size);
    if (!made.bytes) fail("no memory");
    if (h->commit > made.pages)
        memset(made.bytes + (size_t)made.pages * h->page_size, 0,
               (size_t)(h->commit - made.pages) * h->page_size);
    made.pages = h->commit;
    return ok();
}

static rc apply_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e) {
    (void)arg, (void)e;
    if (pgno > made.pages) fail("a page beyond the end");
    memcpy(made.bytes + (size_t)(pgno - 1) * made.page_size, page, made.page_size);
    return ok();
}

/* Apply the next slot, if it is there. */
static bool apply_slot(void) {
    char key[KEY_SIZE];
    struct object_info info;
    struct ltx_reader *reader;
    uint64_t checksum;
    key_of_file(replica->layout == LAYOUT_BUCKET, 0, made.txid + 1, made.txid + 1, key);
    if (!is_ok(replica->ops->stat(replica, key, &info, &err))) return false;
    uint8_t *bytes = malloc(info.size_bytes);
    if (!bytes) fail("no memory");
    must(replica->ops->get(replica, key, 0, bytes, info.size_bytes, &err), "read a slot");
    must(ltx_reader_new(&reader, (struct ltx_reader_events){apply_header, apply_page, NULL}, &err),
         "decode");
    must(ltx_reader_feed(reader, bytes, info.size_bytes, &err), "decode");
    must(ltx_reader_finish(reader, &checksum, &err), "decode");
    ltx_reader_free(reader);
    free(bytes);
    made.txid++;
    return true;
}

static void check_sum(void) {
    uint64_t sum = 0;
    if (!made.last.chain.sum) {
        count.unknown++;
        return;
    }
    for (uint32_t p = 1; p <= made.pages; p++)
        sum += page_sum(p, made.bytes + (size_t)(p - 1) * made.page_size, made.page_size);
    count.sums++;
    if ((sum ? sum : 1) != made.last.chain.sum) fail("the sum is wrong");
}

static void check_truth(void) {
    struct dest *d = &source->dest[0];
    if (!truth.there || d->ship.adopted || !walindex_header_same(&truth.at, &d->acked)) return;
    count.compared++;
    if (truth.size != (uint64_t)made.pages * made.page_size) fail("another size than the database");
    for (uint32_t p = 1; p <= made.pages; p++)
        if (memcmp(truth.bytes + (size_t)(p - 1) * made.page_size,
                   made.bytes + (size_t)(p - 1) * made.page_size, made.page_size) != 0) {
            fprintf(stderr, "page %u of %u\n", p, made.pages);
            fail("not the database at this boundary");
        }
    truth.there = false;
}

static void on_event(void *arg, const char *name, const char *const *pairs, int n) {
    (void)arg, (void)pairs, (void)n;
    if (strcmp(name, "ship") != 0) return;
    while (apply_slot()) {
    }
    if (made.txid != source->dest[0].txid) fail("an acknowledged slot is not there");
    count.shipments++;
    check_sum();
    check_truth();
}

/* ---- the witness ---- */

static bool witness_begin(struct walindex_header *at) {
    struct walindex_header again;
    if (below(3) || !live_header_now(&source->live, at)) return false;
    if (sqlite3_exec(witness, "BEGIN; PRAGMA schema_version", NULL, NULL, NULL) == SQLITE_OK &&
        live_header_now(&source->live, &again) && walindex_header_same(at, &again))
        return true;
    exec_on(witness, "COMMIT");
    return false;
}

/* The step cut where the witness stands: keep what it sees. */
static void witness_end(const struct walindex_header *at) {
    const struct outgoing *o = &source->dest[0].ship;
    if (o->active && walindex_header_same(&o->cut.at, at)) {
        sqlite3_int64 size = 0;
        sqlite3_free(truth.bytes);
        truth.bytes = sqlite3_serialize(witness, "main", &size, 0);
        truth.size = (uint64_t)size;
        truth.at = *at;
        truth.there = truth.bytes != NULL;
    }
    exec_on(witness, "COMMIT");
}

/* ---- a life ---- */

static sqlite3 *connection(int busy_ms) {
    sqlite3 *db;
    if (sqlite3_open_v2(db_path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK)
        fail("open the database");
    sqlite3_busy_timeout(db, busy_ms);
    sqlite3_wal_autocheckpoint(db, 0);
    return db;
}

static void live(int64_t end) {
    struct source_options options = {.interval_ms = 1,
                                     .checkpoint_pages = 20 + below(200),
                                     .level_ms = {0, 60, 200, 700},
                                     .snapshot_ms = 500,
                                     .retention = {.level0_ms = 300, .snapshot_ms = 1000},
                                     .verify_ms = -1,
                                     .event = on_event};
    struct store *faulty;
    int64_t due;
    /* A writer that was started just now may not have closed its copy of the run's lock: exec wakes
     * us first. */
    rc r = source_open(&source, env, db_path, &options, &err);
    for (int i = 0; i < 1000 && r.code == RC_BUSY; i++) {
        usleep(1000);
        r = source_open(&source, env, db_path, &options, &err);
    }
    must(r, "open the source");
    pthread_mutex_unlock(&slow.nobody_holds);
    must(store_new_fault(replica, decide, NULL, &faulty, &err), "store");
    must(source_add(source, faulty, &err), "add");
    while (env->mono_ns(env) < end) {
        struct walindex_header at;
        bool witnessed = witness_begin(&at);
        must(source_step(source, env->mono_ns(env), true, &due, &err), "step");
        if (witnessed) witness_end(&at);
        count.steps++;
        if (below(4) == 0) usleep(below(300));
        if (below(400) == 0) kill_a_writer();
    }
    count.moves += source->hold.moves;
    count.entered_z += source->hold.entered_z;
    count.resets += source->stats.resets;
    count.lives++;
    pthread_mutex_lock(&slow.nobody_holds);
    source_free(source);
    source = NULL;
    truth.there = false;
    while (apply_slot()) {
    }
    struct verify_result result;
    if (count.shipments) must(replica_verify(replica, 1, NULL, &result, &err), "verify");
}

static void keep(struct store *s) {
    (void)s; /* one replica for all lives */
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    static struct store_ops kept;
    writer_program = argv[1];
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
    random_state = seed;
    must(env_new_system(2, &env, &err), "system");
    if (!mkdtemp(dir)) fail("mkdtemp");
    printf("seed %" PRIu64 ", in %s\n", seed, dir);
    fflush(stdout);
    setenv("RUNTIME_DIRECTORY", dir, 1);
    snprintf(db_path, sizeof db_path, "%s/app.db", dir);
    enemy = connection(0);
    exec_on(enemy,
            "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; CREATE TABLE t(id INTEGER"
            " PRIMARY KEY, v, b); CREATE TABLE audit(k TEXT PRIMARY KEY, n); INSERT INTO audit"
            " VALUES ('seq', 0), ('rows', 0), ('bytes', 0)");
    witness = connection(2000);
    must(store_new_mem(env, &replica, &err), "store");
    kept = *replica->ops;
    kept.free = keep;
    const struct store_ops *own = replica->ops;
    replica->ops = &kept;
    for (int i = 0; i < WRITERS; i++) start_writer(i);
    pthread_mutex_lock(&slow.nobody_holds);
    start_slow_checkpoints(connection(0));
    hold_gap = in_the_gap;
    int64_t end = env->mono_ns(env) + (int64_t)(atof(argv[2]) * 1e9);
    for (int64_t now; (now = env->mono_ns(env)) < end;)
        live(now + LIFE_NS < end ? now + LIFE_NS : end);
    for (int i = 0; i < WRITERS; i++) end_writer(i, SIGKILL);
    pthread_mutex_unlock(&slow.nobody_holds);
    end_slow_checkpoints();
    if (!count.shipments) fail("nothing was shipped");
    printf("%" PRIu64 " lives, %" PRIu64 " steps, %" PRIu64 " shipments: %" PRIu64
           " sums right, %" PRIu64 " without one, %" PRIu64 " equal byte for byte; %" PRIu64
           " moves, %" PRIu64 " times in Z, %" PRIu64 " resets, %" PRIu64 " gaps, %" PRIu64
           " deeds, %" PRIu64 " kills, %" PRIu64 " slow checkpoints; 0 failed\n",
           count.lives, count.steps, count.shipments, count.sums, count.unknown, count.compared,
           count.moves, count.entered_z, count.resets, count.gaps, count.deeds, count.kills,
           slow.waits);
    sqlite3_close(witness);
    sqlite3_close(enemy);
    sqlite3_free(truth.bytes);
    free(made.bytes);
    replica->ops = own;
    store_free(replica);
    env_free_system(env);
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) == 0 ? 0 : 1;
}
