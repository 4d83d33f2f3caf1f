/* Damaged replicas: whatever is done to an object, restore gives what was there or names the
 * object, and verify names it. Never older data without a word. */
#include "history.h"

#include "replica/notes.h"
#include "stores/stores.h"

#define TIP 13
#define OBJECTS 32

static struct env *system_env, *env;
static struct store *store;
static struct history h, other;
static char dir[TEMP_PATH];

/* The whole replica, kept. */
static struct object {
    char key[KEY_SIZE];
    uint8_t *bytes;
    size_t size;
    int64_t time_ms;
} objects[OBJECTS];
static int object_count;

static rc keep(void *arg, const struct object_info *info, struct err *e) {
    struct object *o = &objects[object_count++];
    (void)e;
    ck_assert_int_le(object_count, OBJECTS);
    snprintf(o->key, sizeof o->key, "%s/%.60s", (const char *)arg, info->name);
    o->size = info->size_bytes;
    o->time_ms = info->time_ms;
    return ok();
}

static void keep_all(void) {
    char level[KEY_SIZE];
    object_count = 0;
    for (int i = 0; i < LIMIT_LEVELS; i++) {
        key_of_level(false, i, level);
        OK(store->ops->list(store, level, keep, level, e));
    }
    for (int i = 0; i < object_count; i++) {
        objects[i].bytes = malloc(objects[i].size + 1);
        OK(store->ops->get(store, objects[i].key, 0, objects[i].bytes, objects[i].size, e));
    }
}

static void setup(void) {
    struct err err;
    ck_assert_int_eq(env_new_system(1, &system_env, &err).code, RC_OK);
    env = without_sync(system_env);
    ck_assert_int_eq(store_new_mem(env, &store, &err).code, RC_OK);
    temp_dir(dir);
    history_make(&h, 512, TIP, 4711);
    history_make(&other, 512, TIP, 4712);
    other.node = 8;
}

static void teardown(void) {
    for (int i = 0; i < object_count; i++) free(objects[i].bytes);
    history_deinit(&h);
    history_deinit(&other);
    store_free(store);
    env_free_system(system_env);
}

static void put_bytes(const char *key, const void *bytes, size_t size, int64_t time_ms) {
    OK(store->ops->remove(store, key, e));
    OK(store->ops->put(store, key, bytes, size, time_ms, e));
}

static void heal(const struct object *o) {
    put_bytes(o->key, o->bytes, o->size, o->time_ms);
}

/* A good replica; level 0 in full, or as retention leaves it. */
static void make(bool pruned) {
    history_put_all(&h, store);
    for (uint64_t i = 2; pruned && i <= 9; i++) {
        char key[KEY_SIZE];
        key_of_file(false, 0, i, i, key);
        OK(store->ops->remove(store, key, e));
    }
    keep_all();
}

/* ---- what must hold whatever was done to `o` ---- */

static bool names(const struct err *why, const struct object *o) {
    return strstr(why->text, o->key) != NULL;
}

static void try_restore(struct target t, uint64_t txid, const struct object *o, const char *what) {
    struct restore_options options = {.target = t, .parallel = 1};
    struct restore_result result;
    struct err why;
    rc r = replica_restore(store, below(dir, "out"), &options, &result, &why);
    if (is_ok(r)) {
        ck_assert_msg(result.txid == txid, "%s of %s: TXID %d, not %d", what, o->key,
                      (int)result.txid, (int)txid);
        history_expect(&h, env, below(dir, "out"), txid);
        ck_assert_int_eq(unlink(below(dir, "out")), 0);
        return;
    }
    ck_assert_msg(r.code == RC_CORRUPT, "%s of %s: %s", what, o->key, why.text);
    ck_assert_msg(names(&why, o) || strstr(why.text, "hole between"), "%s of %s: %s", what, o->key,
                  why.text);
    ck_assert_int_eq(entries_of(env, dir), 0);
}

