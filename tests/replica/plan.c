/* Planning: which files make a state. Against what the real program chose, and against an oracle
 * that knows nothing of sweeps. */
#include "history.h"

#include "fixtures.h"

#include <time.h>

static struct env *env;

static void setup(void) {
    struct err err;
    ck_assert_int_eq(env_new_system(1, &env, &err).code, RC_OK);
}

static void teardown(void) {
    env_free_system(env);
}

/* ---- lists written down: "level:min-max@time", the time in seconds after T0 ---- */

static void list_of(const char *text, struct listing *l) {
    for (const char *p = text; *p;) {
        struct replica_file f = {.size_bytes = 1000};
        int seconds = -1, n = 0;
        long long min, max;
        ck_assert_int_ge(sscanf(p, "%d:%lld-%lld%n", &f.level, &min, &max, &n), 3);
        f.min_txid = (uint64_t)min;
        f.max_txid = (uint64_t)max;
        p += n;
        if (*p == '@') {
            ck_assert_int_eq(sscanf(p, "@%d%n", &seconds, &n), 1);
            p += n;
        }
        f.time_ms = T0 + 1000 * (seconds >= 0 ? seconds : max);
        if (*p == 'f') { /* a fence */
            f.size_bytes = 131;
            p++;
        }
        OK(listing_add(l, f, e));
        while (*p == ' ') p++;
    }
}

static void text_of(const struct plan *p, char out[512]) {
    out[0] = 0;
    for (size_t i = 0; i < p->count; i++)
        sprintf(out + strlen(out), "%s%d:%d-%d", i ? " " : "", p->files[i].level,
                (int)p->files[i].min_txid, (int)p->files[i].max_txid);
}

/* at: TXID, or -seconds for a time, or 0. */
static const struct {
    const char *files;
    int at;
    enum rc_code code;
    const char *plan; /* or words of the refusal */
} rows[] = {
    {"0:1-1 0:2-2 0:3-3", 0, RC_OK, "0:1-1 0:2-2 0:3-3"},
    {"0:1-1 0:2-2 0:3-3 1:1-2", 0, RC_OK, "1:1-2 0:3-3"},
    {"0:3-3 1:1-3 9:1-2", 0, RC_OK, "9:1-2 1:1-3"}, /* same end, begins earlier */
    {"9:1-2 9:1-4 0:5-5", 3, RC_NOTFOUND, "nearest that can are 2 and 4"},
    {"9:1-2 9:1-4 0:5-5", 4, RC_OK, "9:1-4"},
    {"0:1-1 0:2-2", 3, RC_NOTFOUND, "the last that can is 2"},
    {"1:1-3", 2, RC_NOTFOUND, "the first that can is 3"},
    {"1:1-3 1:4-6 1:7-9", 5, RC_NOTFOUND, "nearest that can are 3 and 6"},
    {"", 0, RC_NOTFOUND, "no backup"},
    {"0:2-2 0:3-3", 0, RC_CORRUPT, "no object begins at TXID 1"},
    {"0:2-2 0:3-3", 3, RC_CORRUPT, "no object begins at TXID 1"},
    /* what is left over behind a hole is an error, whatever is asked for */
    {"0:1-1 0:2-2 0:4-4", 0, RC_CORRUPT, "hole between TXID 2 and 4"},
    {"0:1-1 0:2-2 0:4-4", 4, RC_CORRUPT, "hole between TXID 2 and 4"},
    {"0:1-1 0:2-2 0:4-4", 2, RC_OK, "0:1-1 0:2-2"},
    {"0:1-1 0:2-2 0:4-4", -9, RC_CORRUPT, "hole between TXID 2 and 4"},
    {"9:1-5 0:2-2 0:3-3 0:8-8", 0, RC_CORRUPT, "hole between TXID 5 and 8"},
    {"9:1-5 1:7-9 2:8-12", -20, RC_CORRUPT, "TXID 5 can be restored by its number"},
    /* 3 is missing, and 4 is too late: was 3? */
    {"0:1-1 0:2-2 0:4-4@9", -5, RC_CORRUPT, "hole between TXID 2 and 4"},
    {"0:1-1 0:2-2 0:4-4@9 1:1-4@9", -5, RC_CORRUPT, "hole between TXID 2 and 4 (level 0)"},
    {"1:1-3 1:7-9 2:1-9@9 9:1-2", -5, RC_CORRUPT, "hole between TXID 3 and 7 (level 1)"},
    {"0:1-1 0:2-2 0:4-4 1:1-4", 0, RC_OK, "1:1-4"}, /* nothing is lost */
    /* pruned, not lost: level 0 begins within what level 1 covers */
    {"0:6-6 0:7-7 1:1-4 1:5-7", -7, RC_OK, "1:1-4"},
    {"0:4-4f 0:6-6 0:7-7 1:1-4 1:5-7", -7, RC_OK, "1:1-4"},
    {"0:1-1 0:6-6 0:7-7 1:2-7", -7, RC_OK, "0:1-1"},
    {"0:6-6 0:7-7 1:1-4 1:5-7", 6, RC_NOTFOUND, "nearest that can are 4 and 7"},
    /* strictly before */
    {"0:1-1 0:2-2 0:3-3", -3, RC_OK, "0:1-1 0:2-2"},
    {"0:1-1@5", -5, RC_NOTFOUND,
     "no backup for that time: the first is of 2026-09-21T14:13:25.000Z"},
    {"0:1-1@5 9:1-1@3", -3, RC_NOTFOUND, "the first is of 2026-09-21T14:13:23.000Z"},
    {"0:9223372036854775807-9223372036854775807@1", 0, RC_CORRUPT, "no object begins at TXID 1"},
    {"9:2-5 0:1-1 9:1-3", 0, RC_OK, "9:1-3 9:2-5"}, /* only from 1 on it is a snapshot */
};

