/* Credentials by the network: STS, a container's service, an instance's. What they are asked, and
 * what becomes of each bad answer. */
#include "credentials_box.h"

/* ---- web identity ---- */

START_TEST(a_token_becomes_a_role_by_sts) {
    web_identity("HID.D-EN_+/=&\n");
    route(0, "POST / ", 200, XML("W", IN_1H));
    unsetenv("http_proxy");
    new_source("");
    gives("W", "HIDDEN", "HIDDEN-T");
    asked(0, "\r\n\r\nAction=AssumeRoleWithWebIdentity&Version=2011-06-15"
             "&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%2Bb&RoleSessionName=holdfast"
             "&WebIdentityToken=HID%2ED%2DEN%5F%2B%2F%3D%26");
    asked(0, "\r\nContent-Type: application/x-www-form-urlencoded\r\n");
    setenv("AWS_ROLE_SESSION_NAME", "me@home", 1);
    new_source("");
    gives("W", "HIDDEN", "HIDDEN-T");
    asked(1, "&RoleSessionName=me%40home&");
}
END_TEST

START_TEST(a_profile_can_name_a_role_by_web_identity) {
    char config[TEMP_PATH * 3];
    web_identity("HIDDEN");
    snprintf(config, sizeof config,
             "[profile x]\nrole_arn = arn:x\nweb_identity_token_file = %s\nrole_session_name = n\n",
             getenv("AWS_WEB_IDENTITY_TOKEN_FILE"));
    write_file(".aws/config", config);
    unsetenv("http_proxy");
    route(0, "POST / ", 200, XML("W", IN_1H));
    new_source("x");
    gives("W", "HIDDEN", "HIDDEN-T");
    asked(0, "&RoleArn=arn%3Ax&RoleSessionName=n&");
}
END_TEST

static const struct {
    int status;
    const char *body;
    enum rc_code code;
    const char *words;
} bad_sts[] = {
    {500, "", RC_RETRY, "status 500"},
    {503, "<html>", RC_RETRY, "status 503"},
    {429, "", RC_RETRY, "status 429"},
    {408, "", RC_RETRY, "status 408"},
    {302, XML("W", IN_1H), RC_IO, "status 302"},
    {403,
     "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized"
     "</Message></Error></ErrorResponse>",
     RC_IO, "web identity: status 403 AccessDenied Not authorized"},
    {400, "<E><Code>IDPCommunicationError</Code></E>", RC_RETRY, "status 400 IDPCom"},
    {400, "<E><Code>InvalidIdentityToken</Code><Message>HIDDEN is bad</Message></E>", RC_IO,
     "status 400"},
    {400, "<E><Code>HIDDEN</Code></E>", RC_IO, "status 400"},
    {200, "", RC_RETRY, "cut"},
    {200, "OK", RC_RETRY, "cut"},
    {200, "<html></html>", RC_RETRY, "access key id is missing"},
    {200, "<R><AccessKeyId>A</AccessKeyId><SecretAccessKey>HIDDEN</SecretAccessKey><SessionToken>H",
     RC_RETRY, "cut"},
    {200, "<R><AccessKeyId>A</AccessKeyId></R>", RC_RETRY, "secret key is missing"},
    {200, XML("", IN_1H), RC_RETRY, "access key id is missing"},
    {200, XML("A B", IN_1H), RC_RETRY, "access key id"},
    {200, XML("W", "tomorrow"), RC_RETRY, "expiration"},
    {200, XML("W", "2026-11-22T22:24:59"), RC_RETRY, "expiration"},
    {200, "<!DOCTYPE R [<!ENTITY a 'A'>]>" XML("&a;", IN_1H), RC_RETRY, "cut"},
    {200, "<R><Error><Code>AccessDenied</Code></Error></R>", RC_IO, "status 200 AccessDenied"},
    {200, "[]", RC_RETRY, "cut"},
    {200, "{\"AccessKeyId\":1,\"SecretAccessKey\":null}", RC_RETRY, "access key id is missing"},
};

