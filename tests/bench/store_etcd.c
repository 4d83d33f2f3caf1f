/* etcd, spoken to by its own protocol: gRPC over HTTP/2, by libcurl, the messages by hand.
 *
 * A connection for each client, as etcd's own benchmark has them. Reads are linearizable, etcd's
 * default and its clients'. The messages: api/etcdserverpb/rpc.proto and mvccpb/kv.proto of etcd
 * 3.4; the frame and the trailers: PROTOCOL-HTTP2.md of gRPC. etcd has no secondary index, so find
 * is what people do there: a scan of the prefix, and the value looked at here.
 */
#include "store.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 100 /* operations in one transaction: etcd takes 128 */
#define LIMIT 100

struct bytes {
    uint8_t *at;
    size_t count, room;
};

static void add(struct bytes *b, const void *from, size_t n) {
    if (b->count + n > b->room) {
        b->room = 2 * (b->count + n);
        b->at = realloc(b->at, b->room);
        if (!b->at) die("etcd", "no memory");
    }
    memcpy(b->at + b->count, from, n);
    b->count += n;
}

/* ---- protobuf: varints, and fields that are one or have a length ---- */

static void add_varint(struct bytes *b, uint64_t n) {
    for (; n > 127; n >>= 7) add(b, &(uint8_t){(uint8_t)(n | 128)}, 1);
    add(b, &(uint8_t){(uint8_t)n}, 1);
}

static void add_number(struct bytes *b, unsigned field, uint64_t n) {
    add_varint(b, field << 3);
    add_varint(b, n);
}

static void add_field(struct bytes *b, unsigned field, const void *from, size_t n) {
    add_varint(b, field << 3 | 2);
    add_varint(b, n);
    add(b, from, n);
}

struct rest {
    const uint8_t *at, *end;
};

static uint64_t take_varint(struct rest *r) {
    uint64_t n = 0;
    for (unsigned shift = 0; r->at < r->end && shift < 64; shift += 7) {
        n |= (uint64_t)(*r->at & 127) << shift;
        if (!(*r->at++ & 128)) return n;
    }
    die("etcd", "a reply ends within a number");
}

/* The next field; its bytes if it has a length. False: there is none. */
static bool take_field(struct rest *r, unsigned *field, struct rest *inside) {
    if (r->at == r->end) return false;
    uint64_t tag = take_varint(r);
    *field = (unsigned)(tag >> 3);
    *inside = (struct rest){r->at, r->at};
    uint64_t n = take_varint(r);
    if ((tag & 7) == 0) return true;
    if ((tag & 7) != 2 || n > (uint64_t)(r->end - r->at)) die("etcd", "a reply that is not one");
    *inside = (struct rest){r->at, r->at + n};
    r->at += n;
    return true;
}

/* ---- gRPC ---- */

struct etcd {
    const char *endpoint;
    int64_t count;
    size_t bytes;
};

struct client {
    const struct etcd *etcd;
    CURL *curl;
    struct curl_slist *headers;
    struct bytes request, reply, part;
    int status; /* of gRPC; -1: none came */
};

static size_t on_body(char *from, size_t one, size_t n, void *arg) {
    add(&((struct client *)arg)->reply, from, one * n);
    return one * n;
}

static size_t on_header(char *from, size_t one, size_t n, void *arg) {
    static const char NAME[] = "grpc-status:";
    if (one * n > sizeof NAME && strncmp(from, NAME, sizeof NAME - 1) == 0)
        ((struct client *)arg)->status = (int)strtol(from + sizeof NAME - 1, NULL, 10);
    return one * n;
}

static void *open_client(void *arg) {
    struct client *c = calloc(1, sizeof *c);
    if (!c) die("etcd", "no memory");
    c->etcd = arg;
    c->curl = curl_easy_init();
    c->headers = curl_slist_append(NULL, "content-type: application/grpc");
    c->headers = curl_slist_append(c->headers, "te: trailers");
    curl_easy_setopt(c->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c->curl, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    /* What 7.88 has read and not yet given out it forgets for a second: let it be one piece. */
    curl_easy_setopt(c->curl, CURLOPT_BUFFERSIZE, (long)CURL_MAX_READ_SIZE);
    curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
    return c;
}

static void close_client(void *client) {
    struct client *c = client;
    curl_easy_cleanup(c->curl);
    curl_slist_free_all(c->headers);
    free(c->request.at), free(c->reply.at), free(c->part.at);
    free(c);
}

/* A request begins with five bytes: not compressed, and its length, big-endian. */
static void begin(struct client *c) {
    c->request.count = 0;
    add(&c->request, (uint8_t[5]){0}, 5);
}

static struct rest call(struct client *c, const char *method) {
    char url[256];
    uint32_t n = (uint32_t)c->request.count - 5;
    for (int i = 0; i < 4; i++) c->request.at[1 + i] = (uint8_t)(n >> (24 - 8 * i));
    snprintf(url, sizeof url, "%s/etcdserverpb.KV/%s", c->etcd->endpoint, method);
    c->reply.count = 0, c->status = -1;
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, c->request.at);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE, (long)c->request.count);
    CURLcode code = curl_easy_perform(c->curl);
    if (code != CURLE_OK) die(url, curl_easy_strerror(code));
    /* curl issue 10634: 7.88 begins HTTP/2 within HTTP/2 if it is told so on a connection again. */
    curl_easy_setopt(c->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_0);
    if (c->status != 0 || c->reply.count < 5 || c->reply.at[0] != 0) die(url, "not grpc-status 0");
    return (struct rest){c->reply.at + 5, c->reply.at + c->reply.count};
}