START_TEST(a_plan_is_what_the_rule_says_or_a_refusal_that_says_why) {
    struct listing l = {0};
    struct plan p = {0};
    char text[512];
    struct target t = {0};
    if (rows[_i].at > 0) t.txid = (uint64_t)rows[_i].at;
    if (rows[_i].at < 0) t.time_ms = T0 - 1000 * (int64_t)rows[_i].at;
    list_of(rows[_i].files, &l);
    CODE(plan_make(&l, t, &p, e), rows[_i].code);
    if (rows[_i].code != RC_OK) {
        says(rows[_i].plan);
        ck_assert_ptr_null(p.files);
    } else {
        text_of(&p, text);
        ck_assert_str_eq(text, rows[_i].plan);
        ck_assert_uint_eq(p.txid, p.files[p.count - 1].max_txid);
    }
    plan_deinit(&p);
    listing_deinit(&l);
}
END_TEST

START_TEST(a_target_is_a_txid_or_a_time) {
    struct listing l = {0};
    struct plan p;
    CODE(plan_make(&l, (struct target){1, 1}, &p, e), RC_USAGE);
}
END_TEST

/* ---- an oracle ---- */

#define TIP 14

/* Reachable states, by trying everything, with the files that end at `to` or before and are older
 * than `before`. */
static bool reaches(const struct listing *l, uint64_t to, int64_t before, uint64_t *furthest) {
    bool there[TIP + 2] = {true};
    for (int round = 0; round <= TIP; round++)
        for (size_t i = 0; i < l->count; i++) {
            const struct replica_file *f = &l->files[i];
            if (f->max_txid > to || f->time_ms >= before) continue;
            for (uint64_t s = f->min_txid - 1; s < f->max_txid; s++)
                if (there[s]) there[f->max_txid] = true;
        }
    *furthest = 0;
    for (uint64_t s = 1; s <= TIP; s++)
        if (there[s]) *furthest = s;
    return to <= TIP && there[to];
}

static void random_listing(struct history *h, struct listing *l) {
    for (uint32_t n = history_random(h, 12); n; n--) {
        struct replica_file f = {.size_bytes = 1000};
        f.level = history_random(h, 5) == 0 ? LEVEL_SNAPSHOT : (int)history_random(h, 4);
        f.min_txid = 1 + history_random(h, TIP);
        if (f.level == LEVEL_SNAPSHOT || history_random(h, 3) == 0) f.min_txid = 1;
        f.max_txid = f.min_txid + history_random(h, TIP + 1 - (uint32_t)f.min_txid);
        f.time_ms = history_time(f.level, f.max_txid);
        OK(listing_add(l, f, e));
    }
}

static void check_plan(const struct listing *l, struct target t, const struct plan *p) {
    uint64_t at = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct replica_file *f = &p->files[i];
        ck_assert(listing_has(l, f));
        ck_assert(f->min_txid - 1 <= at && f->max_txid > at);
        ck_assert(!t.txid || f->max_txid <= t.txid);
        ck_assert(!t.time_ms || f->time_ms < t.time_ms);
        at = f->max_txid;
    }
    ck_assert_uint_eq(at, p->txid);
}

