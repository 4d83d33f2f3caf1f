/* What the tests of credentials begin with: an empty home, no variables, a service on loopback, and
 * a clock of the test's. No secret's text is without "HIDDEN", and so no error may have that. */
#ifndef TESTS_OBJECT_CREDENTIALS_BOX_H
#define TESTS_OBJECT_CREDENTIALS_BOX_H

#include "../os/temp.h"
#include "metadata.h"

#include "object/credentials.h"
#include "object/profile.h"

#define NOW INT64_C(1795382699000) /* 2026-11-22T21:24:59Z */
#define MINUTE 60000
#define IN_1H "2026-11-22T22:24:59Z"
#define KEYS "aws_access_key_id = A\naws_secret_access_key = S\n"
#define JSON(id, end)                                                                              \
    "{\"Code\":\"Success\",\"AccessKeyId\":\"" id "\",\"SecretAccessKey\":\"HIDDEN\","             \
    "\"Token\":\"HIDDEN-T\",\"Expiration\":\"" end "\"}"
#define XML(id, end)                                                                               \
    "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n"    \
    " <AssumeRoleWithWebIdentityResult>\n  <Credentials>\n   <AccessKeyId>" id "</AccessKeyId>\n"  \
    "   <SecretAccessKey>HIDDEN</SecretAccessKey><SessionToken>HIDDEN-T</SessionToken>\n"          \
    "   <Expiration>" end "</Expiration>\n  </Credentials><AssumedRoleUser><Arn>arn:x</Arn>"       \
    "</AssumedRoleUser>\n </AssumeRoleWithWebIdentityResult>"                                      \
    "</AssumeRoleWithWebIdentityResponse>"

static char home[TEMP_PATH];
static struct env *real, env;
static struct http *http;
static struct credential_source *source;
static struct credentials got;
static struct service service;
static _Atomic int64_t passed_ms;

static inline int64_t fake_unix_ms(struct env *e) {
    (void)e;
    return NOW + passed_ms;
}
static inline int64_t fake_mono_ns(struct env *e) {
    (void)e;
    return (passed_ms + 1000000) * 1000000;
}

static inline const char *write_file(const char *name, const char *text) {
    const char *path = below(home, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static inline void setup(void) {
    for (char **v = environ; *v;) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*v, "="), *v);
        bool ours = strncmp(name, "AWS_", 4) == 0 || strncmp(name, "LITESTREAM_", 11) == 0;
        if (ours || strcasestr(name, "_proxy")) unsetenv(name);
        else v++;
    }
    temp_dir(home);
    ck_assert_int_eq(mkdir(below(home, ".aws"), 0755), 0);
    setenv("HOME", home, 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* nobody there */
    OK(env_new_system(1, &real, e));
    env = *real;
    env.unix_ms = fake_unix_ms;
    env.mono_ns = fake_mono_ns;
    OK(http_new(&env, &http, e));
    service_start(&service);
}

static inline void teardown(void) {
    credentials_free(source);
    http_free(http);
    service_stop(&service);
    env_free_system(real);
}

static inline void new_source(const char *profile) {
    credentials_free(source);
    source = NULL;
    OK(credentials_new(&env, http, profile, "", &source, e));
}

static inline void hides_secrets(void) {
    ck_assert_msg(!strstr(last_err.text, "HIDDEN"), "%s", last_err.text);
}

static inline void fails(enum rc_code code, const char *words) {
    struct credentials none = {0};
    CODE(credentials_get(source, NULL, &none, e), code);
    says(words);
    hides_secrets();
    ck_assert_str_eq(none.access_key, "");
}

static inline void gives(const char *id, const char *secret, const char *token) {
    OK(credentials_get(source, NULL, &got, e));
    ck_assert_str_eq(got.access_key, id);
    ck_assert_str_eq(got.secret_key, secret);
    ck_assert_str_eq(got.session_token, token);
}

static inline void asked(int i, const char *words) {
    ck_assert_int_lt(i, service.count);
    ck_assert_msg(strstr(service.asked[i], words) != NULL, "'%s' lacks '%s'", service.asked[i],
                  words);
}

static inline void container(void) {
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", service.url, 1);
}

static inline void instance(void) {
    unsetenv("AWS_EC2_METADATA_DISABLED");
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url, 1);
}

static inline void web_identity(const char *token) {
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write_file("token", token), 1);
    setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/a+b", 1);
    setenv("AWS_ENDPOINT_URL_STS", service.url, 1);
}

static inline void route(int i, const char *begins, int status, const char *body) {
    service.routes[i] = (struct route){begins, status, body};
}

static inline void set(const char *name, const char *value) {
    if (value) setenv(name, value, 1);
}

static inline int run_cases(const char *name, void (*add)(TCase *)) {
    Suite *s = suite_create(name);
    TCase *t = tcase_create(name);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    add(t);
    suite_add_tcase(s, t);
    return run_suite(s);
}

#endif
