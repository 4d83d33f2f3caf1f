/* The chain of sources, and when it is asked again: see the header.
 *
 * Why the source that gave credentials once is the only one asked from then on: a file that is gone
 * for the moment in which it is replaced would let the next source, another identity, take over.
 *
 * Why credentials that look expired when they come are used for a minute: the clock may be wrong,
 * or the service may be out of order and hand out its last ones; the store will judge.
 *
 * Invariants:
 * 1. One thread asks. The lock is not held meanwhile; `from` is the asker's alone.
 * 2. Asking ends: each request has a deadline, and the instance's three have one together.
 * 3. Nothing goes into a header, a URL or an error's words before its characters were looked at.
 */
#include "object/credentials.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "object/profile.h"
#include "object/s3_xml.h"
#include "os/system.h"

#include <ctype.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RENEW_BEFORE_MS (5 * 60 * 1000)
#define RETRY_MS (60 * 1000)
#define PAUSE_NS (3 * INT64_C(1000000000))
#define SERVICE_MS 5000
#define INSTANCE_NS INT64_C(1000000000)
enum { ENVIRONMENT, PROFILE = 2 }; /* the sources by number */
#define SOURCES 5

const char *const credentials_variables[] = {"AWS_ACCESS_KEY_ID",
                                             "AWS_SECRET_ACCESS_KEY",
                                             "AWS_SESSION_TOKEN",
                                             "LITESTREAM_ACCESS_KEY_ID",
                                             "LITESTREAM_SECRET_ACCESS_KEY",
                                             "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                             NULL};

struct credential_source {
    struct env *env;
    struct http *http;
    char profile[128], region[64], profile_region[64];
    int from, first; /* the asker's */
    pthread_mutex_t lock;
    pthread_cond_t asked;
    /* guarded by lock */
    bool asking, have;
    struct credentials now;
    int64_t expires_ms, renew_ms; /* Unix time */
    int64_t pause_until_ns;
    struct err failed; /* the last time that `now` was of no use; RC_OK: it did not */
};

static bool is_plain(const char *text) {
    size_t n = 0;
    while (text && isgraph((unsigned char)text[n])) n++;
    return n && !text[n];
}

/* What a header may have in the middle: "Basic abcd" is one token with a blank. */
static bool is_header(const char *text) {
    size_t n = 0;
    while (isprint((unsigned char)text[n])) n++;
    return n && !text[n];
}

/* ---- what services answer ---- */

static void reply_wipe(struct http_reply *r) {
    if (r->text) OPENSSL_cleanse(r->text, strlen(r->text));
    http_reply_deinit(r);
}

static rc put_element(void *arg, const char *path, const char *text, struct err *e) {
    const char *slash = strrchr(path, '/');
    (void)e;
    values_put(arg, slash ? slash + 1 : path, text);
    return ok();
}

/* STS answers in XML, the others in JSON. False: cut, or something else. */
static bool parse(const char *text, struct values *out) {
    const char *name;
    json_t *value, *root = *text == '<' ? NULL : json_loads(text, 0, NULL);
    json_object_foreach(root, name, value) {
        values_put(out, name, json_string_value(value));
        OPENSSL_cleanse((char *)json_string_value(value), json_string_length(value));
    }
    bool whole = json_is_object(root);
    json_decref(root);
    if (*text != '<') return whole;
    return is_ok(s3_xml_read(text, strlen(text), put_element, out, NULL));
}

/* `secret`: what a service might repeat in its words. `out`: NULL when a plain text is wanted. */
static rc ask(struct credential_source *s, const struct http_request *q, const char *secret,
              struct http_reply *reply, struct values *out, struct err *e) {
    AUTO(values_wipe) struct values said = {0};
    TRY(http_do(s->http, q, reply, e));
    bool whole = parse(reply->text, &said), fine = reply->status / 100 == 2;
    const char *code = said.of[CODE] ? said.of[CODE] : "",
               *words = said.of[MESSAGE] ? said.of[MESSAGE] : "";
    if (fine && !out) return ok();
    if (fine && !whole) return err_set(e, RC_RETRY, "the answer is cut, or is something else");
    if (fine && (!*code || strcmp(code, "Success") == 0)) {
        values_wipe(out);
        *out = said;
        said = (struct values){0};
        return ok();
    }
    bool passing = reply->status >= 500 || reply->status == 429 || reply->status == 408 ||
                   strcmp(code, "IDPCommunicationError") == 0;
    bool silent = secret && (strstr(words, secret) || strstr(code, secret));
    return err_set(e, passing ? RC_RETRY : RC_IO, "status %d %.64s %.300s", reply->status,
                   silent ? "" : code, silent ? "" : words);
}

/* What a variable names must not hold a password: errors repeat the host. */
static rc check_url(const char *variable, const char *url, struct err *e) {
    bool web = strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0;
    if (web && is_plain(url) && !strpbrk(url, "@\\")) return ok();
    return err_set(e, RC_USAGE, "%s: not an http(s) URL, or one with a user in it", variable);
}

/* That a file is absent which is named is no reason to look elsewhere. */
static rc read_token(struct env *env, const char *path, char **out, struct err *e) {
    rc r = secret_file_read(env, path, out, e);
    if (r.code == RC_NOTFOUND) return err_set(e, RC_IO, "%s: no such file", path);
    TRY(r);
    for (size_t n = strlen(*out); n && strchr("\r\n", (*out)[n - 1]);) (*out)[--n] = 0;
    return is_header(*out) ? ok() : err_set(e, RC_IO, "%s: not one token", path);
}

/* ---- the sources: RC_NOTFOUND says that the next one is to be asked ---- */

static rc from_environment(struct credential_source *s, struct values *out, struct err *e) {
    const char *id = system_env("AWS_ACCESS_KEY_ID"), *secret = system_env("AWS_SECRET_ACCESS_KEY");
    bool own = id || secret;
    (void)s;
    if (!own) id = system_env("LITESTREAM_ACCESS_KEY_ID");
    if (!own) secret = system_env("LITESTREAM_SECRET_ACCESS_KEY");
    if (!id && !secret)
        return err_set(e, RC_NOTFOUND, "AWS_ACCESS_KEY_ID and LITESTREAM_ACCESS_KEY_ID not set");
    values_put(out, "AccessKeyId", id);
    values_put(out, "SecretAccessKey", secret);
    values_put(out, "SessionToken", system_env("AWS_SESSION_TOKEN"));
    return ok();
}

static void form_value(struct buf *b, const char *name, const char *value) {
    buf_put(b, name, strlen(name));
    for (char hex[4]; *value; value++) {
        unsigned char c = (unsigned char)*value;
        buf_put(b, hex, (size_t)snprintf(hex, sizeof hex, isalnum(c) ? "%c" : "%%%02X", c));
    }
}

static rc assume_role(struct credential_source *s, const char *role, const char *token_file,
                      const char *session, struct values *out, struct err *e) {
    AUTO(secret_free) char *token = NULL;
    AUTO(reply_wipe) struct http_reply reply = {0};
    AUTO(buf_deinit) struct buf body = {0};
    char url[512] = "https://sts.amazonaws.com";
    const char *given = system_env("AWS_ENDPOINT_URL_STS");
    const char *rule = system_env("AWS_STS_REGIONAL_ENDPOINTS");
    if (*s->region && (!rule || strcasecmp(rule, "legacy") != 0))
        snprintf(url, sizeof url, "https://sts.%s.amazonaws.com%s", s->region,
                 strncmp(s->region, "cn-", 3) == 0 ? ".cn" : "");
    if (given) TRY(check_url("AWS_ENDPOINT_URL_STS", given, e));
    TRY(read_token(s->env, token_file, &token, e));
    size_t most = 3 * (strlen(token) + strlen(role) + strlen(session)) + 200;
    buf_init(&body, most);
    buf_extend(&body, most); /* so that it never moves, and all of it is wiped */
    buf_clear(&body);
    form_value(&body, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=", role);
    form_value(&body, "&RoleSessionName=", session);
    form_value(&body, "&WebIdentityToken=", token);
    struct http_request q = {.method = "POST",
                             .url = given ? given : url,
                             .headers = {"Content-Type: application/x-www-form-urlencoded"},
                             .body = body.bytes,
                             .body_size = body.size,
                             .timeout_ms = SERVICE_MS};
    rc r = buf_check(&body, "web identity", e);
    if (is_ok(r)) r = ask(s, &q, token, &reply, out, e);
    OPENSSL_cleanse(body.bytes, body.size);
    return r;
}

static rc from_web_identity(struct credential_source *s, struct values *out, struct err *e) {
    const char *file = system_env("AWS_WEB_IDENTITY_TOKEN_FILE"),
               *role = system_env("AWS_ROLE_ARN");
    const char *session = system_env("AWS_ROLE_SESSION_NAME");
    if (!file) return err_set(e, RC_NOTFOUND, "AWS_WEB_IDENTITY_TOKEN_FILE not set");
    if (!role) return err_set(e, RC_USAGE, "AWS_WEB_IDENTITY_TOKEN_FILE needs AWS_ROLE_ARN");
    return assume_role(s, role, file, session ? session : "holdfast", out, e);
}

static rc from_profile(struct credential_source *s, struct values *out, struct err *e) {
    char looked[500];
    struct profile p = {.name = s->profile};
    rc r = profile_read(s->env, &p, looked, sizeof looked, e);
    char **of = p.values.of;
    *out = p.values;
    TRY(r);
    if (of[ROLE_ARN] && of[TOKEN_FILE] && !of[UNSUPPORTED])
        return assume_role(s, of[ROLE_ARN], of[TOKEN_FILE],
                           of[SESSION_NAME] ? of[SESSION_NAME] : "holdfast", out, e);
    if (of[ROLE_ARN] || (of[UNSUPPORTED] && !of[ACCESS_KEY]))
        return err_set(e, RC_USAGE,
                       "%s: %s is not supported: use access keys, role_arn with "
                       "web_identity_token_file, or a container's or an instance's role",
                       looked, of[UNSUPPORTED] ? of[UNSUPPORTED] : "role_arn alone");
    if (of[ACCESS_KEY] || of[SECRET_KEY]) return ok();
    return err_set(e, RC_NOTFOUND, "no keys in %s", looked);
}

/* Plain http goes no further than this machine and the addresses of ECS and EKS. */
static bool is_container_host(const char *url) {
    static const char *const hosts[] = {"localhost", "[::1]", "169.254.170.2", "169.254.170.23",
                                        "[fd00:ec2::23]"};
    if (strncmp(url, "http://", 7) != 0) return true;
    url += 7;
    size_t n = *url == '[' ? strcspn(url, "]") + 1 : strcspn(url, ":/?#");
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (strlen(hosts[i]) == n && strncasecmp(url, hosts[i], n) == 0)
            return strchr(":/?#", url[n]) != NULL;
    return strncmp(url, "127.", 4) == 0 && strspn(url, "0123456789.") == n;
}

static rc from_container(struct credential_source *s, struct values *out, struct err *e) {
    const char *relative = system_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = system_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const char *file = system_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *given = system_env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    AUTO(secret_free) char *token = NULL, *header = NULL;
    AUTO(reply_wipe) struct http_reply reply = {0};
    char url[1024];
    if (!relative && !full)
        return err_set(e, RC_NOTFOUND,
                       "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI not set");
    int n = snprintf(url, sizeof url, "%s%s", relative ? "http://169.254.170.2" : full,
                     relative ? relative : "");
    TRY(check_url("AWS_CONTAINER_CREDENTIALS_..._URI", url, e));
    if (n >= (int)sizeof url || !is_container_host(url))
        return err_set(e, RC_USAGE,
                       "AWS_CONTAINER_CREDENTIALS_..._URI: http only goes to this machine and the "
                       "container's services; or it is too long");
    if (file) TRY(read_token(s->env, file, &token, e));
    if (token) given = token;
    if (given && (!is_header(given) || asprintf(&header, "Authorization: %s", given) < 0))
        return err_set(e, RC_USAGE, "AWS_CONTAINER_AUTHORIZATION_TOKEN: not one token");
    struct http_request q = {.method = "GET",
                             .url = url,
                             .headers = {header},
                             .timeout_ms = SERVICE_MS,
                             .no_proxy = url[4] == ':'};
    return ask(s, &q, given, &reply, out, e);
}

/* One of the questions to the metadata service; `text`: the first line of what it said. */
static rc ask_instance(struct credential_source *s, const char *path, const char *header,
                       int64_t until_ns, char text[256], struct values *out, struct err *e) {
    AUTO(reply_wipe) struct http_reply reply = {0};
    char url[1024];
    const char *base = system_env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (!base) base = "http://169.254.169.254";
    TRY(check_url("AWS_EC2_METADATA_SERVICE_ENDPOINT", base, e));
    size_t n = strlen(base);
    snprintf(url, sizeof url, "%.*s/latest/%s", (int)(base[n - 1] == '/' ? n - 1 : n), base, path);
    int64_t left_ms = (until_ns - s->env->mono_ns(s->env)) / 1000000;
    struct http_request q = {.method = strchr(path, '-') ? "GET" : "PUT",
                             .url = url,
                             .headers = {header},
                             .timeout_ms = left_ms > 0 ? left_ms : 1,
                             .no_proxy = true};
    rc r = ask(s, &q, NULL, &reply, out, e);
    if (reply.status == 404) return err_set(e, RC_NOTFOUND, "the instance has no role");
    if (!is_ok(r) || out) return r;
    snprintf(text, 256, "%.*s", (int)strcspn(reply.text, "\r\n"), reply.text);
    return is_plain(text) ? ok() : err_set(e, RC_RETRY, "the instance's answer makes no sense");
}

static rc from_instance(struct credential_source *s, struct values *out, struct err *e) {
    static const char roles[] = "meta-data/iam/security-credentials/";
    const char *disabled = system_env("AWS_EC2_METADATA_DISABLED");
    char header[300], path[300], token[256], role[256];
    int64_t until = s->env->mono_ns(s->env) + INSTANCE_NS;
    if (disabled && strcasecmp(disabled, "true") == 0)
        return err_set(e, RC_NOTFOUND, "AWS_EC2_METADATA_DISABLED is set");
    rc r = ask_instance(s, "api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600", until, token,
                        NULL, e);
    if (r.code != RC_OK && r.code != RC_USAGE && s->from < 0)
        return err_prefix(e, (rc){RC_NOTFOUND}, "no instance metadata");
    TRY(r);
    snprintf(header, sizeof header, "X-aws-ec2-metadata-token: %s", token);
    r = ask_instance(s, roles, header, until, role, NULL, e);
    snprintf(path, sizeof path, "%s%s", roles, is_ok(r) ? role : "");
    if (is_ok(r)) r = ask_instance(s, path, header, until, NULL, out, e);
    OPENSSL_cleanse(header, sizeof header);
    OPENSSL_cleanse(token, sizeof token);
    return r;
}

/* ---- asking ---- */

/* What is sent in headers has been looked at: every character is a visible one. */
static rc convert(const struct values *v, struct credentials *out, int64_t *expires_ms,
                  struct err *e) {
    const struct {
        const char *name;
        char *to;
        size_t size;
    } parts[] = {{"access key id", out->access_key, sizeof out->access_key},
                 {"secret key", out->secret_key, sizeof out->secret_key},
                 {"session token", out->session_token, sizeof out->session_token}};
    for (int i = 0; i <= SESSION_TOKEN; i++) {
        const char *from = v->of[i];
        if (i == SESSION_TOKEN && !v->no_memory && (!from || !*from)) continue;
        if (!is_plain(from) || strlen(from) >= parts[i].size)
            return err_set(e, RC_USAGE, "the %s is missing, is too long, or has a blank in it",
                           parts[i].name);
        snprintf(parts[i].to, parts[i].size, "%s", from);
    }
    *expires_ms = INT64_MAX;
    if (v->of[EXPIRATION] && !s3_time(v->of[EXPIRATION], expires_ms))
        return err_set(e, RC_RETRY, "the expiration is not a time");
    return ok();
}

static rc fetch(struct credential_source *s, struct credentials *out, int64_t *expires_ms,
                struct err *e) {
    static const struct {
        const char *name;
        rc (*get)(struct credential_source *, struct values *, struct err *);
    } sources[SOURCES] = {{"environment", from_environment},
                          {"web identity", from_web_identity},
                          {"profile", from_profile},
                          {"container", from_container},
                          {"instance", from_instance}};
    char looked[ERR_TEXT_MAX] = "";
    for (int i = s->first; i < SOURCES; i++) {
        AUTO(values_wipe) struct values said = {0};
        rc r = sources[i].get(s, &said, e);
        bool by_service = is_ok(r) && i != ENVIRONMENT && i != PROFILE;
        if (is_ok(r)) r = convert(&said, out, expires_ms, e);
        if (!is_ok(r) && by_service) r = (rc){e->code = RC_RETRY}; /* its next answer may be good */
        if (is_ok(r)) s->first = s->from = i;
        if (is_ok(r)) return r;
        if (r.code != RC_NOTFOUND || s->from == i)
            return err_prefix(e, r, "credentials: %s", sources[i].name);
        size_t n = strlen(looked);
        snprintf(looked + n, sizeof looked - n, "; %.400s", e->text);
    }
    return err_set(e, RC_NOTFOUND, "no credentials%s", looked);
}

/* `now` is good after it, or it fails. Lets go of the lock while it asks. */
static rc renew_locked(struct credential_source *s, const struct credentials *refused,
                       struct err *e) {
    struct env *env = s->env;
    struct credentials got = {0};
    struct err why = {0};
    int64_t now, end;
    bool must;
    for (;;) {
        now = env->unix_ms(env);
        must = !s->have || now >= s->expires_ms ||
               (refused && memcmp(refused, &s->now, sizeof s->now) == 0);
        if (!must && (now < s->renew_ms || s->asking)) return ok();
        if (!s->asking) break;
        pthread_cond_wait(&s->asked, &s->lock); /* invariant 2 */
    }
    if (must && env->mono_ns(env) < s->pause_until_ns)
        return s->failed.code ? err_set(e, s->failed.code, "%s", s->failed.text) : ok();
    s->asking = true;
    pthread_mutex_unlock(&s->lock);
    rc r = fetch(s, &got, &end, &why);
    pthread_mutex_lock(&s->lock);
    s->asking = false;
    pthread_cond_broadcast(&s->asked);
    now = env->unix_ms(env);
    if (must && (!is_ok(r) || refused)) s->pause_until_ns = env->mono_ns(env) + PAUSE_NS;
    if (must || is_ok(r)) s->failed = why;
    if (is_ok(r)) {
        int64_t left = end - now < RETRY_MS ? RETRY_MS : end - now;
        s->now = got;
        s->have = true;
        s->expires_ms = end == INT64_MAX ? end : now + left;
        s->renew_ms = s->expires_ms - (left < 2 * RENEW_BEFORE_MS ? left / 2 : RENEW_BEFORE_MS);
    } else if (!must) s->renew_ms = now + RETRY_MS;
    OPENSSL_cleanse(&got, sizeof got);
    return is_ok(r) || !must ? ok() : err_set(e, why.code, "%s", why.text);
}

rc credentials_get(struct credential_source *s, const struct credentials *refused,
                   struct credentials *out, struct err *e) {
    pthread_mutex_lock(&s->lock);
    rc r = renew_locked(s, refused, e);
    if (is_ok(r)) *out = s->now;
    pthread_mutex_unlock(&s->lock);
    return r;
}

rc credentials_new(struct env *env, struct http *http, const char *profile, const char *region,
                   struct credential_source **out, struct err *e) {
    char looked[500];
    const char *named = *profile ? profile : system_env("AWS_PROFILE");
    struct profile p = {.name = named ? named : "default"};
    struct credential_source *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, RC_NOMEM, "no memory");
    rc r = profile_read(env, &p, looked, sizeof looked, e);
    const char *of_profile = p.values.of[REGION] ? p.values.of[REGION] : "";
    const char *env_region = system_env("AWS_REGION");
    if (!*region) region = env_region ? env_region : of_profile;
    if (is_ok(r) && ((named && !p.found) || strlen(p.name) >= sizeof s->profile))
        r = err_set(e, RC_USAGE, "no such profile: %s", looked);
    else if (is_ok(r) && region[strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-")])
        r = err_set(e, RC_USAGE, "'%.64s' is not the name of a region", region);
    *s = (struct credential_source){.env = env, .http = http, .from = -1};
    s->first = *profile ? PROFILE : 0;
    snprintf(s->profile, sizeof s->profile, "%s", p.name);
    snprintf(s->region, sizeof s->region, "%s", region);
    snprintf(s->profile_region, sizeof s->profile_region, "%s", of_profile);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->asked, NULL);
    values_wipe(&p.values);
    if (is_ok(r)) *out = s;
    else credentials_free(s);
    return r;
}

const char *credentials_region(const struct credential_source *s) {
    return s->profile_region;
}

void credentials_free(struct credential_source *s) {
    if (!s) return;
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->asked);
    OPENSSL_cleanse(s, sizeof *s);
    free(s);
}
