/* Whose turn it is to write a file: the row of this process, then the lock that all processes
 * share; and, when the time is up, who held it.
 *
 * Why pauses: a process whose row never ends takes the lock again within microseconds of leaving
 * it, and others, which can only try now and then, hardly ever find it free. So a row that goes on
 * stands aside for a moment from time to time: more often while that is used, else hardly ever.
 */
#include "format/wal.h"
#include "os/system.h"
#include "store/parts.h"

#include <stdio.h>
#include <string.h>

#define ASIDE_NS 2200000 /* longer than the longest pause between two tries: see conn.c */
#define ASIDE_EVERY_MIN_NS 5000000
#define ASIDE_EVERY_MAX_NS 1000000000
#define ASIDE_EVERY_NS 20000000 /* at first */
#define TRY_AGAIN_NS 1000000
#define ROW_ENDS_NS 1000000 /* with nobody for so long others found it free */

/* ---- who holds it ---- */

static void see_lock(void *pid, const struct foreign_lock *l) {
    if (l->write && l->start <= WALINDEX_LOCK_WRITE && l->end >= WALINDEX_LOCK_WRITE)
        *(int *)pid = l->pid;
}

/* 0: nobody is seen. */
static int pid_of_writer(struct env *env, const char *file) {
    char shm[LIMIT_PATH + 8];
    struct file_stat st;
    int pid = 0;
    snprintf(shm, sizeof shm, "%s-shm", file);
    if (is_ok(env->files->stat(env, shm, &st, NULL))) system_locks_surely(st.inode, see_lock, &pid);
    return pid;
}

bool name_writer(struct env *env, const char *file, char *out, size_t size) {
    int pid = pid_of_writer(env, file);
    char name[64];
    *out = 0;
    if (pid <= 0) return false;
    system_process_name(pid, name, sizeof name);
    if (pid == system_pid()) snprintf(out, size, "another connection of this process");
    else snprintf(out, size, "process %d (%s)", pid, name);
    return true;
}

rc late_for_lock(hf_store *s, int scope, const char *why, int64_t waited_ns, struct err *e) {
    const char *file = scope & HF_NOISE && !(scope & HF_MAIN) ? s->noise : s->path;
    char holder[128];
    bool seen = name_writer(s->env, file, holder, sizeof holder);
    if (!seen && scope == HF_BOTH) {
        seen = name_writer(s->env, s->noise, holder, sizeof holder);
        if (seen) file = s->noise;
    }
    return err_set(e, RC_TIMEOUT, "'%s' waited %.1f s for the lock of %s, held by %s", why,
                   (double)waited_ns / 1e9, file, seen ? holder : "another process");
}

static rc late_for_turn(hf_store *s, struct queue *q, const char *file, const char *why,
                        int64_t waited_ns, struct err *e) {
    char holder[64], other[128];
    int64_t held_ns;
    int before = queue_holder(q, s->env->mono_ns(s->env), holder, sizeof holder, &held_ns);
    int pid = pid_of_writer(s->env, file);
    other[0] = 0;
    if (!holder[0]) snprintf(holder, sizeof holder, "one that has just ended");
    if (pid && pid != system_pid()) name_writer(s->env, file, other, sizeof other);
    return err_set(e, RC_TIMEOUT,
                   "'%s' waited %.1f s to write %s, held by '%s' of this process for %.1f s%s%s, "
                   "%d in the row",
                   why, (double)waited_ns / 1e9, file, holder, (double)held_ns / 1e9,
                   other[0] ? "; that one waits for " : "", other, before);
}

/* ---- standing aside ---- */

