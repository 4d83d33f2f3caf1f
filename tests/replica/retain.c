/* Retention: after what it chose is deleted, what must be restorable still is. Random histories of
 * shipping, compacting, pinning and deleting, against an oracle that tries everything. */
#include "history.h"

#include "replica/notes.h"
#include "stores/stores.h"

#define TICKS 300
#define STATES 512
#define FENCE 131

static struct env *env;

static void setup(void) {
    struct err err;
    ck_assert_int_eq(env_new_system(1, &env, &err).code, RC_OK);
}

static void teardown(void) {
    env_free_system(env);
}

/* ---- a replica as it grows ---- */

struct life {
    struct history random;
    struct listing files;
    uint64_t txid, level_max[LIMIT_LEVELS];
    int64_t now;
    struct retention keep;
    uint64_t pins[8];
    size_t pin_count;
    bool pinned_state[STATES]; /* restorable when it was pinned, so it must stay so */
};

static void add(struct life *l, int level, uint64_t min, uint64_t max, bool fence) {
    struct replica_file f = {.level = level,
                             .min_txid = min,
                             .max_txid = max,
                             .size_bytes = fence ? FENCE : 1000,
                             .time_ms = l->now};
    OK(listing_add(&l->files, f, e));
    if (max > l->level_max[level]) l->level_max[level] = max;
}

/* The time of a compacted file is that of the last file in it. */
static void compact(struct life *l, int level) {
    if (l->level_max[level] == l->txid) return;
    int64_t now = l->now;
    for (size_t i = 0; i < l->files.count; i++)
        if (l->files.files[i].max_txid == l->txid && l->files.files[i].time_ms < l->now)
            l->now = l->files.files[i].time_ms;
    add(l, level, level == LEVEL_SNAPSHOT ? 1 : l->level_max[level] + 1, l->txid, false);
    l->now = now;
}

/* All states that can be restored. */
static void states_of(const struct listing *l, bool there[STATES]) {
    memset(there, 0, STATES * sizeof *there);
    there[0] = true;
    for (uint64_t end = 1; end < STATES; end++)
        for (size_t i = 0; i < l->count; i++) {
            const struct replica_file *f = &l->files[i];
            if (f->max_txid != end) continue;
            for (uint64_t s = f->min_txid - 1; s < end && !there[end]; s++) there[end] = there[s];
        }
}

/* The snapshot before those that are young enough: whatever time since is asked for begins
 * there. */
static uint64_t floor_snapshot(const struct life *l) {
    uint64_t floor = 0, newest = 0;
    int64_t young = INT64_MAX;
    for (size_t i = 0; i < l->files.count; i++) {
        const struct replica_file *f = &l->files.files[i];
        if (f->level != LEVEL_SNAPSHOT) continue;
        if (f->max_txid > newest) newest = f->max_txid;
        if (f->time_ms > l->now - l->keep.snapshot_ms && (int64_t)f->max_txid < young)
            young = (int64_t)f->max_txid;
    }
    if (young == INT64_MAX) young = (int64_t)newest;
    for (size_t i = 0; i < l->files.count; i++) {
        const struct replica_file *f = &l->files.files[i];
        if (f->level == LEVEL_SNAPSHOT && (int64_t)f->max_txid < young && f->max_txid > floor)
            floor = f->max_txid;
    }
    return floor ? floor : (uint64_t)young;
}

static bool for_pin(const struct life *l, const struct replica_file *f) {
    struct listing keep = {0};
    OK(listing_add_pinned(&l->files, l->pins, l->pin_count, &keep, e));
    bool is = listing_has(&keep, f);
    listing_deinit(&keep);
    return is;
}

static void check_kept(const struct life *l, const struct listing *remove) {
    bool there[STATES];
    uint64_t from = floor_snapshot(l), first_left = 0;
    struct plan p;
    states_of(&l->files, there);
    OK(plan_make(&l->files, (struct target){0}, &p, e));
    ck_assert_uint_eq(p.txid, l->txid);
    plan_deinit(&p);
    for (size_t i = 0; i < l->files.count; i++) {
        const struct replica_file *f = &l->files.files[i];
        if (f->max_txid < from || file_is_permanent(f) || for_pin(l, f)) continue;
        if (f->level == 0 && !first_left) first_left = f->min_txid;
        ck_assert_msg(there[f->max_txid], "TXID %d, at which a file of level %d ends",
                      (int)f->max_txid, f->level);
    }
    for (size_t i = 0; i < l->pin_count; i++)
        if (l->pinned_state[l->pins[i]]) ck_assert_msg(there[l->pins[i]], "pin");
    for (size_t i = 0; i < remove->count; i++) ck_assert(!file_is_permanent(&remove->files[i]));
}