static void try_all(const struct object *o, const char *what) {
    try_restore((struct target){0}, TIP, o, what);
    for (uint64_t txid = 10; txid <= TIP; txid++) {
        try_restore((struct target){.txid = txid}, txid, o, what);
        try_restore((struct target){.time_ms = history_time(0, txid) + 1}, txid, o, what);
    }
    try_restore((struct target){.txid = 6}, 6, o, what);
}

static void try_some(const struct object *o, const char *what) {
    uint64_t txid = 10 + history_random(&other, TIP - 9);
    try_restore((struct target){0}, TIP, o, what);
    try_restore((struct target){.txid = txid}, txid, o, what);
    try_restore((struct target){.time_ms = history_time(0, txid) + 1}, txid, o, what);
}

static void verify_names(const struct object *o, const char *what) {
    struct verify_result v;
    struct err why = {0};
    rc r = replica_verify(store, 2, NULL, &v, &why);
    ck_assert_msg(r.code == RC_CORRUPT, "%s of %s: %s", what, o->key, rc_name(r.code));
    ck_assert_msg(names(&why, o), "%s of %s: %s", what, o->key, why.text);
    ck_assert_str_eq(v.broken, o->key);
}

/* ---- damage ---- */

START_TEST(an_undamaged_replica_is_proven) {
    struct verify_result v;
    make(_i);
    OK(replica_verify(store, 0, NULL, &v, e));
    ck_assert_uint_eq(v.txid, TIP);
    ck_assert_uint_eq(v.files, object_count);
    ck_assert_uint_eq(v.links_unknown, 0);
    ck_assert_uint_eq(v.links_checked, object_count);
    ck_assert_str_eq(v.broken, "");
    for (int i = 0; i < object_count; i++) try_all(&objects[i], "nothing");
}
END_TEST

START_TEST(a_short_or_long_object_is_named) {
    make(_i % 2);
    for (int i = 0; i < object_count; i++) {
        const struct object *o = &objects[i];
        size_t sizes[] = {0, 50, 130, 131, o->size / 2, o->size - 1, o->size + 1};
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            if (sizes[k] == o->size) continue;
            o->bytes[o->size] = 0;
            put_bytes(o->key, o->bytes, sizes[k], o->time_ms);
            verify_names(o, "size");
            try_all(o, "size");
        }
        heal(o);
    }
}
END_TEST

static bool same_pages(const struct object *o, const uint8_t *bytes, size_t at) {
    uint64_t index_at, size;
    OK(ltx_index_place(o->bytes + o->size - 24, o->size, &index_at, &size, e));
    (void)bytes;
    return at >= LTX_HEADER_SIZE + 10 && at < index_at - 6;
}

/* Verify may say yes only where the page is the same all the same: LZ4 has many ways to say it. */
static void flip(const struct object *o, size_t at, uint8_t mask) {
    struct verify_result v;
    struct err why;
    char what[64];
    snprintf(what, sizeof what, "flip %02x at %zu", mask, at);
    uint8_t *bytes = malloc(o->size);
    memcpy(bytes, o->bytes, o->size);
    bytes[at] ^= mask;
    put_bytes(o->key, bytes, o->size, o->time_ms);
    rc r = replica_verify(store, 2, NULL, &v, &why);
    if (is_ok(r)) ck_assert_msg(same_pages(o, bytes, at), "%s of %s", what, o->key);
    else ck_assert_msg(names(&why, o), "%s of %s: %s", what, o->key, why.text);
    try_some(o, what);
    free(bytes);
}

/* Every header byte of every object, and some of the rest. */
START_TEST(a_flipped_bit_is_named_or_changes_nothing) {
    make(_i % 2);
    for (int i = _i; i < object_count; i += 4) {
        const struct object *o = &objects[i];
        for (size_t at = 0; at < LTX_HEADER_SIZE; at++)
            flip(o, at, (uint8_t)(1u << history_random(&other, 8)));
        for (int k = 0; k < 30; k++)
            flip(o, history_random(&other, (uint32_t)o->size),
                 (uint8_t)(1u << history_random(&other, 8)));
        for (size_t at = o->size - 24; at < o->size; at++) flip(o, at, 0x80);
        heal(o);
    }
}
END_TEST

