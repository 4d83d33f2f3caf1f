/* What the writer makes, the reader takes: both encodings, every page size. */
#include "files.h"

#include "base/hash.h"

#define KINDS (2 * CONTENTS)

static const uint32_t sizes[] = {512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};

static struct ltx_header header_of(uint32_t page_size, uint32_t commit, uint64_t min,
                                   uint64_t max) {
    return (struct ltx_header){.flags = LTX_FLAG_NO_CHECKSUM,
                               .page_size = page_size,
                               .commit = commit,
                               .min_txid = min,
                               .max_txid = max,
                               .timestamp_ms = 1795382699618,
                               .wal_offset = 32,
                               .wal_size = 4120,
                               .salt = {0xdeadbeef, 0x01020304},
                               .node_id = 0x1122334455667788u,
                               .chain = {true, 0xfedcba9876543210u, {0xa0a1a2a3, 0xb0b1b2b3}}};
}

static void expect_header(const struct ltx_header *got, const struct ltx_header *want) {
    ck_assert_uint_eq(got->flags, want->flags);
    ck_assert_uint_eq(got->page_size, want->page_size);
    ck_assert_uint_eq(got->commit, want->commit);
    ck_assert_uint_eq(got->min_txid, want->min_txid);
    ck_assert_uint_eq(got->max_txid, want->max_txid);
    ck_assert_int_eq(got->timestamp_ms, want->timestamp_ms);
    ck_assert_uint_eq(got->pre_apply_checksum, want->pre_apply_checksum);
    ck_assert_uint_eq(got->wal_offset, want->wal_offset);
    ck_assert_uint_eq(got->wal_size, want->wal_size);
    ck_assert_mem_eq(got->salt, want->salt, sizeof got->salt);
    ck_assert_uint_eq(got->node_id, want->node_id);
    ck_assert_int_eq(got->chain.present, want->chain.present);
    ck_assert_uint_eq(got->chain.sum, want->chain.sum);
    ck_assert_mem_eq(got->chain.frame_checksum, want->chain.frame_checksum, 8);
}

START_TEST(a_header_has_its_fields_where_the_table_says) {
    static const uint8_t want[LTX_HEADER_SIZE] = {
        'L',  'T',  'X',  '1',  0,    0,    0,    2,    0,    0,    16,   0,    0,    0,    0,
        5,    0,    0,    0,    0,    0,    0,    0,    3,    0,    0,    0,    0,    0,    0,
        0,    7,    0,    0,    0x01, 0xa2, 0x05, 0x25, 0xe6, 0x62, 0,    0,    0,    0,    0,
        0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    32,   0,    0,    0,    0,
        0,    0,    0x10, 0x18, 0xde, 0xad, 0xbe, 0xef, 1,    2,    3,    4,    0x11, 0x22, 0x33,
        0x44, 0x55, 0x66, 0x77, 0x88, 'H',  'F',  '0',  '1',  0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54,
        0x32, 0x10, 0xa0, 0xa1, 0xa2, 0xa3, 0xb0, 0xb1, 0xb2, 0xb3};
    static const uint8_t none[20];
    struct ltx_header h = header_of(4096, 5, 3, 7), got;
    uint8_t bytes[LTX_HEADER_SIZE];
    ltx_header_encode(&h, bytes);
    ck_assert_mem_eq(bytes, want, sizeof want);
    OK(ltx_header_decode(&got, want, e));
    expect_header(&got, &h);
    h.chain.present = false; /* as Litestream writes it */
    h.flags = 0;             /* means no checksum */
    ltx_header_encode(&h, bytes);
    ck_assert_mem_eq(bytes, want, 80);
    ck_assert_mem_eq(bytes + 80, none, 20);
    OK(ltx_header_decode(&got, bytes, e));
    ck_assert(!got.chain.present && got.chain.sum == 0);
}
END_TEST

