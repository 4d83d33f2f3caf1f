/* Interleavings: the source among applications, with a switch possible at every call of SQLite's
 * VFS, and at every gap between two steps of the hold.
 *
 *     sim_interleave [--count N] [--seconds S] [--seed X] [--only SEED] [--first] [--twice]
 *                    [--without-hold]
 *
 * --first: up to the first world in which something is found. --twice: each world twice, as the
 * first twenty always are, and the traces compared.
 *
 * A seed is a world (sim.h): some writers, readers and checkpointers on one database, the source
 * with its workers, and a store in memory. The source lives several lives: it drains and ends, or
 * ends as it is, or as in a crash, between two steps; the applications go on without it.
 *
 * Checked in each world:
 *  1. Each object that is put: a shipment ends at a commit boundary, at or after the one before,
 *     and what the shipments up to it make is the database there, page for page. A compacted object
 *     holds the pages of its end, and each that changed in its span.
 *  2. At each turn nBackfill <= mxFrame: no checkpoint has run away with another log.
 *  3. Each reader sees the database of the boundary at which it began.
 *  4. At the end the database is whole and has each acknowledged row and no other; so is, and has,
 *     what is restored, and both are equal, byte for byte; an older state is restored, too.
 *  5. The source was never refused, came to its end, and the replica verifies.
 *
 * Pages that nobody ever wrote (oracle.c) are compared with nothing, and are counted.
 *
 * --without-hold is the control: the same applications, and in place of the source somebody who
 * runs PASSIVE checkpoints. On a SQLite with the WAL-reset bug that harms databases, and the
 * harness has to see it.
 */
#include "os/system.h"
#include "replica/replica.h"
#include "shipped.h"
#include "sim.h"
#include "source/hold.h"
#include "source/source.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 3
#define FIXED_VERSION 3051003
#define TWICE 20
#define PATIENCE_S 300 /* real ones, for a world */

static char dir[] = "/dev/shm/holdfast-interleave-XXXXXX", db_path[80], out_path[80];
static struct env *real_env, env;
static struct env_files files;
static struct err err;

static struct {
    uint64_t count, seed, only;
    double seconds;
    bool twice, first, without_hold;
} args = {.count = 10000, .seed = 1};

static uint32_t page_size;
static struct store *replica;
static struct source *source;
static int source_actor;
static bool file_changed, ended;

/* ---- the outside of the source ---- */

static int64_t unix_ms(struct env *e) {
    (void)e;
    return 1795382699618 + sim_now() / SIM_MS;
}

static int64_t mono_ns(struct env *e) {
    (void)e;
    return sim_now();
}

static void random_bytes(struct env *e, void *buf, size_t n) {
    (void)e;
    for (size_t i = 0; i < n; i++) ((uint8_t *)buf)[i] = (uint8_t)sim_random();
}

static void sleep_ns(struct env *e, int64_t ns) {
    (void)e;
    sim_sleep(ns);
}

static rc all_in_turn(struct env *e, int parallel, int count, void (*fn)(void *, int), void *arg,
                      struct err *ignored) {
    (void)e, (void)parallel, (void)ignored;
    for (int i = 0; i < count; i++) fn(arg, i);
    return ok();
}

static struct {
    struct job *first, **last;
    int actors[WORKERS], idle[WORKERS];
} jobs;

static rc submit(struct env *e, struct job *job, struct err *ignored) {
    (void)e, (void)ignored;
    job->next = NULL;
    *jobs.last = job;
    jobs.last = &job->next;
    for (int i = 0; i < WORKERS; i++)
        if (jobs.idle[i]) sim_wake(jobs.actors[i]);
    return ok();
}

static void work_on(void *arg) {
    int me = *(int *)arg;
    while (!ended) {
        struct job *job = jobs.first;
        jobs.idle[me] = !job;
        if (!job) {
            sim_sleep_until(INT64_MAX);
            continue;
        }
        jobs.first = job->next;
        if (!jobs.first) jobs.last = &jobs.first;
        job->run(job);
        jobs_done_put(job->home, job);
    }
}

static void wake_source(void *arg) {
    (void)arg;
    sim_wake(source_actor);
}

/* As inotify: mostly at once, and sometimes the source is at work and finds out by itself. */
static void on_change(void) {
    if (sim_one_in(4)) return;
    file_changed = true;
    sim_wake(source_actor);
}

