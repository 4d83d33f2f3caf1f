/* Replication under faults, with a virtual clock: the real source, replica and restore on real
 * SQLite databases, with stores and machines that do their worst.
 *
 *     sim_replication [--count N] [--seconds S] [--seed X] [--only SEED] [--jobs J] [--first]
 *                     [--twice]
 *
 * A seed is a few machines with one history between them. Their applications commit, check point,
 * close; sources start, die at any effect, are paused and come back after another took over; disks
 * are put back to what they were; clocks jump; stores lose, delay, repeat and refuse. Each seed
 * draws which of that it has, and how much. People do what the refusals say. Then the faults stop,
 * and all has to be well within 30 seconds.
 *
 * Seeds run in child processes, some at a time: a crash is a finding like any other, and what a
 * process leaves in memory when it dies in here goes with the child.
 */
#include "replication_hosts.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 50
#define TWICE 20       /* the first so many seeds run twice, and have to be the same */
#define PATIENCE_S 300 /* real ones, for a seed */

struct host hosts[MACHINES];
int host_count;
struct swarm swarm;
bool settling;
static char root[48] = "/dev/shm/replication-XXXXXX";
static struct env *real;
static struct life *nobody; /* what checks: no faults, no machine */

/* ---- what happens to machines ---- */

/* Power is lost, and what had not been synced with it; or somebody copies an old file back. */
static void roll_back(struct host *h) {
    if (!h->saved.bytes[0]) return;
    bool boot = chance(700);
    source_kill(h);
    app_close(h, false);
    disk_put_back(h, &h->saved, boot);
    if (boot) disk_boots(h);
    trace("%s: its disk is as it was in state %d%s", h->m.name, h->state,
          boot ? ", after a boot" : "");
    app_open(h);
    note_opened(h);
    h->rolled_back = true;
    count.rollbacks++;
}

static void resume(void *arg) {
    struct host *h = arg;
    if (!h->m.paused) return;
    trace("%s: goes on", h->m.name);
    machine_pause(&h->m, false);
}

static void pause_machine(struct host *h) {
    if (h->m.paused) return;
    trace("%s: paused", h->m.name);
    waits_excused(h);
    machine_pause(&h->m, true);
    at(now_ns + between(SECOND, 10 * MINUTE), resume, h);
}

static void outage_ends(void *arg) {
    (void)arg;
    faults.outage = false;
    trace("the stores answer again");
}

/* Long; and nobody may ask without a pause meanwhile. */
static void outage_begins(void) {
    if (faults.outage) return;
    int64_t length = chance(300) ? HOUR : between(SECOND, 5 * MINUTE);
    faults.outage = true;
    count.outages++;
    trace("no store answers for %" PRId64 " s", length / SECOND);
    at(now_ns + length, outage_ends, NULL);
}

/* Mostly one that nothing else makes up for. */
static void lose_object(void) {
    struct bucket *b = &buckets[below((uint32_t)bucket_count)];
    for (int tries = 0; b->count && tries < 40; tries++) {
        struct object *o = &b->objects[below((uint32_t)b->count)];
        if (!o->ltx || o->gone_ns || !o->born_ns) continue; /* what a seed begins with stays */
        o->gone_ns = now_ns;
        oracle_damaged(b);
        if (!b->holed_ns && tries < 30) {
            o->gone_ns = 0;
            continue;
        }
        trace("%s loses %s", b->name, o->key);
        b->damaged_ns = now_ns;
        count.damages++;
        for (int i = 0; i < host_count && chance(500); i++) source_kill(&hosts[i]);
        return;
    }
}

