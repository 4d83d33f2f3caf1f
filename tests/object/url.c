/* From what people type to a store. */
#include "../os/temp.h"

#include "object/object.h"

static struct env *env;

static void setup(void) {
    char dir[TEMP_PATH];
    struct err err;
    ck_assert_int_eq(env_new_system(1, &env, &err).code, RC_OK);
    temp_dir(dir);
    ck_assert_int_eq(chdir(dir), 0);
    ck_assert_int_eq(mkdir("d", 0755), 0);
    FILE *f = fopen("plain", "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
}

static void teardown(void) {
    env_free_system(env);
}

/* An object put there comes to stand at `path`; shown is the one name that the directory has. */
static const struct {
    const char *url, *path, *shown;
} good[] = {
    {"d", "d/k", "/d"},
    {"./d", "d/k", "/d"},
    {"./d//", "d/k", "/d"},
    {".", "k", ""},
    {"d/../d/.", "d/k", "/d"},
    {"link/new", "d/new/k", "/d/new"},
    {"made/deep/down", "made/deep/down/k", NULL},
    {"file:d", "d/k", "/d"},
    {"FILE:d", "d/k", "/d"},
    {"file:with%20space", "with space/k", "/with space"},
    {"file:100%25%2f%3F%c3%a4", "100%/?\xc3\xa4/k", NULL},
    {"./a?b=c", "a?b=c/k", NULL},
    {"./s3:d", "s3:d/k", NULL},
    {"d/a:b", "d/a:b/k", NULL},
    {"with%20percent", "with%20percent/k", NULL},
    {"2:d", "2:d/k", NULL},
};

START_TEST(a_path_or_file_url_leads_to_its_directory) {
    struct store *s;
    char cwd[TEMP_PATH], shown[TEMP_PATH * 2];
    ck_assert_ptr_nonnull(getcwd(cwd, sizeof cwd));
    ck_assert_int_eq(symlink("d", "link"), 0);
    OK(store_open(env, good[_i].url, &s, e));
    snprintf(shown, sizeof shown, "file://%s%s", cwd, good[_i].shown ? good[_i].shown : "");
    if (good[_i].shown) ck_assert_str_eq(s->url, shown);
    ck_assert_int_eq(s->layout, LAYOUT_LTX);
    OK(s->ops->put(s, "k", "x", 1, 0, e));
    ck_assert_int_eq(access(good[_i].path, F_OK), 0);
    store_free(s);
}
END_TEST

static const char *const absolute[] = {"%s", "file://%s", "file:%s", "file://localhost%s", "%s/"};

START_TEST(an_absolute_path_can_be_written_in_five_ways) {
    struct store *s;
    char cwd[TEMP_PATH], shown[TEMP_PATH * 2], *url;
    ck_assert_ptr_nonnull(getcwd(cwd, sizeof cwd));
    const char *mark = strstr(absolute[_i], "%s");
    ck_assert_int_gt(
        asprintf(&url, "%.*s%s%s", (int)(mark - absolute[_i]), absolute[_i], cwd, mark + 2), 0);
    OK(store_open(env, url, &s, e));
    snprintf(shown, sizeof shown, "file://%s", cwd);
    ck_assert_str_eq(s->url, shown);
    OK(s->ops->put(s, "k", "x", 1, 0, e));
    ck_assert_int_eq(access("k", F_OK), 0);
    store_free(s);
    free(url);
}
END_TEST

static const struct {
    const char *url, *words, *not_words;
} bad[] = {
    {"", "empty", NULL},
    {"file:", "empty", NULL},
    {"new/../d", "'..'", NULL},
    {"file://", "empty", NULL},
    {"file://localhost", "empty", NULL},
    {"plain", "plain: not a directory", NULL},
    {"file:plain", "plain: not a directory", NULL},
    {"file:d?region=x", "'region'", "=x"},
    {"file:d?regoin=secret", "'region'", "secret"},
    {"file:d?endpont=x", "'endpoint'", NULL},
    {"file:d?colour=x", "no parameters, not 'colour'", "did you"},
    {"file:d?", "no parameters", NULL},
    {"file:d#x", "%23", NULL},
    {"file:d%", "'%'", NULL},
    {"file:d%4", "'%4'", NULL},
    {"file:d%zz", "'%zz'", NULL},
    {"file:d%00x", "'%00'", NULL},
    {"file://host/d", "'host'", NULL},
    {"file://d", "file:///dir", NULL},
    {"file://local/d", "'local'", NULL},
    {"s3://key:secret@bucket/d", "credentials do not belong", "secret"},
    {"s3://arn:aws:s3:eu-west-1:123456789012:accesspoint", "accesspoint/NAME", NULL},
    {"s3://arn:aws:sqs:eu-west-1:123456789012:q/name", "accesspoint/NAME", NULL},
    {"s3:bucket/d", "s3://bucket", NULL},
    {"s3:///d", "no bucket", NULL},
    {"s3://b/d?skipVerify=true", "always verified", NULL},
    {"s3://b/d?sseCustomerKey=c2VjcmV0", "HOLDFAST_SSE_CUSTOMER_KEY", "c2VjcmV0"},
    {"s3://b/d?regoin=x", "did you mean 'region'", NULL},
    {"s3://b/d?secret-access-key=hunter2", "unknown parameter", "hunter2"},
    {"s3://b/d?endpoint=ftp://h", "https:// or http://", NULL},
    {"s3://b/d?endpoint=ht://h", "https:// or http://", NULL},
    {"s3://b/d?endpoint=://h", "https:// or http://", NULL},
    {"s3://127.0.0.1:9000/b/d", "in the place of the bucket", NULL},
    {"s3://localhost:9000/b/d", "in the place of the bucket", NULL},
    {"s3://[::1]:9000/b/d", "in the place of the bucket", NULL},
    {"s3://b/d?endpoint=http://h/path", "without a path", NULL},
    {"s3://b/d?part-size=4000000", "5242880", NULL},
    {"s3://b/d?force-path-style=perhaps", "true or false", NULL},
    {"s3://b/d?sse=AES256&sse-kms-key-id=k", "exclude each other", NULL},
    {"fil:///d", "did you mean 'file'", NULL},
    {"flie:d", "did you mean 'file'", NULL},
    {"files:d", "did you mean 'file'", NULL},
    {"s4://b", "did you mean 's3'", NULL},
    {"ftp://user:secret@host/d", "unknown URL scheme 'ftp'", "secret"},
    {"a:b", "'./a:...'", NULL},
    {"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx:b", "unknown URL scheme", NULL},
};

START_TEST(what_cannot_be_meant_is_refused_with_advice) {
    struct store *s = NULL;
    CODE(store_open(env, bad[_i].url, &s, e), RC_USAGE);
    says(bad[_i].words);
    if (bad[_i].not_words)
        ck_assert_msg(!strstr(last_err.text, bad[_i].not_words), "%s", last_err.text);
    ck_assert_ptr_null(strchr(last_err.text, '\n'));
    ck_assert_ptr_null(s);
}
END_TEST

static const struct {
    const char *url, *canonical;
} buckets[] = {
    {"s3://bucket", "s3://bucket"},
    {"S3://bucket/a//b/../c/", "s3://bucket/a/c"},
    {"s3://bucket/", "s3://bucket/"},
    {"s3://bucket/a%20b%25", "s3://bucket/a%20b%25"},
    {"s3://b/a?endpoint=localhost:9000", "s3://b/a?endpoint=http://localhost:9000"},
    {"s3://b/a?endpoint=127.0.0.2", "s3://b/a?endpoint=http://127.0.0.2"},
    {"s3://b/a?endpoint=[::1]:9000", "s3://b/a?endpoint=http://[::1]:9000"},
    {"s3://b/a?endpoint=127.example.com", "s3://b/a?endpoint=https://127.example.com"},
    {"s3://b/a?endpoint=localhost.example.com:1",
     "s3://b/a?endpoint=https://localhost.example.com:1"},
    {"s3://b/a?endpoint=10.0.0.1:9000", "s3://b/a?endpoint=https://10.0.0.1:9000"},
    {"s3://b/a?endpoint=http://10.0.0.1:9000/", "s3://b/a?endpoint=http://10.0.0.1:9000"},
    {"s3://b/a?endpoint=h.example&forcePathStyle=false",
     "s3://b/a?endpoint=https://h.example&force-path-style=false"},
    {"s3://b.localhost:9000/a", "s3://b/a?endpoint=http://localhost:9000"},
    {"s3://b.s3.eu-west-1.amazonaws.com/a", "s3://b/a?region=eu-west-1"},
    {"s3://b.s3.amazonaws.com/a", "s3://b/a"},
    {"s3://b.nyc3.digitaloceanspaces.com/a",
     "s3://b/a?endpoint=https://nyc3.digitaloceanspaces.com&force-path-style=false&region=nyc3"},
    {"s3://b.s3.us-west-002.backblazeb2.com/a",
     "s3://b/a?endpoint=https://s3.us-west-002.backblazeb2.com&region=us-west-002"},
    {"s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/a/b",
     "s3://name-123456789012/a/b?endpoint=https://s3-accesspoint.eu-west-1.amazonaws.com"
     "&force-path-style=false&region=eu-west-1"},
    {"s3://b.s3.filebase.com/a", "s3://b/a?endpoint=https://s3.filebase.com"},
    {"s3://b.s3.fr-par.scw.cloud/a",
     "s3://b/a?endpoint=https://s3.fr-par.scw.cloud&force-path-style=false&region=fr-par"},
    {"s3://b/a?region=x&storageClass=STANDARD_IA&partSize=5242880&concurrency=2&signPayload=true"
     "&requireContentMD5=true",
     "s3://b/a?region=x"},
};

START_TEST(a_bucket_has_one_name) {
    struct store *s;
    OK(store_open(env, buckets[_i].url, &s, e));
    ck_assert_str_eq(s->url, buckets[_i].canonical);
    struct store *same;
    OK(store_open(env, s->url, &same, e));
    ck_assert_str_eq(same->url, s->url);
    store_free(same);
    store_free(s);
}
END_TEST

static const size_t lengths[] = {1021, 1030, 4090, 4095, 4096, 5000, 100000};

START_TEST(a_url_too_long_is_refused) {
    struct store *s = NULL;
    char *url = calloc(1, lengths[_i] + 1);
    memset(url, 'd', lengths[_i]);
    CODE(store_open(env, url, &s, e), RC_USAGE);
    says("too long");
    memcpy(url, "file:", 5);
    CODE(store_open(env, url, &s, e), RC_USAGE);
    says("too long");
    ck_assert_ptr_null(s);
    free(url);
}
END_TEST

START_TEST(opening_makes_nothing) {
    struct store *s;
    OK(store_open(env, "absent/root", &s, e));
    ck_assert_int_ne(access("absent", F_OK), 0);
    store_free(s);
    store_free(NULL);
}
END_TEST

int main(void) {
    Suite *s = suite_create("url");
    TCase *t = tcase_create("url");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    ADD_ROWS(t, a_path_or_file_url_leads_to_its_directory, good);
    ADD_ROWS(t, an_absolute_path_can_be_written_in_five_ways, absolute);
    ADD_ROWS(t, a_bucket_has_one_name, buckets);
    ADD_ROWS(t, what_cannot_be_meant_is_refused_with_advice, bad);
    ADD_ROWS(t, a_url_too_long_is_refused, lengths);
    tcase_add_test(t, opening_makes_nothing);
    suite_add_tcase(s, t);
    return run_suite(s);
}
