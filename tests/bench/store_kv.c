/* Keys and values in the store: what etcd does over loopback, and hf_get beside a prepared SELECT.
 *
 * A put is one transaction; with a URL it is a put and a wait for the barrier, which is begun now.
 */
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 10000
#define LIMIT 100
#define USER "$.user.id"

struct filling {
    int64_t next, count;
    size_t bytes;
    uint64_t state;
};

static int put_batch(hf_tx *tx, void *arg) {
    static char value[VALUE_BYTES_MAX];
    struct filling *f = arg;
    char key[KEY_BYTES];
    int code = HF_OK;
    for (int64_t end = f->next + BATCH; code == HF_OK && f->next < end && f->next < f->count;) {
        key_of(key, f->next, f->count);
        value_of(value, f->bytes, f->next++, &f->state);
        code = hf_kv_put(tx, key, hf_json(value));
    }
    return code;
}

static size_t size_of_values(const char *text) {
    int64_t n = number_of(text);
    if (n < 100 || n > VALUE_BYTES_MAX - 100) die(text, "values have 100 to 65000 bytes");
    return (size_t)n;
}

void run_fill(char **argv) {
    struct filling f = {
        .count = number_of(argv[1]), .bytes = size_of_values(argv[2]), .state = seed_of(0)};
    struct place p = place_open(&(struct setting){.path = argv[0], .sync = "OFF", .noise = ""});
    int64_t start = now_ns();
    while (f.next < f.count) must(hf_write(p.store, HF_MAIN, "fill", put_batch, &f), "fill");
    printf("keys=%lld seconds=%.1f\n", (long long)f.count, (double)(now_ns() - start) / 1e9);
    place_close(&p);
}

/* ---- one operation of a client ---- */

struct kv {
    hf_store *store;
    int64_t count;
    size_t bytes;
    bool wait;
};

struct reading {
    char key[KEY_BYTES], user[USER_BYTES];
    int64_t found;
};

static void *open_client(void *arg) {
    return arg;
}

static void close_client(void *client) {
    (void)client;
}

static void get(void *client, uint64_t *state) {
    struct kv *kv = client;
    char key[KEY_BYTES], *value;
    size_t bytes;
    key_of(key, random_record(state, kv->count), kv->count);
    must(hf_get(kv->store, key, &value, &bytes), key);
    hf_free(value);
}

static void put(void *client, uint64_t *state) {
    static const hf_wait_options FLUSH = {.size = sizeof FLUSH, .flush = 1};
    struct kv *kv = client;
    char key[KEY_BYTES], value[4096];
    int64_t i = random_record(state, kv->count);
    key_of(key, i, kv->count);
    value_of(value, kv->bytes, i, state);
    must(hf_put(kv->store, key, hf_json(value)), key);
    if (kv->wait) must(hf_wait(kv->store, NULL, &FLUSH), "hf_wait");
}

static int count_pair(void *arg, const hf_pair *pair) {
    (void)pair;
    ++*(int64_t *)arg;
    return 0;
}

static int scan_in(hf_tx *tx, void *arg) {
    struct reading *r = arg;
    hf_scan s = {.size = sizeof s, .prefix = RECORDS, .after = r->key, .limit = LIMIT};
    return hf_kv_scan(tx, &s, count_pair, &r->found);
}

static void scan(void *client, uint64_t *state) {
    struct kv *kv = client;
    struct reading r = {.found = 0};
    key_of(r.key, random_indexed(state, kv->count, LIMIT), kv->count);
    must(hf_read(kv->store, "scan", scan_in, &r), "hf_kv_scan");
    if (r.found != LIMIT) die(r.key, "a scan found too few");
}

static int find_in(hf_tx *tx, void *arg) {
    struct reading *r = arg;
    hf_find f = {.size = sizeof f, .prefix = RECORDS, .path = USER, .equals = hf_text(r->user)};
    return hf_kv_find(tx, &f, count_pair, &r->found);
}

static void find(void *client, uint64_t *state) {
    struct kv *kv = client;
    struct reading r = {.found = 0};
    user_of(r.user, random_indexed(state, kv->count, 0));
    must(hf_read(kv->store, "find", find_in, &r), "hf_kv_find");
    if (r.found != 1) die(r.user, "a find found not one");
}

static const struct op {
    const char *name;
    void (*once)(void *, uint64_t *);
} ops[] = {{"get", get}, {"put", put}, {"scan", scan}, {"find", find}};

void run_kv(char **argv) {
    struct place p = place_open(&(struct setting){.path = argv[0],
                                                  .sync = argv[4],
                                                  .noise = "",
                                                  .url = argv[7],
                                                  .long_log = strcmp(argv[1], "put") == 0});
    struct kv kv = {.store = p.store,
                    .count = number_of(argv[5]),
                    .bytes = size_of_values(argv[6]),
                    .wait = argv[7] != NULL};
    must(hf_kv_index(p.store, RECORDS, USER, 0), "hf_kv_index");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(argv[1], ops[i].name) == 0)
            run_load(&(struct load){.open = open_client,
                                    .once = ops[i].once,
                                    .close = close_client,
                                    .arg = &kv,
                                    .seconds = strtod(argv[3], NULL)},
                     (int)number_of(argv[2]));
    place_close(&p);
}

/* ---- a get, and what it is made of ---- */

static void get_raw(sqlite3_stmt *select, int64_t count, uint64_t *state) {
    char key[KEY_BYTES];
    key_of(key, random_record(state, count), count);
    sqlite3_bind_text(select, 1, key, -1, SQLITE_STATIC);
    if (sqlite3_step(select) != SQLITE_ROW) die(key, "a SELECT found nothing");
    size_t bytes = (size_t)sqlite3_column_bytes(select, 0);
    char *copy = malloc(bytes + 1);
    if (!copy) die("a value", "no memory");
    memcpy(copy, sqlite3_column_text(select, 0), bytes + 1);
    sqlite3_reset(select);
    free(copy);
}

/* In turns of a tenth of a second on one file, so that the machine's moods meet both. */
void run_get(char **argv) {
    struct place p = place_open(&(struct setting){.path = argv[0], .sync = "NORMAL", .noise = ""});
    sqlite3 *db = raw_open(argv[0], "NORMAL");
    sqlite3_stmt *select = raw_prepare(db, "SELECT Value FROM DBX WHERE Key = ?");
    struct kv kv = {.store = p.store, .count = number_of(argv[2])};
    struct times store = {0}, raw = {0};
    uint64_t state[2] = {seed_of(1), seed_of(2)};
    int64_t start = now_ns(), now = start, until = start + (int64_t)(strtod(argv[1], NULL) * 1e9);
    while (now < until) {
        int64_t before = now;
        bool turn = (now - start) / 100000000 % 2;
        if (turn) get(&kv, &state[1]);
        else get_raw(select, kv.count, &state[0]);
        now = now_ns();
        note(turn ? &store : &raw, now - before);
    }
    print_times("raw", &raw);
    print_times("store", &store);
    printf("\n");
    sqlite3_finalize(select);
    sqlite3_close(db);
    place_close(&p);
}
