/* The set of page numbers, against a naive one. */
#include "memory.h"

#include "base/bitmap.h"
#include "base/limits.h"

#include <time.h>

#define SPACE 3000u
#define STEPS 8000

static uint64_t seed;

static uint32_t below_n(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

struct model {
    bool has[SPACE + 2];
};

static void expect_same(const struct bitmap *b, const struct model *m) {
    uint32_t count = 0, p = 1;
    for (uint32_t i = 1; i <= SPACE; i++) {
        count += m->has[i];
        ck_assert_int_eq(bitmap_has(b, i), m->has[i]);
        if (!m->has[i]) continue;
        ck_assert_uint_eq(bitmap_next(b, p), i);
        p = i + 1;
    }
    ck_assert_uint_eq(bitmap_next(b, p), 0);
    ck_assert_uint_eq(b->count, count);
}

static void add_range(struct bitmap *b, struct model *m) {
    uint32_t first = 1 + below_n(SPACE), last = first + below_n(200);
    if (last > SPACE) last = SPACE;
    OK(bitmap_add_range(b, first, last, e));
    for (uint32_t p = first; p <= last; p++) m->has[p] = true;
}

static void remove_above(struct bitmap *b, struct model *m) {
    uint32_t last = below_n(SPACE + 1);
    bitmap_remove_above(b, last);
    for (uint32_t p = last + 1; p <= SPACE; p++) m->has[p] = false;
}

static void add_all(struct bitmap *b, struct model *m) {
    struct bitmap other = {0};
    for (uint32_t n = below_n(30); n; n--) {
        uint32_t p = 1 + below_n(SPACE);
        OK(bitmap_add(&other, p, e));
        m->has[p] = true;
        if (!below_n(5)) OK(bitmap_add(&other, 1 + below_n(SPACE), e));
    }
    for (uint32_t p = bitmap_next(&other, 1); p; p = bitmap_next(&other, p + 1)) m->has[p] = true;
    OK(bitmap_add_all(b, &other, e));
    bitmap_deinit(&other);
}

static void move_there_and_back(struct bitmap *b) {
    struct bitmap other = {0};
    OK(bitmap_add(&other, SPACE, e)); /* what was there goes */
    bitmap_move(&other, b);
    ck_assert_uint_eq(b->count, 0);
    ck_assert_uint_eq(bitmap_next(b, 1), 0);
    bitmap_move(b, &other);
    bitmap_deinit(&other);
}

static void step(struct bitmap *b, struct model *m) {
    uint32_t p = 1 + below_n(SPACE);
    switch (below_n(40)) {
    case 0: add_range(b, m); break;
    case 1: remove_above(b, m); break;
    case 2: add_all(b, m); break;
    case 3:
        if (below_n(20)) break;
        bitmap_clear(b);
        *m = (struct model){0};
        break;
    case 4: move_there_and_back(b); break;
    default: OK(bitmap_add(b, p, e)); m->has[p] = true;
    }
}

START_TEST(random_steps_give_what_a_naive_set_gives) {
    const char *given = getenv("SEED");
    seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("seed: SEED=%llu\n", (unsigned long long)seed);
    struct bitmap b = {0};
    static struct model m;
    for (int i = 0; i < STEPS; i++) {
        step(&b, &m);
        if (i % 50 == 0) expect_same(&b, &m);
    }
    expect_same(&b, &m);
    bitmap_deinit(&b);
    expect_same(&b, &(struct model){0});
}
END_TEST

static const struct {
    uint32_t first, last, count;
} ranges[] = {
    {1, 1, 1},     {1, 63, 63},    {1, 64, 64},     {63, 64, 2}, {64, 64, 1},
    {64, 127, 64}, {65, 190, 126}, {1, 1000, 1000}, {2, 1, 0},   {1000, 3, 0},
};

START_TEST(a_range_has_its_ends_and_no_neighbour) {
    uint32_t first = ranges[_i].first, last = ranges[_i].last;
    struct bitmap b = {0};
    OK(bitmap_add_range(&b, first, last, e));
    ck_assert_uint_eq(b.count, ranges[_i].count);
    OK(bitmap_add_range(&b, first, last, e));
    ck_assert_uint_eq(b.count, ranges[_i].count);
    ck_assert(!bitmap_has(&b, first - 1));
    ck_assert_int_eq(bitmap_has(&b, first), first <= last);
    ck_assert(!bitmap_has(&b, last + 1) || first > last);
    bitmap_deinit(&b);
}
END_TEST

START_TEST(an_empty_set_has_no_member_and_no_memory) {
    struct bitmap b = {0}, other = {0};
    ck_assert(!bitmap_has(&b, 0) && !bitmap_has(&b, 1) && !bitmap_has(&b, UINT32_MAX));
    ck_assert_uint_eq(bitmap_next(&b, 1), 0);
    ck_assert_uint_eq(bitmap_next(&b, UINT32_MAX), 0);
    bitmap_move(&b, &other);
    bitmap_remove_above(&b, 0);
    bitmap_clear(&b);
    OK(bitmap_add_all(&b, &other, e));
    ck_assert_ptr_null(b.words);
    bitmap_deinit(&b);
}
END_TEST

START_TEST(the_last_page_that_sqlite_can_have_is_a_member_like_any) {
    struct bitmap b = {0}, other = {0};
    OK(bitmap_add(&b, 5, e));
    OK(bitmap_add(&b, LIMIT_PAGES, e));
    ck_assert_uint_eq(bitmap_next(&b, 6), LIMIT_PAGES);
    ck_assert_uint_eq(bitmap_next(&b, LIMIT_PAGES + 1), 0);
    OK(bitmap_add_range(&b, LIMIT_PAGES - 2, LIMIT_PAGES, e));
    ck_assert_uint_eq(b.count, 4);
    OK(bitmap_add_all(&other, &b, e));
    ck_assert_uint_eq(other.count, 4);
    bitmap_remove_above(&b, UINT32_MAX);
    bitmap_remove_above(&b, LIMIT_PAGES);
    ck_assert_uint_eq(b.count, 4);
    bitmap_remove_above(&b, LIMIT_PAGES - 1);
    ck_assert_uint_eq(b.count, 3);
    bitmap_deinit(&b);
    bitmap_deinit(&other);
}
END_TEST

static const uint32_t no_pages[] = {0, LIMIT_PAGES + 1};

START_TEST(what_is_no_page_number_is_refused) {
    struct bitmap b = {0};
    CODE(bitmap_add(&b, no_pages[_i], e), RC_CORRUPT);
    says(_i ? "4294967295" : "page 0");
    CODE(bitmap_add_range(&b, _i ? 1 : 0, _i ? no_pages[_i] : 7, e), RC_CORRUPT);
    ck_assert_uint_eq(b.count, 0);
    ck_assert_ptr_null(b.words);
}
END_TEST

START_TEST(without_memory_the_set_stays_as_it_was) {
    struct bitmap b = {0}, big = {0};
    OK(bitmap_add(&b, 3, e));
    OK(bitmap_add(&big, LIMIT_PAGES, e));
    if (limit_memory(1u << 20, "without_memory_the_set_stays_as_it_was")) {
        CODE(bitmap_add(&b, LIMIT_PAGES, e), RC_NOMEM);
        CODE(bitmap_add_range(&b, 5, LIMIT_PAGES, e), RC_NOMEM);
        CODE(bitmap_add_all(&b, &big, e), RC_NOMEM);
    }
    ck_assert_uint_eq(b.count, 1);
    ck_assert_uint_eq(bitmap_next(&b, 1), 3);
    ck_assert_uint_eq(bitmap_next(&b, 4), 0);
    bitmap_deinit(&b);
    bitmap_deinit(&big);
}
END_TEST

int main(void) {
    Suite *s = suite_create("bitmap");
    TCase *t = tcase_create("bitmap");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, random_steps_give_what_a_naive_set_gives);
    ADD_ROWS(t, a_range_has_its_ends_and_no_neighbour, ranges);
    tcase_add_test(t, an_empty_set_has_no_member_and_no_memory);
    tcase_add_test(t, the_last_page_that_sqlite_can_have_is_a_member_like_any);
    ADD_ROWS(t, what_is_no_page_number_is_refused, no_pages);
    tcase_add_test(t, without_memory_the_set_stays_as_it_was);
    suite_add_tcase(s, t);
    return run_suite(s);
}