static rc read_file(struct env *e, struct file *f, uint64_t at, void *buf, size_t n,
                    struct err *out) {
    sim_yield();
    return real_env->files->read(e, f, at, buf, n, out);
}

static rc stat_file(struct env *e, const char *path, struct file_stat *st, struct err *out) {
    sim_yield();
    return real_env->files->stat(e, path, st, out);
}

static rc rename_file(struct env *e, const char *from, const char *to, bool replace,
                      struct err *out) {
    sim_yield();
    return real_env->files->rename(e, from, to, replace, out);
}

static void gap(const char *where) {
    SIM_SAY("gap: %s", where);
    sim_yield();
    if (sim_one_in(6)) sim_sleep(sim_between(0, 3 * SIM_MS));
}

/* ---- the source ---- */

static void on_event(void *arg, const char *name, const char *const *pairs, int n) {
    (void)arg;
    for (int i = 0; i < n && sim_loud; i += 2)
        SIM_SAY("event: %s %s=%s", name, pairs[i], pairs[i + 1]);
    if (strcmp(name, "verify.failed") == 0 && !atomic_load(&replica->abandoned))
        sim_found(DIFFERENT, "%s: %s", name, pairs[n - 1]);
}

static struct source_options some_options(void) {
    return (struct source_options){
        .interval_ms = sim_between(1, 25),
        .checkpoint_pages = 4 + sim_below(80),
        .level_ms = {0, sim_between(20, 80), sim_between(80, 300), sim_between(300, 1000)},
        .snapshot_ms = sim_between(100, 2000),
        .retention = {.level0_ms = sim_between(50, 500), .snapshot_ms = sim_between(200, 2000)},
        .verify_ms = sim_one_in(3) ? -1 : sim_between(100, 1000),
        .event = on_event,
        .wake = wake_source,
    };
}

static bool open_source(void) {
    struct source_options options = some_options();
    rc r = source_open(&source, &env, db_path, &options, &err);
    for (int i = 0; i < 100 && r.code == RC_BUSY; i++) { /* somebody closes or recovers */
        sim_sleep(sim_between(0, 20 * SIM_MS));
        r = source_open(&source, &env, db_path, &options, &err);
    }
    atomic_store(&replica->abandoned, false);
    if (is_ok(r)) r = source_add(source, replica, &err);
    if (!is_ok(r)) sim_found(ENDED, "the source did not open: %s", err.text);
    sim_count.lives++;
    SIM_SAY("a life begins");
    return is_ok(r);
}

/* False: it has ended for good. */
static bool step(void) {
    int64_t due = 0;
    bool changed = file_changed;
    file_changed = false;
    rc r = source_step(source, sim_now(), changed, &due, &err);
    if (!is_ok(r)) {
        sim_found(ENDED, "the source ends: %s", err.text);
        return false;
    }
    if (!file_changed) sim_sleep_until(due > sim_now() ? due : sim_now());
    return true;
}

static bool step_until(bool (*there)(void), int64_t patience, const char *what) {
    int64_t end = sim_now() + patience;
    while (!there()) {
        if (sim_now() > end) {
            char words[300];
            source_left(source, words, sizeof words);
            sim_found(ENDED, "%s: not within %" PRId64 " s: %s", what, patience / SIM_S, words);
            return false;
        }
        if (!step()) return false;
    }
    return true;
}

static bool all_is_shipped(void) {
    return source_left(source, NULL, 0) == 0;
}

static bool no_checkpoint_runs(void) {
    return !apps_checkpoint_runs();
}

static int64_t life_ends;

static bool life_is_over(void) {
    return sim_now() >= life_ends || apps_are_done();
}

/* On a SQLite with the bug an application's checkpoint that began under the hold has to end under
 * it. */
static bool let_go(bool fixed) {
    apps_hold(false);
    return fixed || step_until(no_checkpoint_runs, 60 * SIM_S, "the applications' checkpoints");
}

static void pause_between_lives(void) {
    if (sim_one_in(4)) {
        apps_close_all(true);
        while (!apps_all_closed()) sim_sleep(SIM_MS);
        SIM_SAY("all have closed");
        apps_close_all(false);
    }
    if (sim_one_in(2)) sim_sleep(sim_between(0, 100 * SIM_MS));
}