static void against_oracle(const struct listing *l, struct target t) {
    struct plan p = {0};
    struct err why;
    uint64_t furthest;
    bool reached = reaches(l, t.txid ? t.txid : TIP, t.time_ms ? t.time_ms : INT64_MAX, &furthest);
    rc r = plan_make(l, t, &p, &why);
    if (is_ok(r)) {
        check_plan(l, t, &p);
        ck_assert_uint_eq(p.txid, furthest);
        if (t.txid) ck_assert_uint_eq(p.txid, t.txid);
    } else if (t.txid) ck_assert_msg(!reached, "%s", why.text);
    /* the latest: nothing may lie beyond what was planned */
    if (is_ok(r) && !t.txid && !t.time_ms)
        for (size_t i = 0; i < l->count; i++) ck_assert(l->files[i].max_txid <= p.txid);
    plan_deinit(&p);
}

static void neighbours_of(const struct listing *l, uint64_t txid) {
    uint64_t before, after, want_before = 0, want_after = 0, furthest;
    for (uint64_t s = 1; s <= TIP; s++) {
        if (!reaches(l, s, INT64_MAX, &furthest)) continue;
        if (s <= txid) want_before = s;
        if (s > txid && !want_after) want_after = s;
    }
    OK(plan_neighbours(l, txid, &before, &after, e));
    ck_assert_uint_eq(before, want_before);
    ck_assert_uint_eq(after, want_after);
}

START_TEST(a_plan_reaches_what_can_be_reached) {
    for (int round = 0; round < 400; round++) {
        struct history h = {.random = (uint64_t)_i * 1000 + (uint64_t)round + 1};
        struct listing l = {0};
        random_listing(&h, &l);
        for (uint64_t at = 0; at <= TIP; at++) {
            against_oracle(&l, (struct target){.txid = at});
            against_oracle(&l, (struct target){.time_ms = T0 + (int64_t)at * 1000 + 501});
            if (at) neighbours_of(&l, at);
        }
        listing_deinit(&l);
    }
}
END_TEST

/* ---- what the real program had ---- */

static const char *const sets[] = {"v05-layered", "v05-legacy-frames"};

static int64_t ms_of(const char *text) {
    struct tm tm = {0};
    int ms = 0;
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    ck_assert(end && sscanf(end, ".%dZ", &ms) == 1);
    return (int64_t)timegm(&tm) * 1000 + ms;
}

static void one_target(struct store *store, const char *line) {
    struct listing l = {0};
    struct plan p = {0};
    char target[64];
    unsigned long long txid;
    struct target t = {0};
    ck_assert_int_eq(sscanf(line, "%63[^|]|%llx", target, &txid), 2);
    if (strcmp(target, "latest") != 0) t.time_ms = ms_of(target);
    OK(replica_list(store, &l, NULL, e));
    if (t.time_ms && t.time_ms <= T0 + 2500) {
        CODE(plan_make(&l, t, &p, e), RC_NOTFOUND);
        says("no backup for that time");
    } else {
        OK(plan_make(&l, t, &p, e));
        ck_assert_uint_eq(p.txid, txid);
    }
    plan_deinit(&p);
    listing_deinit(&l);
}

START_TEST(at_each_time_it_is_what_litestream_had) {
    char dir[TEMP_PATH], line[256];
    struct store *store;
    int lines = 0;
    temp_dir(dir);
    fixture_copy(sets[_i], dir);
    OK(store_open(env, below(dir, "replica"), &store, e));
    FILE *f = fopen(below(dir, "pitr-by-litestream-vfs-0.5.17.txt"), "r");
    ck_assert_ptr_nonnull(f);
    for (; fgets(line, sizeof line, f); lines++) one_target(store, line);
    fclose(f);
    ck_assert_int_eq(lines, 15);
    store_free(store);
}
END_TEST

int main(void) {
    Suite *s = suite_create("plan");
    TCase *t = tcase_create("plan");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    ADD_ROWS(t, a_plan_is_what_the_rule_says_or_a_refusal_that_says_why, rows);
    tcase_add_test(t, a_target_is_a_txid_or_a_time);
    tcase_add_loop_test(t, a_plan_reaches_what_can_be_reached, 0, 8);
    ADD_ROWS(t, at_each_time_it_is_what_litestream_had, sets);
    suite_add_tcase(s, t);
    return run_suite(s);
}