static void expect_round_trip(const struct recipe *recipe) {
    struct buf file;
    struct told t;
    uint64_t checksum = 0;
    uint8_t want[LIMIT_PAGE_SIZE];
    uint32_t page_size = recipe->header.page_size;
    OK(write_file(recipe, &file, &checksum, e));
    OK(read_file(file.bytes, file.size, file.size, &t, e));
    ck_assert_uint_eq(t.checksum, checksum);
    expect_header(&t.header, &recipe->header);
    size_t count = recipe->pgnos ? recipe->pgno_count : recipe->header.commit;
    ck_assert_uint_eq(t.page_count, count);
    struct rd pages = rd_of(t.pages.bytes, t.pages.size);
    for (size_t i = 0; i < count; i++) {
        uint32_t pgno = rd_u32be(&pages);
        ck_assert_uint_eq(pgno, recipe->pgnos ? recipe->pgnos[i] : i + 1);
        fill_page(want, page_size, pgno, recipe->content);
        ck_assert_mem_eq(rd_bytes(&pages, page_size), want, page_size);
    }
    expect_frames(file.bytes, file.size, &t);
    ck_assert_uint_le(file.size, 100 + count * (ltx_frame_max(page_size) + 12) + 31);
    told_deinit(&t);
    buf_deinit(&file);
}

START_TEST(a_snapshot_and_a_change_come_back_in_every_page_size) {
    uint32_t page_size = sizes[_i];
    for (int kind = 0; kind < KINDS; kind++) {
        enum ltx_encoding encoding = kind < CONTENTS ? LTX_BLOCKS : LTX_FRAMES;
        uint32_t lock = ltx_lock_page(page_size);
        uint32_t some[] = {1, 2, 9, 300, lock - 1, lock + 1};
        struct recipe r = {header_of(page_size, 5, 1, 7), encoding, kind % CONTENTS, NULL, 0};
        expect_round_trip(&r);
        r.header = header_of(page_size, lock + 1, 8, 9);
        r.pgnos = some;
        r.pgno_count = 6;
        expect_round_trip(&r);
        r.pgno_count = 0;
        expect_round_trip(&r);
    }
}
END_TEST

START_TEST(the_lock_page_is_the_one_at_1_gib) {
    static const uint32_t locks[] = {2097153, 1048577, 524289, 262145, 131073, 65537, 32769, 16385};
    ck_assert_uint_eq(ltx_lock_page(sizes[_i]), locks[_i]);
}
END_TEST

START_TEST(a_frame_looks_as_litestream_wrote_it) {
    static const uint8_t start[] = {0, 0, 0, 1, 0, 0, 0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7};
    for (enum content content = 0; content < CONTENTS; content++) {
        struct recipe r = {header_of(sizes[_i], 1, 1, 1), LTX_FRAMES, content, NULL, 0};
        struct buf file;
        uint64_t checksum, at, n;
        OK(write_file(&r, &file, &checksum, e));
        ck_assert_mem_eq(file.bytes + 100, start, sizeof start);
        OK(ltx_index_place(file.bytes + file.size - 24, file.size, &at, &n, e));
        const uint8_t *block = file.bytes + 113;
        uint32_t size = block[0] | block[1] << 8 | block[2] << 16;
        ck_assert_uint_eq(block[3], content == NOISE ? 0x80 : 0);
        if (content == NOISE) ck_assert_uint_eq(size, sizes[_i]);
        ck_assert_uint_eq(at, 113 + 4 + size + 4 + 4 + 6); /* one block, mark, checksum */
        ck_assert_mem_eq(block + 4 + size, "\0\0\0\0", 4);
        buf_deinit(&file);
    }
}
END_TEST

START_TEST(what_does_not_compress_is_a_block_of_literals) {
    struct recipe r = {header_of(4096, 1, 1, 1), LTX_BLOCKS, NOISE, NULL, 0};
    struct buf file;
    uint64_t checksum;
    OK(write_file(&r, &file, &checksum, e));
    ck_assert_mem_eq(file.bytes + 100, "\0\0\0\1\0\1\0\0", 8);
    ck_assert_uint_eq(get_u32be(file.bytes + 106), 4114);
    buf_deinit(&file);
}
END_TEST