/* ---- the operations ---- */

static void add_put(struct bytes *b, const struct etcd *e, int64_t i, uint64_t *state) {
    char key[KEY_BYTES], value[4096];
    key_of(key, i, e->count);
    add_field(b, 1, key, strlen(key));
    add_field(b, 2, value, value_of(value, e->bytes, i, state));
}

static void put(void *client, uint64_t *state) {
    struct client *c = client;
    begin(c);
    add_put(&c->request, c->etcd, random_record(state, c->etcd->count), state);
    call(c, "Put");
}

static void add_range(struct bytes *b, const char *key, const char *end, uint64_t limit) {
    add_field(b, 1, key, strlen(key));
    if (end) add_field(b, 2, end, strlen(end));
    if (limit) add_number(b, 3, limit);
}

/* How many values there are, and in how many of them `wanted` is. */
static int64_t count_values(struct rest reply, const char *wanted, int64_t *with) {
    struct rest pair, value;
    int64_t count = 0;
    for (unsigned field; take_field(&reply, &field, &pair);) {
        if (field != 2) continue; /* kvs */
        for (unsigned of_pair; take_field(&pair, &of_pair, &value);)
            if (of_pair == 5 && wanted) /* value */
                *with += memmem(value.at, (size_t)(value.end - value.at), wanted, strlen(wanted)) !=
                         NULL;
        count++;
    }
    return count;
}

static void get(void *client, uint64_t *state) {
    struct client *c = client;
    char key[KEY_BYTES];
    key_of(key, random_record(state, c->etcd->count), c->etcd->count);
    begin(c);
    add_range(&c->request, key, NULL, 0);
    if (count_values(call(c, "Range"), NULL, NULL) != 1) die(key, "etcd does not have it");
}

static void scan(void *client, uint64_t *state) {
    struct client *c = client;
    char key[KEY_BYTES];
    key_of(key, random_indexed(state, c->etcd->count, LIMIT), c->etcd->count);
    begin(c);
    add_range(&c->request, key, "p30", LIMIT); /* '0' is next to '/' */
    if (count_values(call(c, "Range"), NULL, NULL) != LIMIT) die(key, "a scan found too few");
}

static void find(void *client, uint64_t *state) {
    struct client *c = client;
    char user[USER_BYTES], wanted[64];
    int64_t with = 0;
    user_of(user, random_indexed(state, c->etcd->count, 0));
    snprintf(wanted, sizeof wanted, "\"id\":\"%s\"", user);
    begin(c);
    add_range(&c->request, RECORDS, "p30", 0);
    count_values(call(c, "Range"), wanted, &with);
    if (with != 1) die(user, "a find in etcd found not one");
}

static const struct op {
    const char *name;
    void (*once)(void *, uint64_t *);
} ops[] = {{"get", get}, {"put", put}, {"scan", scan}, {"find", find}};

void run_etcd(char **argv) {
    struct etcd e = {
        .endpoint = argv[0], .count = number_of(argv[4]), .bytes = (size_t)number_of(argv[5])};
    if (e.bytes > 4000) die(argv[5], "values of at most 4000 bytes are put");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(argv[1], ops[i].name) == 0)
            run_load(&(struct load){.open = open_client,
                                    .once = ops[i].once,
                                    .close = close_client,
                                    .arg = &e,
                                    .seconds = strtod(argv[3], NULL)},
                     (int)number_of(argv[2]));
    curl_global_cleanup();
}

/* ---- filling it ---- */

static void put_batch(struct client *c, int64_t from, int64_t to, uint64_t *state) {
    struct bytes put = {0};
    begin(c);
    for (int64_t i = from; i < to; i++) {
        put.count = c->part.count = 0;
        add_put(&put, c->etcd, i, state);
        add_field(&c->part, 2, put.at, put.count);            /* RequestOp.request_put */
        add_field(&c->request, 2, c->part.at, c->part.count); /* TxnRequest.success */
    }
    call(c, "Txn");
    free(put.at);
}

void run_etcd_fill(char **argv) {
    struct etcd e = {
        .endpoint = argv[0], .count = number_of(argv[1]), .bytes = (size_t)number_of(argv[2])};
    uint64_t state = seed_of(0);
    if (e.bytes > 4000) die(argv[2], "values of at most 4000 bytes are put");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    struct client *c = open_client(&e);
    int64_t start = now_ns();
    for (int64_t i = 0; i < e.count; i += BATCH)
        put_batch(c, i, i + BATCH < e.count ? i + BATCH : e.count, &state);
    printf("keys=%lld seconds=%.1f\n", (long long)e.count, (double)(now_ns() - start) / 1e9);
    close_client(c);
    curl_global_cleanup();
}