START_TEST(a_bad_answer_of_sts_is_an_error_without_secrets) {
    web_identity("HIDDEN");
    unsetenv("http_proxy");
    write_file(".aws/credentials", "[default]\n" KEYS);
    route(0, "POST ", bad_sts[_i].status, bad_sts[_i].body);
    new_source("");
    fails(bad_sts[_i].code, bad_sts[_i].words);
    says("credentials: web identity: ");
    ck_assert_int_eq(service.count, 1);
}
END_TEST

static const struct {
    const char *name, *value;
    enum rc_code code;
    const char *words;
} bad_identities[] = {
    {"AWS_ROLE_ARN", "", RC_USAGE, "needs AWS_ROLE_ARN"},
    {"AWS_WEB_IDENTITY_TOKEN_FILE", "/absent", RC_IO, "/absent: no such file"},
    {"AWS_WEB_IDENTITY_TOKEN_FILE", "/", RC_USAGE, "not a plain file"},
    {"AWS_WEB_IDENTITY_TOKEN_FILE", "/dev/null", RC_USAGE, "not a plain file"},
    {"AWS_WEB_IDENTITY_TOKEN_FILE", "/etc/passwd", RC_IO, "not one token"},
    {"AWS_ENDPOINT_URL_STS", "sts.example", RC_USAGE, "AWS_ENDPOINT_URL_STS"},
    {"AWS_ENDPOINT_URL_STS", "file:///etc/passwd", RC_USAGE, "AWS_ENDPOINT_URL_STS"},
    {"AWS_ENDPOINT_URL_STS", "https://me:HIDDEN@127.0.0.1:1", RC_USAGE, "AWS_ENDPOINT_URL_STS"},
    {"AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1", RC_RETRY, "http://127.0.0.1:1: "},
};

START_TEST(a_web_identity_that_is_not_whole_is_an_error) {
    web_identity("HIDDEN");
    unsetenv("http_proxy");
    setenv(bad_identities[_i].name, bad_identities[_i].value, 1);
    new_source("");
    fails(bad_identities[_i].code, bad_identities[_i].words);
}
END_TEST

/* The proxy, which is not there, is asked for the host; so nothing leaves this machine. */
static const struct {
    const char *region, *env_region, *rule, *host;
} sts_hosts[] = {
    {"eu-central-1", "no", NULL, "https://sts.eu-central-1.amazonaws.com: "},
    {"", "us-east-2", NULL, "https://sts.us-east-2.amazonaws.com: "},
    {"", NULL, NULL, "https://sts.of-the-profile.amazonaws.com: "},
    {"eu-central-1", NULL, "legacy", "https://sts.amazonaws.com: "},
    {"eu-central-1", NULL, "regional", "https://sts.eu-central-1.amazonaws.com: "},
    {"cn-north-1", NULL, NULL, "https://sts.cn-north-1.amazonaws.com.cn: "},
};

START_TEST(sts_is_asked_in_the_region) {
    web_identity("HIDDEN");
    unsetenv("AWS_ENDPOINT_URL_STS");
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    write_file(".aws/config", "[default]\nregion = of-the-profile\n");
    set("AWS_REGION", sts_hosts[_i].env_region);
    set("AWS_STS_REGIONAL_ENDPOINTS", sts_hosts[_i].rule);
    OK(credentials_new(&env, http, "", sts_hosts[_i].region, &source, e));
    fails(RC_RETRY, sts_hosts[_i].host);
}
END_TEST

/* ---- containers ---- */

START_TEST(a_container_is_asked_with_its_token_and_past_the_proxy) {
    char url[128];
    snprintf(url, sizeof url, "%s/v1/x?y=z", service.url);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "HIDDEN-1", 1);
    route(0, "GET /v1/x?y=z ", 200, JSON("C", IN_1H));
    new_source("");
    gives("C", "HIDDEN", "HIDDEN-T");
    asked(0, "\r\nAuthorization: HIDDEN-1\r\n");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", write_file("token", "HIDDEN-2\n"), 1);
    new_source("");
    gives("C", "HIDDEN", "HIDDEN-T");
    asked(1, "\r\nAuthorization: HIDDEN-2\r\n");
}
END_TEST