static void act_on(struct host *h) {
    bool free_app = h->app && !h->busy && !h->m.paused;
    switch (below(40)) {
    case 0:
        if (free_app) app_checkpoint(h);
        return;
    case 1:
        if (free_app) app_reader(h);
        return;
    case 2:
        if (!free_app || !swarm.app_closes || h->busy) return;
        note_cuts(h->run);
        app_close(h, chance(500));
        app_open(h);
        note_commit(h);
        return;
    case 3: source_kill(h); return;
    case 4: source_stop(h); return;
    case 5:
        if (swarm.takeovers && chance(500)) pause_machine(h);
        if (swarm.takeovers) take_over_from(h);
        return;
    case 6:
        if (free_app) disk_save(h, &h->saved);
        return;
    case 7:
    case 14:
        if (free_app && swarm.rollbacks) roll_back(h);
        return;
    case 8:
        if (!swarm.jumps) return;
        h->m.clock_ms += between(-3600000, 3600000);
        count.jumps++;
        trace("%s: its clock is off by %" PRId64 " ms", h->m.name, h->m.clock_ms);
        return;
    case 9:
        if (swarm.outages) outage_begins();
        return;
    case 10:
        if (swarm.damage && chance(500)) lose_object();
        return;
    case 11:
    case 12:
    case 13:
        if (free_app && swarm.waits && h->run && h->run->source) wait_begin(h);
        return;
    default:
        for (uint32_t n = chance(200) ? 1 + below(6) : 1; free_app && n > 0; n--) app_commit(h);
    }
}

static void act(void) {
    struct host *h = &hosts[below((uint32_t)host_count)];
    if (h->there && !(h->m.paused && chance(900))) act_on(h);
}

static void in_gap(const char *where) {
    struct life *l = co_life();
    struct host *h = l ? (struct host *)l->machine : NULL;
    if (!h || !h->run || h->run->life != l || !h->run->source) return;
    effect(l, where);
    if (h->app && !h->busy && chance(swarm.gap_commits)) app_commit(h);
}

/* ---- a seed ---- */

static void draw_swarm(void) {
    static const uint32_t sizes[] = {512, 1024, 4096};
    static const int64_t gaps[] = {20 * MS, 400 * MS, 4 * SECOND, 40 * SECOND};
    struct faults *f = &swarm.faults;
    bool tiny = chance(800);
    memset(&swarm, 0, sizeof swarm);
    swarm.page_size = sizes[below(3)];
    swarm.rows = 4 + below(30);
    swarm.blob = swarm.page_size / 4 + below(2 * swarm.page_size);
    swarm.autocheckpoint = chance(300) ? 0 : chance(500) ? 4 + below(40) : 1000;
    swarm.gap = gaps[below(4)];
    swarm.acts = 20 + below(60);
    swarm.crashes = chance(700) ? 400 : 0;
    swarm.gap_commits = chance(400) ? 30 : 0;
    swarm.damage = chance(100);
    swarm.takeovers = chance(300);
    swarm.rollbacks = chance(300);
    swarm.jumps = chance(200);
    swarm.outages = chance(100);
    swarm.waits = chance(700);
    swarm.app_closes = chance(400);
    swarm.vacuum = chance(300);
    if (chance(400)) f->refuse = 20 + below(150);
    if (chance(300)) f->lose = 10 + below(60);
    if (chance(400)) f->lose_reply = 20 + below(150);
    if (chance(300)) f->late = 20 + below(100);
    if (chance(300)) f->twice = 20 + below(100);
    if (chance(300)) f->conflict = 50 + below(150);
    if (chance(300)) f->cut = 20 + below(100);
    if (chance(150) && !swarm.jumps) f->stale = 100 + below(500);
    if (chance(300)) f->slow = 20 + below(100);
    if (chance(200)) f->files = 20 + below(200);
    swarm.stale = f->stale > 0;
    struct source_options *o = &swarm.options;
    o->checkpoint_pages = 10 + below(100);
    o->interval_ms = chance(500) ? 1000 : 50;
    o->verify_ms = chance(500) ? -1 : tiny ? 60000 : 0;
    if (tiny) {
        o->level_ms[1] = 2000 + below(3000);
        o->level_ms[2] = 3 * o->level_ms[1];
        o->level_ms[3] = 3 * o->level_ms[2];
        o->snapshot_ms = chance(500) ? 60000 : 300000;
        o->retention = (struct retention){1000 + below(10000), 30000 + below(300000)};
        if (chance(200)) /* snapshots lead over what the levels have not made their own */
            o->snapshot_ms = o->retention.snapshot_ms = 3000 + below(5000);
    }
    promised = o->retention;
    if (!promised.level0_ms) promised = (struct retention){300000, 86400000};
}

