/* Signatures beside those that Amazon publishes ("Authenticating Requests: Using the Authorization
 * Header" of the S3 API reference), and names that are hard to escape. */
#include "../os/temp.h"

#include "object/sigv4.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define BODY "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
#define HOST                                                                                       \
    { "host", "examplebucket.s3.amazonaws.com" }
#define DATE                                                                                       \
    { "x-amz-date", "20130524T000000Z" }

static const struct credentials keys = {.access_key = "AKIAIOSFODNN7EXAMPLE",
                                        .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};

static const struct {
    const char *method, *path, *query, *hash, *signature;
    struct sigv4_header headers[6];
} published[] = {
    {"GET",
     "/test.txt",
     "",
     EMPTY,
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
     {HOST, {"range", "bytes=0-9"}, {"x-amz-content-sha256", EMPTY}, DATE}},
    {"PUT",
     "/test%24file.text",
     "",
     BODY,
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
     {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
      HOST,
      {"x-amz-content-sha256", BODY},
      DATE,
      {"x-amz-storage-class", "REDUCED_REDUNDANCY"}}},
    {"GET",
     "/",
     "lifecycle=",
     EMPTY,
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
     {HOST, {"x-amz-content-sha256", EMPTY}, DATE}},
    {"GET",
     "/",
     "max-keys=2&prefix=J",
     EMPTY,
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
     {HOST, {"x-amz-content-sha256", EMPTY}, DATE}},
};

START_TEST(signatures_are_those_that_amazon_publishes) {
    struct sigv4_request q = {.method = published[_i].method,
                              .path = published[_i].path,
                              .query = published[_i].query,
                              .payload_hash = published[_i].hash,
                              .headers = published[_i].headers,
                              .region = "us-east-1",
                              .service = "s3"};
    char want[1024] = "", names[256] = "";
    struct buf out AUTO(buf_deinit);
    struct err e;
    buf_init(&out, 4096);
    sigv4_time(1369353600000, q.time);
    ck_assert_str_eq(q.time, "20130524T000000Z");
    for (; q.headers[q.header_count].name; q.header_count++) {
        if (q.header_count) strcat(names, ";");
        strcat(names, q.headers[q.header_count].name);
    }
    snprintf(want, sizeof want,
             "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
             "SignedHeaders=%s, Signature=%s",
             names, published[_i].signature);
    ck_assert_int_eq(sigv4_sign(&q, &keys, &out, &e).code, RC_OK);
    ck_assert_str_eq((const char *)out.bytes, want);
}
END_TEST

START_TEST(a_body_has_its_digest) {
    char hex[SHA256_HEX_SIZE];
    ck_assert(sha256_hex("Welcome to Amazon S3.", 21, hex));
    ck_assert_str_eq(hex, BODY);
    ck_assert(sha256_hex("", 0, hex));
    ck_assert_str_eq(hex, EMPTY);
}
END_TEST

static const struct {
    const char *text, *name, *path;
} escapes[] = {
    {"", "", ""},
    {"AZaz09-._~", "AZaz09-._~", "AZaz09-._~"},
    {"a/b", "a%2Fb", "a/b"},
    {"//", "%2F%2F", "//"},
    {"a b+c", "a%20b%2Bc", "a%20b%2Bc"},
    {"100%41", "100%2541", "100%2541"},
    {"!*'()", "%21%2A%27%28%29", "%21%2A%27%28%29"},
    {"?&=#:@$,;\"<>[]\\^`{|}", "%3F%26%3D%23%3A%40%24%2C%3B%22%3C%3E%5B%5D%5C%5E%60%7B%7C%7D",
     "%3F%26%3D%23%3A%40%24%2C%3B%22%3C%3E%5B%5D%5C%5E%60%7B%7C%7D"},
    {"\xc3\xa4\xff\x7f\x01\n", "%C3%A4%FF%7F%01%0A", "%C3%A4%FF%7F%01%0A"},
    {"./a/../b", ".%2Fa%2F..%2Fb", "./a/../b"},
};

START_TEST(names_are_escaped_as_they_are_signed) {
    struct buf out AUTO(buf_deinit);
    buf_init(&out, 4096);
    sigv4_escape(&out, escapes[_i].text, false);
    buf_u8(&out, 0);
    ck_assert_str_eq((const char *)out.bytes, escapes[_i].name);
    buf_clear(&out);
    sigv4_escape(&out, escapes[_i].text, true);
    buf_u8(&out, 0);
    ck_assert_str_eq((const char *)out.bytes, escapes[_i].path);
}
END_TEST

/* The longest of everything: no cut, no overrun. */
START_TEST(long_secrets_are_signed_whole) {
    struct credentials longest = {0};
    struct sigv4_header host = {"host", "h"};
    struct sigv4_request q = {.method = "GET",
                              .path = "/",
                              .query = "",
                              .payload_hash = EMPTY,
                              .headers = &host,
                              .header_count = 1,
                              .region = "us-east-1",
                              .service = "s3",
                              .time = "20130524T000000Z"};
    struct buf a AUTO(buf_deinit), b AUTO(buf_deinit);
    struct err e;
    buf_init(&a, 4096);
    buf_init(&b, 4096);
    memset(longest.access_key, 'A', sizeof longest.access_key - 1);
    memset(longest.secret_key, 's', sizeof longest.secret_key - 1);
    ck_assert_int_eq(sigv4_sign(&q, &longest, &a, &e).code, RC_OK);
    ck_assert_ptr_nonnull(strstr((const char *)a.bytes, longest.access_key));
    longest.secret_key[sizeof longest.secret_key - 2] = 't';
    ck_assert_int_eq(sigv4_sign(&q, &longest, &b, &e).code, RC_OK);
    ck_assert_str_ne((const char *)a.bytes, (const char *)b.bytes);
}
END_TEST

int main(void) {
    Suite *s = suite_create("sigv4");
    TCase *t = tcase_create("sigv4");
    ADD_ROWS(t, signatures_are_those_that_amazon_publishes, published);
    tcase_add_test(t, a_body_has_its_digest);
    ADD_ROWS(t, names_are_escaped_as_they_are_signed, escapes);
    tcase_add_test(t, long_secrets_are_signed_whole);
    suite_add_tcase(s, t);
    return run_suite(s);
}
