/* Power cuts, explored: states of the disk at random points of a trace, each as a restart finds it.
 *
 *     crash_explore [--count N] [--seconds S] [--seed X] [--only SEED] [--serve] DIR
 *     crash_explore --recorded DIR
 *
 * DIR holds `trace` and the recorded tree, `tree`; `scratch` is made there. Of each state (a point
 * and what was lost, both from its seed) the database is recovered by SQLite and the replica
 * verified and restored by the code of the command. Names and rules:
 *
 *   tree/app.db     holds a state of some commit, whole: at least the last "l N" that was said, at
 *                   most one more than the last "c N". After "f N": it is not there, or at least
 *                   of commit N
 *   tree/replica, tree/outside
 *                   give back a state of some commit, at least the last "a N". Nothing in
 *                   tree/outside is ever lost
 *
 * "b" begins the part of the trace in which power is cut; else all of it is.
 * States that are the same to the byte are judged once. --recorded, before anything is laid out:
 * the whole trace must give the tree that lies there, or something was not recorded: exit 2.
 *
 * --serve lays each state out in `tree` itself and says a line about it; a line on the standard
 * input then has it judged what has become of it ("judge"), or goes on ("next").
 */
#include "disk.h"
#include "judge.h"
#include "model.h"

#include "base/hash.h"
#include "base/limits.h"
#include "os/system.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OUTSIDE "outside/"
#define DB_FILES "app.db"
#define BAD_MOST 5 /* then it is enough */

/* What was promised up to a point. */
struct facts {
    uint64_t committed, acknowledged, local, floor;
    bool has_floor;
};

/* Verdicts of what was judged before, by its hash. */
struct memo {
    uint64_t *keys;
    struct verdict *verdicts;
    size_t count, capacity;
};

struct args {
    const char *program, *dir;
    size_t count;
    uint64_t seed;
    double seconds;
    bool loud, serve, recorded;
};

struct explorer {
    struct args args;
    struct env *env;
    struct disk disk;
    char dir[LIMIT_PATH];
    struct facts facts;
    uint64_t *shown; /* by path: the hash of what lies in scratch */
    struct memo databases, replicas;
    size_t states, found, behind, lost_local, restored, holes;
};

struct choice {
    uint64_t seed;
    size_t point;
};

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

__attribute__((__noreturn__, format(printf, 1, 2))) static void give_up(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(2);
}

/* ---- what was promised ---- */

static void take_mark(struct facts *f, const char *line, const char *end) {
    uint64_t n = end - line > 2 ? strtoull(line + 2, NULL, 10) : 0;
    switch (line[0]) {
    case 'b': return;
    case 'c': f->committed = n; return;
    case 'a':
        if (n > f->acknowledged) f->acknowledged = n;
        return;
    case 'l': f->local = n; return;
    case 'f':
        f->floor = n;
        f->has_floor = true;
        f->local = 0;
        return;
    default: give_up("a mark that says nothing: %.*s", (int)(end - line), line);
    }
}

static void advance(struct explorer *x, size_t point) {
    size_t from = x->disk.at, size;
    disk_advance(&x->disk, point);
    for (size_t i = from; i < x->disk.at; i++) {
        const char *at = disk_mark(&x->disk, i, &size), *end = at ? at + size : NULL;
        for (const char *line = at; line && line < end; line++) {
            const char *newline = memchr(line, '\n', (size_t)(end - line));
            if (!newline) break;
            take_mark(&x->facts, line, newline);
            line = newline;
        }
    }
}

/* ---- laying a state out ---- */

static void put_file(const char *path, const struct tree_file *f) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) give_up("%s: %s", path, strerror(errno));
    size_t done = 0;
    for (ssize_t n; done < f->size && (n = write(fd, f->bytes + done, f->size - done)) > 0;)
        done += (size_t)n;
    struct timespec t[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = f->mtime_ns / 1000000000, .tv_nsec = f->mtime_ns % 1000000000}};
    if (done != f->size || (f->mtime_ns && futimens(fd, t) != 0))
        give_up("%s: %s", path, strerror(errno));
    close(fd);
}

