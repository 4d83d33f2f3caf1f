/* The log and the wal-index against a real SQLite: what the index says is what the log says. */
#include "../os/temp.h"

#include "base/bytes.h"
#include "format/wal.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/wait.h>

static char dir[TEMP_PATH];
static sqlite3 *db;
static uint8_t *wal;
static const volatile uint8_t *shm;
static int shm_fd;
static struct walindex_header header;

static void run(sqlite3 *on, const char *sql) {
    char *error = NULL;
    ck_assert_msg(sqlite3_exec(on, sql, NULL, NULL, &error) == SQLITE_OK, "%s: %s", sql, error);
}

static sqlite3 *open_db(void) {
    sqlite3 *opened;
    ck_assert_int_eq(sqlite3_open(below(dir, "a.db"), &opened), SQLITE_OK);
    return opened;
}

static const uint8_t *region(uint32_t number) {
    return (const uint8_t *)shm + (size_t)number * WALINDEX_REGION_SIZE;
}

/* Take in the log and map the index anew. */
static void look(void) {
    struct stat s;
    free(wal);
    FILE *f = fopen(below(dir, "a.db-wal"), "rb");
    ck_assert_int_eq(fstat(fileno(f), &s), 0);
    wal = malloc((size_t)s.st_size + 1);
    ck_assert_uint_eq(fread(wal, 1, (size_t)s.st_size, f), s.st_size);
    fclose(f);
    if (!shm_fd) shm_fd = open(below(dir, "a.db-shm"), O_RDONLY);
    ck_assert_int_eq(fstat(shm_fd, &s), 0);
    shm = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, shm_fd, 0);
    ck_assert_ptr_ne((const void *)shm, MAP_FAILED);
    ck_assert(walindex_header_read(shm, &header));
}

static struct wal_frame_header frame_at(uint32_t frame) {
    struct wal_frame_header h;
    wal_frame_header_decode(wal + wal_frame_offset(frame, header.page_size), &h);
    return h;
}