/* Without sums each file's own checksum must do: Litestream's files, and ours of unknown sums. */
START_TEST(a_flipped_bit_is_named_where_no_sum_is_known) {
    h.foreign = _i % 2;
    h.sum_unknown = true;
    make(false);
    for (int i = 0; i < object_count; i++) {
        const struct object *o = &objects[i];
        for (int k = 0; k < 25; k++)
            flip(o, LTX_HEADER_SIZE + history_random(&other, (uint32_t)o->size - LTX_HEADER_SIZE),
                 (uint8_t)(1u << history_random(&other, 8)));
        heal(o);
    }
}
END_TEST

/* An object of another database under the right name. */
START_TEST(a_foreign_object_is_named) {
    make(_i);
    for (int i = 0; i < object_count; i++) {
        const struct object *o = &objects[i];
        struct buf file;
        int level;
        unsigned long long min, max;
        ck_assert_int_eq(sscanf(o->key, "ltx/%d/%llx-%llx.ltx", &level, &min, &max), 3);
        if (max == TIP && level == 0) continue; /* apart, below */
        history_encode(&other, level, min, max, &file);
        put_bytes(o->key, file.bytes, file.size, o->time_ms);
        buf_deinit(&file);
        try_all(o, "foreign");
        /* where all states are walked, it is the first that does not fit */
        if (!_i && min > 1) verify_names(o, "foreign");
        heal(o);
    }
}
END_TEST

START_TEST(a_foreign_tip_is_named) {
    make(_i);
    const struct object *tip = NULL;
    struct buf file;
    for (int i = 0; i < object_count; i++)
        if (strncmp(objects[i].key, "ltx/0/000000000000000d", 22) == 0) tip = &objects[i];
    history_encode(&other, 0, TIP, TIP, &file);
    put_bytes(tip->key, file.bytes, file.size, tip->time_ms);
    buf_deinit(&file);
    verify_names(tip, "foreign");
    try_all(tip, "foreign");
}
END_TEST

START_TEST(two_objects_that_exchanged_names_are_named) {
    make(_i);
    for (int i = 0; i < object_count; i++)
        for (int k = 0; k < i; k++) {
            struct verify_result v;
            const struct object *a = &objects[i], *b = &objects[k];
            if (strcmp(strrchr(a->key, '/'), strrchr(b->key, '/')) == 0) continue;
            put_bytes(a->key, b->bytes, b->size, a->time_ms);
            put_bytes(b->key, a->bytes, a->size, b->time_ms);
            CODE(replica_verify(store, 1, NULL, &v, e), RC_CORRUPT);
            ck_assert(names(&last_err, a) || names(&last_err, b));
            says("swapped");
            struct restore_options o = {.parallel = 1};
            struct restore_result r;
            struct err why;
            if (is_ok(replica_restore(store, below(dir, "out"), &o, &r, &why))) {
                history_expect(&h, env, below(dir, "out"), TIP);
                ck_assert_int_eq(unlink(below(dir, "out")), 0);
            } else ck_assert(names(&why, a) || names(&why, b));
            heal(a);
            heal(b);
        }
}
END_TEST

START_TEST(a_renamed_object_is_named) {
    make(_i);
    for (int i = 0; i < object_count; i++) {
        const struct object *o = &objects[i];
        struct object renamed = *o;
        struct verify_result v;
        snprintf(renamed.key, sizeof renamed.key, "%.6s%016x-%016x.ltx", o->key, TIP + 1, TIP + 1);
        OK(store->ops->remove(store, o->key, e));
        put_bytes(renamed.key, o->bytes, o->size, o->time_ms);
        CODE(replica_verify(store, 2, NULL, &v, e), RC_CORRUPT);
        CODE(replica_restore(store, below(dir, "out"), &(struct restore_options){0},
                             &(struct restore_result){0}, e),
             RC_CORRUPT);
        ck_assert_msg(names(&last_err, &renamed) || strstr(last_err.text, "hole"), "%s: %s", o->key,
                      last_err.text);
        OK(store->ops->remove(store, renamed.key, e));
        heal(o);
    }
}
END_TEST