static bool is_of_database(const struct tree_file *f) {
    return strncmp(f->name, DB_FILES, strlen(DB_FILES)) == 0;
}

static bool is_shared_memory(const char *name) {
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, "-shm") == 0;
}

/* A restart finds files from before the boot, but for those whose time was set. `young`: on a
 * machine that does not keep its clock they are from after it. */
static void show(const char *root, const struct tree_file *f, bool young) {
    char path[LIMIT_PATH + 512];
    snprintf(path, sizeof path, "%s/%s", root, f->name);
    if (f->is_directory) {
        if (mkdir(path, 0700) != 0 && errno != EEXIST) give_up("%s: %s", path, strerror(errno));
        return;
    }
    struct tree_file old = *f;
    if (!old.mtime_ns && !young) old.mtime_ns = (system_boot_time_ms() - 60000) * 1000000;
    put_file(path, &old);
}

static uint64_t hash_of(const struct tree_file *f) {
    uint64_t h = crc64(0, f->name, strlen(f->name));
    return model_mix(crc64(h, f->bytes ? f->bytes : (const void *)"", f->size) ^ f->is_directory);
}

/* Only what differs from the state before is written. */
static void show_below(struct explorer *x, const char *prefix, const struct tree *t) {
    char root[LIMIT_PATH + 16], path[LIMIT_PATH + 512];
    uint64_t *hashes = calloc((size_t)x->disk.path_count + 1, sizeof *hashes);
    if (!hashes) give_up("no memory");
    snprintf(root, sizeof root, "%s/scratch", x->dir);
    for (int i = 0; i < t->count; i++)
        if (strncmp(t->files[i].name, prefix, strlen(prefix)) == 0)
            hashes[t->files[i].path] = hash_of(&t->files[i]);
    for (int i = x->disk.path_count - 1; i >= 0; i--) {
        if (strncmp(x->disk.paths[i], prefix, strlen(prefix)) != 0 || !x->shown[i] || hashes[i])
            continue;
        snprintf(path, sizeof path, "%s/%s", root, x->disk.paths[i]);
        x->shown[i] = 0;
        if (remove(path) != 0) x->shown[i] = 1; /* a directory, with files: it stays, empty later */
    }
    for (int i = 0; i < t->count; i++) {
        int p = t->files[i].path;
        if (!hashes[p] || hashes[p] == x->shown[p]) continue;
        show(root, &t->files[i], false);
        x->shown[p] = hashes[p];
    }
    free(hashes);
}

static void forget_database(const char *root) {
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal", ".holdfast-new"};
    char path[LIMIT_PATH + 32];
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        snprintf(path, sizeof path, "%s/" DB_FILES "%s", root, suffixes[i]);
        unlink(path);
    }
}

/* ---- judging ---- */

static struct verdict *known(struct memo *m, uint64_t key) {
    for (size_t i = m->count; i-- > 0;)
        if (m->keys[i] == key) return &m->verdicts[i];
    return NULL;
}

static struct verdict *remember(struct memo *m, uint64_t key) {
    if (m->count == m->capacity) {
        m->capacity = m->capacity ? 2 * m->capacity : 256;
        m->keys = realloc(m->keys, m->capacity * sizeof *m->keys);
        m->verdicts = realloc(m->verdicts, m->capacity * sizeof *m->verdicts);
        if (!m->keys || !m->verdicts) give_up("no memory");
    }
    m->keys[m->count] = key;
    return &m->verdicts[m->count++];
}