static bool one_life(bool fixed) {
    if (!open_source()) return false;
    apps_hold(true);
    life_ends = sim_now() + sim_between(5 * SIM_MS, 400 * SIM_MS);
    bool good = step_until(life_is_over, 600 * SIM_S, "a life");
    unsigned how = sim_below(3);
    if (good && apps_are_done() && how == 1) how = 0;
    if (good) good = let_go(fixed);
    if (good && how == 0) {
        source_drain(source);
        good = step_until(all_is_shipped, 60 * SIM_S, "draining");
    }
    if (how == 2) source_abandon(source);
    apps_hold(false);
    source_free(source);
    source = NULL;
    SIM_SAY("a life ends, %s", how == 0 ? "drained" : how == 1 ? "as it was" : "given up");
    return good;
}

static void live_on(void *arg) {
    bool fixed = *(const bool *)arg, good = true;
    while (good && !apps_are_done()) {
        good = one_life(fixed);
        if (good && !apps_are_done()) pause_between_lives();
    }
    if (good && open_source()) {
        apps_hold(true);
        source_drain(source);
        step_until(all_is_shipped, 60 * SIM_S, "the last draining");
        source_free(source);
        source = NULL;
    }
    ended = true;
    for (int i = 0; i < WORKERS; i++) sim_wake(jobs.actors[i]);
}

/* In place of it: checkpoints, and no hold. */
static void checkpoint_on(void *arg) {
    (void)arg;
    sqlite3 *db = NULL;
    int64_t most = sim_one_in(2) ? 0 : 5 * SIM_MS;
    apps_hold(true);
    if (sqlite3_open(db_path, &db) != SQLITE_OK) sim_fatal("open: %s", sqlite3_errmsg(db));
    sqlite3_exec(db, "PRAGMA schema_version", NULL, NULL, NULL);
    for (int n = 0; !apps_are_done(); n++) {
        sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        sim_sleep(sim_between(0, n < 100 ? most : 5 * SIM_MS));
    }
    sqlite3_close(db);
    ended = true;
}

/* ---- the end of a world ---- */

static uint8_t *read_whole(const char *path, size_t *size) {
    struct stat st;
    FILE *f = fopen(path, "re");
    if (!f || fstat(fileno(f), &st) != 0) sim_fatal("%s cannot be read", path);
    uint8_t *bytes = malloc((size_t)st.st_size + 1);
    *size = bytes ? fread(bytes, 1, (size_t)st.st_size, f) : 0;
    fclose(f);
    if (*size != (size_t)st.st_size) sim_fatal("%s cannot be read", path);
    return bytes;
}

static void remove_database(const char *path) {
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    char name[120];
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

static void compare_file(const char *path, int k, enum finding f, const char *what) {
    size_t size;
    uint32_t first, pages = oracle_boundary(k)->pages;
    uint8_t *bytes = read_whole(path, &size);
    if (size != (size_t)pages * page_size)
        sim_found(f, "%s: %zu bytes, %u pages of %u expected", what, size, pages, page_size);
    else if (oracle_differ(k, bytes, pages, &first))
        sim_found(f, "%s: page %u is not that of boundary %d", what, first, k);
    free(bytes);
}

static bool restore(struct target target, struct restore_result *result) {
    struct restore_options options = {.target = target};
    remove_database(out_path);
    if (!is_ok(replica_restore(replica, out_path, &options, result, &err))) {
        sim_found(DIFFERENT, "restore of TXID %" PRIu64 ": %s", target.txid, err.text);
        return false;
    }
    if (!result->sum_checked) sim_found(DIFFERENT, "a restore was not proven by its sum");
    sim_count.restores++;
    return true;
}

static void check_an_older_state(void) {
    struct listing listing = {0};
    struct replica_file *points = NULL;
    struct restore_result result;
    size_t count = 0;
    rc r = replica_list(replica, &listing, NULL, &err);
    if (is_ok(r)) r = listing_points(&listing, &points, &count, &err);
    if (!is_ok(r)) sim_found(DIFFERENT, "list: %s", err.text);
    uint64_t txid = count ? points[sim_below((unsigned)count)].max_txid : 0;
    if (shipped_boundary(txid) >= 0 && restore((struct target){.txid = txid}, &result))
        compare_file(out_path, shipped_boundary(txid), DIFFERENT, "an older state");
    free(points);
    listing_deinit(&listing);
}

static void check_replica(void) {
    struct verify_result verified;
    struct restore_result result;
    shipped_hurry();
    if (!is_ok(replica_verify(replica, 1, NULL, &verified, &err)))
        sim_found(DIFFERENT, "verify: %s", err.text);
    if (restore((struct target){0}, &result)) {
        compare_file(out_path, oracle_newest(), DIFFERENT, "the restored file");
        apps_check(out_path, DIFFERENT, "the restored database");
    }
    check_an_older_state();
    remove_database(out_path);
}

/* ---- a world ---- */

static void begin_world(uint64_t seed, bool loud) {
    static const uint32_t sizes[] = {512, 1024, 1024, 4096};
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(seed * 2 + 1), (sqlite3 *)NULL);
    sim_begin(seed, loud);
    remove_database(db_path);
    page_size = sim_one_in(30) ? 65536 : sizes[sim_below(4)];
    vfs_watch(db_path);
    vfs_move_lock_page(sim_one_in(2) ? 65536 : 0x40000000);
    oracle_begin(page_size, ltx_lock_page(page_size));
    struct app_options apps = {.path = db_path,
                               .writers = 1 + (int)sim_below(3),
                               .readers = (int)sim_below(3),
                               .checkpointers = (int)sim_below(3),
                               .fixed = sqlite3_libversion_number() >= FIXED_VERSION};
    apps_create(&apps, page_size);
    ended = file_changed = false;
    source_actor = -1;
}