START_TEST(the_same_pages_give_the_same_bytes) {
    struct recipe r = {header_of(4096, 30, 1, 1), _i ? LTX_FRAMES : LTX_BLOCKS, WORDS, NULL, 0};
    struct buf a, b;
    uint64_t sum_a, sum_b;
    uint32_t last[] = {30};
    OK(write_file(&r, &a, &sum_a, e));
    OK(write_file(&r, &b, &sum_b, e));
    ck_assert_uint_eq(sum_a, sum_b);
    ck_assert_uint_eq(a.size, b.size);
    ck_assert_mem_eq(a.bytes, b.bytes, a.size);
    buf_deinit(&b);
    r.header = header_of(4096, 30, 2, 2); /* and whatever was encoded before them */
    r.pgnos = last;
    r.pgno_count = 1;
    OK(write_file(&r, &b, &sum_b, e));
    uint64_t at, n;
    OK(ltx_index_place(b.bytes + b.size - 24, b.size, &at, &n, e));
    size_t frame = (size_t)at - 6 - 100;
    OK(ltx_index_place(a.bytes + a.size - 24, a.size, &at, &n, e));
    ck_assert_mem_eq(a.bytes + at - 6 - frame, b.bytes + 100, frame);
    buf_deinit(&a);
    buf_deinit(&b);
}
END_TEST

static const struct {
    uint32_t pgnos[4];
    size_t count;
} gaps[] = {
    {{0}, 0}, {{1, 2, 3}, 3}, {{2, 3, 4}, 3}, {{1, 3, 4}, 3}, {{4}, 1},
};

START_TEST(a_snapshot_that_lacks_a_page_is_not_finished) {
    struct recipe r = {header_of(512, 4, 1, 1), LTX_BLOCKS, SAME, gaps[_i].pgnos, gaps[_i].count};
    struct buf file;
    uint64_t checksum;
    CODE(write_file(&r, &file, &checksum, e), RC_CORRUPT);
    says("a snapshot of 4 pages");
    buf_deinit(&file);
}
END_TEST

/* 1 GiB of pages, all but the lock page. */
static const struct {
    int beyond; /* of commit over the lock page */
    uint32_t without;
    enum rc_code code;
} giants[] = {
    {1, 0, RC_OK},          {0, 0, RC_OK},          {-1, 0, RC_OK},         {1, 1, RC_CORRUPT},
    {1, 16384, RC_CORRUPT}, {1, 16386, RC_CORRUPT}, {0, 16384, RC_CORRUPT},
};

static rc giant(struct buf *out, int beyond, uint32_t without, struct err *e) {
    static const uint8_t page[65536];
    struct ltx_header h = header_of(65536, (uint32_t)(16385 + beyond), 1, 1);
    struct ltx_writer w;
    uint64_t checksum, size;
    rc r = ltx_writer_init(&w, &h, LTX_BLOCKS, into_buf, out, e);
    for (uint32_t p = 1; p <= h.commit && is_ok(r); p++)
        if (p != 16385 && p != without) r = ltx_writer_page(&w, p, page, e);
    if (is_ok(r)) r = ltx_writer_finish(&w, &checksum, &size, e);
    ltx_writer_deinit(&w);
    return r;
}

START_TEST(a_snapshot_over_1_gib_has_all_but_the_lock_page) {
    struct buf file;
    struct ltx_reader *reader;
    uint64_t checksum;
    buf_init(&file, FILE_LIMIT);
    CODE(giant(&file, giants[_i].beyond, giants[_i].without, e), giants[_i].code);
    if (giants[_i].code == RC_OK) {
        OK(ltx_reader_new(&reader, (struct ltx_reader_events){0}, e));
        OK(feed_pieces(reader, file.bytes, file.size, 1 << 20, e));
        OK(ltx_reader_finish(reader, &checksum, e));
        ltx_reader_free(reader);
    }
    buf_deinit(&file);
}
END_TEST