static void stand_aside(hf_store *s, struct conn *c, const char *schema, struct aside *a) {
    struct position before = {0}, after = {0};
    if (!is_ok(position_read(c->db, schema, &before, NULL))) return;
    s->env->sleep_ns(s->env, ASIDE_NS);
    bool used = !is_ok(position_read(c->db, schema, &after, NULL)) ||
                memcmp(&before, &after, sizeof after) != 0;
    a->every_ns = used ? a->every_ns / 2 : a->every_ns * 2;
    if (a->every_ns < ASIDE_EVERY_MIN_NS) a->every_ns = ASIDE_EVERY_MIN_NS;
    if (a->every_ns > ASIDE_EVERY_MAX_NS) a->every_ns = ASIDE_EVERY_MAX_NS;
    a->due_ns = s->env->mono_ns(s->env) + a->every_ns;
}

static void think_of_others(hf_store *s, struct conn *c, const char *schema, struct aside *a) {
    int64_t now = s->env->mono_ns(s->env);
    if (!a->every_ns) a->every_ns = ASIDE_EVERY_NS;
    if (now - a->left_ns > ROW_ENDS_NS) a->due_ns = now + a->every_ns;
    else if (now >= a->due_ns) stand_aside(s, c, schema, a);
}

/* ---- the lock ---- */

/* A look reads both files: the snapshot is of this instant. */
static int try_lock(struct conn *c) {
    int code = conn_run(c, c->begin);
    if (code == SQLITE_OK && c->look) code = conn_run(c, c->look);
    if (code != SQLITE_OK && !sqlite3_get_autocommit(c->db)) conn_run(c, c->rollback);
    return code;
}

/* SQLite has its reasons to say BUSY at once, and without asking our handler. */
rc turn_lock(struct conn *c, const char *why, int64_t asked_ns, struct err *e) {
    hf_store *s = c->store;
    if (c->scope & HF_MAIN) think_of_others(s, c, "main", &s->main_aside);
    else if (c->scope & HF_NOISE) think_of_others(s, c, "noise", &s->noise_aside);
    for (int code; (code = try_lock(c)) != SQLITE_OK;) {
        bool held = (code & 0xff) == SQLITE_BUSY || code == SQLITE_PROTOCOL;
        if (!held) return conn_error(c, code, why, e);
        int64_t now = s->env->mono_ns(s->env);
        if (now >= c->deadline_ns) return late_for_lock(s, c->scope, why, now - asked_ns, e);
        s->env->sleep_ns(s->env, TRY_AGAIN_NS);
    }
    return ok();
}

/* ---- the turns ---- */

void turn_leave(hf_store *s, int scope, int64_t now_ns) {
    if (scope == HF_READ) queue_leave(&s->reader_turn, now_ns);
    if (scope & HF_NOISE) {
        s->noise_aside.left_ns = now_ns;
        queue_leave(&s->noise_turn, now_ns);
    }
    if (scope & HF_MAIN) {
        s->main_aside.left_ns = now_ns;
        queue_leave(&s->main_turn, now_ns);
    }
}

rc turn_take(hf_store *s, int scope, const char *why, int64_t asked_ns, int64_t deadline_ns,
             struct err *e) {
    struct env *env = s->env;
    if (scope == HF_READ && !queue_enter(&s->reader_turn, why, asked_ns, deadline_ns))
        return err_set(e, RC_TIMEOUT,
                       "'%s' waited %.1f s for one of %d connections to read with: "
                       "hf_store_options.readers",
                       why, (double)(env->mono_ns(env) - asked_ns) / 1e9, s->options.readers);
    if (scope & HF_MAIN && !queue_enter(&s->main_turn, why, asked_ns, deadline_ns))
        return late_for_turn(s, &s->main_turn, s->path, why, env->mono_ns(env) - asked_ns, e);
    if (scope & HF_NOISE && !queue_enter(&s->noise_turn, why, asked_ns, deadline_ns)) {
        if (scope & HF_MAIN) queue_leave(&s->main_turn, env->mono_ns(env));
        return late_for_turn(s, &s->noise_turn, s->noise, why, env->mono_ns(env) - asked_ns, e);
    }
    return ok();
}