static void end_world(void) {
    apps_end();
    compare_file(db_path, oracle_newest(), HARMED, "the database's file");
    apps_check(db_path, HARMED, "the database");
    if (!args.without_hold) {
        check_replica();
        shipped_close();
    }
    remove_database(db_path);
}

static void run_world(uint64_t seed, bool loud) {
    static int numbers[WORKERS] = {0, 1, 2};
    static bool fixed;
    fixed = sqlite3_libversion_number() >= FIXED_VERSION;
    begin_world(seed, loud);
    jobs.first = NULL;
    jobs.last = &jobs.first;
    if (args.without_hold) {
        sim_spawn("checkpoints", checkpoint_on, NULL);
    } else {
        replica = shipped_open(&env, page_size);
        source_actor = sim_spawn("source", live_on, &fixed);
        vfs_pid(source_actor, system_pid());
        for (int i = 0; i < WORKERS; i++)
            jobs.actors[i] = sim_spawn("worker", work_on, &numbers[i]);
        vfs_on_change(on_change);
    }
    apps_start();
    sim_run();
    end_world();
}

/* ---- all of them ---- */

static const char *program;
static volatile uint64_t at_seed;
static volatile sig_atomic_t stopped; /* by somebody who has seen enough: tells what there was */

static void on_stop(int number) {
    (void)number;
    stopped = 1;
}

static void on_signal(int number) {
    static char words[200];
    int n = snprintf(words, sizeof words, "signal %d: %s%s --only %" PRIu64 " replays it\n", number,
                     program, args.without_hold ? " --without-hold" : "", at_seed);
    if (write(1, words, (size_t)n) < 0) _exit(2);
    _exit(1);
}

