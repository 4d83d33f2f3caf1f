/* The loop around a source: see the header.
 *
 * Why a commit that its owner sees need not wake it: to wake is a system call, and a busy writer
 * would pay it for each commit. While the loop is awake it looks at the log anyway, every few
 * milliseconds; before a longer sleep it raises `asleep`. A commit between its last look and that
 * flag is seen by inotify, which is armed first.
 *
 * Invariant: between the arming of the watch and the first wait after it the source is stepped once
 * more, as the files may have changed in between.
 */
#include "store/loop.h"

#include "source/barrier.h"
#include "store/clock.h"

#include <string.h>

#define QUIET_WAIT_NS 6000000 /* a wait longer than this is worth a watch */
#define NEVER INT64_MAX
#define OLD_LOG "database.old_log"
#define GONE_LOOK_NS 200000000
#define MAKING_NS 5000000000
#define DRAIN_LOOK_NS 20000000
#define REPLACED_DRAIN_NS 2000000000

static void event(struct loop *l, const char *name, const char *const *pairs, int count) {
    if (l->options.event) l->options.event(l->options.event_arg, name, pairs, count);
}

static int64_t now_ns(struct loop *l) {
    return l->env->mono_ns(l->env);
}

static enum loop_order asked(struct loop *l, int64_t *until) {
    *until = NEVER;
    return l->owner->asked(l->arg, until);
}

static bool ending(struct loop *l) {
    int64_t ignored;
    return asked(l, &ignored) != LOOP_GO_ON;
}

static void wake(void *watch) {
    watch_wake(watch);
}

void loop_close(struct loop *l) {
    if (l->source && l->owner->closing) l->owner->closing(l->arg);
    source_free(l->source);
    l->source = NULL;
}

/* `unknown`: the answer where it cannot be asked for. Inodes are used again. */
static bool lies_at(struct env *env, const char *path, const struct file_stat *file, bool unknown) {
    struct file_stat st;
    if (!file->inode) return false;
    rc r = env->files->stat(env, path, &st, NULL);
    if (!is_ok(r)) return unknown && r.code != RC_NOTFOUND;
    return st.inode == file->inode && st.device == file->device && st.birth_ns == file->birth_ns;
}

/* Why nothing at `path` may be opened yet, as an event; NULL: it may. In SQLite's hands an empty
 * file is no database yet, and may still be given another page size. */
static const char *absence(struct env *env, const char *path, const struct old_files *old) {
    struct file_stat st;
    rc r = env->files->stat(env, path, &st, NULL);
    if (r.code == RC_NOTFOUND || (is_ok(r) && st.size_bytes == 0)) return "database.gone";
    bool others =
        lies_at(env, old->wal_path, &old->wal, true) && !lies_at(env, old->path, &old->db, false);
    return others ? OLD_LOG : NULL;
}

rc loop_open(struct loop *l, struct err *e) {
    loop_close(l);
    const char *why = absence(l->env, l->path, &l->old);
    if (why && strcmp(why, OLD_LOG) == 0) /* its owner waits no longer */
        return err_set(e, RC_BUSY,
                       "%s is another database than before, and %s is the log of that one: it is"
                       " not opened before the log is gone",
                       l->path, l->old.wal_path);
    l->options.wake = wake;
    l->options.wake_arg = l->watch;
    TRY(source_open(&l->source, l->env, l->path, &l->options, e));
    for (int i = 0; i < l->url_count; i++) {
        struct store *store = NULL;
        TRY(l->owner->open_store(l->env, l->urls[i], &store, e));
        TRY(source_add(l->source, store, e));
        if (i < RESTORE_URLS) source_older(l->source, i, l->older[i]);
    }
    l->changed = l->armed = false;
    if (source_switched_mode(l->source))
        event(l, "database.switched_to_wal", (const char *const[]){"db", l->path}, 2);
    event(l, "start", (const char *const[]){"db", l->path, "version", HOLDFAST_VERSION}, 4);
    return l->owner->opened(l->arg, e);
}

static void wait_until(struct loop *l, int64_t due) {
    bool changed;
    watch_wait(l->watch, clock_wait_ns(l->clock, due, now_ns(l)), &changed);
    l->changed |= changed;
    if (changed) l->armed = false;
}

