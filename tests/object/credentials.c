/* Credentials: from where, in which order, when again, and what is said when there are none. */
#include "credentials_box.h"

/* ---- the environment ---- */

static const struct {
    const char *id, *secret, *token, *other_id, *other_secret, *from;
} environments[] = {
    {"A", "S", NULL, NULL, NULL, "A"},
    {"A", "S", "T", NULL, NULL, "A"},
    {"A", "S", NULL, "L", "X", "A"},
    {NULL, NULL, NULL, "L", "X", "L"},
    {"", "", "", "L", "X", "L"},
    {"A", NULL, NULL, NULL, NULL, NULL},
    {NULL, "HIDDEN", NULL, NULL, NULL, NULL},
    {"A", NULL, NULL, "L", "X", NULL},
    {NULL, "HIDDEN", NULL, "L", "X", NULL},
    {NULL, NULL, NULL, "L", NULL, NULL},
    {NULL, NULL, NULL, NULL, "HIDDEN", NULL},
    {"A b", "HIDDEN", NULL, NULL, NULL, NULL},
    {"A\n", "HIDDEN", NULL, NULL, NULL, NULL},
    {"A", "HIDDEN\r", NULL, NULL, NULL, NULL},
    {"A", "\"HIDDEN \"", NULL, NULL, NULL, NULL},
    {"A", "HIDDEN", "HIDDEN\nX: y", NULL, NULL, NULL},
    {"A", "HIDDEN\xc3\xa4", NULL, NULL, NULL, NULL},
};

START_TEST(the_environment_gives_whole_pairs_of_visible_characters) {
    set("AWS_ACCESS_KEY_ID", environments[_i].id);
    set("AWS_SECRET_ACCESS_KEY", environments[_i].secret);
    set("AWS_SESSION_TOKEN", environments[_i].token);
    set("LITESTREAM_ACCESS_KEY_ID", environments[_i].other_id);
    set("LITESTREAM_SECRET_ACCESS_KEY", environments[_i].other_secret);
    write_file(".aws/credentials", "[default]\naws_access_key_id=F\naws_secret_access_key=G\n");
    new_source("");
    const char *from = environments[_i].from, *token = environments[_i].token;
    if (!from) fails(RC_USAGE, "credentials: environment: the ");
    else gives(from, *from == 'A' ? "S" : "X", token ? token : "");
}
END_TEST

static const int sizes[] = {255, 256, 8191, 8192, 100000};