static struct verdict database_of(struct explorer *x, const struct tree *t) {
    char root[LIMIT_PATH + 16], path[LIMIT_PATH + 32];
    uint64_t key = 1;
    for (int i = 0; i < t->count; i++)
        if (is_of_database(&t->files[i]) && !is_shared_memory(t->files[i].name))
            key = model_mix(key ^ hash_of(&t->files[i]));
    struct verdict *v = known(&x->databases, key);
    if (v) return *v;
    snprintf(root, sizeof root, "%s/scratch", x->dir);
    snprintf(path, sizeof path, "%s/" DB_FILES, root);
    forget_database(root);
    for (int i = 0; i < t->count; i++)
        if (is_of_database(&t->files[i]) && !is_shared_memory(t->files[i].name))
            show(root, &t->files[i], false);
    v = remember(&x->databases, key);
    judge_database(path, v);
    return *v;
}

static struct verdict replica_of(struct explorer *x, const char *name, const struct tree *t) {
    char root[LIMIT_PATH + 64], out[LIMIT_PATH + 64];
    size_t n = strlen(name);
    uint64_t key = crc64(0, name, n) + t->any_names;
    for (int i = 0; i < t->count; i++)
        if (strncmp(t->files[i].name, name, n) == 0 && t->files[i].name[n] == '/')
            key = model_mix(key ^ hash_of(&t->files[i]));
    struct verdict *v = known(&x->replicas, key);
    if (v) return *v;
    show_below(x, name, t);
    snprintf(root, sizeof root, "%s/scratch/%s", x->dir, name);
    snprintf(out, sizeof out, "%s/scratch/restored.db", x->dir);
    v = remember(&x->replicas, key);
    judge_replica(x->env, root, out, t->any_names, v);
    x->holes += v->hole;
    x->restored += v->there;
    return *v;
}

static bool is_recorded(const struct explorer *x, const char *name) {
    size_t n = strlen(name);
    for (int i = 0; i < x->disk.path_count; i++)
        if (strncmp(x->disk.paths[i], name, n) == 0 && x->disk.paths[i][n] == '/') return true;
    return false;
}

/* What is wrong with it, in words; false: nothing. */
static bool replica_is_wrong(const struct facts *f, const char *name, const struct verdict *v,
                             char *words, size_t size) {
    const char *wrong = NULL;
    if (v->bad) wrong = v->words;
    else if (f->acknowledged && !v->there) wrong = "there is no backup";
    else if (v->commit < f->acknowledged) wrong = "an acknowledged commit is lost";
    else if (v->there && v->commit > f->committed + 1) wrong = "it holds what nobody committed";
    if (wrong) snprintf(words, size, "%s: %s (gives commit %" PRIu64 ")", name, wrong, v->commit);
    return wrong;
}

static bool database_is_wrong(const struct facts *f, const struct verdict *v, char *words,
                              size_t size) {
    const char *wrong = NULL;
    if (v->bad) wrong = v->words;
    else if (v->commit < f->local) wrong = "a commit is lost that the disk had";
    else if (f->has_floor && v->there && v->commit < f->floor) wrong = "it is not all of it";
    else if (v->commit > f->committed + 1) wrong = "it holds what nobody committed";
    if (wrong) snprintf(words, size, DB_FILES ": %s (is of commit %" PRIu64 ")", wrong, v->commit);
    return wrong;
}

/* ---- the states ---- */

static const char *const replica_names[] = {"replica", "outside"};

static size_t begin_of(const struct disk *d) {
    for (size_t i = 0, size; i < d->op_count; i++) {
        const char *mark = disk_mark(d, i, &size);
        if (mark && size && *mark == 'b') return i;
    }
    return 0;
}

/* Half of them right after something was promised or synced: there a promise breaks first. */
static struct choice choose(const struct disk *d, size_t begin, uint64_t seed) {
    struct random r = {model_mix(seed) | 1};
    size_t size, point = begin + 1 + random_below(&r, (uint32_t)(d->op_count - begin));
    bool near = random_below(&r, 2);
    while (near && point < d->op_count && !disk_is_sync_end(d, point - 1) &&
           !disk_mark(d, point - 1, &size))
        point++;
    return (struct choice){seed, point};
}