/* What was young before is there still. */
static void check_choice(struct life *l, const struct listing *remove) {
    for (size_t i = 0; i < remove->count; i++) {
        const struct replica_file *f = &remove->files[i];
        ck_assert(listing_has(&l->files, f));
        ck_assert(f->max_txid != l->level_max[f->level]);
        if (f->level == 0) ck_assert(f->time_ms <= l->now - l->keep.level0_ms);
        if (f->level == 0) ck_assert(f->max_txid <= l->level_max[1]);
        if (f->level == LEVEL_SNAPSHOT) ck_assert(f->time_ms <= l->now - l->keep.snapshot_ms);
    }
}

static void retain(struct life *l) {
    struct listing remove = {0};
    OK(retention_choose(&l->files, l->keep, l->now, l->pins, l->pin_count, &remove, e));
    check_choice(l, &remove);
    /* deletions are not atomic: any part of them may be done */
    bool all = history_random(&l->random, 3) != 0;
    for (size_t i = 0; i < remove.count; i++)
        if (all || history_random(&l->random, 2)) listing_remove(&l->files, &remove.files[i]);
    if (all) check_kept(l, &remove);
    listing_deinit(&remove);
}

static void pin(struct life *l) {
    bool there[STATES];
    if (l->pin_count == sizeof l->pins / sizeof *l->pins) l->pin_count--;
    uint64_t txid = 1 + history_random(&l->random, (uint32_t)l->txid);
    states_of(&l->files, there);
    l->pins[l->pin_count++] = txid;
    l->pinned_state[txid] = there[txid];
}

static void live(struct life *l, uint64_t seed) {
    l->random.random = seed * 7919 + 1;
    l->now = T0;
    l->keep =
        (struct retention){.level0_ms = 1000 * (int64_t)history_random(&l->random, 40),
                           .snapshot_ms = 1000 * (int64_t)(20 + history_random(&l->random, 200))};
    add(l, 0, 1, 1, true);
    l->txid = 1;
    for (int tick = 0; tick < TICKS; tick++) {
        uint32_t dice = history_random(&l->random, 100);
        l->now += history_random(&l->random, 3000);
        if (dice < 60 && l->txid < STATES - 2) {
            l->txid++;
            add(l, 0, l->txid, l->txid, dice == 0);
        } else if (dice < 75) compact(l, 1);
        else if (dice < 80) compact(l, 2);
        else if (dice < 82) compact(l, 3);
        else if (dice < 85) compact(l, LEVEL_SNAPSHOT);
        else if (dice < 87) pin(l);
        else if (dice < 88) l->pin_count = 0;
        else retain(l);
    }
}

START_TEST(what_must_be_restorable_is) {
    for (int i = 0; i < 12; i++) {
        struct life l = {0};
        live(&l, (uint64_t)_i * 100 + (uint64_t)i + 1);
        listing_deinit(&l.files);
    }
}
END_TEST

/* ---- rows ---- */

#define NOW (T0 + 100000000)
#define OLD T0
#define YOUNG (NOW - 1000)

static const struct {
    const char *words;
    struct replica_file files[8];
    uint64_t pin;
    const char *removed; /* indexes of `files` */
} rows[] = {
    {"level 0 goes in the groups of level 1, when they are old",
     {{0, 2, 2, 900, OLD},
      {0, 3, 3, 900, OLD},
      {0, 4, 4, 900, OLD},
      {0, 5, 5, 900, YOUNG},
      {0, 6, 6, 900, YOUNG},
      {1, 1, 3, 900, OLD},
      {1, 4, 5, 900, YOUNG}},
     0,
     "01"},
    {"what level 1 does not have yet stays, snapshot or not",
     {{0, 2, 2, 900, OLD}, {0, 3, 3, 900, OLD}, {9, 1, 3, 900, OLD}},
     0,
     ""},
    {"TXID 1 and fences stay for ever",
     {{0, 1, 1, 900, OLD},
      {0, 2, 2, FENCE, OLD},
      {0, 3, 3, 900, OLD},
      {0, 4, 4, 900, OLD},
      {1, 1, 3, 900, OLD},
      {1, 4, 4, 900, YOUNG}},
     0,
     "2"},
    {"the newest of each level stays",
     {{0, 3, 3, 900, OLD}, {1, 1, 3, 900, OLD}, {2, 1, 3, 900, OLD}, {9, 1, 3, 900, OLD}},
     0,
     ""},
    {"what ends before the snapshot before the kept ones goes",
     {{1, 1, 3, 900, OLD},
      {1, 4, 6, 900, OLD},
      {1, 7, 9, 900, OLD},
      {9, 1, 3, 900, OLD},
      {9, 1, 6, 900, OLD},
      {9, 1, 9, 900, OLD}},
     0,
     "03"},
    {"a pin keeps its plan",
     {{1, 1, 3, 900, OLD},
      {1, 4, 6, 900, OLD},
      {1, 7, 9, 900, OLD},
      {9, 1, 3, 900, OLD},
      {9, 1, 6, 900, OLD},
      {9, 1, 9, 900, OLD}},
     3,
     "0"},
    {"a level-9 file that is no snapshot does not stand in for the newest one",
     {{9, 1, 3, 900, OLD}, {9, 1, 6, 900, OLD}, {9, 1, 8, 900, OLD}, {9, 4, 9, 900, OLD}},
     0,
     "0"},
};

