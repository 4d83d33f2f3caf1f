/* What Litestream 0.3 left: every state that can be asked for comes back as it was, or nothing
 * does. The replicas here are made by the writer below; those of the real program are in
 * tests/e2e and tests/interop. */
#include "history.h"

#include "format/v03.h"
#include "stores/stores.h"

#include <lz4frame.h>

#define PAGE 512u
#define PAGES_MOST 40u
#define GENERATION "0123456789abcdef"

static struct env *env;
static struct store *store;
static char dir[TEMP_PATH];

/* ---- a writer ---- */

static struct {
    const char *generation;
    uint32_t page_size, index, page_count, salt, sum[2];
    uint64_t size, sent, random;
    bool big_endian;
    int64_t now_ms;
    uint8_t pages[PAGES_MOST * PAGE];
    struct buf log; /* of the index, all of it */
} w;

/* The states that were sent: when, and what they were. */
static struct state {
    int64_t time_ms;
    uint32_t page_count;
    uint8_t pages[PAGES_MOST * PAGE];
} states[256];
static int state_count;

static uint32_t random_below(uint32_t n) {
    w.random = w.random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w.random >> 33) % n;
}

static void put_bytes(const char *key, const void *bytes, size_t n) {
    OK(store->ops->put(store, key, bytes, n, w.now_ms, e));
}

static size_t compress(const void *bytes, size_t n, uint8_t *out, size_t room) {
    LZ4F_preferences_t p = {.frameInfo = {.contentChecksumFlag = LZ4F_contentChecksumEnabled,
                                          .blockSizeID = LZ4F_max4MB,
                                          .blockMode = LZ4F_blockIndependent}};
    size_t size = LZ4F_compressFrame(out, room, bytes, n, &p);
    ck_assert(!LZ4F_isError(size));
    return size;
}

static void put_compressed(const char *key, const void *bytes, size_t n) {
    static uint8_t out[256u << 10];
    put_bytes(key, out, compress(bytes, n, out, sizeof out));
}

static void remember(void) {
    struct state *s = &states[state_count++];
    ck_assert_int_le(state_count, 256);
    s->time_ms = w.now_ms;
    s->page_count = w.page_count;
    memcpy(s->pages, w.pages, sizeof s->pages);
}

static void touch(uint32_t pgno) {
    uint8_t *page = w.pages + (size_t)(pgno - 1) * PAGE;
    for (uint32_t i = 0; i < PAGE; i++) page[i] = (uint8_t)random_below(i < 64 ? 256 : 2);
    if (pgno == 1) memcpy(page, "SQLite format 3\0\2\0", 18); /* pages of 512 bytes */
}

static void begin_log(uint32_t index) {
    uint8_t h[WAL_HEADER_SIZE];
    uint32_t sum[2] = {0};
    w.index = index;
    w.salt = random_below(UINT32_MAX);
    w.sent = 0;
    buf_clear(&w.log);
    put_u32be(h, 0x377f0682 + w.big_endian);
    put_u32be(h + 4, 3007000);
    put_u32be(h + 8, w.page_size);
    put_u32be(h + 12, index);
    put_u32be(h + 16, w.salt);
    put_u32be(h + 20, ~w.salt);
    wal_checksum(w.big_endian, h, 24, sum);
    put_u32be(h + 24, sum[0]);
    put_u32be(h + 28, sum[1]);
    memcpy(w.sum, sum, sizeof sum);
    buf_put(&w.log, h, sizeof h);
}

static void frame(uint32_t pgno, uint32_t commit) {
    uint8_t h[WAL_FRAME_HEADER_SIZE];
    const uint8_t *page = w.pages + (size_t)(pgno <= PAGES_MOST ? pgno - 1 : 0) * PAGE;
    put_u32be(h, pgno);
    put_u32be(h + 4, commit);
    put_u32be(h + 8, w.salt);
    put_u32be(h + 12, ~w.salt);
    wal_checksum(w.big_endian, h, 8, w.sum);
    wal_checksum(w.big_endian, page, PAGE, w.sum);
    put_u32be(h + 16, w.sum[0]);
    put_u32be(h + 20, w.sum[1]);
    buf_put(&w.log, h, sizeof h);
    buf_put(&w.log, page, PAGE);
}

