/* Bytes from outside: cut, flipped, hostile. */
#include "../base/memory.h"
#include "files.h"

#include <lz4frame.h>

static const uint32_t pgnos[] = {1, 3, 7, 200};

/* A small file: four pages of 512 bytes, TXIDs 2 to 3. */
static void small_file(struct buf *out, enum ltx_encoding encoding, enum content content) {
    struct recipe r = {{.page_size = 512,
                        .commit = 200,
                        .min_txid = 2,
                        .max_txid = 3,
                        .timestamp_ms = 1795382699618,
                        .wal_offset = 32,
                        .node_id = 9,
                        .chain = {true, 1, {2, 3}}},
                       encoding,
                       content,
                       pgnos,
                       4};
    uint64_t checksum;
    OK(write_file(&r, out, &checksum, e));
}

START_TEST(a_cut_at_any_byte_is_noticed) {
    struct buf file;
    small_file(&file, _i ? LTX_FRAMES : LTX_BLOCKS, WORDS);
    OK(check_file(file.bytes, file.size, e));
    for (size_t n = 0; n < file.size; n++) {
        CODE(check_file(file.bytes, n, e), RC_CORRUPT);
        says("in the middle");
    }
    buf_u8(&file, 0);
    CODE(check_file(file.bytes, file.size, e), RC_CORRUPT);
    says("after the end");
    buf_deinit(&file);
}
END_TEST

/* The checksum is over the pages, not over how they are packed: a flip inside a payload may leave
 * the same page. Anything else must be refused. */
START_TEST(a_flip_of_any_bit_is_refused_or_harmless) {
    static const enum content contents[] = {WORDS, ZEROS, NOISE};
    enum ltx_encoding encoding = _i % 2 ? LTX_FRAMES : LTX_BLOCKS;
    struct buf file;
    struct told whole, t;
    uint64_t at, n;
    size_t harmless = 0;
    small_file(&file, encoding, contents[_i / 2]);
    OK(read_file(file.bytes, file.size, file.size, &whole, e));
    OK(ltx_index_place(file.bytes + file.size - 24, file.size, &at, &n, e));
    for (size_t bit = 0; bit < file.size * 8; bit++) {
        struct err err;
        file.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rc r = read_file(file.bytes, file.size, file.size, &t, &err);
        file.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (is_ok(r)) {
            ck_assert_msg(bit / 8 > LTX_HEADER_SIZE + 6 && bit / 8 < at - 6, "bit %zu", bit);
            ck_assert_uint_eq(t.pages.size, whole.pages.size);
            ck_assert_mem_eq(t.pages.bytes, whole.pages.bytes, t.pages.size);
            harmless++;
        } else {
            ck_assert_int_eq(r.code, RC_CORRUPT);
        }
        told_deinit(&t);
    }
    /* The last token of a block names a match length that nothing uses: 4 bits of each page. */
    if (contents[_i / 2] == NOISE) ck_assert_uint_eq(harmless, encoding == LTX_BLOCKS ? 16 : 0);
    ck_assert_uint_lt(harmless, (at - 106) * 8 / 4);
    told_deinit(&whole);
    buf_deinit(&file);
}
END_TEST