static int by_point(const void *a, const void *b) {
    const struct choice *x = a, *y = b;
    if (x->point != y->point) return x->point < y->point ? -1 : 1;
    return x->seed < y->seed ? -1 : x->seed > y->seed;
}

static struct random random_of(const struct choice *c) {
    return (struct random){model_mix(c->seed ^ 0xc07) | 1};
}

static void tell_state(const struct explorer *x, const struct choice *c, const struct tree *t) {
    char words[400];
    disk_describe(&x->disk, c->point - 1, words, sizeof words);
    fprintf(stderr, "state %" PRIu64 ": after record %s: %s\n", c->seed, words, t->how);
    fprintf(stderr, "  promised: committed %" PRIu64 ", acknowledged %" PRIu64 ", local %" PRIu64,
            x->facts.committed, x->facts.acknowledged, x->facts.local);
    fprintf(stderr, x->facts.has_floor ? ", at least %" PRIu64 "\n" : "\n", x->facts.floor);
    for (int i = 0; i < t->count; i++)
        if (!t->files[i].is_directory)
            fprintf(stderr, "  %s: %zu bytes\n", t->files[i].name, t->files[i].size);
}

static void find(struct explorer *x, const struct choice *c, const struct tree *t,
                 const char *words) {
    x->found++;
    printf("FOUND: state %" PRIu64 " (%s): %s\n  again: %s --only %" PRIu64 " %s\n", c->seed,
           t->how, words, x->args.program, c->seed, x->dir);
}

static void explore(struct explorer *x, const struct choice *c) {
    struct random r = random_of(c);
    struct tree t;
    char words[500];
    advance(x, c->point);
    disk_cut(&x->disk, &r, &t);
    x->states++;
    if (x->args.loud) tell_state(x, c, &t);
    struct verdict db = database_of(x, &t);
    bool wrong = database_is_wrong(&x->facts, &db, words, sizeof words);
    if (x->args.loud) fprintf(stderr, "  " DB_FILES ": commit %" PRIu64 "\n", db.commit);
    x->lost_local += db.commit < x->facts.committed;
    for (size_t i = 0; i < 2 && !wrong; i++) {
        if (!is_recorded(x, replica_names[i])) continue;
        struct verdict v = replica_of(x, replica_names[i], &t);
        if (x->args.loud) fprintf(stderr, "  %s: commit %" PRIu64 "\n", replica_names[i], v.commit);
        wrong = replica_is_wrong(&x->facts, replica_names[i], &v, words, sizeof words);
        x->behind += v.there && db.commit < v.commit;
    }
    if (wrong) find(x, c, &t, words);
    tree_deinit(&t);
}

static void check_entry(const struct explorer *x, const struct tree_file *f) {
    char path[LIMIT_PATH + 512];
    struct stat st;
    snprintf(path, sizeof path, "%s/tree/%s", x->dir, f->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) give_up("%s is recorded, and not there", path);
    if (f->is_directory != S_ISDIR(st.st_mode)) give_up("%s is of another kind", path);
    uint8_t *bytes = f->is_directory ? NULL : malloc(f->size + 1);
    if (bytes && (pread(fd, bytes, f->size + 1, 0) != (ssize_t)f->size ||
                  memcmp(bytes, f->bytes, f->size) != 0))
        give_up("%s is not what was recorded", path);
    free(bytes);
    close(fd);
}

static size_t files_there; /* nftw has no argument */

static int count_file(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)at;
    files_there += kind == FTW_F && !is_shared_memory(path);
    return 0;
}

