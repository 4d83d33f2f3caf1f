/* What Litestream wrote is read as it reads it; what it refuses is refused. */
#include "files.h"

#include "base/hash.h"
#include "fixtures.h"

#include <dirent.h>
#include <sqlite3.h>

#define BIT63 0x8000000000000000u

static uint8_t bytes[FIXTURE_LIMIT];
static size_t size;

static void load(const char *name) {
    size = fixture_read(fixture_path(name), bytes, sizeof bytes);
}

/* ---- applied to a database ---- */

static void apply(FILE *db, const struct told *t) {
    struct rd pages = rd_of(t->pages.bytes, t->pages.size);
    for (uint32_t i = 0; i < t->page_count; i++) {
        uint32_t pgno = rd_u32be(&pages);
        ck_assert_int_eq(fseek(db, (long)(pgno - 1) * t->header.page_size, SEEK_SET), 0);
        const uint8_t *page = rd_bytes(&pages, t->header.page_size);
        ck_assert_uint_eq(fwrite(page, t->header.page_size, 1, db), 1);
    }
    ck_assert_int_eq(fflush(db), 0);
    ck_assert_int_eq(ftruncate(fileno(db), (off_t)t->header.commit * t->header.page_size), 0);
}

static void apply_fixture(FILE *db, const char *name) {
    struct told t;
    load(name);
    OK(read_file(bytes, size, size, &t, e));
    expect_frames(bytes, size, &t);
    apply(db, &t);
    told_deinit(&t);
}

static void expect_sha256(const char *path, const char *want) {
    char command[TEMP_PATH * 2 + 64], got[65] = {0};
    snprintf(command, sizeof command, "sha256sum '%s'", path);
    FILE *p = popen(command, "r");
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq(fread(got, 1, 64, p), 64);
    pclose(p);
    ck_assert_str_eq(got, want);
}

static sqlite3_int64 ask(sqlite3 *db, const char *sql) {
    sqlite3_stmt *s;
    ck_assert_msg(sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
    ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
    sqlite3_int64 v = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return v;
}

/* By TXID: SHA-256 of the database, and what is in it. Row 0 is for nothing. */
static const struct {
    const char *sha256;
    int count, sum_id, sum_n;
} states[] = {
    {0},
    {"d3c8042326d314da13b433d131d9717cae6fdc1b821bb347d69e3c912b2f5f8a", 100, 5050, 15150},
    {"ad41f03c34062be6b421100769b1c6776fcc2907e42507631f956d620acf7a51", 100, 5050, 15150},
    {"f3edbd72fd5dbb5a14781b36563dbb7c1269527d61346205ef03baa01fe99e43", 400, 80200, 240600},
    {"381cec0b72d4bc3f2675326f09e73c40d8fe0ab7219f5296c7fba745f042e22a", 400, 80200, 240600},
    {"4634b4d08ca4a976772068b76f3b8d0e4d9760f1dbbdf401c05fc1a4606d9f36", 400, 80200, 240600},
    {"327a9e4869bc5603073364354b3f524c4b3b8f59e4da9d13fab61a3870fd5e36", 350, 61425, 184275},
};

static void expect_state(const char *path, int txid) {
    sqlite3 *db;
    expect_sha256(path, states[txid].sha256);
    ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    ck_assert_int_eq(ask(db, "SELECT count(*) FROM pragma_integrity_check "
                             "WHERE integrity_check <> 'ok'"),
                     0);
    ck_assert_int_eq(ask(db, "SELECT count(*) FROM t"), states[txid].count);
    ck_assert_int_eq(ask(db, "SELECT sum(id) FROM t"), states[txid].sum_id);
    ck_assert_int_eq(ask(db, "SELECT sum(n) FROM t"), states[txid].sum_n);
    sqlite3_close(db);
}

START_TEST(real_level_0_files_give_each_state_byte_for_byte) {
    char dir[TEMP_PATH], name[128];
    temp_dir(dir);
    FILE *db = fopen(below(dir, "a.db"), "w+b");
    for (int txid = 1; txid <= _i; txid++) {
        snprintf(name, sizeof name, "v05-real-l0/replica/ltx/0/%016x-%016x.ltx", txid, txid);
        apply_fixture(db, name);
    }
    fclose(db);
    expect_state(below(dir, "a.db"), _i);
}
END_TEST

/* Ways through the levels, in both encodings. */
static const struct {
    int txid;
    const char *files[4];
} ways[] = {
    {2, {"9/0000000000000001-0000000000000002"}},
    {4, {"9/0000000000000001-0000000000000004"}},
    {3, {"1/0000000000000001-0000000000000003"}},
    {5, {"2/0000000000000001-0000000000000005"}},
    {5, {"1/0000000000000001-0000000000000003", "1/0000000000000004-0000000000000005"}},
    {6, {"2/0000000000000001-0000000000000005", "0/0000000000000006-0000000000000006"}},
    {3, {"9/0000000000000001-0000000000000002", "0/0000000000000003-0000000000000003"}},
    {6,
     {"9/0000000000000001-0000000000000004", "0/0000000000000005-0000000000000005",
      "0/0000000000000006-0000000000000006"}},
    {6,
     {"1/0000000000000001-0000000000000003", "0/0000000000000004-0000000000000004",
      "1/0000000000000004-0000000000000005", "0/0000000000000006-0000000000000006"}},
};

static void expect_way(const char *set, int way) {
    char dir[TEMP_PATH], name[128];
    temp_dir(dir);
    FILE *db = fopen(below(dir, "a.db"), "w+b");
    for (int i = 0; i < 4 && ways[way].files[i]; i++) {
        snprintf(name, sizeof name, "%s/replica/ltx/%s.ltx", set, ways[way].files[i]);
        apply_fixture(db, name);
    }
    fclose(db);
    expect_state(below(dir, "a.db"), ways[way].txid);
}

START_TEST(every_way_through_the_levels_gives_the_state) {
    expect_way("v05-layered", _i);
    expect_way("v05-legacy-frames", _i);
}
END_TEST

START_TEST(pieces_of_any_size_give_the_same) {
    static const char *const names[] = {
        "v05-real-l0/replica/ltx/0/0000000000000002-0000000000000002.ltx",
        "v05-layered/replica/ltx/2/0000000000000001-0000000000000005.ltx",
        "v05-legacy-frames/replica/ltx/2/0000000000000001-0000000000000005.ltx",
        "v05-legacy-frames/replica/ltx/1/0000000000000001-0000000000000003.ltx",
    };
    static const size_t pieces[] = {1, 2, 3, 5, 7, 11, 100, 4096, 4097};
    for (size_t f = 0; f < sizeof names / sizeof *names; f++) {
        struct told whole, t;
        load(names[f]);
        OK(read_file(bytes, size, size, &whole, e));
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
            OK(read_file(bytes, size, pieces[i], &t, e));
            ck_assert_uint_eq(t.checksum, whole.checksum);
            ck_assert_uint_eq(t.pages.size, whole.pages.size);
            ck_assert_mem_eq(t.pages.bytes, whole.pages.bytes, t.pages.size);
            told_deinit(&t);
        }
        told_deinit(&whole);
    }
}
END_TEST