rc loop_turn(struct loop *l, int64_t until, struct err *e) {
    int64_t due, now = now_ns(l);
    bool changed = l->changed;
    l->changed = false;
    TRY(source_step(l->source, now, changed, &due, e));
    if (due > until) due = until;
    if (due - now_ns(l) > QUIET_WAIT_NS && !(l->armed && l->asleep)) {
        const char *paths[2];
        watch_arm(l->watch, paths, source_watch_paths(l->source, paths));
        l->armed = true;
        l->asleep = true;
        return ok();
    }
    wait_until(l, due);
    return ok();
}

static rc run(struct loop *l, struct err *e) {
    int64_t until;
    while (asked(l, &until) == LOOP_GO_ON) TRY(loop_turn(l, until, e));
    return ok();
}

/* A clock that stands still is moved: its owner waits for us. */
rc loop_drain(struct loop *l, int64_t patience_ns, char left[ERR_TEXT_MAX], struct err *e) {
    int64_t ignored, until = now_ns(l) + patience_ns;
    source_drain(l->source);
    rc result;
    for (;;) {
        result = loop_turn(l, now_ns(l), e);
        int count = source_left(l->source, left, ERR_TEXT_MAX);
        int64_t now = now_ns(l);
        if (!is_ok(result) || count == 0 || now >= until) break;
        if (asked(l, &ignored) == LOOP_END_AT_ONCE) break;
        if (!clock_pass(l->clock, DRAIN_LOOK_NS))
            wait_until(l, until - now < DRAIN_LOOK_NS ? until : now + DRAIN_LOOK_NS);
    }
    if (left[0]) event(l, "stop.not_all_shipped", (const char *const[]){"left", left}, 2);
    return result;
}

/* While there is no database to step. */
static void idle(struct loop *l) {
    int64_t now = now_ns(l), due = now + GONE_LOOK_NS;
    barrier_idle(l->options.barrier, now, &due);
    wait_until(l, due);
}

/* Until there is a database, and open it. Whoever makes the new one may still be at it: in rollback
 * mode, locked, or half copied. */
static rc await_database(struct loop *l, struct err *e) {
    const char *why, *told = NULL;
    while (!ending(l) && (why = absence(l->env, l->path, &l->old)) != NULL) {
        if (why != told)
            event(l, why, (const char *const[]){"db", l->path, "log", l->old.wal_path},
                  strcmp(why, "database.gone") == 0 ? 2 : 4);
        told = why;
        idle(l);
    }
    int64_t until = now_ns(l) + MAKING_NS;
    rc result = ending(l) ? ok() : loop_open(l, e);
    while (!is_ok(result) && !ending(l)) {
        bool locked = result.code == RC_BUSY;
        if (!locked && result.code != RC_CORRUPT && result.code != RC_NOTFOUND) break;
        if (now_ns(l) >= until && !(locked && l->patient)) break;
        idle(l);
        result = loop_open(l, e);
    }
    return result;
}

/* The file is gone or another. */
static rc begin_again(struct loop *l, struct err *e) {
    char left[ERR_TEXT_MAX];
    struct err ignored;
    event(l, "database.replaced", (const char *const[]){"db", l->path}, 2);
    if (!is_ok(loop_drain(l, REPLACED_DRAIN_NS, left, &ignored))) { /* as far as it went */
    }
    source_old_files(l->source, &l->old);
    loop_close(l);
    if (l->keep_to_file)
        return err_set(e, RC_CANCELLED,
                       "%s was replaced or deleted under the open store: close the store and open"
                       " it anew",
                       l->path);
    l->options.take_over = l->options.adopt_local = false; /* said of the old one */
    memset(l->older, 0, sizeof l->older);
    return await_database(l, e);
}

rc loop_run(struct loop *l, struct err *e) {
    rc result = ok();
    while (is_ok(result) && !ending(l)) {
        result = l->source ? run(l, e) : await_database(l, e);
        if (result.code == RC_NOTFOUND && l->source) result = begin_again(l, e);
    }
    return result;
}