/* Some pages change, the database may grow or shrink. */
static void commit(void) {
    uint32_t before = w.page_count;
    if (random_below(3) == 0) w.page_count = 1 + random_below(PAGES_MOST);
    for (uint32_t p = before + 1; p < w.page_count; p++) {
        touch(p);
        frame(p, 0);
    }
    for (uint32_t n = random_below(4); n; n--) {
        uint32_t p = 1 + random_below(w.page_count);
        touch(p);
        frame(p, 0);
    }
    if (w.page_count > before) touch(w.page_count);
    touch(1);
    if (w.page_count > before) frame(w.page_count, 0);
    frame(1, w.page_count);
    memset(w.pages + w.page_count * PAGE, 0, (PAGES_MOST - w.page_count) * PAGE);
}

static void send(void) {
    char key[KEY_SIZE];
    w.now_ms += 1000;
    v03_key(w.generation, true, w.index, w.sent, key);
    put_compressed(key, w.log.bytes + w.sent, w.log.size - w.sent);
    w.sent = w.log.size;
    remember();
}

static void snapshot(void) {
    char key[KEY_SIZE];
    w.now_ms += 1000;
    v03_key(w.generation, false, w.index, 0, key);
    put_compressed(key, w.pages, w.page_count * PAGE);
    remember();
}

static void begin(uint64_t seed) {
    w.random = seed * 2654435761u + 1;
    w.generation = GENERATION;
    w.page_size = PAGE;
    w.page_count = 3;
    for (uint32_t p = 1; p <= 3; p++) touch(p);
    begin_log(0);
    snapshot();
}

/* Three logs: 0 of two segments, 1 of three, 2 of one; a snapshot before the first. */
static void three_logs(void) {
    static const int segments[] = {2, 3, 1};
    begin(7);
    for (uint32_t i = 0; i < 3; i++) {
        if (i) begin_log(i);
        for (int n = 0; n < segments[i]; n++) {
            commit();
            commit();
            send();
        }
    }
}

static void setup(void) {
    struct err err;
    ck_assert_int_eq(env_new_system(1, &env, &err).code, RC_OK);
    env = without_sync(env);
    ck_assert_int_eq(store_new_mem(env, &store, &err).code, RC_OK);
    temp_dir(dir);
    memset(&w, 0, sizeof w);
    buf_init(&w.log, 64u << 20);
    w.now_ms = T0;
    state_count = 0;
}

static void teardown(void) {
    buf_deinit(&w.log);
    store_free(store);
}

/* ---- what is expected ---- */

static rc restore(int64_t time_ms, struct restore_result *result, struct err *e) {
    struct restore_options o = {.target.time_ms = time_ms, .parallel = 1 + (int)(time_ms % 5)};
    return replica_restore(store, below(dir, "out"), &o, result, e);
}

static void expect_state(int64_t time_ms, const struct state *s) {
    struct restore_result result = {0};
    size_t size;
    OK(restore(time_ms, &result, e));
    uint8_t *bytes = slurp(env, below(dir, "out"), &size);
    ck_assert_uint_eq(size, s->page_count * PAGE);
    ck_assert_msg(memcmp(bytes, s->pages, size) == 0, "the state of %lld differs",
                  (long long)s->time_ms);
    ck_assert_str_eq(result.generation, w.generation);
    ck_assert_uint_eq(result.txid, 0);
    ck_assert_uint_eq(result.page_count, s->page_count);
    free(bytes);
    ck_assert_int_eq(unlink(below(dir, "out")), 0);
}

static void expect_failure(int64_t time_ms, enum rc_code code, const char *words) {
    struct restore_result result;
    CODE(restore(time_ms, &result, e), code);
    says(words);
    ck_assert_int_eq(entries_of(env, dir), 0);
}

START_TEST(every_state_that_was_sent_comes_back) {
    uint32_t snapshot_of = 0;
    w.big_endian = _i % 2;
    begin((uint64_t)_i + 1);
    for (int i = 0; i < 40; i++) {
        uint32_t what = random_below(8);
        if (what == 0 && w.sent == w.log.size) begin_log(w.index + 1);
        else if (what == 1 && w.sent == w.log.size && w.index > snapshot_of) {
            snapshot();
            snapshot_of = w.index;
        }
        for (uint32_t n = random_below(4); n; n--) commit();
        if (w.sent < w.log.size) send();
    }
    for (int i = 0; i < state_count; i++) {
        expect_state(states[i].time_ms, &states[i]);
        expect_state(states[i].time_ms + 999, &states[i]);
    }
    expect_state(0, &states[state_count - 1]);
    expect_state(states[state_count - 1].time_ms + 3600000, &states[state_count - 1]);
    expect_failure(T0 + 999, RC_NOTFOUND, "no backup for that time: the first is of");
}
END_TEST

