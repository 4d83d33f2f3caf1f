/* The barrier: see the header.
 *
 * Why a wait gets its target on the source's thread: the wal-index header is read there at each
 * step anyway, and any header read after the wait began covers every commit that returned before.
 * So nobody who waits needs a lock of SQLite's, and a thousand of them cost one look.
 *
 * Invariants
 *  1. A wait is in one list: `arrived` (any thread, under the lock), or `waiting` (moved there
 *     before a look, so that the look covers it).
 *  2. A target is a count of captured frames; it is given only after a look that read the header. A
 *     position of a log that this run has not seen is refused: what it stood for may be lost.
 *  3. A wait ends well only when each destination that counts has acknowledged a cut at or beyond
 *     its target, or lacks nothing that was captured.
 *  4. No callback runs under the lock.
 */
#include "source/internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LOGS 64 /* the newest logs that a position may name */

struct barrier {
    struct env *env;
    void (*wake)(void *);
    void *wake_arg;
    pthread_mutex_t lock;
    /* guarded by lock */
    struct wait *arrived, *waiting;
    struct ask *asks;
    bool stopped;
    struct err why;
    /* the source's thread */
    uint32_t log[LOGS][2]; /* salts, as positions have them */
    unsigned log_count;
};

rc barrier_new(struct env *env, void (*wake)(void *), void *wake_arg, struct barrier **out,
               struct err *e) {
    struct barrier *b = calloc(1, sizeof *b);
    if (!b) return err_set(e, RC_NOMEM, "no memory");
    b->env = env;
    b->wake = wake;
    b->wake_arg = wake_arg;
    pthread_mutex_init(&b->lock, NULL);
    *out = b;
    return ok();
}