/* Where the small file of ZEROS in blocks is changed, and what is said. Page 1 is at 100. */
static const struct {
    size_t at, size;
    const char *bytes, *words;
} patches[] = {
    {0, 4, "LTX2", "not an LTX file"},
    {4, 4, "\0\0\0\4", "flags"},
    {4, 4, "\0\0\0\0", "checksum before it"}, /* checksums, but none before it */
    {8, 4, "\0\0\0\0", "page size 0"},
    {8, 4, "\0\1\0\1", "page size 65537"},
    {8, 4, "\0\2\0\0", "page size 131072"},
    {8, 4, "\0\0\1\0", "page size 256"},
    {8, 4, "\0\0\4\0", "does not give 1024"},
    {12, 4, "\0\0\0\0", "no pages"},
    {12, 4, "\377\377\377\377", "4294967295 pages"},
    {16, 8, "\0\0\0\0\0\0\0\0", "TXIDs 0 to 3"},
    {16, 8, "\0\0\0\0\0\0\0\4", "TXIDs 4 to 3"},
    {16, 8, "\377\377\377\377\377\377\377\377", "TXIDs"},
    {24, 8, "\0\0\0\0\0\0\0\0", "TXIDs 2 to 0"},
    {16, 8, "\0\0\0\0\0\0\0\1", "page 3 after page 1"}, /* now a snapshot */
    {40, 8, "\0\0\0\0\0\0\0\1", "checksum before it"},
    {40, 8, "\200\0\0\0\0\0\0\1", "checksum before it"},
    {48, 8, "\200\0\0\0\0\0\0\1", "negative"},
    {56, 8, "\377\377\377\377\377\377\377\377", "negative"},
    {48, 12, "\0\0\0\0\0\0\0\0\0\0\0\0", "checksum mismatch"},
    {48, 16, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", "without a log offset"},
    {48, 20, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", "without a log offset"},
    {100, 4, "\0\0\0\0", "page 0, flags 0x1"},
    {100, 6, "\0\0\0\0\0\0", "does not fit"}, /* the end, and an index of other pages */
    {104, 2, "\0\2", "flags 0x2"},
    {104, 2, "\0\3", "flags 0x3"},
    {104, 2, "\200\1", "flags 0x8001"},
    {104, 2, "\0\0", "LZ4 frame"},
    {100, 4, "\0\0\0\3", "page 3 follows page 3"},
    {100, 4, "\0\0\0\4", "page 3 follows page 4"},
    {100, 4, "\0\40\0\1", "lock page 2097153"},
    {100, 4, "\377\377\377\377", "page 4294967295"},
    {106, 4, "\0\0\0\0", "page 1: 0 bytes"},
    {106, 4, "\377\377\377\377", "page 1: 4294967295 bytes"},
    {106, 4, "\200\0\0\1", "page 1: 2147483649 bytes"},
    {106, 4, "\0\0\2\23", "page 1: 531 bytes"}, /* 512 + 512/255 + 16 is 530 */
    {106, 4, "\0\0\2\22", "LZ4 block"},
};

START_TEST(each_rule_is_named_when_it_is_broken) {
    struct buf file;
    small_file(&file, LTX_BLOCKS, ZEROS);
    /* Long enough that a length up to the bound is no cut. */
    memcpy(file.bytes + patches[_i].at, patches[_i].bytes, patches[_i].size);
    uint8_t *rest = buf_extend(&file, 600);
    memset(rest, 0, 600);
    size_t n = strcmp(patches[_i].words, "checksum mismatch") == 0 ? file.size - 600 : file.size;
    CODE(check_file(file.bytes, n, e), RC_CORRUPT);
    says(patches[_i].words);
    buf_deinit(&file);
}
END_TEST

START_TEST(a_snapshot_ends_with_its_last_page) {
    struct recipe r = {
        {.page_size = 512, .commit = 4, .min_txid = 1, .max_txid = 3}, LTX_BLOCKS, SAME, NULL, 0};
    struct buf file;
    uint64_t checksum;
    OK(write_file(&r, &file, &checksum, e));
    file.bytes[15] = 3;
    CODE(check_file(file.bytes, file.size, e), RC_CORRUPT);
    says("page 4 after page 3");
    file.bytes[15] = 5;
    CODE(check_file(file.bytes, file.size, e), RC_CORRUPT);
    says("a snapshot of 5 pages holds 4");
    buf_deinit(&file);
}
END_TEST

START_TEST(a_refused_header_leaves_the_callers_as_it_was) {
    struct buf file;
    struct ltx_header h, before;
    small_file(&file, LTX_BLOCKS, ZEROS);
    file.bytes[11] = 1; /* page size 513 */
    memset(&h, 0x5a, sizeof h);
    memcpy(&before, &h, sizeof h);
    CODE(ltx_header_decode(&h, file.bytes, e), RC_CORRUPT);
    ck_assert_mem_eq(&h, &before, sizeof h);
    buf_deinit(&file);
}
END_TEST

static rc refuse(void *arg, uint32_t pgno, const uint8_t *page, struct err *e) {
    (void)page;
    ++*(int *)arg;
    return pgno == 3 ? err_set(e, RC_FULL, "no space") : ok();
}

START_TEST(after_a_failure_a_reader_takes_nothing_and_is_never_good) {
    struct buf file;
    struct ltx_reader *r;
    uint64_t checksum = 7;
    int pages = 0;
    small_file(&file, _i ? LTX_FRAMES : LTX_BLOCKS, WORDS);
    OK(ltx_reader_new(&r, (struct ltx_reader_events){NULL, refuse, &pages}, e));
    CODE(ltx_reader_feed(r, file.bytes, file.size, e), RC_FULL);
    CODE(ltx_reader_feed(r, file.bytes, file.size, e), RC_CORRUPT);
    CODE(ltx_reader_finish(r, &checksum, e), RC_CORRUPT);
    ck_assert_int_eq(pages, 2);
    ltx_reader_free(r);
    file.bytes[file.size - 1] ^= 1; /* the very last thing that is checked */
    OK(ltx_reader_new(&r, (struct ltx_reader_events){0}, e));
    CODE(ltx_reader_feed(r, file.bytes, file.size, e), RC_CORRUPT);
    CODE(ltx_reader_finish(r, &checksum, e), RC_CORRUPT);
    ck_assert_uint_eq(checksum, 7);
    ltx_reader_free(r);
    ltx_reader_free(NULL);
    buf_deinit(&file);
}
END_TEST

/* ---- legacy frames that Litestream's own writer did not make ---- */

static const struct {
    LZ4F_frameInfo_t info;
    const char *words; /* NULL: good */
} frames[] = {
    {{.contentChecksumFlag = 1, .blockMode = LZ4F_blockIndependent}, NULL},
    {{.contentChecksumFlag = 1, .blockMode = LZ4F_blockLinked}, NULL},
    {{.contentChecksumFlag = 1, .blockSizeID = LZ4F_max4MB}, NULL},
    {{.contentChecksumFlag = 1, .contentSize = 512}, NULL},
    {{.contentChecksumFlag = 1, .blockChecksumFlag = 1}, NULL},
    {{.contentChecksumFlag = 0}, "LZ4 frame with a checksum"},
    {{.contentChecksumFlag = 1, .dictID = 7}, "LZ4 frame with a checksum"},
};

/* Put a frame of `n` bytes of content in the place of page 1's. */
static size_t with_frame(uint8_t *out, size_t room, const LZ4F_frameInfo_t *info, size_t n) {
    static uint8_t page[8192];
    struct buf file;
    LZ4F_preferences_t p = {.frameInfo = *info};
    fill_page(page, 512, 1, WORDS);
    fill_page(page + 512, 512, 1, WORDS);
    if (p.frameInfo.contentSize) p.frameInfo.contentSize = n;
    small_file(&file, LTX_FRAMES, WORDS);
    memcpy(out, file.bytes, 106);
    size_t size = LZ4F_compressFrame(out + 106, room - 106, page, n, &p);
    ck_assert(!LZ4F_isError(size));
    buf_deinit(&file);
    return size;
}

START_TEST(a_frame_of_another_shape_is_read_or_refused_the_same_both_ways) {
    uint8_t bytes[4096], page[512], want[512];
    size_t n = with_frame(bytes, sizeof bytes, &frames[_i].info, 512);
    enum rc_code code = frames[_i].words ? RC_CORRUPT : RC_OK;
    fill_page(want, 512, 1, WORDS);
    CODE(ltx_frame_decode(bytes + 100, n + 6, 512, 1, page, e), code);
    if (frames[_i].words) says(frames[_i].words);
    else ck_assert_mem_eq(page, want, 512);
    for (size_t piece = 1; piece < 1000; piece *= 9) {
        struct told t;
        CODE(read_file(bytes, 106 + n, piece, &t, e), RC_CORRUPT); /* the file ends here */
        says(frames[_i].words ? frames[_i].words : "in the middle");
        ck_assert_uint_eq(t.page_count, code == RC_OK);
        if (code == RC_OK) ck_assert_mem_eq(t.pages.bytes + 4, want, 512);
        told_deinit(&t);
    }
}
END_TEST

static const size_t wrong_sizes[] = {0, 1, 511, 513, 1024};

START_TEST(a_frame_of_another_size_is_refused_both_ways) {
    uint8_t bytes[4096], page[512];
    LZ4F_frameInfo_t info = {.contentChecksumFlag = 1};
    size_t n = with_frame(bytes, sizeof bytes, &info, wrong_sizes[_i]);
    CODE(ltx_frame_decode(bytes + 100, n + 6, 512, 1, page, e), RC_CORRUPT);
    says("page 1");
    for (size_t piece = 1; piece < 1000; piece *= 9) {
        struct told t;
        CODE(read_file(bytes, 106 + n, piece, &t, e), RC_CORRUPT);
        says("page 1");
        ck_assert_uint_eq(t.page_count, 0);
        told_deinit(&t);
    }
}
END_TEST

START_TEST(a_frame_that_never_ends_is_refused) {
    struct ltx_reader *r;
    struct buf file;
    struct err err;
    static const uint8_t empty_block[] = {0, 0, 0, 0x80};
    small_file(&file, LTX_FRAMES, WORDS);
    OK(ltx_reader_new(&r, (struct ltx_reader_events){0}, e));
    OK(ltx_reader_feed(r, file.bytes, 113, e));
    rc got = ok();
    int fed = 0;
    while (is_ok(got) && fed < 100000) {
        got = ltx_reader_feed(r, empty_block, 4, &err);
        fed++;
    }
    ck_assert_int_eq(got.code, RC_CORRUPT);
    ck_assert_int_lt(fed, 1000);
    ltx_reader_free(r);
    buf_deinit(&file);
}
END_TEST

/* ---- frames by place ---- */

static const struct {
    const char *bytes;
    size_t size;
    const char *words;
} bad_frames[] = {
    {"", 0, "page 1"},
    {"\0\0\0\1\0", 5, "page 1"},
    {"\0\0\0\1\0\1", 6, "length"},
    {"\0\0\0\1\0\1\0\0\0", 9, "length"},
    {"\0\0\0\1\0\1\0\0\0\0", 10, "LZ4 block"},
    {"\0\0\0\1\0\1\0\0\0\1\0", 11, "LZ4 block"},
    {"\0\0\0\1\0\1\0\0\0\2\0", 11, "length"},
    {"\0\0\0\1\0\1\0\0\0\1\0\0", 12, "length"},
    {"\0\0\0\1\0\1\377\377\377\377\0", 11, "length"},
    {"\0\0\0\2\0\1\0\0\0\1\0", 11, "another page (2)"},
    {"\0\0\0\0\0\0", 6, "another page (0)"},
    {"\0\0\0\1\0\2\0\0\0\1\0", 11, "flags"},
    {"\0\0\0\1\0\0", 6, "LZ4 frame"},
    {"\0\0\0\1\0\0\4", 7, "LZ4 frame"},
    {"\0\0\0\1\0\0\4\42\115\30", 10, "LZ4 frame"},
    {"\0\0\0\1\0\0\4\42\115\30\144", 11, "LZ4 frame"},
    {"\0\0\0\1\0\0\4\42\115\30\144\100\247", 13, "LZ4 frame"},
    {"\0\0\0\1\0\0\120\52\115\30\0\0\0\0", 14, "LZ4 frame"}, /* a skippable one */
    {"\0\0\0\1\0\0\2\41\114\30\0\0\0\0", 14, "LZ4 frame"},   /* an older format */
};

START_TEST(a_frame_that_is_not_this_page_is_refused) {
    uint8_t page[512];
    CODE(ltx_frame_decode((const uint8_t *)bad_frames[_i].bytes, bad_frames[_i].size, 512, 1, page,
                          e),
         RC_CORRUPT);
    says(bad_frames[_i].words);
}
END_TEST

START_TEST(a_frame_cut_or_longer_is_refused) {
    struct buf file;
    uint8_t page[512], frame[1024] = {0};
    uint64_t at, n;
    struct ltx_index_cursor c;
    struct ltx_entry entry;
    small_file(&file, _i ? LTX_FRAMES : LTX_BLOCKS, WORDS);
    OK(ltx_index_place(file.bytes + file.size - 24, file.size, &at, &n, e));
    ltx_index_begin(&c, file.bytes + at, (size_t)n, 512, at);
    OK(ltx_index_next(&c, &entry, e));
    memcpy(frame, file.bytes + entry.offset, entry.size);
    OK(ltx_frame_decode(frame, entry.size, 512, 1, page, e));
    for (uint32_t size = 0; size < entry.size + 20; size++)
        if (size != entry.size) CODE(ltx_frame_decode(frame, size, 512, 1, page, e), RC_CORRUPT);
    buf_deinit(&file);
}
END_TEST

/* ---- the index ---- */

static const struct {
    uint64_t size, file_size;
    bool good;
} places[] = {
    {1, 131, true},
    {2, 132, true},
    {LIMIT_INDEX, 130 + (uint64_t)LIMIT_INDEX, true},
    {0, 131, false},
    {1, 130, false},
    {1, 0, false},
    {1, 24, false},
    {2, 131, false},
    {131, 131, false},
    {LIMIT_INDEX + 1, 131 + (uint64_t)LIMIT_INDEX, false},
    {UINT64_MAX, 1000, false},
    {UINT64_MAX, UINT64_MAX, false},
    {(uint64_t)1 << 63, (uint64_t)1 << 63, false},
};

START_TEST(an_index_lies_between_the_pages_and_the_trailer) {
    uint8_t last[24] = {0};
    uint64_t at = 7, n = 7;
    put_u64be(last, places[_i].size);
    CODE(ltx_index_place(last, places[_i].file_size, &at, &n, e),
         places[_i].good ? RC_OK : RC_CORRUPT);
    ck_assert_uint_eq(at, places[_i].good ? places[_i].file_size - 24 - places[_i].size : 7);
    ck_assert_uint_eq(n, places[_i].good ? places[_i].size : 7);
}
END_TEST

/* Triples of page, offset, size; what is at fault; the index begins at `at`. Page size 512. */
static const struct {
    uint64_t entries[7];
    int numbers;
    uint64_t at;
    const char *words; /* NULL: good */
} indexes[] = {
    {{0}, 1, 106, NULL},
    {{1, 100, 20, 0}, 4, 126, NULL},
    {{1, 100, 20, 5, 120, 30, 0}, 7, 156, NULL},
    {{0xfffffffe, 100, 20, 0}, 4, 126, NULL},
    {{0}, 0, 106, "does not end"},
    {{0, 0}, 2, 106, "does not end"},
    {{0}, 1, 107, "does not end"},
    {{0}, 1, 105, "does not end"},
    {{1, 100, 20}, 3, 126, "does not end"},
    {{1, 100}, 2, 126, "short"},
    {{1}, 1, 126, "short"},
    {{1, 100, 20, 0}, 4, 127, "does not end"},
    {{1, 100, 20, 0}, 4, 125, "page 1 is at 100"},
    {{1, 100, 20, 0, 0}, 5, 126, "does not end"},
    {{1, 101, 20, 0}, 4, 127, "page 1 is at 101"},
    {{1, 99, 20, 0}, 4, 126, "page 1 is at 99"},
    {{1, 0, 20, 0}, 4, 126, "page 1 is at 0"},
    {{1, UINT64_MAX, 20, 0}, 4, 126, "page 1"},
    {{1, 100, 6, 0}, 4, 112, "6 bytes"},
    {{1, 100, 0, 0}, 4, 106, "0 bytes"},
    {{1, 100, UINT64_MAX, 0}, 4, 126, "page 1"},
    {{1, 100, UINT32_MAX, 0}, 4, UINT32_MAX, "page 1"},
    {{1, 100, ((uint64_t)1 << 32) + 20, 0}, 4, 126, "page 1"},
    {{1, 100, 2000, 0}, 4, 2106, "2000 bytes"},
    {{1, 100, 20, 1, 120, 30, 0}, 7, 156, "page 1 after page 1"},
    {{5, 100, 20, 1, 120, 30, 0}, 7, 156, "page 1 after page 5"},
    {{1, 100, 20, 5, 121, 30, 0}, 7, 157, "page 5 is at 121"},
    {{2097153, 100, 20, 0}, 4, 126, "page 2097153"},
    {{0xffffffff, 100, 20, 0}, 4, 126, "page 4294967295"},
    {{((uint64_t)1 << 32) + 1, 100, 20, 0}, 4, 126, "page 4294967297"},
    {{UINT64_MAX, 100, 20, 0}, 4, 126, "page 18446744073709551615"},
};

static rc walk(const struct buf *b, uint64_t at, int *count, struct err *e) {
    struct ltx_index_cursor c;
    ltx_index_begin(&c, b->bytes, b->size, 512, at);
    for (*count = 0;; ++*count) {
        struct ltx_entry entry = {77, 77, 77};
        rc r = ltx_index_next(&c, &entry, e);
        if (!is_ok(r)) ck_assert(entry.pgno == 77 && entry.size == 77 && entry.offset == 77);
        if (!is_ok(r) || !entry.pgno) return r;
    }
}

START_TEST(an_index_says_where_the_pages_are_or_is_refused) {
    struct buf b;
    int count = 0;
    buf_init(&b, 1000);
    for (int i = 0; i < indexes[_i].numbers; i++) buf_uvarint(&b, indexes[_i].entries[i]);
    CODE(walk(&b, indexes[_i].at, &count, e), indexes[_i].words ? RC_CORRUPT : RC_OK);
    if (indexes[_i].words) says(indexes[_i].words);
    else ck_assert_int_eq(count, indexes[_i].numbers / 3);
    buf_deinit(&b);
}
END_TEST

START_TEST(an_index_that_lies_about_the_frames_is_refused) {
    struct buf file;
    uint64_t at, n;
    small_file(&file, LTX_BLOCKS, WORDS);
    OK(ltx_index_place(file.bytes + file.size - 24, file.size, &at, &n, e));
    for (size_t i = 0; i < n + 8; i++) {
        file.bytes[at + i] ^= 1;
        CODE(check_file(file.bytes, file.size, e), RC_CORRUPT);
        says("index does not fit");
        file.bytes[at + i] ^= 1;
    }
    buf_deinit(&file);
}
END_TEST

/* ---- memory ---- */

/* Memory for a claim is bounded by the page size, or 8 MiB for a frame of 4 MiB blocks. */
static const struct {
    size_t at, size;
    const char *bytes;
} hostile[] = {
    {106, 4, "\377\377\377\377"},
    {106, 4, "\177\377\377\377"},
    {106, 4, "\0\1\377\377"},
    {104, 15, "\0\0\4\42\115\30\104\160\35\377\377\77\0\0\0"},    /* 4 MiB blocks */
    {104, 15, "\0\0\4\42\115\30\104\160\35\377\377\377\177\0\0"}, /* a block of 2 GiB */
    {12, 4, "\377\377\377\376"},
};

START_TEST(a_hostile_length_costs_no_memory) {
    struct buf file;
    small_file(&file, LTX_BLOCKS, WORDS);
    memcpy(file.bytes + hostile[_i].at, hostile[_i].bytes, hostile[_i].size);
    if (limit_memory(12u << 20, "a_hostile_length_costs_no_memory"))
        ck_assert_ptr_null(malloc(13u << 20));
    CODE(check_file(file.bytes, file.size, e), RC_CORRUPT);
    buf_deinit(&file);
}
END_TEST

int main(void) {
    Suite *s = suite_create("read");
    TCase *t = tcase_create("read");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, a_cut_at_any_byte_is_noticed, 0, 2);
    tcase_add_loop_test(t, a_flip_of_any_bit_is_refused_or_harmless, 0, 6);
    ADD_ROWS(t, each_rule_is_named_when_it_is_broken, patches);
    tcase_add_test(t, a_snapshot_ends_with_its_last_page);
    tcase_add_test(t, a_refused_header_leaves_the_callers_as_it_was);
    tcase_add_loop_test(t, after_a_failure_a_reader_takes_nothing_and_is_never_good, 0, 2);
    ADD_ROWS(t, a_frame_of_another_shape_is_read_or_refused_the_same_both_ways, frames);
    ADD_ROWS(t, a_frame_of_another_size_is_refused_both_ways, wrong_sizes);
    tcase_add_test(t, a_frame_that_never_ends_is_refused);
    ADD_ROWS(t, a_frame_that_is_not_this_page_is_refused, bad_frames);
    tcase_add_loop_test(t, a_frame_cut_or_longer_is_refused, 0, 2);
    ADD_ROWS(t, an_index_lies_between_the_pages_and_the_trailer, places);
    ADD_ROWS(t, an_index_says_where_the_pages_are_or_is_refused, indexes);
    tcase_add_test(t, an_index_that_lies_about_the_frames_is_refused);
    ADD_ROWS(t, a_hostile_length_costs_no_memory, hostile);
    suite_add_tcase(s, t);
    return run_suite(s);
}
