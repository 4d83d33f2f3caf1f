/* Readers that never look outside, buffers that never outgrow their limit. */
#include "memory.h"

#include "base/bytes.h"

START_TEST(numbers_come_out_as_they_stand_in_the_table) {
    static const uint8_t bytes[] = {0x01, 0x80, 0x02, 0xff, 0xfe, 0xfd, 0xfc, 0xf0,
                                    1,    2,    3,    4,    5,    6,    7,    0x7f};
    struct rd r = rd_of(bytes, sizeof bytes);
    ck_assert_uint_eq(rd_u8(&r), 0x01);
    ck_assert_uint_eq(rd_u16be(&r), 0x8002);
    ck_assert_uint_eq(rd_u32be(&r), 0xfffefdfcu);
    ck_assert_uint_eq(rd_u64be(&r), 0xf001020304050607u);
    ck_assert_uint_eq(rd_left(&r), 1);
    ck_assert(!rd_done(&r));
    ck_assert_ptr_eq(rd_bytes(&r, 1), bytes + 15);
    ck_assert(rd_done(&r) && rd_ok(&r));
}
END_TEST

static const struct {
    size_t ask;
} beyond[] = {{4}, {5}, {100}, {SIZE_MAX}, {SIZE_MAX - 1}, {SIZE_MAX / 2}};

START_TEST(after_the_first_short_read_everything_is_zero) {
    struct rd r = rd_of("\xff\xff\xff\xff\xff", 5);
    ck_assert_uint_eq(rd_u16be(&r), 0xffff);
    ck_assert_ptr_null(rd_bytes(&r, beyond[_i].ask));
    ck_assert(!rd_ok(&r) && !rd_done(&r));
    ck_assert_uint_eq(rd_left(&r), 0);
    ck_assert_uint_eq(rd_u8(&r), 0);
    ck_assert_uint_eq(rd_u16be(&r), 0);
    ck_assert_uint_eq(rd_u32be(&r), 0);
    ck_assert_uint_eq(rd_u64be(&r), 0);
    ck_assert_uint_eq(rd_uvarint(&r), 0);
    ck_assert_ptr_null(rd_bytes(&r, 0));
    ck_assert_uint_eq(r.bad_at, 2);
}
END_TEST

START_TEST(the_first_failure_keeps_its_place) {
    struct rd r = rd_of("\x01\x80\x80\x80", 4);
    ck_assert_uint_eq(rd_u8(&r), 1);
    ck_assert_uint_eq(rd_uvarint(&r), 0); /* short: begins at 1 */
    ck_assert_uint_eq(rd_uvarint(&r), 0);
    ck_assert_uint_eq(r.bad_at, 1);
}
END_TEST

START_TEST(an_empty_reader_is_done_and_gives_nothing) {
    struct rd r = rd_of(NULL, 0);
    ck_assert(rd_done(&r));
    ck_assert_uint_eq(rd_u8(&r), 0);
    ck_assert(!rd_done(&r));
}
END_TEST