void barrier_free(struct barrier *b) {
    if (!b) return;
    ENSURE(b->stopped && !b->arrived && !b->waiting && !b->asks);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

static void end_all(struct wait *w, const struct err *why) {
    for (struct wait *next; w; w = next) {
        next = w->next; /* `ended` gives it back */
        w->ended(w, (rc){why ? why->code : RC_OK}, why);
    }
}

static void answer_all(struct ask *a, struct source *s) {
    for (struct ask *next; a; a = next) {
        next = a->next;
        a->answer(a, s);
    }
}

/* ---- any thread ---- */

void barrier_add(struct barrier *b, struct wait *w) {
    w->known = false;
    w->next = NULL;
    pthread_mutex_lock(&b->lock);
    bool stopped = b->stopped;
    if (!stopped) {
        w->next = b->arrived;
        b->arrived = w;
    }
    pthread_mutex_unlock(&b->lock);
    if (stopped) end_all(w, &b->why);
    else b->wake(b->wake_arg);
}

static bool take_out(struct wait **list, const struct wait *w) {
    for (; *list; list = &(*list)->next) {
        if (*list != w) continue;
        *list = w->next;
        return true;
    }
    return false;
}

bool barrier_remove(struct barrier *b, struct wait *w) {
    pthread_mutex_lock(&b->lock);
    bool there = take_out(&b->arrived, w) || take_out(&b->waiting, w);
    pthread_mutex_unlock(&b->lock);
    return there;
}

void barrier_ask(struct barrier *b, struct ask *a) {
    pthread_mutex_lock(&b->lock);
    bool stopped = b->stopped;
    a->next = stopped ? NULL : b->asks;
    if (!stopped) b->asks = a;
    pthread_mutex_unlock(&b->lock);
    if (stopped) answer_all(a, NULL);
    else b->wake(b->wake_arg);
}

void barrier_stop(struct barrier *b, const struct err *why) {
    pthread_mutex_lock(&b->lock);
    if (!b->stopped) b->why = *why;
    b->stopped = true;
    struct wait *arrived = b->arrived, *waiting = b->waiting;
    struct ask *asks = b->asks;
    b->arrived = b->waiting = NULL;
    b->asks = NULL;
    pthread_mutex_unlock(&b->lock);
    end_all(arrived, &b->why);
    end_all(waiting, &b->why);
    answer_all(asks, NULL);
}

bool barrier_has_stopped(struct barrier *b, struct err *why) {
    pthread_mutex_lock(&b->lock);
    bool stopped = b->stopped;
    if (stopped) *why = b->why;
    pthread_mutex_unlock(&b->lock);
    return stopped;
}

/* ---- the source's thread ---- */

bool barrier_take(struct barrier *b, struct source *s) {
    pthread_mutex_lock(&b->lock);
    bool any = b->arrived != NULL;
    while (b->arrived) {
        struct wait *w = b->arrived;
        b->arrived = w->next;
        w->next = b->waiting;
        b->waiting = w;
    }
    struct ask *asks = b->asks;
    b->asks = NULL;
    pthread_mutex_unlock(&b->lock);
    answer_all(asks, s);
    return any;
}

static bool log_is_known(const struct barrier *b, const uint32_t salt[2]) {
    for (unsigned i = 0; i < LOGS && i < b->log_count; i++)
        if (memcmp(b->log[i], salt, sizeof b->log[i]) == 0) return true;
    return false;
}

/* The header has been read since: what everything up to now, and up to a position, is. */
static bool find_target(const struct barrier *b, const struct source *s, struct wait *w) {
    struct position pos = position_of(s->pos.frame_count, s->pos.salt);
    bool here = memcmp(w->at.salt, pos.salt, sizeof pos.salt) == 0;
    w->target = s->stats.frames_captured;
    w->found = w->at.kind == POSITION_NOW ? pos : w->at;
    if (w->at.kind == POSITION_NOTHING) w->target = 0;
    if (w->at.kind != POSITION_FRAME) return true;
    if (!here) return log_is_known(b, w->at.salt); /* it has ended, and all of it is captured */
    if (w->at.frame > s->pos.frame_count) return false;
    uint32_t later = s->pos.frame_count - w->at.frame;
    w->target -= later < w->target ? later : w->target;
    return true;
}

static bool covers(const struct dest *d, const struct wait *w) {
    return w->at.kind == POSITION_NOTHING || (d->state == DEST_READY && d->safe_to > w->target) ||
           dest_is_complete(d);
}

static bool is_named(const struct dest *d, const char *name) {
    return strcmp(name, d->store->url) == 0 || (*name && strcmp(name, d->store->given) == 0);
}

enum verdict { OPEN, SAFE, LATE, NO_POSITION, NO_DESTINATION, VERDICTS };

static enum verdict judge(const struct source *s, const struct wait *w, int64_t now) {
    bool any = w->destination && strcmp(w->destination, "any") == 0;
    int asked = 0, safe = 0;
    for (int i = 0; w->known && i < s->dest_count; i++) {
        const struct dest *d = &s->dest[i];
        if (w->destination && !any && !is_named(d, w->destination)) continue;
        asked++;
        safe += covers(d, w);
    }
    if (w->known && !asked) return NO_DESTINATION;
    if (w->known && (any ? safe > 0 : safe == asked)) return SAFE;
    return now >= w->deadline_ns ? LATE : OPEN;
}

static void tell(struct wait *w, enum verdict v, const struct source *s) {
    struct err e;
    char left[ERR_TEXT_MAX], position[POSITION_TEXT_SIZE];
    if (!w) return;
    switch (v) {
    case LATE:
        source_left(s, left, sizeof left);
        err_fill(&e, RC_TIMEOUT, "not known to be safe in time: %.700s",
                 left[0] ? left : "the database could not be read");
        break;
    case NO_POSITION:
        position_text(&w->at, position);
        err_fill(&e, RC_NOTFOUND, "%s has no position %s in this run", s->live.path, position);
        break;
    case NO_DESTINATION:
        err_fill(&e, RC_NOTFOUND, "%s has no destination %.500s", s->live.path,
                 w->destination ? w->destination : "at all");
        break;
    case OPEN:
    case SAFE:
    case VERDICTS: break;
    }
    end_all(w, v == SAFE ? NULL : &e);
}

void barrier_look(struct barrier *b, struct source *s) {
    struct wait *bad = NULL;
    struct position pos = position_of(s->pos.frame_count, s->pos.salt);
    if (!b->log_count || memcmp(b->log[(b->log_count - 1) % LOGS], pos.salt, 8) != 0)
        memcpy(b->log[b->log_count++ % LOGS], pos.salt, 8);
    pthread_mutex_lock(&b->lock);
    for (struct wait **at = &b->waiting, *w; (w = *at) != NULL;) {
        if (!w->known && !find_target(b, s, w)) {
            *at = w->next;
            w->next = bad;
            bad = w;
            continue;
        }
        w->known = true;
        if (w->flush && w->target >= s->flush_to) s->flush_to = w->target + 1;
        at = &w->next;
    }
    pthread_mutex_unlock(&b->lock);
    for (struct wait *next; bad; bad = next) {
        next = bad->next;
        bad->next = NULL;
        tell(bad, NO_POSITION, s);
    }
}

void barrier_settle(struct barrier *b, struct source *s, int64_t now, int64_t *due) {
    struct wait *list[VERDICTS] = {NULL};
    pthread_mutex_lock(&b->lock);
    for (struct wait **at = &b->waiting, *w; (w = *at) != NULL;) {
        enum verdict v = judge(s, w, now);
        if (v == OPEN) {
            due_at(due, w->deadline_ns);
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = list[v];
        list[v] = w;
    }
    pthread_mutex_unlock(&b->lock);
    for (enum verdict v = SAFE; v < VERDICTS; v++) tell(list[v], v, s);
}

void barrier_leave(struct barrier *b) {
    struct err why;
    err_fill(&why, RC_CANCELLED,
             "the replication ended, or its database was replaced, before this"
             " was known to be safe");
    pthread_mutex_lock(&b->lock);
    struct wait *waiting = b->waiting;
    b->waiting = NULL;
    b->log_count = 0;
    pthread_mutex_unlock(&b->lock);
    end_all(waiting, &why);
}

void barrier_idle(struct barrier *b, int64_t now, int64_t *due) {
    struct wait *late = NULL;
    struct err why;
    barrier_take(b, NULL);
    pthread_mutex_lock(&b->lock);
    for (struct wait **at = &b->waiting, *w; (w = *at) != NULL;) {
        if (now < w->deadline_ns) {
            due_at(due, w->deadline_ns);
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = late;
        late = w;
    }
    pthread_mutex_unlock(&b->lock);
    err_fill(&why, RC_TIMEOUT, "there is no database to replicate");
    end_all(late, &why);
}