START_TEST(what_was_sent_without_its_commit_is_left_out) {
    three_logs();
    touch(2);
    frame(2, 0);
    send();
    expect_state(0, &states[state_count - 2]);
    touch(2);
    frame(2, w.page_count);
    send();
    expect_state(0, &states[state_count - 1]);
    expect_state(states[state_count - 2].time_ms, &states[state_count - 3]);
    touch(2);
    frame(2, 0);
    send();
    begin_log(3);
    commit();
    send();
    expect_failure(0, RC_CORRUPT, "00000003_00000000.wal.lz4: the log before it ends within a tr");
}
END_TEST

/* ---- hostile replicas ---- */

static void key_of(bool segment, uint32_t index, uint64_t offset, char key[KEY_SIZE]) {
    v03_key(GENERATION, segment, index, offset, key);
}

/* The place of a segment: its number in the log. */
static uint64_t offset_of(uint32_t index, int number) {
    struct {
        uint64_t at[8];
        int count;
    } found = {.count = 0};
    char key[KEY_SIZE];
    for (uint64_t at = 0; at < 200000 && found.count <= number; at++) {
        struct object_info info;
        struct err ignored;
        key_of(true, index, at, key);
        if (is_ok(store->ops->stat(store, key, &info, &ignored))) found.at[found.count++] = at;
    }
    ck_assert_int_gt(found.count, number);
    return found.at[number];
}

static size_t take(const char *key, uint8_t *bytes, size_t room) {
    struct object_info info;
    OK(store->ops->stat(store, key, &info, e));
    ck_assert_uint_lt(info.size_bytes, room);
    OK(store->ops->get(store, key, 0, bytes, info.size_bytes, e));
    OK(store->ops->remove(store, key, e));
    return info.size_bytes;
}

enum harm {
    REMOVE,
    CUT,         /* to half */
    CUT_ONE,     /* byte */
    APPEND,      /* a byte */
    FLIP,        /* a bit in the middle */
    EMPTY,       /* no bytes */
    NO_CONTENT,  /* an LZ4 frame of nothing */
    AGE,         /* encrypted */
    NOISE,       /* not LZ4 */
    OTHER_SALTS, /* a frame of another log; its checksums right for that */
    ONE_LESS,    /* content: a byte is missing at its end */
    ONE_MORE,    /* a byte too many */
    WRONG_SUM,   /* content: a bit differs, the LZ4 checksum is right */
    NO_HEADER,   /* content: a snapshot's, or of the log's */
};

static size_t decompress(const uint8_t *bytes, size_t n, uint8_t *out, size_t room) {
    LZ4F_dctx *d;
    size_t in = n, size = room;
    ck_assert(!LZ4F_isError(LZ4F_createDecompressionContext(&d, LZ4F_VERSION)));
    ck_assert_uint_eq(LZ4F_decompress(d, out, &size, bytes, &in, NULL), 0);
    LZ4F_freeDecompressionContext(d);
    return size;
}

static void do_harm(const char *key, enum harm harm) {
    static uint8_t bytes[256u << 10], content[256u << 10];
    size_t n = take(key, bytes, sizeof bytes);
    size_t size = decompress(bytes, n, content, sizeof content);
    switch (harm) {
    case REMOVE: return;
    case CUT: put_bytes(key, bytes, n / 2); return;
    case CUT_ONE: put_bytes(key, bytes, n - 1); return;
    case APPEND: put_bytes(key, bytes, n + 1); return;
    case FLIP:
        bytes[n / 2] ^= 16;
        put_bytes(key, bytes, n);
        return;
    case EMPTY: put_bytes(key, "", 0); return;
    case NO_CONTENT: put_compressed(key, "", 0); return;
    case AGE: put_bytes(key, "age-encryption.org/v1\n-> X25519 ", 32); return;
    case NOISE: put_bytes(key, "abcdefghijklmnopqrstuvwxyz", 26); return;
    case OTHER_SALTS: content[size - PAGE - 8 - 1] ^= 1; break;
    case ONE_LESS: size--; break;
    case ONE_MORE: content[size++] = 0; break;
    case WRONG_SUM: content[size - 1] ^= 1; break;
    case NO_HEADER: memset(content, 0, 32); break;
    }
    put_compressed(key, content, size);
}