/* Headers that no reader takes must not be written. */
static struct ltx_header bad_header(int i) {
    struct ltx_header h = header_of(4096, 2, 2, 2);
    switch (i) {
    case 0: h.page_size = 0; break;
    case 1: h.page_size = 4095; break;
    case 2: h.page_size = 131072; break;
    case 3: h.page_size = UINT32_MAX; break;
    case 4: h.commit = 0; break;
    case 5: h.commit = UINT32_MAX; break;
    case 6: h.min_txid = 0; break;
    case 7: h.max_txid = 1; break;
    case 8: h.wal_offset = 0; break;
    case 9: h.wal_size = (uint64_t)1 << 63; break;
    case 10: h.pre_apply_checksum = 1; break;
    case 11: h.flags = 3; break;
    default: ck_abort();
    }
    return h;
}

START_TEST(a_header_that_no_reader_takes_is_not_written) {
    struct recipe r = {bad_header(_i), LTX_BLOCKS, SAME, NULL, 0};
    struct buf file;
    uint64_t checksum;
    CODE(write_file(&r, &file, &checksum, e), RC_CORRUPT);
    says("header:");
    ck_assert_uint_eq(file.size, 0);
    buf_deinit(&file);
}
END_TEST

static const struct {
    uint32_t first, then;
} misuses[] = {{3, 3}, {3, 2}, {3, 0}, {3, 20001}, {3, 16385}};

START_TEST(a_page_out_of_place_is_a_bug) {
    struct recipe r = {header_of(65536, 20000, 2, 2), LTX_BLOCKS, SAME, &misuses[_i].first, 2};
    struct buf file;
    uint64_t checksum;
    (void)write_file(&r, &file, &checksum, NULL).code;
}
END_TEST

static rc sink_that_fails(void *arg, const void *bytes, size_t n, struct err *e) {
    (void)bytes, (void)n;
    int *left = arg;
    return (*left)-- > 0 ? ok() : err_set(e, RC_FULL, "no space");
}

START_TEST(a_sink_that_fails_at_any_write_is_reported) {
    static const uint8_t page[512];
    for (int good = 0;; good++) {
        int left = good;
        struct ltx_writer w;
        struct err err = {0};
        uint64_t checksum = 7, size = 7;
        struct ltx_header h = header_of(512, 2, 1, 1);
        rc r = ltx_writer_init(&w, &h, LTX_BLOCKS, sink_that_fails, &left, &err);
        for (uint32_t p = 1; p <= 2 && is_ok(r); p++) r = ltx_writer_page(&w, p, page, &err);
        if (is_ok(r)) r = ltx_writer_finish(&w, &checksum, &size, &err);
        ltx_writer_deinit(&w);
        ck_assert_int_eq(is_ok(r), left >= 0);
        if (is_ok(r)) {
            ck_assert_int_eq(good, 6); /* header, 2 pages, marker, index, trailer */
            return;
        }
        ck_assert_int_eq(r.code, RC_FULL);
        ck_assert_str_eq(err.text, "no space");
        ck_assert_uint_eq(checksum, 7);
        ck_assert_uint_eq(size, 7);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("write");
    TCase *t = tcase_create("write");
    tcase_set_timeout(t, 60);
    ADD_ROWS(t, a_snapshot_and_a_change_come_back_in_every_page_size, sizes);
    tcase_add_test(t, a_header_has_its_fields_where_the_table_says);
    ADD_ROWS(t, the_lock_page_is_the_one_at_1_gib, sizes);
    ADD_ROWS(t, a_frame_looks_as_litestream_wrote_it, sizes);
    tcase_add_test(t, what_does_not_compress_is_a_block_of_literals);
    tcase_add_loop_test(t, the_same_pages_give_the_same_bytes, 0, 2);
    ADD_ROWS(t, a_snapshot_that_lacks_a_page_is_not_finished, gaps);
    ADD_ROWS(t, a_snapshot_over_1_gib_has_all_but_the_lock_page, giants);
    tcase_add_loop_test(t, a_header_that_no_reader_takes_is_not_written, 0, 12);
    tcase_add_loop_test_raise_signal(t, a_page_out_of_place_is_a_bug, 6, 0,
                                     (int)(sizeof misuses / sizeof *misuses));
    tcase_add_test(t, a_sink_that_fails_at_any_write_is_reported);
    suite_add_tcase(s, t);
    return run_suite(s);
}