START_TEST(what_is_too_long_is_refused) {
    char *long_one = malloc((size_t)sizes[_i] + 1);
    memset(long_one, 'x', (size_t)sizes[_i]);
    long_one[sizes[_i]] = 0;
    setenv("AWS_ACCESS_KEY_ID", sizes[_i] < 1000 ? long_one : "A", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
    setenv("AWS_SESSION_TOKEN", sizes[_i] > 1000 ? long_one : "T", 1);
    new_source("");
    if (sizes[_i] % 2 == 0) fails(RC_USAGE, "too long");
    else OK(credentials_get(source, NULL, &got, e));
    free(long_one);
}
END_TEST

START_TEST(a_child_inherits_no_variable_that_holds_a_secret) {
    static const char *const secret[] = {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
                                         "LITESTREAM_SECRET_ACCESS_KEY",
                                         "AWS_CONTAINER_AUTHORIZATION_TOKEN"};
    for (size_t i = 0; i < sizeof secret / sizeof *secret; i++) {
        int n = 0;
        while (credentials_variables[n] && strcmp(credentials_variables[n], secret[i]) != 0) n++;
        ck_assert_ptr_nonnull(credentials_variables[n]);
    }
}
END_TEST

/* ---- profiles ---- */

static const struct {
    const char *config, *credentials, *wanted, *id, *token, *region;
} profiles[] = {
    {"", "[default]\n" KEYS, "", "A", "", ""},
    {NULL, "[default]\n" KEYS, "", "A", "", ""},
    {"[default]\n" KEYS, NULL, "", "A", "", ""},
    {"[profile default]\n" KEYS, NULL, "", "A", "", ""},
    {"[profile x]\nregion = eu-1\n", "[default]\nregion = no\n[x]\n" KEYS, "x", "A", "", "eu-1"},
    {"[ profile \t x ]\n" KEYS "region=eu-1", "", "x", "A", "", "eu-1"},
    {"[profile x]\nregion = a\n", "[x]\nregion = b\n" KEYS, "x", "A", "", "b"},
    {"", "\xef\xbb\xbf[x]\r\naws_access_key_id=A\r\naws_secret_access_key=S\r\n", "x", "A", "", ""},
    {"", "# c\n; c\n\n[x] ; c\nAWS_Access_Key_ID = A # c\n aws_secret_access_key=S\t;c\n", "x",
     NULL, NULL, NULL},
    {"", "[x]\n  aws_access_key_id = A\n  aws_secret_access_key = S\n", "x", "A", "", ""},
    {"[profile x]\ns3 =\n  region = no\n  max=1\nregion = eu-1\n", "[x]\n" KEYS, "x", "A", "",
     "eu-1"},
    {"", "[x]\n" KEYS "aws_session_token = T==\n", "x", "A", "T==", ""},
    {"", "[y]\nq = 1\n[x]\n  aws_access_key_id = A\n  aws_secret_access_key = S\n", "x", "A", "",
     ""},
    {"", "[x]\naws_access_key_id = old\n" KEYS, "x", "A", "", ""},
    {"[profile x]\naws_access_key_id=B\naws_secret_access_key=HIDDEN\naws_session_token=HIDDEN\n",
     "[x]\n" KEYS, "x", "A", "", ""},
    {"[x]\naws_access_key_id=B\naws_secret_access_key=S\n", "[profile x]\nq = 1\n[x]\n" KEYS, "x",
     "A", "", ""},
    {"[y]\nthis line is in nobody's way\n", "[x]\n" KEYS "[y]\n???\n", "x", "A", "", ""},
    {"[x]\ncredential_process = p\n[profile x]\n", "[x]\n" KEYS "credential_process = p\n", "x",
     "A", "", ""},
};

static void write_profiles(const char *config, const char *credentials) {
    if (config) write_file(".aws/config", config);
    if (credentials) write_file(".aws/credentials", credentials);
}

START_TEST(a_profile_is_read_as_others_read_it) {
    write_profiles(profiles[_i].config, profiles[_i].credentials);
    new_source(profiles[_i].wanted);
    if (!profiles[_i].id) {
        fails(RC_USAGE, "the secret key is missing");
        return;
    }
    gives(profiles[_i].id, "S", profiles[_i].token);
    ck_assert_str_eq(credentials_region(source), profiles[_i].region);
}
END_TEST

/* The profile is x; the words are of the first error, at the start or when asked. */
static const struct {
    const char *config, *credentials;
    enum rc_code code;
    const char *words;
} bad_profiles[] = {
    {NULL, NULL, RC_USAGE, "no such profile: profile 'x'"},
    {"", "", RC_USAGE, "/.aws/config, "},
    {"", "[X]\n" KEYS, RC_USAGE, "no such profile"},
    {"[x]\n" KEYS, "", RC_USAGE, "no such profile"},
    {"", "[profile x]\n" KEYS, RC_USAGE, "no such profile"},
    {"[profilex]\n" KEYS, "", RC_USAGE, "no such profile"},
    {"[profile xx]\n" KEYS, "", RC_USAGE, "no such profile"},
    {"", "[x\n" KEYS, RC_USAGE, "/.aws/credentials:1: neither"},
    {"", "[x] HIDDEN\n" KEYS, RC_USAGE, "credentials:1: neither"},
    {"[y\n", "[x]\n" KEYS, RC_USAGE, "/.aws/config:1: neither"},
    {"", "[x]\n\naws_secret_access_key HIDDEN\n", RC_USAGE, "credentials:3: neither"},
    {"", "[x]\naws_secret_access_key: HIDDEN\n", RC_USAGE, "credentials:2: neither"},
    {"", "[x]\naws_secret_access_key # = HIDDEN\n", RC_USAGE, "credentials:2: neither"},
    {"", "[x]\nHIDDEN\n", RC_USAGE, "credentials:2: neither"},
    {"", "[x]\n", RC_NOTFOUND, "no keys in profile 'x'"},
    {"", "[x]\naws_secret_access_key = HIDDEN\n", RC_USAGE, "access key id is missing"},
    {"", "[x]\naws_access_key_id = A\n", RC_USAGE, "secret key is missing"},
    {"", "[x]\naws_access_key_id =\naws_secret_access_key = HIDDEN", RC_USAGE, "id is missing"},
    {"", "[x]\naws_access_key_id = A\naws_secret_access_key = HIDDEN HIDDEN", RC_USAGE, "blank"},
    {"[profile x]\naws_secret_access_key = HIDDEN\n", "[x]\naws_access_key_id = A\n", RC_USAGE,
     "secret key is missing"},
    {"[profile x]\nrole_arn = r\nsource_profile = y\n", "[x]\n" KEYS, RC_USAGE,
     "source_profile is not supported: use access keys"},
    {"[profile x]\nrole_arn = r\ncredential_source = Ec2InstanceMetadata\n", "", RC_USAGE,
     "credential_source is not supported"},
    {"[profile x]\nrole_arn = r\n", "[x]\n" KEYS, RC_USAGE, "role_arn alone is not supported"},
    {"[profile x]\nsso_session = s\n", "", RC_USAGE, "sso_session is not supported"},
    {"[profile x]\nsso_start_url = s\n", "", RC_USAGE, "sso_start_url is not supported"},
    {"[profile x]\ncredential_process = HIDDEN\n", "", RC_USAGE, "credential_process is not"},
    {"[profile x]\nrole_arn = r\nweb_identity_token_file = /absent\n", "", RC_IO,
     "/absent: no such file"},
    {"[profile x]\nregion = a.evil/\n", "[x]\n" KEYS, RC_USAGE, "'a.evil/' is not the name"},
};

START_TEST(a_profile_that_cannot_be_used_says_why) {
    write_profiles(bad_profiles[_i].config, bad_profiles[_i].credentials);
    rc r = credentials_new(&env, http, "x", "", &source, &last_err);
    if (is_ok(r)) {
        fails(bad_profiles[_i].code, bad_profiles[_i].words);
        return;
    }
    ck_assert_int_eq(r.code, bad_profiles[_i].code);
    says(bad_profiles[_i].words);
    hides_secrets();
    ck_assert_ptr_null(source);
}
END_TEST

START_TEST(the_files_can_be_elsewhere) {
    setenv("AWS_CONFIG_FILE", write_file("c", "[profile x]\nregion = eu-1\n"), 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", write_file("s", "[x]\n" KEYS), 1);
    setenv("AWS_PROFILE", "x", 1);
    unsetenv("HOME");
    new_source("");
    gives("A", "S", "");
    ck_assert_str_eq(credentials_region(source), "eu-1");
    setenv("AWS_PROFILE", "y", 1);
    CODE(credentials_new(&env, http, "", "", &source, e), RC_USAGE);
    says("profile 'y'");
}
END_TEST

START_TEST(a_file_that_is_no_text_is_not_taken_for_one) {
    const char *path = below(home, ".aws/credentials");
    FILE *f = fopen(path, "w");
    fwrite("[default]\n\0" KEYS, 1, sizeof "[default]\n\0" KEYS - 1, f);
    fclose(f);
    new_source("");
    fails(RC_NOTFOUND, "credentials: not a text");
    ck_assert_int_eq(truncate(path, (1 << 20) + 1), 0);
    new_source("");
    fails(RC_NOTFOUND, "too large");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkfifo(path, 0600), 0); /* and nobody waits for a writer */
    new_source("");
    fails(RC_NOTFOUND, "not a plain file");
}
END_TEST

/* ---- order ---- */

START_TEST(the_first_source_that_has_any_is_used) {
    web_identity("HIDDEN\n");
    unsetenv("http_proxy");
    container();
    instance();
    write_file(".aws/credentials", "[default]\naws_access_key_id=P\naws_secret_access_key=S\n"
                                   "[x]\naws_access_key_id=X\naws_secret_access_key=S\n[y]\nz=1");
    route(0, "POST /", 200, XML("W", IN_1H));
    route(1, "GET / ", 200, JSON("C", IN_1H));
    setenv("AWS_ACCESS_KEY_ID", "E", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
    new_source("x");
    gives("X", "S", "");
    setenv("AWS_PROFILE", "x", 1);
    new_source("");
    gives("E", "S", "");
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    new_source("");
    gives("W", "HIDDEN", "HIDDEN-T");
    unsetenv("AWS_WEB_IDENTITY_TOKEN_FILE");
    new_source("");
    gives("X", "S", "");
    new_source("y");
    gives("C", "HIDDEN", "HIDDEN-T");
    ck_assert_int_eq(service.count, 2);
}
END_TEST

START_TEST(nothing_anywhere_names_every_place) {
    new_source("");
    fails(RC_NOTFOUND, "no credentials; AWS_ACCESS_KEY_ID and LITESTREAM_ACCESS_KEY_ID not set");
    says("AWS_WEB_IDENTITY_TOKEN_FILE not set");
    says("profile 'default'");
    says("/.aws/config");
    says("/.aws/credentials");
    says("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI not set");
    says("AWS_EC2_METADATA_DISABLED is set");
    unsetenv("HOME");
    instance();
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1", 1);
    new_source("");
    fails(RC_NOTFOUND, "$HOME is not set");
    says("no instance metadata: http://127.0.0.1:1: ");
}
END_TEST

START_TEST(a_source_that_gave_some_is_not_left_for_another) {
    const char *path = write_file(".aws/credentials", "[default]\n" KEYS);
    container();
    route(0, "GET /", 200, JSON("C", IN_1H));
    new_source("");
    gives("A", "S", "");
    ck_assert_int_eq(unlink(path), 0);
    CODE(credentials_get(source, &got, &got, e), RC_NOTFOUND);
    says("no keys in profile 'default'");
    ck_assert_int_eq(service.count, 0);
}
END_TEST

/* ---- again ---- */

START_TEST(what_expires_is_renewed_five_minutes_before) {
    container();
    route(0, "GET /", 200, JSON("C", IN_1H));
    new_source("");
    gives("C", "HIDDEN", "HIDDEN-T");
    passed_ms = 55 * MINUTE - 1;
    gives("C", "HIDDEN", "HIDDEN-T");
    ck_assert_int_eq(service.count, 1);
    route(0, "GET /", 200, JSON("D", "2026-11-22T23:24:59.000Z"));
    passed_ms = 55 * MINUTE;
    gives("D", "HIDDEN", "HIDDEN-T");
    gives("D", "HIDDEN", "HIDDEN-T");
    ck_assert_int_eq(service.count, 2);
}
END_TEST

START_TEST(a_renewal_that_fails_is_repeated_each_minute_while_the_old_ones_are_valid) {
    container();
    route(0, "GET /", 200, JSON("C", IN_1H));
    new_source("");
    gives("C", "HIDDEN", "HIDDEN-T");
    route(0, "GET /", 500, "");
    for (int minute = 55; minute < 60; minute++)
        for (int i = 0; i < 3; i++) {
            passed_ms = minute * MINUTE + i * (MINUTE / 2 - 1);
            gives("C", "HIDDEN", "HIDDEN-T");
            ck_assert_int_eq(service.count, minute - 53);
        }
    passed_ms = 60 * MINUTE;
    fails(RC_RETRY, "container: status 500");
    fails(RC_RETRY, "container: status 500");
    ck_assert_int_eq(service.count, 7); /* the second one was told what the first one was */
    passed_ms += 3000;
    route(0, "GET /", 200, JSON("D", "2026-11-22T23:24:59Z"));
    gives("D", "HIDDEN", "HIDDEN-T");
}
END_TEST

START_TEST(short_lives_are_renewed_at_half_time) {
    container();
    route(0, "GET /", 200, JSON("C", "2026-11-22T21:26:59Z")); /* two minutes */
    new_source("");
    gives("C", "HIDDEN", "HIDDEN-T");
    passed_ms = MINUTE - 1;
    gives("C", "HIDDEN", "HIDDEN-T");
    ck_assert_int_eq(service.count, 1);
    passed_ms = MINUTE;
    gives("C", "HIDDEN", "HIDDEN-T");
    ck_assert_int_eq(service.count, 2);
}
END_TEST

START_TEST(what_looks_expired_when_it_comes_is_used_for_a_minute) {
    container();
    route(0, "GET /", 200, JSON("C", "2026-11-22T20:24:59Z"));
    new_source("");
    for (int i = 0; i < 10; i++) gives("C", "HIDDEN", "HIDDEN-T");
    ck_assert_int_eq(service.count, 1);
    passed_ms = MINUTE / 2;
    gives("C", "HIDDEN", "HIDDEN-T");
    ck_assert_int_eq(service.count, 2);
}
END_TEST

START_TEST(refused_ones_are_asked_for_again_every_three_seconds) {
    container();
    route(0, "GET /", 200, JSON("C", IN_1H));
    new_source("");
    gives("C", "HIDDEN", "HIDDEN-T");
    struct credentials refused = got;
    OK(credentials_get(source, &refused, &got, e)); /* at once */
    ck_assert_int_eq(service.count, 2);
    for (int i = 0; i < 5; i++) OK(credentials_get(source, &refused, &got, e));
    ck_assert_int_eq(service.count, 2);
    passed_ms = 3000;
    route(0, "GET /", 200, JSON("D", IN_1H));
    OK(credentials_get(source, &refused, &got, e));
    ck_assert_str_eq(got.access_key, "D");
    passed_ms = 6000;
    OK(credentials_get(source, &refused, &got, e)); /* others are used already */
    ck_assert_int_eq(service.count, 3);
    refused = got;
    route(0, "GET /", 503, "");
    CODE(credentials_get(source, &refused, &got, e), RC_RETRY); /* of no use: not given again */
    CODE(credentials_get(source, &refused, &got, e), RC_RETRY);
    ck_assert_int_eq(service.count, 4);
}
END_TEST

START_TEST(refused_keys_are_read_from_their_file_again) {
    write_file(".aws/credentials", "[default]\n" KEYS);
    new_source("");
    gives("A", "S", "");
    write_file(".aws/credentials", "[default]\naws_access_key_id=B\naws_secret_access_key=S\n");
    gives("A", "S", "");
    OK(credentials_get(source, &got, &got, e));
    ck_assert_str_eq(got.access_key, "B");
}
END_TEST

/* ---- many at once ---- */

#define THREADS 16
static pthread_barrier_t barrier;

static void *get_one(void *arg) {
    struct err err;
    struct credentials mine = {0};
    (void)arg;
    pthread_barrier_wait(&barrier);
    rc r = credentials_get(source, NULL, &mine, &err);
    return is_ok(r) && strcmp(mine.access_key, "C") == 0 ? source : NULL;
}

static void get_by_all(bool fine) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, get_one, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        ck_assert_int_eq(result != NULL, fine);
    }
    pthread_barrier_destroy(&barrier);
}