static const struct {
    enum harm harm;
    bool segment;
    uint32_t index;
    int number;
    const char *blamed, *words;
} harms[] = {
    {REMOVE, true, 1, 1, NULL, "the log before it ends at byte"},
    {REMOVE, true, 1, 0, NULL, "what goes before it is missing"},
    {REMOVE, true, 0, 0, NULL, "what goes before it is missing"},
    {REMOVE, false, 0, 0, "generations/" GENERATION, "it has no snapshot"},
    {CUT, true, 1, 1, "", "cut off"},
    {CUT, false, 0, 0, "", "cut off"},
    {CUT_ONE, true, 1, 2, "", "cut off"},
    {CUT_ONE, true, 2, 0, "", "cut off"},
    {CUT_ONE, false, 0, 0, "", "cut off"},
    {APPEND, true, 0, 1, "", "bytes after the end"},
    {APPEND, false, 0, 0, "", "bytes after the end"},
    {FLIP, true, 0, 1, "", NULL},
    {FLIP, true, 2, 0, "", NULL},
    {FLIP, false, 0, 0, "", "not LZ4, or damaged"},
    {EMPTY, true, 0, 0, "", "cut off"},
    {EMPTY, true, 2, 0, "", "cut off"},
    {EMPTY, false, 0, 0, "", "cut off"},
    {NO_CONTENT, true, 0, 0, "", "ends within a frame"},
    {NO_CONTENT, true, 1, 2, "", "ends within a frame"},
    {NO_CONTENT, false, 0, 0, "", "not a database"},
    {AGE, true, 2, 0, "", "encrypted with age"},
    {AGE, false, 0, 0, "", "encrypted with age"},
    {NOISE, true, 1, 1, "", "not LZ4"},
    {NOISE, false, 0, 0, "", "not LZ4"},
    {OTHER_SALTS, true, 1, 1, "", "another log's salts"},
    {ONE_LESS, true, 1, 1, "", "ends within a frame"},
    {ONE_LESS, true, 2, 0, "", "ends within a frame"},
    {ONE_LESS, false, 0, 0, "", "bytes in pages of 512"},
    {ONE_MORE, true, 0, 1, "", "ends within a frame"},
    {ONE_MORE, false, 0, 0, "", "bytes in pages of 512"},
    {WRONG_SUM, true, 1, 1, "", "wrong checksum"},
    {WRONG_SUM, true, 2, 0, "", "wrong checksum"},
    {NO_HEADER, true, 1, 0, "", "does not begin with the header of a log"},
    {NO_HEADER, false, 0, 0, "", "bytes in pages of 0"},
};

START_TEST(what_is_damaged_is_named_and_nothing_comes_back) {
    char key[KEY_SIZE];
    three_logs();
    key_of(harms[_i].segment, harms[_i].index,
           harms[_i].segment ? offset_of(harms[_i].index, harms[_i].number) : 0, key);
    do_harm(key, harms[_i].harm);
    expect_failure(0, RC_CORRUPT, harms[_i].words ? harms[_i].words : key);
    if (harms[_i].blamed) says(*harms[_i].blamed ? harms[_i].blamed : key);
}
END_TEST

START_TEST(a_log_of_another_page_size_is_refused) {
    begin(3);
    w.page_size = 1024; /* two of our frames look like one */
    begin_log(0);
    uint8_t h[WAL_FRAME_HEADER_SIZE], page[1024] = {0};
    put_u32be(h, 1);
    put_u32be(h + 4, 1);
    put_u32be(h + 8, w.salt);
    put_u32be(h + 12, ~w.salt);
    wal_checksum(false, h, 8, w.sum);
    wal_checksum(false, page, sizeof page, w.sum);
    put_u32be(h + 16, w.sum[0]);
    put_u32be(h + 20, w.sum[1]);
    buf_put(&w.log, h, sizeof h);
    buf_put(&w.log, page, sizeof page);
    send();
    expect_failure(0, RC_CORRUPT, "pages of 1024 bytes, where the snapshot has 512");
}
END_TEST

START_TEST(a_size_beyond_all_disks_is_not_believed) {
    three_logs();
    frame(1, 0xfffffff0);
    send();
    expect_failure(0, RC_FULL, "");
    frame(0xfffffffe, 0);
    frame(1, w.page_count);
    send();
    expect_failure(0, RC_FULL, "");
}
END_TEST

