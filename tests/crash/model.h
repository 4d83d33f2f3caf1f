/* What the application of these tests commits, as a pure function of the number of the commit.
 *
 * Commit n sets `last` to n and rewrites the few rows that model_row names, so a database can be
 * judged by itself: it says which commit is its last, and every row and byte follows from that.
 */
#ifndef TESTS_CRASH_MODEL_H
#define TESTS_CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MODEL_ROWS 48
#define MODEL_ROWS_PER_COMMIT 3
#define MODEL_DATA_MAX 9000

#define MODEL_SCHEMA                                                                               \
    "CREATE TABLE IF NOT EXISTS row(id INTEGER PRIMARY KEY, commit_number INTEGER, data BLOB);"    \
    "CREATE INDEX IF NOT EXISTS row_commit ON row(commit_number, id);"                             \
    "CREATE TABLE IF NOT EXISTS last(one INTEGER PRIMARY KEY, n INTEGER);"                         \
    "INSERT OR IGNORE INTO last VALUES (1, 0);"
#define MODEL_PUT "INSERT OR REPLACE INTO row VALUES (?, ?, ?)"
#define MODEL_DELETE "DELETE FROM row WHERE id = ?"
#define MODEL_LAST "UPDATE last SET n = ? WHERE one = 1"

static inline uint64_t model_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static inline int64_t model_row(uint64_t n, int k) {
    return (int64_t)(1 + model_mix(n * MODEL_ROWS_PER_COMMIT + (uint64_t)k) % MODEL_ROWS);
}

static inline bool model_deletes(uint64_t n, int k) {
    return k == 0 && model_mix(n ^ 0xde1e7e) % 6 == 0;
}

/* What row `id` holds since commit n. Returns the size. */
static inline size_t model_data(uint64_t n, int64_t id, uint8_t out[MODEL_DATA_MAX]) {
    uint64_t at = n << 8 ^ (uint64_t)id, kind = model_mix(at);
    size_t size = kind % 16 == 0 ? kind >> 8 & 8191 : kind >> 8 & 511;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = model_mix(at + (i << 32));
        memcpy(out + i, &word, size - i < 8 ? size - i : 8);
    }
    return size;
}

#endif