static rc collect(void *arg, const void *bytes, size_t n, struct err *e) {
    buf_put(arg, bytes, n);
    return buf_check(arg, "object", e);
}

static void put_empty(struct bucket *b, int level, uint64_t max_txid) {
    struct ltx_header h = {.page_size = swarm.page_size,
                           .commit = 1,
                           .min_txid = 1,
                           .max_txid = max_txid,
                           .timestamp_ms = 1795382600000,
                           .wal_offset = level ? 0 : WAL_HEADER_SIZE,
                           .node_id = OLD_NODE,
                           .chain = {.present = true, .sum = replica_empty_sum(swarm.page_size)}};
    struct ltx_writer w;
    struct err e;
    struct buf bytes;
    uint64_t checksum, size;
    char key[KEY_SIZE];
    uint8_t *page = malloc(swarm.page_size);
    ENSURE(page);
    buf_init(&bytes, 1u << 20);
    replica_empty_page(page, swarm.page_size);
    ENSURE(is_ok(ltx_writer_init(&w, &h, LTX_BLOCKS, collect, &bytes, &e)) &&
           is_ok(ltx_writer_page(&w, 1, page, &e)) &&
           is_ok(ltx_writer_finish(&w, &checksum, &size, &e)));
    ltx_writer_deinit(&w);
    key_of_file(b->layout == LAYOUT_BUCKET, level, 1, h.max_txid, key);
    struct store *store = bucket_open(b, NULL, &nobody->env);
    ENSURE(is_ok(store->ops->put(store, key, bytes.bytes, bytes.size, h.timestamp_ms, &e)));
    store_free(store);
    buf_deinit(&bytes);
    free(page);
}

/* A replica that is long in use: its next slots are at the ends of 31 and 32 bits. */
static void begin_far(struct bucket *b) {
    static const uint64_t ends[] = {0x7ffffff0, 0xfffffff0, 0x10000000000};
    put_empty(b, LEVEL_SNAPSHOT, ends[below(3)] + below(16));
    put_empty(b, 0, 1);
    for (size_t i = 0; i < b->count; i++) b->objects[i].born_ns = 0; /* no list hides them */
}