static const struct object *object_of(const char *key) {
    int i = 0;
    while (i < object_count && strcmp(objects[i].key, key) != 0) i++;
    ck_assert_msg(i < object_count, "%s", key);
    return &objects[i];
}

/* The tip's sum is unknown; those before it are not. */
START_TEST(a_foreign_object_before_an_unknown_sum_is_named) {
    struct buf file;
    for (uint64_t i = 1; i <= TIP; i++) {
        h.sum_unknown = i == TIP;
        history_put(&h, store, 0, i, i);
    }
    keep_all();
    const struct object *o = object_of("ltx/0/0000000000000009-0000000000000009.ltx");
    history_restores(&h, store, &(struct restore_options){0}, TIP);
    struct moment lie = h.at[9];
    lie.bytes = malloc((size_t)HISTORY_PAGES * 512);
    memcpy(lie.bytes, h.at[9].bytes, (size_t)HISTORY_PAGES * 512);
    lie.bytes[200] ^= 1;
    struct history liar = h;
    liar.at[9] = lie;
    liar.sum_unknown = false;
    history_encode(&liar, 0, 9, 9, &file);
    put_bytes(o->key, file.bytes, file.size, o->time_ms);
    buf_deinit(&file);
    free(lie.bytes);
    CODE(replica_restore(store, below(dir, "out"), &(struct restore_options){0},
                         &(struct restore_result){0}, e),
         RC_CORRUPT);
    says(o->key);
}
END_TEST

/* A sum that is wrong in a file that restore does not need is no reason to have no database. */
START_TEST(rot_in_what_is_not_needed_stops_no_restore) {
    make(false);
    const struct object *o = object_of("ltx/0/000000000000000c-000000000000000c.ltx");
    o->bytes[88] ^= 1; /* its sum */
    put_bytes(o->key, o->bytes, o->size, o->time_ms);
    history_restores(&h, store, &(struct restore_options){.target.txid = 12}, 12);
}
END_TEST

/* Of a missing object there is nothing to name but the hole. */
START_TEST(a_missing_object_is_never_older_data_without_a_word) {
    make(_i);
    for (int i = 0; i < object_count; i++) {
        const struct object *o = &objects[i];
        bool lone_tip = strncmp(o->key, "ltx/0/000000000000000d", 22) == 0; /* cannot be known */
        int level;
        unsigned long long min, max;
        ck_assert_int_eq(sscanf(o->key, "ltx/%d/%llx-%llx.ltx", &level, &min, &max), 3);
        if (lone_tip) continue;
        OK(store->ops->remove(store, o->key, e));
        for (uint64_t txid = 10; txid <= TIP; txid++) {
            struct restore_options by_number = {.target.txid = txid, .parallel = 1};
            struct restore_result r;
            struct err why;
            if (is_ok(replica_restore(store, below(dir, "out"), &by_number, &r, &why))) {
                history_expect(&h, env, below(dir, "out"), txid);
                ck_assert_int_eq(unlink(below(dir, "out")), 0);
            } else
                ck_assert_msg(strstr(why.text, "cannot be restored") || strstr(why.text, "hole"),
                              "%s", why.text);
            /* the oldest of level 0 may have been pruned: then it is not lost */
            if (_i && level == 0 && min == 10) continue;
            try_restore((struct target){.time_ms = history_time(0, txid) + 1}, txid, o, "loss");
        }
        try_restore((struct target){0}, TIP, o, "loss");
        heal(o);
    }
}
END_TEST

/* Gaps: (level, TXID) lost, and whether verify can know. */
static const struct {
    const char *key;
    bool known;
} losses[] = {
    {"ltx/0/0000000000000005-0000000000000005.ltx", true},
    {"ltx/0/000000000000000c-000000000000000c.ltx", true},
    {"ltx/1/0000000000000004-0000000000000006.ltx", true},
    {"ltx/0/0000000000000002-0000000000000002.ltx", false}, /* as if pruned */
    {"ltx/1/0000000000000001-0000000000000003.ltx", false},
    {"ltx/9/0000000000000001-0000000000000006.ltx", false}, /* no state needs it */
};