static const struct {
    uint64_t value;
    size_t size;
    const char *bytes;
} varints[] = {
    {0, 1, "\x00"},
    {1, 1, "\x01"},
    {0x7f, 1, "\x7f"},
    {0x80, 2, "\x80\x01"},
    {163, 2, "\xa3\x01"},
    {16383, 2, "\xff\x7f"},
    {16384, 3, "\x80\x80\x01"},
    {UINT32_MAX, 5, "\xff\xff\xff\xff\x0f"},
    {(uint64_t)1 << 32, 5, "\x80\x80\x80\x80\x10"},
    {((uint64_t)1 << 63) - 1, 9, "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"},
    {(uint64_t)1 << 63, 10, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"},
    {UINT64_MAX, 10, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
};

START_TEST(a_varint_goes_there_and_back) {
    struct buf b AUTO(buf_deinit);
    buf_init(&b, 10);
    buf_uvarint(&b, varints[_i].value);
    ck_assert_uint_eq(b.size, varints[_i].size);
    ck_assert_mem_eq(b.bytes, varints[_i].bytes, b.size);
    struct rd r = rd_of(b.bytes, b.size);
    ck_assert_uint_eq(rd_uvarint(&r), varints[_i].value);
    ck_assert(rd_done(&r));
    for (size_t n = 0; n < b.size; n++) {
        r = rd_of(b.bytes, n);
        ck_assert_uint_eq(rd_uvarint(&r), 0);
        ck_assert(!rd_ok(&r));
    }
}
END_TEST

static const struct {
    size_t size;
    const char *bytes;
} bad_varints[] = {
    {0, ""},
    {1, "\x80"},
    {2, "\x80\x00"}, /* longer than needed */
    {2, "\x81\x00"},
    {3, "\xff\xff\x00"},
    {10, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"},
    {10, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"}, /* 2^64 and more */
    {10, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f"},
    {11, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"},
    {11, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00"},
    {12, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"},
};

START_TEST(a_varint_that_is_no_number_fails) {
    struct rd r = rd_of(bad_varints[_i].bytes, bad_varints[_i].size);
    ck_assert_uint_eq(rd_uvarint(&r), 0);
    ck_assert(!rd_ok(&r));
    ck_assert_uint_eq(r.bad_at, 0);
}
END_TEST

START_TEST(a_buffer_holds_what_was_put_in_order) {
    struct buf b AUTO(buf_deinit);
    buf_init(&b, 1000);
    buf_u8(&b, 1);
    buf_u8(&b, 2);
    buf_u8(&b, 3);
    buf_u32be(&b, 0x04050607);
    buf_u64be(&b, 0x08090a0b0c0d0e0fu);
    buf_put(&b, "\x10\x11", 2);
    buf_put(&b, NULL, 0);
    ck_assert_uint_eq(b.size, 17);
    for (size_t i = 0; i < b.size; i++) ck_assert_uint_eq(b.bytes[i], i + 1);
    OK(buf_check(&b, "it", e));
    ck_assert_uint_eq(get_u32be(b.bytes + 3), 0x04050607);
    ck_assert_uint_eq(get_u64be(b.bytes + 7), 0x08090a0b0c0d0e0fu);
}
END_TEST

static const struct {
    size_t limit, before, put;
    bool fits;
} limits[] = {
    {0, 0, 0, true},
    {1, 0, 1, true},
    {100, 99, 1, true},
    {300, 256, 44, true},
    {257, 0, 257, true},
    {0, 0, 1, false},
    {100, 0, 101, false},
    {100, 100, 1, false},
    {100, 99, 2, false},
    {300, 256, 45, false},
    {100, 10, SIZE_MAX, false},
    {100, 10, SIZE_MAX - 9, false},
    {100, 10, SIZE_MAX - 10, false},
};

START_TEST(the_limit_is_the_last_byte_that_fits) {
    struct buf b AUTO(buf_deinit);
    buf_init(&b, limits[_i].limit);
    if (limits[_i].before) memset(buf_extend(&b, limits[_i].before), 'a', limits[_i].before);
    uint8_t *p = buf_extend(&b, limits[_i].put);
    ck_assert_int_eq(!b.failed, limits[_i].fits);
    ck_assert_uint_le(b.capacity, limits[_i].limit);
    if (limits[_i].fits) {
        OK(buf_check(&b, "it", e));
        return;
    }
    ck_assert_ptr_null(p);
    ck_assert_uint_eq(b.size, limits[_i].before);
    CODE(buf_check(&b, "the thing", e), RC_NOMEM);
    says("the thing: more than");
    char limit[32];
    snprintf(limit, sizeof limit, "%zu bytes", limits[_i].limit);
    says(limit);
}
END_TEST

START_TEST(a_failed_buffer_takes_nothing_until_it_is_cleared) {
    struct buf b AUTO(buf_deinit);
    buf_init(&b, 4);
    buf_u8(&b, 0);
    buf_u8(&b, 1);
    buf_u32be(&b, 2);
    buf_u8(&b, 3);
    buf_uvarint(&b, 4);
    ck_assert(b.failed);
    ck_assert_uint_eq(b.size, 2);
    buf_clear(&b);
    OK(buf_check(&b, "it", e));
    buf_u32be(&b, 0x01020304);
    ck_assert_uint_eq(b.size, 4);
    ck_assert_uint_eq(b.bytes[3], 4);
}
END_TEST

START_TEST(no_memory_is_told_from_the_limit) {
    struct buf b AUTO(buf_deinit);
    buf_init(&b, SIZE_MAX);
    buf_u32be(&b, 0x01020304);
    if (!limit_memory(1u << 20, "no_memory_is_told_from_the_limit")) return;
    ck_assert_ptr_null(buf_extend(&b, SIZE_MAX - 100));
    CODE(buf_check(&b, "the thing", e), RC_NOMEM);
    says("the thing: no memory");
    ck_assert_uint_eq(b.size, 4);
    ck_assert_uint_eq(b.bytes[3], 4);
}
END_TEST

START_TEST(a_buffer_can_be_used_again_after_deinit) {
    struct buf b;
    buf_init(&b, 10);
    buf_u64be(&b, 1);
    buf_deinit(&b);
    buf_deinit(&b);
    ck_assert_ptr_null(b.bytes);
    buf_u8(&b, 7);
    ck_assert_uint_eq(b.size, 1);
    buf_deinit(&b);
}
END_TEST

int main(void) {
    Suite *s = suite_create("bytes");
    TCase *t = tcase_create("bytes");
    tcase_add_test(t, numbers_come_out_as_they_stand_in_the_table);
    ADD_ROWS(t, after_the_first_short_read_everything_is_zero, beyond);
    tcase_add_test(t, the_first_failure_keeps_its_place);
    tcase_add_test(t, an_empty_reader_is_done_and_gives_nothing);
    ADD_ROWS(t, a_varint_goes_there_and_back, varints);
    ADD_ROWS(t, a_varint_that_is_no_number_fails, bad_varints);
    tcase_add_test(t, a_buffer_holds_what_was_put_in_order);
    ADD_ROWS(t, the_limit_is_the_last_byte_that_fits, limits);
    tcase_add_test(t, a_failed_buffer_takes_nothing_until_it_is_cleared);
    tcase_add_test(t, no_memory_is_told_from_the_limit);
    tcase_add_test(t, a_buffer_can_be_used_again_after_deinit);
    suite_add_tcase(s, t);
    return run_suite(s);
}