static void begin_hosts(void) {
    static const char *const names[MACHINES] = {"A", "B", "C"};
    for (int i = 0; i < host_count; i++) {
        struct host *h = &hosts[i];
        *h = (struct host){.m.name = names[i]};
        snprintf(h->m.dir, sizeof h->m.dir, "%s/%s", root, names[i]);
        snprintf(h->m.db, sizeof h->m.db, "%s/%s/app.db", root, names[i]);
        snprintf(h->m.run_dir, sizeof h->m.run_dir, "%s/%s/run", root, names[i]);
        ENSURE(mkdir(h->m.dir, 0700) == 0 || access(h->m.dir, W_OK) == 0);
        ENSURE(mkdir(h->m.run_dir, 0700) == 0 || access(h->m.run_dir, W_OK) == 0);
        disk_remove(h);
        disk_boots(h);
    }
    struct host *h = &hosts[0];
    app_open(h);
    app_sql(h->app, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    note_commit(h);
    for (uint32_t n = below(20); n > 0; n--) app_commit(h);
    h->there = h->wanted = true;
}

static void end_hosts(void) {
    for (int i = 0; i < host_count; i++) {
        struct host *h = &hosts[i];
        h->wanted = false;
        source_kill(h);
        app_close(h, true);
        free(h->seen);
        free(h->saved.bytes[0]);
        free(h->saved.bytes[1]);
    }
    waits_forget();
}

static struct host *the_one(void) {
    for (int i = 0; i < host_count; i++)
        if (hosts[i].there && !hosts[i].out && hosts[i].run && !hosts[i].run->ending)
            return &hosts[i];
    return NULL;
}

/* It says that all is safe, and all is. */
static bool is_complete(const struct host *h) {
    if (!h || !h->run || !h->run->source || h->run->stop) return false;
    for (int i = 0; i < bucket_count; i++)
        if (!buckets[i].damaged_ns && oracle_newest(&buckets[i]) != h->state) return false;
    return source_left(h->run->source, NULL, 0) == 0;
}

static bool is_at_work(const struct host *h) {
    return h->busy || (h->there && !h->out);
}

/* Everybody commits, since who is fenced and idle does not know it yet; then, unless something
 * happens to one of them, all has to be safe within 30 seconds. */
static bool settle_once(void) {
    uint64_t before = count.refusals + count.takeovers + count.fast_forwards;
    int64_t began = now_ns;
    for (int i = 0; i < host_count; i++)
        if (hosts[i].app && !hosts[i].busy) app_commit_surely(&hosts[i]);
    while (!is_complete(the_one()) && now_ns < began + 30 * SECOND) {
        world_run(now_ns + 100 * MS);
        if (before != count.refusals + count.takeovers + count.fast_forwards) return false;
    }
    struct host *h = the_one();
    if (h && !is_complete(h) && !h->run->ending && !h->busy && !any_damaged())
        violated("I15 liveness", "30 s without a fault, and %s is not complete: state %d of %d",
                 h->m.name, oracle_newest(&buckets[0]), h->state);
    return is_complete(h);
}

/* The faults stop. */
static void settle(void) {
    settling = true;
    memset(&faults, 0, sizeof faults);
    swarm.gap_commits = 0;
    for (int i = 0; i < host_count; i++) resume(&hosts[i]);
    int64_t limit = now_ns + 10 * MINUTE;
    trace("the faults stop");
    world_run(now_ns + 31 * SECOND); /* what is slow, and lost, ends */
    for (int i = 0; i < host_count; i++) {
        struct host *h = &hosts[i];
        if (h->run) h->run->life->crash_at = 0;
        if (h->there && !h->out && !h->run && !h->busy) operate_soon(h, 0);
    }
    while (now_ns < limit && !settle_once()) {
        bool any = false;
        for (int i = 0; i < host_count; i++) any |= is_at_work(&hosts[i]);
        if (!any) take_over_from(NULL);
        if (any_damaged() && now_ns > limit - 8 * MINUTE) return;
    }
    if (!is_complete(the_one())) violated("I15 liveness", "nobody replicates after 10 minutes");
}

static void check_all(void) {
    for (int i = 0; i < bucket_count; i++) {
        struct bucket *b = &buckets[i];
        if (b->damaged_ns) continue;
        oracle_promises(b);
        oracle_restores(b, root, &nobody->env, 3);
        oracle_damage(b, root, &nobody->env, 4);
    }
}

static uint64_t run_seed(uint64_t seed) {
    world_begin(seed, real);
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(seed & 0x7fffffff) | 1, NULL);
    settling = false;
    draw_swarm();
    oracle_begin(swarm.page_size);
    nobody = life_new(NULL, NULL, NULL);
    nobody->calm = true;
    host_count = swarm.takeovers ? 2 + (int)below(2) : 1;
    bucket_count = chance(700) ? 1 : 2 + (int)below(2);
    for (int i = 0; i < bucket_count; i++) {
        static const char *const names[BUCKETS] = {"one", "two", "three"};
        buckets[i] = (struct bucket){.name = names[i],
                                     .untidy = swarm.stale,
                                     .layout = chance(500) ? LAYOUT_LTX : LAYOUT_BUCKET};
        if (chance(100)) begin_far(&buckets[i]);
    }
    begin_hosts();
    faults = swarm.faults;
    operate_soon(&hosts[0], 0);
    hold_gap = in_gap;
    for (uint32_t i = 0; i < swarm.acts; i++) {
        world_run(now_ns + (chance(50) ? between(0, 20 * swarm.gap) : between(0, swarm.gap)));
        act();
    }
    settle();
    check_all();
    world_run(now_ns + (chance(200) ? 25 * MINUTE : 2 * MINUTE)); /* what is very late comes, too */
    for (int i = 0; i < bucket_count; i++) oracle_promises(&buckets[i]);
    hold_gap = NULL;
    end_hosts();
    for (int i = 0; i < bucket_count; i++) bucket_deinit(&buckets[i]);
    oracle_end();
    world_end();
    count.seeds++;
    return trace_hash;
}

