/* CRC-64/GO-ISO and the sum of a page. */
#include "../os/temp.h"

#include "base/hash.h"

static const struct {
    const char *bytes;
    size_t size;
    uint64_t crc;
} vectors[] = {
    {"", 0, 0},
    {"\0", 1, 0x6f90000000000000u},
    {"123456789", 9, 0xb90956c775a41001u},
};

START_TEST(the_published_vectors_hold) {
    ck_assert_uint_eq(crc64(0, vectors[_i].bytes, vectors[_i].size), vectors[_i].crc);
}
END_TEST

/* One bit at a time, from the definition. */
static uint64_t slow_crc(const uint8_t *bytes, size_t n) {
    uint64_t c = ~(uint64_t)0;
    for (size_t i = 0; i < n; i++) {
        c ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ 0xd800000000000000u : c >> 1;
    }
    return ~c;
}

static void fill(uint8_t *bytes, size_t n) {
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        bytes[i] = (uint8_t)x;
    }
}

START_TEST(every_length_and_alignment_gives_the_definition) {
    static uint8_t bytes[1200];
    fill(bytes, sizeof bytes);
    for (size_t at = 0; at < 17; at++)
        for (size_t n = 0; n <= 1100; n += n < 300 ? 1 : 37)
            ck_assert_uint_eq(crc64(0, bytes + at, n), slow_crc(bytes + at, n));
}
END_TEST

START_TEST(pieces_give_what_the_whole_gives) {
    static uint8_t bytes[70000];
    fill(bytes, sizeof bytes);
    uint64_t whole = crc64(0, bytes, sizeof bytes);
    for (size_t piece = 1; piece < sizeof bytes; piece = piece * 3 + 1) {
        uint64_t crc = 0;
        for (size_t at = 0; at < sizeof bytes; at += piece)
            crc = crc64(crc, bytes + at, sizeof bytes - at < piece ? sizeof bytes - at : piece);
        ck_assert_uint_eq(crc, whole);
    }
}
END_TEST

/* mix64(crc64(u32be(1) || page)), with both parts from their definitions. */
static uint64_t slow_page_sum(uint32_t pgno, const uint8_t *page, size_t n) {
    static uint8_t bytes[4 + 65536];
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(pgno >> (24 - 8 * i));
    memcpy(bytes + 4, page, n);
    uint64_t h = slow_crc(bytes, 4 + n);
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

START_TEST(a_page_sum_is_what_the_format_says) {
    static uint8_t page[65536];
    fill(page, sizeof page);
    for (size_t n = 512; n <= sizeof page; n *= 2)
        for (uint32_t pgno = 1; pgno && pgno < 0xf0000000u; pgno = pgno * 37 + 1)
            ck_assert_uint_eq(page_sum(pgno, page, n), slow_page_sum(pgno, page, n));
}
END_TEST

/* What an XOR of bare CRCs is blind to. */
START_TEST(a_sum_sees_swapped_pages_and_a_change_missed_twice) {
    static uint8_t a[4096], b[4096], a2[4096], b2[4096];
    fill(a, sizeof a);
    fill(b + 1, sizeof b - 1);
    memcpy(a2, a, sizeof a);
    memcpy(b2, b, sizeof b);
    a2[77] ^= 1;
    b2[77] ^= 1;
    ck_assert_uint_ne(page_sum(1, a, 4096) + page_sum(2, b, 4096),
                      page_sum(1, b, 4096) + page_sum(2, a, 4096));
    ck_assert_uint_ne(page_sum(1, a, 4096) + page_sum(2, b, 4096),
                      page_sum(1, a2, 4096) + page_sum(2, b2, 4096));
    uint64_t bare = crc64(0, a, 4096) ^ crc64(0, b, 4096); /* the reason for the mixing */
    ck_assert_uint_eq(bare, crc64(0, a2, 4096) ^ crc64(0, b2, 4096));
}
END_TEST

int main(void) {
    Suite *s = suite_create("hash");
    TCase *t = tcase_create("hash");
    ADD_ROWS(t, the_published_vectors_hold, vectors);
    tcase_add_test(t, every_length_and_alignment_gives_the_definition);
    tcase_add_test(t, pieces_give_what_the_whole_gives);
    tcase_add_test(t, a_page_sum_is_what_the_format_says);
    tcase_add_test(t, a_sum_sees_swapped_pages_and_a_change_missed_twice);
    suite_add_tcase(s, t);
    return run_suite(s);
}