START_TEST(a_row_of_retention) {
    struct listing l = {0}, remove = {0};
    char got[16] = "";
    struct retention keep = {.level0_ms = 300000, .snapshot_ms = 86400000};
    for (int i = 0; rows[_i].files[i].max_txid; i++) OK(listing_add(&l, rows[_i].files[i], e));
    OK(retention_choose(&l, keep, NOW, &rows[_i].pin, rows[_i].pin != 0, &remove, e));
    for (int i = 0; rows[_i].files[i].max_txid; i++)
        if (listing_has(&remove, &rows[_i].files[i])) sprintf(got + strlen(got), "%d", i);
    ck_assert_msg(strcmp(got, rows[_i].removed) == 0, "%s: %s", rows[_i].words, got);
    listing_deinit(&l);
    listing_deinit(&remove);
}
END_TEST

static void expect_pins(struct store *store, size_t want, uint64_t sum) {
    uint64_t *pins, got = 0;
    size_t count;
    OK(replica_read_pins(store, &pins, &count, e));
    ck_assert_uint_eq(count, want);
    for (size_t i = 0; i < count; i++) got += pins[i];
    ck_assert_uint_eq(got, sum);
    free(pins);
}

START_TEST(pins_are_added_once_each) {
    struct store *store;
    OK(store_new_mem(env, &store, e));
    expect_pins(store, 0, 0);
    OK(replica_pin(store, 255, "ahead", e));
    OK(replica_pin(store, 2, "adopt-local", e));
    OK(replica_pin(store, 255, "ahead", e));
    expect_pins(store, 2, 257);
    OK(store->ops->put_note(store, "holdfast/pins.json", "[{\"txid\": 7, \"mine\": 1}]", 24, e));
    OK(replica_pin(store, 9, "ahead", e));
    expect_pins(store, 2, 16);
    store_free(store);
}
END_TEST

static const char *const broken_pins[] = {
    "",
    "[",
    "{\"txid\": 7}",
    "[7]",
    "[{}]",
    "[{\"txid\": 0}]",
    "[{\"txid\": -1}]",
    "[{\"txid\": \"7\"}]",
    "[{\"txid\": 7}] x",
};

START_TEST(broken_pins_are_not_taken_for_none) {
    struct store *store;
    uint64_t *pins;
    size_t count;
    const char *text = broken_pins[_i];
    OK(store_new_mem(env, &store, e));
    OK(store->ops->put_note(store, "holdfast/pins.json", text, strlen(text), e));
    CODE(replica_read_pins(store, &pins, &count, e), RC_CORRUPT);
    says("pins.json");
    CODE(replica_pin(store, 1, "ahead", e), RC_CORRUPT);
    store_free(store);
}
END_TEST

START_TEST(pins_have_a_bound) {
    struct store *store;
    uint64_t *pins;
    size_t count, size = LIMIT_SMALL_OBJECT + 1;
    char *text = malloc(size);
    memset(text, ' ', size);
    memcpy(text + size - 2, "[]", 2);
    OK(store_new_mem(env, &store, e));
    OK(store->ops->put_note(store, "holdfast/pins.json", text, size, e));
    CODE(replica_read_pins(store, &pins, &count, e), RC_CORRUPT);
    const char *head = "[{\"txid\": 1, \"why\": \"";
    memset(text, 'x', size);
    memcpy(text, head, strlen(head));
    memcpy(text + size - 20, "\"}]", 3);
    OK(store->ops->put_note(store, "holdfast/pins.json", text, size - 17, e));
    expect_pins(store, 1, 1);
    CODE(replica_pin(store, 2, "ahead", e), RC_FULL);
    expect_pins(store, 1, 1);
    free(text);
    store_free(store);
}
END_TEST

int main(void) {
    Suite *s = suite_create("retain");
    TCase *t = tcase_create("retain");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, what_must_be_restorable_is, 0, 10);
    ADD_ROWS(t, a_row_of_retention, rows);
    tcase_add_test(t, pins_are_added_once_each);
    ADD_ROWS(t, broken_pins_are_not_taken_for_none, broken_pins);
    tcase_add_test(t, pins_have_a_bound);
    suite_add_tcase(s, t);
    return run_suite(s);
}