static const struct {
    const char *name, *value, *words;
} bad_containers[] = {
    {"FULL_URI", "http://example.com/", "http only goes to"},
    {"FULL_URI", "http://169.254.170.20/", "http only goes to"},
    {"FULL_URI", "http://169.254.170.2.example.com/", "http only goes to"},
    {"FULL_URI", "http://localhost.example.com/", "http only goes to"},
    {"FULL_URI", "http://localhos/", "http only goes to"},
    {"FULL_URI", "http://127.0.0.1.example.com/", "http only goes to"},
    {"FULL_URI", "http://128.0.0.1/", "http only goes to"},
    {"FULL_URI", "http://[::2]/", "http only goes to"},
    {"FULL_URI", "http://[::1/", "http only goes to"},
    {"FULL_URI", "http://[::1].example.com/", "http only goes to"},
    {"FULL_URI", "http:///x", "http only goes to"},
    {"FULL_URI", "http://127.0.0.1@example.com/", "user"},
    {"FULL_URI", "http://localhost:1\\@example.com/", "user"},
    {"FULL_URI", "http://local host/", "not an http(s) URL"},
    {"FULL_URI", "localhost/", "not an http(s) URL"},
    {"FULL_URI", "ftp://localhost/", "not an http(s) URL"},
    {"RELATIVE_URI", "@example.com/", "user"},
    {"RELATIVE_URI", ".example.com/", "http only goes to"},
    {"RELATIVE_URI", "0/", "http only goes to"},
};

START_TEST(a_container_never_sends_its_token_elsewhere) {
    char name[64];
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "HIDDEN", 1);
    snprintf(name, sizeof name, "AWS_CONTAINER_CREDENTIALS_%s", bad_containers[_i].name);
    setenv(name, bad_containers[_i].value, 1);
    new_source("");
    fails(RC_USAGE, bad_containers[_i].words);
}
END_TEST

static const char *const good_hosts[] = {"http://localhost:1/", "http://[::1]:1/?x",
                                         "http://127.9.9.9:1", "https://127.0.0.1:1/x",
                                         "http://LOCALHOST:1#x"};

START_TEST(a_container_is_asked_where_it_may_be) {
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", good_hosts[_i], 1);
    new_source("");
    fails(RC_RETRY, "credentials: container: http");
}
END_TEST

static const struct {
    int status;
    const char *body;
    enum rc_code code;
    const char *words;
} bad_json[] = {
    {404, "{\"code\":\"NoId\",\"message\":\"HIDDEN-A\"}", RC_IO, "status 404"},
    {403, "{\"code\":\"Denied\",\"message\":\"not you\"}", RC_IO, "status 403 Denied not you"},
    {500, "", RC_RETRY, "status 500"},
    {200, "", RC_RETRY, "cut"},
    {200, "{", RC_RETRY, "cut"},
    {200, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HIDDEN\",\"Token\":\"T", RC_RETRY, "cut"},
    {200, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HIDDEN\",\"Token\":\"T\"} x", RC_RETRY,
     "cut"},
    {200, "null", RC_RETRY, "cut"},
    {200, "{}", RC_RETRY, "access key id is missing"},
    {200, "{\"Code\":\"Failed\",\"Message\":\"no role\"}", RC_IO, "status 200 Failed no role"},
    {200, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HIDDEN\\nX: y\"}", RC_RETRY, "secret key"},
    {200, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\\u0000\"}", RC_RETRY, "cut"},
    {200, JSON("C", "2026"), RC_RETRY, "expiration"},
    {200, JSON("C", ""), RC_RETRY, "expiration"},
};

START_TEST(a_bad_answer_of_a_container_is_an_error_without_secrets) {
    container();
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "HIDDEN-A", 1);
    route(0, "GET ", bad_json[_i].status, bad_json[_i].body);
    new_source("");
    fails(bad_json[_i].code, bad_json[_i].words);
}
END_TEST

/* ---- the instance ---- */

#define ROLES "/latest/meta-data/iam/security-credentials/"

static void instance_routes(const char *id_json) {
    route(0, "PUT /latest/api/token ", 200, "HIDDEN-M");
    route(1, "GET " ROLES "my-role ", 200, id_json);
    route(2, "GET " ROLES " ", 200, "my-role\nother\n");
}

