/* A database whose schema is changed: its own connection, a handle made by hand, its events. */
#ifndef TESTS_SCHEMA_BOX_H
#define TESTS_SCHEMA_BOX_H

/* Before Check, which has a macro of the name of one of its functions. */
#include "store/internal.h"

#include "../store/app.h"

#include "schema/conn.h"
#include "schema/history.h"
#include "schema/lock.h"
#include "store/clock.h"

#include <pthread.h>
#include <stdatomic.h>

static hf_schema box;
static struct sconn conn;

/* ---- events ---- */

static pthread_mutex_t box_lock = PTHREAD_MUTEX_INITIALIZER;
static char box_events[64][60], box_words[64][600]; /* guarded by box_lock */
static int box_event_count;                         /* guarded by box_lock */
static void (*box_on_event)(const char *name);      /* set before the run */

static inline void box_event(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg;
    pthread_mutex_lock(&box_lock);
    int i = box_event_count++ % 64;
    snprintf(box_events[i], sizeof box_events[i], "%s", name);
    snprintf(box_words[i], sizeof box_words[i], "%s", count ? pairs[count - 1] : "");
    pthread_mutex_unlock(&box_lock);
    if (box_on_event) box_on_event(name);
}

/* How often; *words of the last. */
static inline int box_told(const char *name, const char **words) {
    int n = 0;
    pthread_mutex_lock(&box_lock);
    for (int i = 0; i < box_event_count && i < 64; i++)
        if (strcmp(box_events[i], name) == 0) {
            n++;
            if (words) *words = box_words[i];
        }
    pthread_mutex_unlock(&box_lock);
    return n;
}

/* ---- the handle ---- */

static inline void box_open(hf_schema *s, struct env *env) {
    *s = (hf_schema){.env = env,
                     .options = {.size = sizeof s->options,
                                 .timeout_ms = 30000,
                                 .lock_ms = 30000,
                                 .target_ms = 5,
                                 .wait_ms = 30000,
                                 .event = box_event},
                     .generation = fork_generation()};
    snprintf(s->path, sizeof s->path, "%s", app_path);
}

static inline void box_setup(void) {
    app_setup();
    sqlite3_wal_autocheckpoint(app, 0);
    box_open(&box, store_env());
    OK(sconn_open(&box, false, &conn, e));
}

static inline void box_teardown(void) {
    sconn_close(&conn);
    lock_close(box.lock);
    app_teardown();
}

#endif