START_TEST(verify_finds_a_gap_in_a_level) {
    struct verify_result v;
    make(false);
    OK(store->ops->remove(store, losses[_i].key, e));
    CODE(replica_verify(store, 2, NULL, &v, e), losses[_i].known ? RC_CORRUPT : RC_OK);
    if (!losses[_i].known) return;
    says("hole between TXID");
    ck_assert_str_ne(v.broken, "");
}
END_TEST

/* An object that retention did not know of, as it came when its sender was dead, lies alone before
 * the gap; all that it knew before the snapshot's end is gone. `other`: one more object, to 4. */
static const struct {
    int level;
    uint64_t goes_on, snapshot;
    int other;
    enum rc_code code;
} strays[] = {
    {1, 8, 8, 0, RC_OK},
    {3, 8, 8, 0, RC_OK},
    {3, 6, 12, 0, RC_OK},
    {3, 9, 8, 0, RC_CORRUPT}, /* an object that ends where the snapshot does is kept */
    {3, 10, 8, 0, RC_CORRUPT},
    {2, 9, 8, 0, RC_CORRUPT},
    {3, 8, 8, LEVEL_SNAPSHOT, RC_CORRUPT}, /* the floor is lower */
    {3, 8, 8, 1, RC_CORRUPT},
    {0, 8, 8, 0, RC_CORRUPT}, /* level 0 has another rule */
};

START_TEST(a_gap_that_ends_before_the_oldest_snapshot_is_none) {
    struct verify_result v;
    uint64_t from = strays[_i].goes_on, snapshot = strays[_i].snapshot;
    history_put(&h, store, LEVEL_SNAPSHOT, 1, snapshot);
    history_put(&h, store, strays[_i].level, 4, 4);
    if (strays[_i].other) history_put(&h, store, strays[_i].other, 1, 4);
    if (strays[_i].level) history_put(&h, store, strays[_i].level, from, TIP);
    history_put(&h, store, 0, 1, 1);
    for (uint64_t i = strays[_i].level ? snapshot + 1 : from; i <= TIP; i++)
        history_put(&h, store, 0, i, i);
    CODE(replica_verify(store, 2, NULL, &v, e), strays[_i].code);
    ck_assert_uint_eq(v.txid, TIP);
    if (strays[_i].code == RC_OK) return;
    says("hole between TXID 4 and");
    ck_assert_str_ne(v.broken, "");
    says(v.broken);
}
END_TEST

START_TEST(a_gap_around_a_pin_is_none) {
    struct verify_result v;
    make(false);
    for (uint64_t i = 2; i <= 9; i++) {
        char key[KEY_SIZE];
        key_of_file(false, 0, i, i, key);
        if (i != 4) OK(store->ops->remove(store, key, e));
    }
    CODE(replica_verify(store, 2, NULL, &v, e), RC_CORRUPT);
    OK(replica_pin(store, 4, "ahead", e));
    OK(replica_verify(store, 2, NULL, &v, e));
}
END_TEST

/* ---- what a compacted file holds ---- */

/* Right by itself, and by its sum, but not what its inputs make: a page less, or another page. */
static void put_compacted(uint32_t leave_out, uint32_t change) {
    struct history lie = h;
    struct moment m = h.at[12];
    uint8_t *bytes = malloc((size_t)HISTORY_PAGES * 512);
    memcpy(bytes, m.bytes, (size_t)HISTORY_PAGES * 512);
    m.bytes = bytes;
    if (change) bytes[(change - 1) * 512 + 100] ^= 1;
    lie.at[12] = m;
    for (int i = 10; leave_out && i <= 12; i++) lie.at[i].touched[leave_out] = false;
    OK(store->ops->remove(store, "ltx/1/000000000000000a-000000000000000c.ltx", e));
    history_put(&lie, store, 1, 10, 12);
    free(bytes);
}

