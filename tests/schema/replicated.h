/* The database of box.h, replicated by this process. */
#ifndef TESTS_SCHEMA_REPLICATED_H
#define TESTS_SCHEMA_REPLICATED_H

#include "box.h"

#include "object/object.h"
#include "replica/replica.h"
#include "schema/safety.h"
#include "store/fake.h"

static hf_source *source;
static char replica[TEMP_PATH + 32];

#define REPLICATE(...)                                                                             \
    replicate(&(hf_replicate_options){                                                             \
        .size = sizeof(hf_replicate_options), .interval_ms = 1, __VA_ARGS__})
static inline void replicate(const hf_replicate_options *o) {
    HF(hf_attach(app, urls, o, &source));
    HF(hf_source_wait(source, NULL, NULL));
}

/* To a directory: the same as `holdfast replicate app.db DIR`. */
static inline void to_directory(void) {
    snprintf(replica, sizeof replica, "%s/replica", app_dir);
    urls[0] = replica;
    REPLICATE(.drain_ms = 10000);
}

static inline void end_replication(void) {
    HF(hf_detach(source));
    source = NULL;
}

static inline struct store *destination(void) {
    struct store *store;
    OK(destination_open(store_env(), urls[0], &store, e));
    return store;
}

static inline int64_t of_restored(uint64_t txid, const char *query) {
    static int count;
    char path[TEMP_PATH + 64];
    struct store *store = destination();
    struct restore_options o = {.target.txid = txid};
    struct restore_result result;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/restored-%d.db", app_dir, count++);
    OK(replica_restore(store, path, &o, &result, e));
    store_free(store);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    int64_t n = number(db, query);
    sqlite3_close(db);
    return n;
}

#endif