START_TEST(one_thread_asks_for_all) {
    container();
    route(0, "GET /", 500, "");
    new_source("");
    get_by_all(false);
    ck_assert_int_eq(service.count, 1);
    passed_ms = 3000;
    route(0, "GET /", 200, JSON("C", IN_1H));
    get_by_all(true);
    ck_assert_int_eq(service.count, 2);
    passed_ms = 56 * MINUTE;
    get_by_all(true);
    ck_assert_int_eq(service.count, 3);
}
END_TEST

static void add(TCase *t) {
    ADD_ROWS(t, the_environment_gives_whole_pairs_of_visible_characters, environments);
    ADD_ROWS(t, what_is_too_long_is_refused, sizes);
    tcase_add_test(t, a_child_inherits_no_variable_that_holds_a_secret);
    ADD_ROWS(t, a_profile_is_read_as_others_read_it, profiles);
    ADD_ROWS(t, a_profile_that_cannot_be_used_says_why, bad_profiles);
    tcase_add_test(t, the_files_can_be_elsewhere);
    tcase_add_test(t, a_file_that_is_no_text_is_not_taken_for_one);
    tcase_add_test(t, the_first_source_that_has_any_is_used);
    tcase_add_test(t, nothing_anywhere_names_every_place);
    tcase_add_test(t, a_source_that_gave_some_is_not_left_for_another);
    tcase_add_test(t, what_expires_is_renewed_five_minutes_before);
    tcase_add_test(t, a_renewal_that_fails_is_repeated_each_minute_while_the_old_ones_are_valid);
    tcase_add_test(t, short_lives_are_renewed_at_half_time);
    tcase_add_test(t, what_looks_expired_when_it_comes_is_used_for_a_minute);
    tcase_add_test(t, refused_ones_are_asked_for_again_every_three_seconds);
    tcase_add_test(t, refused_keys_are_read_from_their_file_again);
    tcase_add_test(t, one_thread_asks_for_all);
}

int main(void) {
    return run_cases("credentials", add);
}
