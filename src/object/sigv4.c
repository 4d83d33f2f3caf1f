/* Signature Version 4: see the header. The names are those of its description.
 *
 * Why our own: the signer of libcurl 7.88 (Debian 12's) signs a query as it stands, and an unsorted
 * or unusually escaped one, or one with a bare name, is then refused.
 */
#include "object/sigv4.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HASH_SIZE 32
#define CANONICAL_MAX 65536

void sigv4_time(int64_t unix_ms, char out[SIGV4_TIME_SIZE]) {
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm = {0};
    gmtime_r(&seconds, &tm);
    if (strftime(out, SIGV4_TIME_SIZE, "%Y%m%dT%H%M%SZ", &tm) == 0) out[0] = 0;
}

void hex_of(const uint8_t *bytes, size_t n, char *out) {
    for (size_t i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

bool sha256_hex(const void *bytes, size_t n, char out[SHA256_HEX_SIZE]) {
    uint8_t hash[HASH_SIZE];
    if (EVP_Digest(bytes, n, hash, NULL, EVP_sha256(), NULL) != 1) return false;
    hex_of(hash, sizeof hash, out);
    return true;
}

void sigv4_escape(struct buf *out, const char *text, bool keep_slash) {
    for (; *text; text++) {
        char c = *text, escaped[4];
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     strchr("-._~", c) || (c == '/' && keep_slash);
        if (plain) buf_put(out, &c, 1);
        else buf_put(out, escaped, (size_t)snprintf(escaped, sizeof escaped, "%%%02X", (uint8_t)c));
    }
}

static void signed_headers(const struct sigv4_request *q, struct buf *out) {
    for (int i = 0; i < q->header_count; i++) {
        if (i) buf_text(out, ";");
        buf_text(out, q->headers[i].name);
    }
}

static void canonical_request(const struct sigv4_request *q, struct buf *out) {
    const char *parts[] = {q->method, q->path, q->query};
    for (size_t i = 0; i < 3; i++) {
        buf_text(out, parts[i]);
        buf_text(out, "\n");
    }
    for (int i = 0; i < q->header_count; i++) {
        buf_text(out, q->headers[i].name);
        buf_text(out, ":");
        buf_text(out, q->headers[i].value);
        buf_text(out, "\n");
    }
    buf_text(out, "\n");
    signed_headers(q, out);
    buf_text(out, "\n");
    buf_text(out, q->payload_hash);
}

static bool hmac(uint8_t key[HASH_SIZE], const char *text) {
    uint8_t by[HASH_SIZE];
    memcpy(by, key, HASH_SIZE);
    return HMAC(EVP_sha256(), by, HASH_SIZE, (const uint8_t *)text, strlen(text), key, NULL);
}

/* The signature of `text`: a key is derived from the secret for this day, region and service.
 * False: no memory. */
static bool sign(const struct sigv4_request *q, const char *secret, const char *text,
                 char out[SHA256_HEX_SIZE]) {
    char first[sizeof((struct credentials *)0)->secret_key + 4], day[9];
    uint8_t key[HASH_SIZE];
    int n = snprintf(first, sizeof first, "AWS4%s", secret);
    snprintf(day, sizeof day, "%.8s", q->time);
    bool good = HMAC(EVP_sha256(), first, n, (const uint8_t *)day, 8, key, NULL) &&
                hmac(key, q->region) && hmac(key, q->service) && hmac(key, "aws4_request") &&
                hmac(key, text);
    if (good) hex_of(key, sizeof key, out);
    OPENSSL_cleanse(first, sizeof first);
    return good;
}

rc sigv4_sign(const struct sigv4_request *q, const struct credentials *c, struct buf *out,
              struct err *e) {
    char hash[SHA256_HEX_SIZE] = "", signature[SHA256_HEX_SIZE], scope[160], text[512];
    struct buf canonical AUTO(buf_deinit);
    buf_init(&canonical, CANONICAL_MAX);
    canonical_request(q, &canonical);
    TRY(buf_check(&canonical, "request to sign", e));
    bool good = sha256_hex(canonical.bytes, canonical.size, hash);
    snprintf(scope, sizeof scope, "%.8s/%.64s/%.32s/aws4_request", q->time, q->region, q->service);
    snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%s\n%s", q->time, scope, hash);
    if (!good || !sign(q, c->secret_key, text, signature))
        return err_set(e, RC_NOMEM, "no memory to sign with");
    buf_text(out, "AWS4-HMAC-SHA256 Credential=");
    buf_text(out, c->access_key);
    buf_text(out, "/");
    buf_text(out, scope);
    buf_text(out, ", SignedHeaders=");
    signed_headers(q, out);
    buf_text(out, ", Signature=");
    buf_put(out, signature, sizeof signature); /* with its NUL */
    return buf_check(out, "signature", e);
}