/* Its hash; *found is added to. */
static uint64_t try_seed(uint64_t seed, bool loud) {
    at_seed = seed;
    alarm(PATIENCE_S);
    run_world(seed, loud);
    if (sim_found_any() && !sim_quiet) printf("%s --only %" PRIu64 " replays it\n", program, seed);
    return sim_hash();
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct { uint64_t ran, found, of[FINDINGS], first, unlike; } total;

static void run_seed(uint64_t seed) {
    uint64_t hash = try_seed(seed, args.only != 0);
    bool any = false;
    for (int f = 0; f < FINDINGS; f++) {
        total.of[f] += sim_findings(f) > 0;
        any |= sim_findings(f) > 0;
    }
    if (any && !total.found++) total.first = seed;
    total.ran++;
    if (args.only || (!args.twice && total.ran > TWICE)) return;
    if (try_seed(seed, false) == hash) return;
    total.unlike++;
    printf("seed %" PRIu64 ": another trace at the second time\n%s --seed %" PRIu64
           " --count 1 --twice replays it\n",
           seed, program, seed);
}

static void tell_total(double seconds) {
    const struct sim_counters *c = &sim_count;
    printf("tier=interleavings%s.%s ran=%" PRIu64 " of=%" PRIu64 " found=%" PRIu64 " seconds=%.1f",
           args.without_hold ? ".without_hold" : "", sqlite3_libversion(), total.ran,
           args.only ? 1 : args.count, args.without_hold ? 0 : total.found + total.unlike, seconds);
    printf(" different=%" PRIu64 " lost=%" PRIu64 " harmed=%" PRIu64 " ended=%" PRIu64
           " first=%" PRIu64,
           total.of[DIFFERENT], total.of[LOST], total.of[HARMED], total.of[ENDED], total.first);
    printf(" switches=%" PRIu64 " calls=%" PRIu64 " commits=%" PRIu64 " acked=%" PRIu64
           " checkpoints=%" PRIu64 " reads=%" PRIu64,
           c->switches, c->calls, c->commits, c->acked, c->checkpoints, c->reads);
    printf(" lives=%" PRIu64 " shipments=%" PRIu64 " objects=%" PRIu64 " streamed=%" PRIu64
           " compared_pages=%" PRIu64 " undefined_pages=%" PRIu64 " restores=%" PRIu64 "\n",
           c->lives, c->shipments, c->objects, c->streamed, c->pages, c->undefined, c->restores);
}

static int usage(void) {
    fprintf(stderr,
            "usage: %s [--count N] [--seconds S] [--seed X] [--only SEED] [--first] [--twice]"
            " [--without-hold]\n",
            program);
    return 2;
}

static bool parse(int argc, char **argv) {
    static const struct option options[] = {
        {"count", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'x'},
        {"only", required_argument, NULL, 'o'},
        {"build", required_argument, NULL, 'b'},
        {"twice", no_argument, NULL, 't'},
        {"first", no_argument, NULL, 'f'},
        {"without-hold", no_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) switch (c) {
        case 'c': args.count = strtoull(optarg, NULL, 10); break;
        case 's': args.seconds = strtod(optarg, NULL); break;
        case 'x': args.seed = strtoull(optarg, NULL, 10); break;
        case 'o': args.only = strtoull(optarg, NULL, 10); break;
        case 'b': break; /* it needs no other program */
        case 't': args.twice = true; break;
        case 'f': args.first = true; break;
        case 'w': args.without_hold = true; break;
        default: return false;
        }
    return optind == argc;
}

static void remove_all(void) {
    char command[120];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) fprintf(stderr, "%s: cannot be removed\n", dir);
}

static bool prepare(void) {
    sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    if (!mkdtemp(dir) || !is_ok(env_new_system(1, &real_env, &err))) return false;
    snprintf(db_path, sizeof db_path, "%s/app.db", dir);
    snprintf(out_path, sizeof out_path, "%s/restored.db", dir);
    setenv("RUNTIME_DIRECTORY", dir, 1);
    env = *real_env;
    files = *real_env->files;
    files.read = read_file;
    files.stat = stat_file;
    files.rename = rename_file;
    env.files = &files;
    env.unix_ms = unix_ms;
    env.mono_ns = mono_ns;
    env.sleep_ns = sleep_ns;
    env.random = random_bytes;
    env.submit = submit;
    env.parallel = all_in_turn;
    hold_gap = gap;
    vfs_install();
    return atexit(remove_all) == 0;
}

int main(int argc, char **argv) {
    program = argv[0];
    if (!parse(argc, argv)) return usage();
    if (!prepare()) {
        fprintf(stderr, "%s: no place below /dev/shm\n", program);
        return 2;
    }
    signal(SIGSEGV, on_signal);
    signal(SIGABRT, on_signal);
    signal(SIGALRM, on_signal);
    signal(SIGTERM, on_stop);
    signal(SIGINT, on_stop);
    sim_quiet = args.without_hold && !args.only;
    double start = seconds_now();
    if (args.only) run_seed(args.only);
    else
        for (uint64_t i = 0; i < args.count; i++) {
            if (args.seconds > 0 && seconds_now() - start > args.seconds) break;
            if (stopped || (args.first && total.found)) break;
            run_seed(args.seed + i);
        }
    tell_total(seconds_now() - start);
    if (!args.without_hold) return total.found + total.unlike ? 1 : 0;
    bool must_harm = sqlite3_libversion_number() < FIXED_VERSION;
    bool as_it_must = must_harm ? total.of[HARMED] > 0 : total.found + total.unlike == 0;
    return as_it_must || args.only ? 0 : 1;
}