/* The recorder has missed nothing: all of the trace gives what is there. */
static void check_recording(struct explorer *x) {
    struct tree t;
    char path[LIMIT_PATH + 16];
    size_t recorded = 0;
    disk_advance(&x->disk, x->disk.op_count);
    disk_whole(&x->disk, &t);
    for (int i = 0; i < t.count; i++) {
        if (is_shared_memory(t.files[i].name)) continue;
        check_entry(x, &t.files[i]);
        recorded += !t.files[i].is_directory;
    }
    snprintf(path, sizeof path, "%s/tree", x->dir);
    if (nftw(path, count_file, 16, FTW_PHYS) != 0) give_up("%s: %s", path, strerror(errno));
    if (files_there != recorded)
        give_up("%s: %zu files, of which %zu were recorded", path, files_there, recorded);
    tree_deinit(&t);
}

/* ---- states laid out for the real program ---- */

static void remove_below(const char *path) {
    char command[LIMIT_PATH + 32];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (system(command) != 0) give_up("cannot remove %s", path);
}

static void lay_out(const struct explorer *x, const struct tree *t, bool young) {
    char root[LIMIT_PATH + 16];
    snprintf(root, sizeof root, "%s/tree", x->dir);
    remove_below(root);
    if (mkdir(root, 0700) != 0) give_up("%s: %s", root, strerror(errno));
    for (int i = 0; i < x->disk.path_count;
         i++) { /* directories that were there before the trace */
        struct tree_file d = {.name = x->disk.paths[i], .is_directory = true};
        if (x->disk.safe.at[i] == DISK_DIRECTORY && d.name[0] && x->disk.parents[i] < 0)
            show(root, &d, young);
    }
    for (int i = 0; i < t->count; i++)
        if (!is_shared_memory(t->files[i].name)) show(root, &t->files[i], young);
}

static void say_verdict(struct explorer *x, const char *name, bool any_names) {
    char path[LIMIT_PATH + 64], out[LIMIT_PATH + 64];
    struct verdict v;
    snprintf(path, sizeof path, "%s/tree/%s", x->dir, name);
    snprintf(out, sizeof out, "%s/scratch/restored.db", x->dir);
    judge_replica(x->env, path, out, any_names, &v);
    printf(" %s=%" PRIu64 " forked=%d", name, v.commit, v.forked);
    if (v.bad) printf(" wrong=\"%s: %s\"", name, v.words);
}

/* A copy: to open it would change it. */
static void judge_live(const struct explorer *x, struct verdict *out) {
    char scratch[LIMIT_PATH + 16], path[LIMIT_PATH + 32], command[3 * LIMIT_PATH];
    snprintf(scratch, sizeof scratch, "%s/scratch", x->dir);
    snprintf(path, sizeof path, "%s/" DB_FILES, scratch);
    snprintf(command, sizeof command,
             "cd '%s/tree' && for f in " DB_FILES " " DB_FILES "-wal " DB_FILES
             "-journal; do test ! -e $f || cp $f '%s/' || exit 1; done",
             x->dir, scratch);
    forget_database(scratch);
    if (system(command) != 0) give_up("cannot copy the database");
    judge_database(path, out);
}

static bool serve(struct explorer *x, const struct choice *c) {
    struct random r = random_of(c);
    struct tree t;
    char line[64];
    advance(x, c->point);
    disk_cut(&x->disk, &r, &t);
    bool young = random_below(&r, 8) == 0;
    lay_out(x, &t, young);
    struct verdict db = database_of(x, &t);
    printf("state=%" PRIu64 " how=\"%s\" committed=%" PRIu64 " acknowledged=%" PRIu64
           " local=%" PRIu64 " there=%d young=%d db=%" PRIu64,
           c->seed, t.how, x->facts.committed, x->facts.acknowledged, x->facts.local, db.there,
           young, db.commit);
    for (size_t i = 0; i < 2; i++)
        if (is_recorded(x, replica_names[i]))
            printf(" %s=%" PRIu64, replica_names[i], replica_of(x, replica_names[i], &t).commit);
    printf("\n");
    fflush(stdout);
    bool any_names = t.any_names;
    tree_deinit(&t);
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "next\n") == 0) return true;
        if (strcmp(line, "judge\n") != 0) break;
        judge_live(x, &db);
        printf("db=%" PRIu64 " there=%d", db.commit, db.there);
        if (db.bad) printf(" wrong=\"" DB_FILES ": %s\"", db.words);
        for (size_t i = 0; i < 2; i++)
            if (is_recorded(x, replica_names[i])) say_verdict(x, replica_names[i], any_names);
        printf("\n");
        fflush(stdout);
    }
    return false;
}