/* docs/format.md's worked examples: the CRC after each section. */
static const struct {
    const char *name;
    uint64_t crc[6]; /* header, page 1, page 2, end marker, index, post-apply */
    uint64_t sum[2], database, stored;
    int64_t timestamp_ms;
} examples[] = {
    {"v05-worked-examples/ltx/0/0000000000000001-0000000000000001.ltx",
     {0xe416ba9c25015fd0u, 0x7cdcbdac26d1347cu, 0x00ff781fa7676ab2u, 0x236d85b1bbe9f0ffu,
      0xf6bdd5eee8d674aeu, 0x06a0a70550d518d9u},
     {0xaca07c2bbe2040a6u, 0xe0b3fd91c96769beu},
     0xcc1381ba77472918u,
     0x86a0a70550d518d9u,
     1795382699618},
    {"v05-worked-examples/ltx/0/0000000000000002-0000000000000002.ltx",
     {0x5af59a9cf6cc4103u, 0xc730f2975874b61du, 0x45b616610013b954u, 0x71044fe6d6be15b6u,
      0xa39b7b912e6aa75du, 0xd9e3e16d718bf592u},
     {0xd5f38599f888ff2fu, 0xfa7d4325b8a52310u},
     0xaf8ec6bc402ddc3fu,
     0xd9e3e16d718bf592u,
     1795382699952},
};