static void make(uint32_t page_size) {
    char sql[128];
    temp_dir(dir);
    db = open_db();
    snprintf(sql, sizeof sql, "PRAGMA page_size=%u", page_size);
    run(db, sql);
    run(db, "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF;"
            "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
}

/* Transactions that change old pages and new ones until the log has `frames`. */
static void grow_to(uint32_t frames) {
    sqlite3_stmt *s;
    uint64_t x = 42;
    ck_assert_int_eq(
        sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO t VALUES(?, randomblob(?))", -1, &s, NULL),
        SQLITE_OK);
    do {
        run(db, "BEGIN");
        for (int i = 0; i < 40; i++) {
            x = x * 6364136223846793005u + 1;
            sqlite3_bind_int64(s, 1, (sqlite3_int64)(x >> 33) % 3000);
            sqlite3_bind_int64(s, 2, header.page_size ? header.page_size / 3 : 100);
            ck_assert_int_eq(sqlite3_step(s), SQLITE_DONE);
            sqlite3_reset(s);
        }
        run(db, "COMMIT");
        look();
    } while (header.frame_count < frames);
    sqlite3_finalize(s);
}

static void expect_header(uint32_t page_size) {
    struct wal_frame_header last = frame_at(header.frame_count);
    ck_assert_uint_eq(header.page_size, page_size);
    ck_assert_uint_eq(header.page_count, last.commit);
    ck_assert_mem_eq(header.checksum, last.checksum, sizeof last.checksum);
    ck_assert_mem_eq(header.salt, last.salt, sizeof last.salt);
    ck_assert_uint_eq(header.salt[0], get_u32be(wal + 16));
    ck_assert_uint_eq(header.salt[1], get_u32be(wal + 20));
}

/* Newest frame <= last of each page, in [from, last]. */
static void newest_frames(uint32_t *of, uint32_t pages, uint32_t from, uint32_t last) {
    memset(of, 0, (pages + 1) * sizeof *of);
    for (uint32_t f = from; f <= last; f++)
        if (frame_at(f).pgno <= pages) of[frame_at(f).pgno] = f;
}

static void expect_found(uint32_t last) {
    uint32_t pages = header.page_count + 5, *newest = calloc(pages + 1, sizeof *newest);
    for (uint32_t r = 0; r <= walindex_region_of(header.frame_count); r++) {
        uint32_t base = walindex_region_base(r), end = walindex_region_base(r + 1);
        newest_frames(newest, pages, base + 1, last < end ? last : end);
        for (uint32_t p = 1; p <= pages; p++)
            ck_assert_msg(walindex_find(region(r), r, p, last) == newest[p],
                          "page %u, last %u, region %u: %u, not %u", p, last, r,
                          walindex_find(region(r), r, p, last), newest[p]);
    }
    free(newest);
}

static void expect_index(void) {
    uint32_t n = header.frame_count;
    for (uint32_t f = 1; f <= n; f++) {
        struct wal_frame_header h = frame_at(f);
        ck_assert_uint_eq(walindex_page_of(region(walindex_region_of(f)), f), h.pgno);
        ck_assert_mem_eq(h.salt, header.salt, sizeof h.salt);
    }
    const uint32_t lasts[] = {0, 1, 2, n / 3, n / 2, 4061, 4062, 4063, 8157, 8158, 8159, n - 1, n};
    for (size_t i = 0; i < sizeof lasts / sizeof *lasts; i++)
        if (lasts[i] <= n) expect_found(lasts[i]);
}

static void end(void) {
    sqlite3_close(db);
    close(shm_fd);
    free(wal);
}

static const struct {
    uint32_t page_size, frames;
} logs[] = {{512, 8300}, {1024, 4300}, {4096, 4300}, {8192, 500}, {32768, 100}, {65536, 100}};

START_TEST(the_index_says_what_the_log_says) {
    make(logs[_i].page_size);
    grow_to(1);
    expect_header(logs[_i].page_size);
    expect_index();
    grow_to(logs[_i].frames);
    expect_header(logs[_i].page_size);
    expect_index();
    end();
}
END_TEST

START_TEST(after_a_reset_only_the_new_log_is_found) {
    make(512);
    grow_to(4500);
    struct walindex_header before = header;
    run(db, "PRAGMA wal_checkpoint(RESTART)");
    run(db, "INSERT OR REPLACE INTO t VALUES(1, randomblob(9000))");
    look();
    ck_assert_uint_lt(header.frame_count, 100);
    ck_assert_uint_eq(header.salt[0], before.salt[0] + 1);
    ck_assert_uint_gt(header.change, before.change);
    ck_assert(!walindex_header_same(&before, &header));
    expect_header(512);
    for (uint32_t last = 0; last <= header.frame_count; last++) expect_found(last);
    grow_to(4200);
    expect_header(512);
    expect_index();
    end();
}
END_TEST

START_TEST(a_rollback_leaves_no_trace) {
    make(1024);
    grow_to(50);
    run(db, "PRAGMA cache_size=2; BEGIN; UPDATE t SET v = randomblob(5000); ROLLBACK");
    struct walindex_header before = header;
    look();
    ck_assert(walindex_header_same(&before, &header));
    expect_index();
    run(db, "UPDATE t SET v = randomblob(100) WHERE id % 7 = 0");
    look();
    expect_header(1024);
    expect_index();
    end();
}
END_TEST

START_TEST(read_marks_and_backfill_are_where_sqlite_keeps_them) {
    make(4096);
    grow_to(30);
    uint32_t first = header.frame_count;
    sqlite3 *reader = open_db();
    run(reader, "BEGIN; SELECT count(*) FROM t");
    grow_to(first + 30);
    bool marked = false;
    for (int i = 1; i < WALINDEX_READERS; i++) marked |= walindex_read_mark(shm, i) == first;
    ck_assert(marked);
    ck_assert_uint_eq(walindex_read_mark(shm, 0), 0);
    ck_assert_uint_eq(walindex_backfilled(shm), 0);
    int log_size, copied;
    sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &log_size, &copied);
    ck_assert_int_eq(log_size, header.frame_count);
    ck_assert_int_eq(copied, first);
    ck_assert_uint_eq(walindex_backfilled(shm), first);
    ck_assert_uint_eq(walindex_backfill_attempted(shm), first);
    run(reader, "COMMIT");
    sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &log_size, &copied);
    ck_assert_uint_eq(walindex_backfilled(shm), header.frame_count);
    sqlite3_close(reader);
    end();
}
END_TEST