START_TEST(a_compacted_file_must_be_what_its_inputs_make) {
    struct verify_result v;
    make(false);
    put_compacted(_i == 0, _i == 1);
    CODE(replica_verify(store, 2, NULL, &v, e), RC_CORRUPT);
    says(_i ? "page 1 is not what" : "lacks page 1, which changed since TXID 10");
    ck_assert_str_eq(v.broken, "ltx/1/000000000000000a-000000000000000c.ltx");
    put_compacted(0, 0);
    OK(replica_verify(store, 2, NULL, &v, e));
}
END_TEST

/* ---- hostile headers ---- */

static long peak_kb(void) {
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %ld", &kb) == 1) break;
    fclose(f);
    return kb;
}

static const struct {
    size_t at; /* from the end when negative */
    bool from_end;
    uint8_t bytes[8];
    int n;
} hostile[] = {
    {12, false, {0xff, 0xff, 0xff, 0xff}, 4}, /* 4 billion pages */
    {12, false, {0x7f, 0xff, 0xff, 0xff}, 4},
    {24, true, {0, 0, 0, 0, 0x40, 0, 0, 0}, 8}, /* an index of 1 GiB */
    {24, true, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8},
    {24, true, {0}, 8},
    {8, false, {0, 1, 0, 0}, 4},                                      /* pages of 64 KiB */
    {106, false, {0xff, 0xff, 0xff, 0xff}, 4},                        /* a page of 4 GiB */
    {24, false, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 8}, /* TXIDs to the end */
};

START_TEST(hostile_lengths_allocate_nothing) {
    make(false);
    for (int i = 0; i < object_count; i += 3) {
        const struct object *o = &objects[i];
        uint8_t *bytes = malloc(o->size);
        memcpy(bytes, o->bytes, o->size);
        size_t at = hostile[_i].from_end ? o->size - hostile[_i].at : hostile[_i].at;
        memcpy(bytes + at, hostile[_i].bytes, (size_t)hostile[_i].n);
        put_bytes(o->key, bytes, o->size, o->time_ms);
        long before = peak_kb();
        verify_names(o, "hostile");
        try_all(o, "hostile");
        ck_assert_int_lt(peak_kb() - before, 60 << 10);
        heal(o);
        free(bytes);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("damage");
    TCase *t = tcase_create("damage");
    tcase_set_timeout(t, 120);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, an_undamaged_replica_is_proven, 0, 2);
    tcase_add_loop_test(t, a_short_or_long_object_is_named, 0, 2);
    tcase_add_loop_test(t, a_flipped_bit_is_named_or_changes_nothing, 0, 4);
    tcase_add_loop_test(t, a_flipped_bit_is_named_where_no_sum_is_known, 0, 2);
    tcase_add_loop_test(t, a_foreign_object_is_named, 0, 2);
    tcase_add_loop_test(t, a_foreign_tip_is_named, 0, 2);
    tcase_add_test(t, a_foreign_object_before_an_unknown_sum_is_named);
    tcase_add_test(t, rot_in_what_is_not_needed_stops_no_restore);
    tcase_add_loop_test(t, two_objects_that_exchanged_names_are_named, 0, 2);
    tcase_add_loop_test(t, a_renamed_object_is_named, 0, 2);
    tcase_add_loop_test(t, a_missing_object_is_never_older_data_without_a_word, 0, 2);
    ADD_ROWS(t, verify_finds_a_gap_in_a_level, losses);
    ADD_ROWS(t, a_gap_that_ends_before_the_oldest_snapshot_is_none, strays);
    tcase_add_test(t, a_gap_around_a_pin_is_none);
    tcase_add_loop_test(t, a_compacted_file_must_be_what_its_inputs_make, 0, 2);
    ADD_ROWS(t, hostile_lengths_allocate_nothing, hostile);
    suite_add_tcase(s, t);
    return run_suite(s);
}