/* ---- all of them ---- */

#define JOBS_MAX 64

/* Of one child, seen by its parent. */
static struct slice {
    struct counters count;
    uint64_t at, last; /* the seed that runs; where its slice ends */
    pid_t pid;
} * slices;

struct order {
    uint64_t seed, count;
    double end;
    int jobs;
    bool twice, first;
};

static volatile sig_atomic_t stopped; /* by somebody who has seen enough: tells what there was */

static void on_stop(int number) {
    (void)number;
    stopped = 1;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add_counters(struct counters *to, const struct counters *from) {
    for (size_t i = 0; i < sizeof *to / sizeof(uint64_t); i++)
        ((uint64_t *)to)[i] += ((const uint64_t *)from)[i];
}

static noreturn void work(int job, const struct order *o) {
    struct slice *s = &slices[job];
    struct err e;
    snprintf(root + strlen(root), sizeof root - strlen(root), "/%d", job);
    if ((mkdir(root, 0700) != 0 && access(root, W_OK) != 0) || !is_ok(env_new_system(1, &real, &e)))
        _exit(2);
    for (; s->at < s->last && !stopped && (!o->end || seconds() < o->end); s->at++) {
        memset(&count, 0, sizeof count);
        alarm(PATIENCE_S);
        uint64_t hash = run_seed(s->at);
        add_counters(&s->count, &count);
        if (loud) fprintf(stderr, "trace=%016" PRIx64 "\n", hash);
        bool again = o->twice || s->at - o->seed < TWICE;
        loud = false;
        if (again && run_seed(s->at) != hash) violated("I16 determinism", "another trace");
    }
    _exit(0);
}

static void begin(int job, const struct order *o) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) work(job, o);
    ENSURE(pid > 0);
    slices[job].pid = pid;
}

/* A child has ended: well, or at a seed. Its slice goes on behind that, or it gets another. */
static bool next_slice(int job, int status, uint64_t *next, const struct order *o, uint64_t *found,
                       const char *program) {
    struct slice *s = &slices[job];
    s->pid = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) exit(2);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        ++*found;
        if (WIFSIGNALED(status))
            printf("FOUND seed=%" PRIu64 ": ended by signal %d\n", s->at, WTERMSIG(status));
        printf("    replay: %s --only %" PRIu64 "\n", program, s->at);
        fflush(stdout);
        s->at++;
    }
    if (stopped || (o->end && seconds() >= o->end) || (o->first && *found)) return false;
    if (s->at < s->last) return true;
    uint64_t end = o->seed + o->count;
    s->at = *next;
    s->last = *next = *next + BATCH < end ? *next + BATCH : end;
    return s->at < s->last;
}

static uint64_t run_all(const struct order *o, const char *program) {
    uint64_t found = 0, next = o->seed;
    int running = 0, status;
    for (int job = 0; job < o->jobs; job++)
        if (next_slice(job, 0, &next, o, &found, program)) begin(job, o), running++;
    while (running) {
        pid_t pid = wait(&status);
        int job = 0;
        while (slices[job].pid != pid) job++;
        if (next_slice(job, status, &next, o, &found, program)) begin(job, o);
        else running--;
    }
    return found;
}