/* The lock of another process on one byte of the -shm file: F_RDLCK, F_WRLCK or F_UNLCK. */
static int lock_seen(uint32_t at) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct flock lock = {F_WRLCK, SEEK_SET, (off_t)at, 1, 0};
        int fd = open(below(dir, "a.db-shm"), O_RDWR);
        _exit(fcntl(fd, F_GETLK, &lock) == 0 ? lock.l_type : 99);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return WEXITSTATUS(status);
}

START_TEST(locks_are_on_the_bytes_that_sqlite_locks) {
    make(4096);
    grow_to(10);
    ck_assert_int_eq(lock_seen(WALINDEX_LOCK_WRITE), F_UNLCK);
    run(db, "BEGIN IMMEDIATE");
    ck_assert_int_eq(lock_seen(WALINDEX_LOCK_WRITE), F_WRLCK);
    ck_assert_int_eq(lock_seen(WALINDEX_LOCK_CHECKPOINT), F_UNLCK);
    run(db, "COMMIT");
    ck_assert_int_eq(lock_seen(WALINDEX_LOCK_WRITE), F_UNLCK);
    run(db, "BEGIN; SELECT count(*) FROM t");
    int shared = 0;
    for (uint32_t i = 0; i < WALINDEX_READERS; i++) {
        bool here = lock_seen(WALINDEX_LOCK_READ + i) == F_RDLCK;
        if (here) ck_assert_uint_eq(walindex_read_mark(shm, (int)i), header.frame_count);
        shared += here;
    }
    ck_assert_int_eq(shared, 1);
    end();
}
END_TEST

static uint8_t copy[2 * WALINDEX_HEADER_SIZE];

static void checksum(uint8_t *h) {
    uint32_t s[2] = {0, 0}, w[10];
    memcpy(w, h, sizeof w);
    for (int i = 0; i < 10; i += 2) {
        s[0] += w[i] + s[1];
        s[1] += w[i + 1] + s[0];
    }
    memcpy(h + 40, s, sizeof s);
}

static void set_both(size_t at, const void *bytes, size_t n) {
    for (int i = 0; i < 2; i++) {
        memcpy(copy + i * WALINDEX_HEADER_SIZE + at, bytes, n);
        checksum(copy + i * WALINDEX_HEADER_SIZE);
    }
}