/* ---- the whole ---- */

static struct choice *choose_all(const struct disk *d, uint64_t seed, size_t count) {
    struct choice *all = malloc((count + 1) * sizeof *all);
    if (!all) give_up("no memory");
    size_t begin = begin_of(d);
    for (size_t i = 0; i < count; i++) all[i] = choose(d, begin, seed + i);
    qsort(all, count, sizeof *all, by_point);
    return all;
}

static void start(struct explorer *x, const char *dir) {
    char path[LIMIT_PATH + 16];
    struct err e;
    if (!realpath(dir, x->dir)) give_up("%s: %s", dir, strerror(errno));
    if (!is_ok(env_new_system(1, &x->env, &e))) give_up("%s", e.text);
    snprintf(path, sizeof path, "%s/trace", x->dir);
    if (!disk_open(&x->disk, path, OUTSIDE)) give_up("%s: no trace", path);
    x->shown = calloc((size_t)x->disk.path_count + 1, sizeof *x->shown);
    snprintf(path, sizeof path, "%s/scratch", x->dir);
    remove_below(path);
    if (!x->shown || mkdir(path, 0700) != 0) give_up("%s: %s", path, strerror(errno));
}

static bool parse(struct args *a, int argc, char **argv) {
    static const struct option options[] = {{"count", required_argument, NULL, 'n'},
                                            {"seconds", required_argument, NULL, 't'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"serve", no_argument, NULL, 'v'},
                                            {"recorded", no_argument, NULL, 'r'},
                                            {NULL, 0, NULL, 0}};
    *a = (struct args){.program = argv[0], .count = 100000, .seed = 1};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'n': a->count = strtoull(optarg, NULL, 10); break;
        case 't': a->seconds = strtod(optarg, NULL); break;
        case 's': a->seed = strtoull(optarg, NULL, 10); break;
        case 'o':
            a->seed = strtoull(optarg, NULL, 10);
            a->count = 1;
            a->loud = true;
            break;
        case 'v': a->serve = true; break;
        case 'r': a->recorded = true; break;
        default: return false;
        }
    }
    a->dir = argv[optind];
    return argc - optind == 1;
}

static void run(struct explorer *x) {
    const struct args *a = &x->args;
    double began = now_s();
    struct choice *all = choose_all(&x->disk, a->seed, a->count);
    for (size_t i = 0; i < a->count && x->found < BAD_MOST; i++) {
        if (a->seconds > 0 && now_s() - began > a->seconds) break;
        if (!a->serve) explore(x, &all[i]);
        else if (!serve(x, &all[i])) break;
    }
    if (!a->serve)
        printf(
            "tier=power.explored ran=%zu of=%zu found=%zu seconds=%.1f records=%zu acked=%" PRIu64
            " databases=%zu replicas=%zu restored=%zu holes=%zu behind=%zu unsynced_lost=%zu\n",
            x->states, a->count, x->found, now_s() - began, x->disk.op_count, x->facts.acknowledged,
            x->databases.count, x->replicas.count, x->restored, x->holes, x->behind, x->lost_local);
    free(all);
}

int main(int argc, char **argv) {
    struct explorer x = {0};
    if (!parse(&x.args, argc, argv)) give_up("crash_explore [options] DIR: see its head");
    start(&x, x.args.dir);
    if (x.args.recorded) check_recording(&x);
    else run(&x);
    disk_close(&x.disk);
    env_free_system(x.env);
    return x.found ? 1 : 0;
}
