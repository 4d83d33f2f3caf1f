/* The source's life, and what a replica is for: restore, verify, fast-forward. */
#include "life.h"
#include "operations.h"

#include "store/fast_forward.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROWS 24

/* ---- source: from a start on an empty destination to a drained end ---- */

static void prepare_database(void) {
    rows_add(DB, 4);
}

static void run_source(void) {
    struct err e = {0};
    take_database(4);
    said(life_whole(DB, "replica", ROWS, &e), &e);
}

static void check_source(void) {
    life_check(DB, "replica");
}

/* ---- the same with a replica that is there: the classes of a start, and the past ---- */

static void prepare_replica(void) {
    rows_add(DB, 4);
    SURE(life_whole(DB, "replica", ROWS, &sure_err));
    SURE(life_whole(DB, "replica", ROWS + 4, &sure_err));
}

static void run_restart(void) {
    struct err e = {0};
    struct life l;
    take_database(4);
    points_pause();
    SURE(life_whole(DB, "replica", ROWS, &sure_err));
    points_resume();
    rc r = life_begin(&l, DB, "replica", &e);
    if (is_ok(r)) r = life_safe(&l, &e);
    if (is_ok(r)) {
        rows_add(DB, ROWS + 4);
        r = life_safe(&l, &e);
    }
    life_end(&l, r, &e);
    said(r, &e);
}

/* ---- restore ---- */

static void prepare_restore(void) {
    struct store *store;
    struct restore_result result;
    struct restore_options o = {0};
    prepare_replica();
    SURE(store_open(one_thread(), "replica", &store, &sure_err));
    SURE(replica_restore(store, "restored", &o, &result, &sure_err));
    store_free(store);
    MUST(rows_of("restored") == ROWS + 4, "what is prepared lacks rows");
}

static rc restore_to(const char *url, const char *out, struct restore_options *o, struct err *e) {
    struct store *store = NULL;
    struct restore_result result;
    TRY(store_open(one_thread(), url, &store, e));
    rc r = replica_restore(store, out, o, &result, e);
    store_free(store);
    return r;
}

static void run_restore(void) {
    struct err e = {0};
    struct restore_options o = {0};
    said(restore_to("../seed/replica", "restored", &o, &e), &e);
}

/* It is all of it, or nothing. After an error behind the link it may be there, whole. */
static void check_restore(void) {
    bool there = is_there("restored");
    MUST(there || outcome->code, "it said that it was restored, and nothing is there");
    MUST(!there || same_bytes("restored", "../seed/restored"), "PARTIAL FILE under the final name");
    bool kept = outcome->point.call == (unsigned)call_named("unlink");
    MUST(kept || !names_with(".", ".tmp"), "a temporary file is left");
}

/* ---- verify ---- */

static rc verify(const char *url, struct err *e) {
    struct store *store = NULL;
    struct verify_result v;
    TRY(store_open(one_thread(), url, &store, e));
    rc r = replica_verify(store, 1, NULL, &v, e);
    store_free(store);
    return r;
}

static void run_verify(void) {
    struct err e = {0};
    rc r = verify("../seed/replica", &e);
    MUST(r.code != RC_CORRUPT && r.code != RC_NOTFOUND,
         "a sound replica is said to be damaged or not there: %s", e.text);
    said(r, &e);
}

/* One bit of an object is another. */
static void damage_one(struct env *env, const char *replica, const struct replica_file *object,
                       const char *key) {
    struct file *f;
    char path[KEY_SIZE + 600];
    uint8_t byte;
    uint64_t at = object->size_bytes / 2;
    snprintf(path, sizeof path, "%s/%s", replica, key);
    SURE(env->files->open(env, path, FILE_CREATE, &f, &sure_err));
    SURE(env->files->read(env, f, at, &byte, 1, &sure_err));
    byte ^= 1;
    SURE(env->files->write(env, f, at, &byte, 1, &sure_err));
    env->files->close(env, f);
}

/* The last one, in the order of levels, or all of them. */
static void damage(const char *replica, bool all) {
    struct env *env = one_thread();
    struct store *store;
    struct listing l = {0};
    char key[KEY_SIZE];
    SURE(store_open(env, replica, &store, &sure_err));
    SURE(replica_list(store, &l, NULL, &sure_err));
    for (size_t i = all ? 0 : l.count - 1; i < l.count; i++) {
        replica_key(store, &l.files[i], key);
        damage_one(env, replica, &l.files[i], key);
    }
    listing_deinit(&l);
    store_free(store);
}

static void prepare_damaged(void) {
    prepare_replica();
    damage("replica", false);
}

static void prepare_all_damaged(void) {
    prepare_replica();
    damage("replica", true);
}

static void run_verify_damaged(void) {
    struct err e = {0};
    said(verify("../seed/replica", &e), &e);
}

static void run_restore_damaged(void) {
    struct err e = {0};
    struct restore_options o = {0};
    said(restore_to("../seed/replica", "restored", &o, &e), &e);
}

static void check_nothing_there(void) {
    MUST(!is_there("restored"), "a damaged replica was restored");
}

/* ---- fast-forward ---- */

static void prepare_behind(void) {
    rows_add(DB, 4);
    SURE(life_whole(DB, "replica", ROWS, &sure_err));
    MUST(rows_of(DB) == ROWS, "what is prepared lacks rows"); /* and it is checkpointed */
    copy_file(DB, "older.db");
    rows_add(DB, ROWS + 2);
    SURE(life_whole(DB, "replica", ROWS + 4, &sure_err));
    MUST(rows_of("older.db") == ROWS, "what is prepared is not older");
}

static void run_fast_forward(void) {
    struct err e = {0};
    struct store *store = NULL;
    struct restore_result result;
    points_pause();
    copy_file("../seed/older.db", DB);
    points_resume();
    rc r = store_open(one_thread(), "../seed/replica", &store, &e);
    if (is_ok(r)) r = fast_forward_database(one_thread(), store, DB, 1, NULL, &result, &e);
    store_free(store);
    said(r, &e);
}

static void check_fast_forward(void) {
    uint64_t rows = rows_of(DB);
    MUST(rows == ROWS + 4 || (outcome->code && rows == ROWS), "%llu rows are there",
         (unsigned long long)rows);
    MUST(!names_with(".", ".tmp"), "a temporary file is left");
}

const struct operation source_operations[] = {
    {.name = "source", prepare_database, run_source, check_source},
    {.name = "restart", prepare_database, run_restart, check_source},
    {.name = "restore", prepare_restore, run_restore, check_restore},
    {.name = "restore-damaged",
     prepare_all_damaged,
     run_restore_damaged,
     check_nothing_there,
     .never_0 = true},
    {.name = "verify", prepare_replica, run_verify, NULL},
    {.name = "verify-damaged", prepare_damaged, run_verify_damaged, NULL, .never_0 = true},
    {.name = "fast-forward", prepare_behind, run_fast_forward, check_fast_forward},
    {0},
};