static void report(const struct order *o, uint64_t found, double took) {
    struct counters c = {0};
    for (int job = 0; job < o->jobs; job++) add_counters(&c, &slices[job].count);
    printf(
        "tier=faults ran=%" PRIu64 " of=%" PRIu64 " found=%" PRIu64 " seconds=%.1f lives=%" PRIu64
        " crashes=%" PRIu64 " refusals=%" PRIu64 " fenced=%" PRIu64 " takeovers=%" PRIu64
        " rollbacks=%" PRIu64 " fast_forwards=%" PRIu64 " adopted=%" PRIu64 " jumps=%" PRIu64
        " outages=%" PRIu64 " commits=%" PRIu64 " steps=%" PRIu64 " switches=%" PRIu64
        " calls=%" PRIu64 " faults=%" PRIu64 " late=%" PRIu64 " risen=%" PRIu64
        " conflicts=%" PRIu64 " lists_torn=%" PRIu64 " lists_stale=%" PRIu64 " objects=%" PRIu64
        " compactions=%" PRIu64 " deletes=%" PRIu64 " acked=%" PRIu64 " waits=%" PRIu64
        " waits_safe=%" PRIu64 " compared_pages=%" PRIu64 " plans=%" PRIu64 " restores=%" PRIu64
        " verifies=%" PRIu64 " looks_holed=%" PRIu64 " damages=%" PRIu64 " damages_told=%" PRIu64
        " by_time=%" PRIu64 " verify_told=%" PRIu64 "\n",
        c.seeds, o->count, found, took, c.lives, c.crashes, c.refusals, c.fenced, c.takeovers,
        c.rollbacks, c.fast_forwards, c.adopted, c.jumps, c.outages, c.commits, c.steps, c.switches,
        c.calls, c.faults, c.lates, c.risen, c.conflicts, c.lists_torn, c.lists_stale, c.objects,
        c.compactions, c.deletes, c.acks, c.waits, c.waits_safe, c.pages, c.plans, c.restores,
        c.verifies, c.looks_holed, c.damages, c.damages_told, c.by_time, c.verify_told);
}

int main(int argc, char **argv) {
    static const struct option words[] = {
        {"count", required_argument, NULL, 'n'}, {"seconds", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'x'},  {"only", required_argument, NULL, 'o'},
        {"jobs", required_argument, NULL, 'j'},  {"twice", no_argument, NULL, '2'},
        {"first", no_argument, NULL, '1'},       {NULL, 0, NULL, 0}};
    struct order o = {.seed = 1, .count = 10000, .jobs = 1};
    double begun = seconds();
    for (int c; (c = getopt_long(argc, argv, "", words, NULL)) != -1;) {
        if (c == 'n') o.count = strtoull(optarg, NULL, 10);
        else if (c == 's' && atof(optarg) > 0) o.end = begun + atof(optarg);
        else if (c == 'x') o.seed = strtoull(optarg, NULL, 10);
        else if (c == 'j') o.jobs = atoi(optarg);
        else if (c == '2') o.twice = true;
        else if (c == '1') o.first = true;
        else if (c == 'o') o.seed = strtoull(optarg, NULL, 10), o.count = 1, loud = true;
        else if (c != 's') return 2;
    }
    if (optind != argc || o.jobs < 1 || o.jobs > JOBS_MAX || !mkdtemp(root)) return 2;
    slices = mmap(NULL, JOBS_MAX * sizeof *slices, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (slices == MAP_FAILED) return 2;
    signal(SIGTERM, on_stop);
    signal(SIGINT, on_stop);
    uint64_t found = run_all(&o, argv[0]);
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", root);
    if (system(command) != 0) return 2;
    report(&o, found, seconds() - begun);
    return found ? 1 : 0;
}