static const struct {
    const char *key;
    const char *words; /* NULL: it does not matter */
} strangers[] = {
    {"generations/" GENERATION "/wal/00000002_0000000001.wal.lz4", "0000000001.wal.lz4"},
    {"generations/" GENERATION "/wal/00000002_1038.wal.lz4", "'00000002_1038.wal.lz4'"},
    {"generations/" GENERATION "/wal/00000002_0000ABCD.wal.lz4", "0000ABCD"},
    {"generations/" GENERATION "/wal/00000009.wal.lz4", "00000009.wal"},
    {"generations/" GENERATION "/snapshots/0000000x.snapshot.lz4", "0000000x.snapshot"},
    {"generations/" GENERATION "/snapshots/100000000.snapshot.lz4", "100000000.snapshot"},
    {"generations/" GENERATION "/wal/00000002_123456789.wal.lz4", "the log before it ends at"},
    {"generations/" GENERATION "/wal/notes.txt", NULL},
    {"generations/" GENERATION "/wal/00000003_00000000.wal.lz4.tmp", NULL},
    {"generations/" GENERATION "/notes.lz4", NULL},
    {"generations/notes", NULL},
    {"generations/0123456789ABCDEF/wal/00000000_00000000.wal.lz4", NULL},
    {"generations/0123456789abcdef0/wal/00000000_00000000.wal.lz4", NULL},
};

START_TEST(strangers_are_left_out_unless_they_may_be_ours) {
    three_logs();
    put_bytes(strangers[_i].key, "x", 1);
    if (strangers[_i].words) expect_failure(0, RC_CORRUPT, strangers[_i].words);
    else expect_state(0, &states[state_count - 1]);
}
END_TEST

/* ---- which snapshot, which generation, which format ---- */

/* The snapshot holds a commit that reached the store only later. */
START_TEST(a_snapshot_ahead_of_its_log_is_not_replayed_backwards) {
    begin(5);
    for (int i = 0; i < 3; i++) {
        if (i == 2) begin_log(1);
        commit();
        send();
    }
    commit();
    touch(1);
    frame(1, w.page_count);
    snapshot();
    int before = state_count - 2;
    send();
    expect_state(states[before].time_ms + 1500, &states[before]);
    expect_state(states[state_count - 1].time_ms, &states[state_count - 1]);
    expect_state(0, &states[state_count - 1]);
}
END_TEST

static void generation(const char *name, int64_t at_ms, int commits) {
    w.generation = name;
    w.now_ms = at_ms;
    begin_log(0);
    snapshot();
    for (int i = 0; i < commits; i++) {
        commit();
        send();
    }
}

START_TEST(the_generation_written_to_last_is_taken) {
    begin(9);
    generation("ffffffffffffffff", T0 + 10000, 3);
    generation("00000000000000aa", T0 + 20000, 3);
    expect_state(0, &states[state_count - 1]);
    expect_state(T0 + 22500, &states[state_count - 3]);
    w.generation = "ffffffffffffffff";
    expect_state(T0 + 14000, &states[state_count - 5]);
    expect_state(T0 + 19000, &states[state_count - 5]); /* between two: as the first left it */
}
END_TEST

static const struct {
    int64_t v03_ms, ltx_ms, time_ms; /* when each begins; each has two objects, a second apart */
    bool v03;
} choices[] = {
    {T0 + 5000, T0 + 1000, 0, true},           {T0 + 1000, T0 + 5000, 0, false},
    {T0 + 1000, T0 + 5000, T0 + 4000, true},   {T0 + 1000, T0 + 5000, T0 + 9000, false},
    {T0 + 5000, T0 + 1000, T0 + 4000, false},  {T0 + 5000, T0 + 1000, T0 + 9000, true},
    {T0 + 50000, T0 + 1000, T0 + 9000, false}, {T0 + 1000, T0 + 2000, 0, false},
};

static void put_ltx(const struct history *h, uint64_t txid, int64_t time_ms) {
    struct buf out;
    struct ltx_writer writer;
    uint64_t checksum, size;
    char key[KEY_SIZE];
    const struct moment *m = &h->at[txid];
    struct ltx_header header = {.page_size = h->page_size,
                                .commit = m->page_count,
                                .min_txid = txid,
                                .max_txid = txid,
                                .timestamp_ms = time_ms};
    buf_init(&out, 1u << 20);
    OK(ltx_writer_init(&writer, &header, LTX_BLOCKS, history_sink, &out, e));
    for (uint32_t p = 1; p <= m->page_count; p++)
        if (txid == 1 || m->touched[p])
            OK(ltx_writer_page(&writer, p, m->bytes + (size_t)(p - 1) * h->page_size, e));
    OK(ltx_writer_finish(&writer, &checksum, &size, e));
    ltx_writer_deinit(&writer);
    key_of_file(false, 0, txid, txid, key);
    OK(store->ops->put(store, key, out.bytes, out.size, time_ms, e));
    buf_deinit(&out);
}