START_TEST(a_header_is_believed_only_whole) {
    struct walindex_header out, before;
    make(4096);
    grow_to(10);
    memset(&out, 0x5a, sizeof out);
    before = out;
    for (size_t i = 0; i < sizeof copy; i++) { /* between the copies, or killed there */
        memcpy(copy, (const void *)shm, sizeof copy);
        copy[i] ^= 0x10;
        ck_assert_msg(!walindex_header_read(copy, &out), "byte %zu", i);
    }
    for (size_t i = 0; i < WALINDEX_HEADER_SIZE; i++) { /* both copies, the checksum says no */
        memcpy(copy, (const void *)shm, sizeof copy);
        copy[i] ^= 0x10;
        copy[i + WALINDEX_HEADER_SIZE] ^= 0x10;
        ck_assert_msg(!walindex_header_read(copy, &out), "byte %zu", i);
    }
    memcpy(copy, (const void *)shm, sizeof copy);
    set_both(12, "\0", 1); /* not initialised */
    ck_assert(!walindex_header_read(copy, &out));
    memcpy(copy, (const void *)shm, sizeof copy);
    set_both(0, &(uint32_t){3007001}, 4); /* a version to come */
    ck_assert(!walindex_header_read(copy, &out));
    memset(copy, 0, sizeof copy);
    ck_assert(!walindex_header_read(copy, &out));
    ck_assert_mem_eq(&out, &before, sizeof out);
    memcpy(copy, (const void *)shm, sizeof copy);
    set_both(16, &(uint32_t){77}, 4);
    ck_assert(walindex_header_read(copy, &out));
    ck_assert_uint_eq(out.frame_count, 77);
    end();
}
END_TEST

START_TEST(an_index_of_noise_is_searched_inside_its_region_and_ends) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *area =
        mmap(NULL, WALINDEX_REGION_SIZE + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *inside = area + page;
    ck_assert_int_eq(mprotect(inside, WALINDEX_REGION_SIZE, PROT_READ | PROT_WRITE), 0);
    for (int fill = 0; fill < 3; fill++) {
        for (size_t i = 0; i < WALINDEX_REGION_SIZE; i++)
            inside[i] = fill == 0 ? 0xff : fill == 1 ? 1 : (uint8_t)(i * 7919 >> 3);
        for (uint32_t number = 0; number < 3; number++)
            for (uint32_t p = 1; p < 50; p++) {
                uint32_t got = walindex_find(inside, number, p * 97, UINT32_MAX);
                ck_assert(got == 0 || walindex_region_of(got) == number);
            }
    }
    munmap(area, WALINDEX_REGION_SIZE + 2 * page);
}
END_TEST

static const struct {
    uint32_t frame, region, base;
} places[] = {
    {1, 0, 0},       {4062, 0, 0},     {4063, 1, 4062},   {8158, 1, 4062},
    {8159, 2, 8158}, {12254, 2, 8158}, {12255, 3, 12254}, {UINT32_MAX, 1048576, 4294967262u},
};

START_TEST(a_frame_has_its_region) {
    ck_assert_uint_eq(walindex_region_of(places[_i].frame), places[_i].region);
    ck_assert_uint_eq(walindex_region_base(places[_i].region), places[_i].base);
}
END_TEST

static const struct {
    uint32_t frame, page_size;
    uint64_t offset;
} offsets[] = {
    {1, 4096, 32},
    {2, 4096, 4152},
    {3, 512, 1104},
    {65537, 65536, 32 + 65536ull * 65560},
    {UINT32_MAX, 65536, 32 + 4294967294ull * 65560},
};

START_TEST(a_frame_has_its_offset) {
    ck_assert_uint_eq(wal_frame_offset(offsets[_i].frame, offsets[_i].page_size),
                      offsets[_i].offset);
}
END_TEST

int main(void) {
    Suite *s = suite_create("wal");
    TCase *t = tcase_create("wal");
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    ADD_ROWS(t, the_index_says_what_the_log_says, logs);
    tcase_add_test(t, after_a_reset_only_the_new_log_is_found);
    tcase_add_test(t, a_rollback_leaves_no_trace);
    tcase_add_test(t, read_marks_and_backfill_are_where_sqlite_keeps_them);
    tcase_add_test(t, locks_are_on_the_bytes_that_sqlite_locks);
    tcase_add_test(t, a_header_is_believed_only_whole);
    tcase_add_test(t, an_index_of_noise_is_searched_inside_its_region_and_ends);
    ADD_ROWS(t, a_frame_has_its_region, places);
    ADD_ROWS(t, a_frame_has_its_offset, offsets);
    suite_add_tcase(s, t);
    return run_suite(s);
}