START_TEST(the_worked_examples_hold_section_by_section) {
    struct told t;
    struct ltx_index_cursor c;
    struct ltx_entry entry;
    uint64_t at, n, database = BIT63;
    load(examples[_i].name);
    OK(read_file(bytes, size, size, &t, e));
    expect_frames(bytes, size, &t);
    ck_assert_uint_eq(t.checksum, examples[_i].stored);
    ck_assert_int_eq(t.header.timestamp_ms, examples[_i].timestamp_ms);
    ck_assert_uint_eq(t.header.flags, LTX_FLAG_NO_CHECKSUM);
    ck_assert_uint_eq(t.header.page_size, 4096);
    ck_assert_uint_eq(t.header.commit, 2);
    ck_assert_uint_eq(t.header.min_txid, (uint64_t)_i + 1);
    ck_assert_uint_eq(t.header.max_txid, (uint64_t)_i + 1);
    ck_assert(!t.header.chain.present);
    ck_assert_uint_eq(t.page_count, 2);
    uint64_t crc = crc64(0, bytes, LTX_HEADER_SIZE);
    ck_assert_uint_eq(crc, examples[_i].crc[0]);
    OK(ltx_index_place(bytes + size - 24, size, &at, &n, e));
    ltx_index_begin(&c, bytes + at, (size_t)n, 4096, at);
    for (int i = 0; i < 2; i++) {
        const uint8_t *stored = t.pages.bytes + i * (4 + 4096);
        OK(ltx_index_next(&c, &entry, e));
        crc = crc64(crc64(crc, bytes + entry.offset, 10), stored + 4, 4096);
        ck_assert_uint_eq(crc, examples[_i].crc[1 + i]);
        ck_assert_uint_eq(BIT63 | crc64(0, stored, 4 + 4096), examples[_i].sum[i]);
        database = BIT63 | (database ^ examples[_i].sum[i]);
    }
    ck_assert_uint_eq(database, examples[_i].database);
    crc = crc64(crc, bytes + at - 6, 6);
    ck_assert_uint_eq(crc, examples[_i].crc[3]);
    crc = crc64(crc, bytes + at, (size_t)n + 8);
    ck_assert_uint_eq(crc, examples[_i].crc[4]);
    crc = crc64(crc, bytes + size - 16, 8);
    ck_assert_uint_eq(crc, examples[_i].crc[5]);
    told_deinit(&t);
}
END_TEST

/* What the error must say; NULL: the file is good. */
static const struct {
    const char *name, *words;
} odd[] = {
    {"checksummed-valid", NULL},
    {"nochecksum-with-post", NULL},
    {"bad-file-checksum", "checksum mismatch"},
    {"truncated-1", "in the middle"},
    {"header-only", "in the middle"},
    {"bad-magic", "not an LTX file"},
    {"unknown-header-flag", "flags 0x1"},
    {"bad-page-size", "page size 4095"},
    {"min-txid-zero", "TXIDs 0 to "},
    {"min-gt-max", "TXIDs 3 to 2"},
    {"checksummed-wrong-post", "database checksum"},
    {"salt-without-waloffset", "salts"},
    {"snapshot-pages-reversed", "page 2 after page 0"},
    {"huge-size-prefix", "2147483"},
    {"legacy-frame-no-content-checksum", "LZ4 frame with a checksum"},
    {"page-size-field-zero-commit", "no pages"},
};

START_TEST(an_odd_file_is_judged_with_a_reason) {
    char name[128];
    snprintf(name, sizeof name, "v05-invalid/%s.ltx", odd[_i].name);
    load(name);
    for (size_t piece = 1; piece < 2 * size; piece = piece * 7) {
        struct told t;
        CODE(read_file(bytes, size, piece, &t, e), odd[_i].words ? RC_CORRUPT : RC_OK);
        if (odd[_i].words) says(odd[_i].words);
        told_deinit(&t);
    }
}
END_TEST

START_TEST(no_odd_file_is_left_out) {
    int files = 0;
    DIR *d = opendir(fixture_path("v05-invalid"));
    for (struct dirent *at = readdir(d); at; at = readdir(d))
        files += strstr(at->d_name, ".ltx") != NULL;
    closedir(d);
    ck_assert_int_eq(files, sizeof odd / sizeof *odd);
}
END_TEST

static int read_one(const char *path, const struct stat *s, int type, struct FTW *ftw) {
    (void)s, (void)ftw;
    if (type != FTW_F || !strstr(path, ".ltx") || strstr(path, "v05-invalid")) return 0;
    struct told t;
    size = fixture_read(path, bytes, sizeof bytes);
    OK(read_file(bytes, size, 100, &t, e));
    expect_frames(bytes, size, &t);
    unsigned long long min, max;
    ck_assert_int_eq(sscanf(strrchr(path, '/') + 1, "%llx-%llx.ltx", &min, &max), 2);
    ck_assert_uint_eq(t.header.min_txid, min);
    ck_assert_uint_eq(t.header.max_txid, max);
    told_deinit(&t);
    return 0;
}

START_TEST(every_other_file_is_good_and_named_after_its_header) {
    ck_assert_int_eq(nftw(FIXTURES, read_one, 16, FTW_PHYS), 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("fixtures");
    TCase *t = tcase_create("fixtures");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_loop_test(t, real_level_0_files_give_each_state_byte_for_byte, 1, 7);
    ADD_ROWS(t, every_way_through_the_levels_gives_the_state, ways);
    tcase_add_test(t, pieces_of_any_size_give_the_same);
    ADD_ROWS(t, the_worked_examples_hold_section_by_section, examples);
    ADD_ROWS(t, an_odd_file_is_judged_with_a_reason, odd);
    tcase_add_test(t, no_odd_file_is_left_out);
    tcase_add_test(t, every_other_file_is_good_and_named_after_its_header);
    suite_add_tcase(s, t);
    return run_suite(s);
}