START_TEST(an_instance_is_asked_by_the_second_version) {
    instance();
    instance_routes(JSON("I", IN_1H));
    new_source("");
    gives("I", "HIDDEN", "HIDDEN-T");
    ck_assert_int_eq(service.count, 3);
    asked(0, "PUT /latest/api/token HTTP/1.1\r\n");
    asked(0, "\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\n");
    asked(1, "\r\nX-aws-ec2-metadata-token: HIDDEN-M\r\n");
    asked(2, "GET " ROLES "my-role HTTP/1.1\r\n");
    asked(2, "\r\nX-aws-ec2-metadata-token: HIDDEN-M\r\n");
}
END_TEST

static const struct {
    int which, status;
    const char *body;
    enum rc_code code;
    const char *words;
} bad_instances[] = {
    {0, 403, "", RC_NOTFOUND, "no instance metadata: status 403"},
    {0, 404, "", RC_NOTFOUND, "no instance metadata"},
    {0, 500, "", RC_NOTFOUND, "no instance metadata: status 500"},
    {0, 200, "", RC_NOTFOUND, "no instance metadata"},
    {0, 200, "<html> page", RC_NOTFOUND, "no instance metadata"},
    {0, 200, "HIDDEN\xff", RC_NOTFOUND, "no instance metadata"},
    {2, 404, "", RC_NOTFOUND, "the instance has no role"},
    {2, 401, "", RC_IO, "credentials: instance: status 401"},
    {2, 503, "", RC_RETRY, "status 503"},
    {2, 200, "", RC_RETRY, "makes no sense"},
    {2, 200, "a role", RC_RETRY, "makes no sense"},
    {1, 404, "", RC_NOTFOUND, "the instance has no role"},
    {1, 500, "", RC_RETRY, "status 500"},
    {1, 200, "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"m\"}", RC_IO,
     "AssumeRoleUnauthorizedAccess m"},
    {1, 200, "{", RC_RETRY, "cut"},
};

START_TEST(a_bad_instance_is_an_error_without_secrets) {
    instance();
    instance_routes(JSON("I", IN_1H));
    service.routes[bad_instances[_i].which].status = bad_instances[_i].status;
    service.routes[bad_instances[_i].which].body = bad_instances[_i].body;
    new_source("");
    fails(bad_instances[_i].code, bad_instances[_i].words);
}
END_TEST

START_TEST(a_silent_instance_costs_one_second) {
    instance();
    instance_routes("");
    service.routes[_i == 0 ? 0 : 2].status = 0;
    env.mono_ns = real->mono_ns;
    new_source("");
    int64_t begun = real->mono_ns(real);
    fails(_i == 0 ? RC_NOTFOUND : RC_TIMEOUT, _i == 0 ? "no instance metadata" : "instance: http");
    int64_t took_ms = (real->mono_ns(real) - begun) / 1000000;
    ck_assert_int_ge(took_ms, 900);
    ck_assert_int_le(took_ms, 3000);
}
END_TEST

static void add(TCase *t) {
    tcase_add_test(t, a_token_becomes_a_role_by_sts);
    tcase_add_test(t, a_profile_can_name_a_role_by_web_identity);
    ADD_ROWS(t, a_bad_answer_of_sts_is_an_error_without_secrets, bad_sts);
    ADD_ROWS(t, a_web_identity_that_is_not_whole_is_an_error, bad_identities);
    ADD_ROWS(t, sts_is_asked_in_the_region, sts_hosts);
    tcase_add_test(t, a_container_is_asked_with_its_token_and_past_the_proxy);
    ADD_ROWS(t, a_container_never_sends_its_token_elsewhere, bad_containers);
    ADD_ROWS(t, a_container_is_asked_where_it_may_be, good_hosts);
    ADD_ROWS(t, a_bad_answer_of_a_container_is_an_error_without_secrets, bad_json);
    tcase_add_test(t, an_instance_is_asked_by_the_second_version);
    ADD_ROWS(t, a_bad_instance_is_an_error_without_secrets, bad_instances);
    tcase_add_loop_test(t, a_silent_instance_costs_one_second, 0, 2);
}

int main(void) {
    return run_cases("services", add);
}