START_TEST(of_two_formats_the_one_written_to_last_by_then_is_taken) {
    struct history h;
    struct restore_result result = {0};
    w.random = 1;
    w.page_size = PAGE;
    w.page_count = 1;
    touch(1);
    generation(GENERATION, choices[_i].v03_ms - 1000, 1);
    history_make(&h, 512, 2, 4);
    for (uint64_t i = 1; i <= 2; i++) put_ltx(&h, i, choices[_i].ltx_ms + ((int64_t)i - 1) * 1000);
    OK(restore(choices[_i].time_ms, &result, e));
    ck_assert_str_eq(result.generation, choices[_i].v03 ? GENERATION : "");
    if (!choices[_i].v03) ck_assert_uint_eq(result.txid, 2);
    history_deinit(&h);
}
END_TEST

/* ---- faults ---- */

static atomic_int call, fail_at;
static enum fault fault;

static enum fault decide(void *arg, const char *op, const char *key) {
    (void)arg, (void)op, (void)key;
    return atomic_fetch_add(&call, 1) + 1 == atomic_load(&fail_at) ? fault : FAULT_NONE;
}

START_TEST(every_operation_of_the_store_may_fail) {
    struct store *faulty;
    int before = entries_of(env, "/proc/self/fd");
    fault = (enum fault)(FAULT_FAIL + _i);
    three_logs();
    OK(store_new_fault(store, decide, NULL, &faulty, e));
    store = faulty;
    for (int n = 1;; n++) {
        struct restore_result result;
        struct err why;
        atomic_store(&call, 0);
        atomic_store(&fail_at, n);
        rc r = restore(n % 2 ? 0 : w.now_ms, &result, &why);
        ck_assert_int_eq(entries_of(env, "/proc/self/fd"), before);
        if (atomic_load(&call) < n) {
            ck_assert_msg(is_ok(r), "%s", why.text);
            ck_assert_int_gt(n, 10 + 3 + 7);
            return;
        }
        ck_assert_int_eq(r.code, fault == FAULT_LOSE_REPLY ? RC_TIMEOUT : RC_RETRY);
        ck_assert_int_eq(entries_of(env, dir), 0);
    }
}
END_TEST

START_TEST(what_is_in_the_way_is_refused_and_a_stop_leaves_nothing) {
    struct restore_result result;
    struct progress progress = {.cancel = true};
    struct restore_options o = {.progress = &progress};
    three_logs();
    CODE(replica_restore(store, below(dir, "out"), &o, &result, e), RC_CANCELLED);
    ck_assert_int_eq(entries_of(env, dir), 0);
    fclose(fopen(below(dir, "out-wal"), "w"));
    CODE(restore(0, &result, e), RC_CONFLICT);
    says("out-wal is left over");
    ck_assert_int_eq(entries_of(env, dir), 1);
}
END_TEST

int main(void) {
    Suite *s = suite_create("v03");
    TCase *t = tcase_create("v03");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, every_state_that_was_sent_comes_back, 0, 12);
    tcase_add_test(t, what_was_sent_without_its_commit_is_left_out);
    tcase_add_loop_test(t, what_is_damaged_is_named_and_nothing_comes_back, 0,
                        sizeof harms / sizeof *harms);
    tcase_add_test(t, a_log_of_another_page_size_is_refused);
    tcase_add_test(t, a_size_beyond_all_disks_is_not_believed);
    tcase_add_loop_test(t, strangers_are_left_out_unless_they_may_be_ours, 0,
                        sizeof strangers / sizeof *strangers);
    tcase_add_test(t, a_snapshot_ahead_of_its_log_is_not_replayed_backwards);
    tcase_add_test(t, the_generation_written_to_last_is_taken);
    tcase_add_loop_test(t, of_two_formats_the_one_written_to_last_by_then_is_taken, 0,
                        sizeof choices / sizeof *choices);
    tcase_add_loop_test(t, every_operation_of_the_store_may_fail, 0, 3);
    tcase_add_test(t, what_is_in_the_way_is_refused_and_a_stop_leaves_nothing);
    suite_add_tcase(s, t);
    return run_suite(s);
}
