/* Reads a file that is one object of JSON, member by member, in the memory of one member.
 *
 * A member's value is handed on as the bytes that it had; only where it ends is found out here.
 * Whether it is JSON is SQLite's to say, as of every value that is put; keys are decoded by
 * jansson.
 *
 *     struct json_in in;
 *     json_in_init(&in, "a.json", read, arg);
 *     while (is_ok(r = json_in_next(&in, &e)))  ... in.key, in.value
 *     r.code == RC_NOTFOUND: that was all of it
 *     json_in_deinit(&in);
 */
#ifndef STORE_KV_JSON_H
#define STORE_KV_JSON_H

#include "base/bytes.h"
#include "base/rc.h"

/* Up to n bytes; *got 0: there are no more. */
typedef rc json_read(void *arg, void *buf, size_t n, size_t *got, struct err *);

struct json_in {
    const char *name; /* for words; the caller's, and lives as long */
    json_read *read;
    void *arg;
    struct buf raw_key, value; /* as they are in the file */
    char *key;                 /* decoded; NULL before the first */
    uint64_t key_at, value_at; /* the byte in the file */
    bool begun;
    uint64_t chunk_at; /* the byte at which the chunk begins */
    size_t at, size;
    unsigned char chunk[65536];
};

void json_in_init(struct json_in *, const char *name, json_read *, void *arg);
void json_in_deinit(struct json_in *);
/* The next member. RC_NOTFOUND, without words: there was the last. RC_CORRUPT: this is no such
 * file; the words give the byte. */
MUST_USE rc json_in_next(struct json_in *, struct err *e);
uint64_t json_in_bytes(const struct json_in *); /* read so far */

/* A string in quotes, decoded: *out is the caller's. `nul`: \u0000 may be in it.
 * RC_CORRUPT: what is wrong, without its place. */
MUST_USE rc json_decode_string(const void *raw, size_t n, bool nul, char **out, size_t *bytes,
                               struct err *e);
/* The other way, with quotes. RC_CORRUPT: it is not UTF-8. To be freed. */
MUST_USE rc json_encode_string(const char *text, size_t n, char **out, struct err *e);

#endif
