/* Secrets by name, and the INI files that have them: see the header.
 *
 * Why the keys of a profile go as a set from one file: the secret key of one with the session token
 * of the other would be nobody's.
 */
#include "object/profile.h"

#include "base/limits.h"
#include "os/system.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BLANK " \t\r"

void secret_free(char **text) {
    if (*text) OPENSSL_cleanse(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

void values_wipe(struct values *v) {
    for (int i = 0; i < VALUES; i++) secret_free(&v->of[i]);
}

/* By enum value: what files call it, and what services do. */
static const char *const names[VALUES][6] = {
    {"aws_access_key_id", "AccessKeyId"},
    {"aws_secret_access_key", "SecretAccessKey"},
    {"aws_session_token", "SessionToken", "Token"},
    {"Expiration"},
    {"Code"},
    {"Message"},
    {"region"},
    {"role_arn"},
    {"web_identity_token_file"},
    {"role_session_name"},
    {"source_profile", "credential_source", "credential_process", "sso_session", "sso_start_url"}};

void values_put(struct values *v, const char *name, const char *text) {
    for (int i = 0; text && i < VALUES; i++)
        for (const char *const *known = names[i]; *known; known++) {
            if (strcasecmp(name, *known) != 0) continue;
            secret_free(&v->of[i]);
            v->of[i] = strdup(i == UNSUPPORTED ? *known : text);
            v->no_memory |= !v->of[i];
        }
}

rc secret_file_read(struct env *env, const char *path, char **out, struct err *e) {
    struct file_stat st;
    struct file *f;
    TRY(env->files->stat(env, path, &st, e));
    if (!st.is_regular || st.size_bytes > LIMIT_SMALL_OBJECT)
        return err_set(e, RC_USAGE, "%s: not a plain file, or too large", path);
    TRY(env->files->open(env, path, FILE_READ, &f, e));
    size_t n = (size_t)st.size_bytes;
    char *text = calloc(1, n + 1);
    rc r = text ? env->files->read(env, f, 0, text, n, e) : err_set(e, RC_NOMEM, "no memory");
    env->files->close(env, f);
    if (is_ok(r) && strlen(text) != n) r = err_set(e, RC_USAGE, "%s: not a text", path);
    if (is_ok(r)) *out = text;
    else secret_free(&text);
    return r;
}

static char *trim(char *text) {
    text += strspn(text, BLANK);
    size_t n = strlen(text);
    while (n && strchr(BLANK, text[n - 1])) text[--n] = 0;
    return text;
}

/* "[NAME]"; in the other file "[profile NAME]", and "[default]". False: neither. */
static bool section(struct profile *p, bool is_config, char *line, bool *ours) {
    char *end = strchr(line, ']');
    if (!end || !strchr("#;", *trim(end + 1))) return false;
    *end = 0;
    const char *name = trim(line + 1);
    size_t prefix = is_config && strncmp(name, "profile", 7) == 0 ? strspn(name + 7, BLANK) : 0;
    bool plain = !is_config || strcmp(p->name, "default") == 0;
    *ours = (prefix || plain) && strcmp(prefix ? name + 7 + prefix : name, p->name) == 0;
    p->found |= *ours;
    return true;
}

static bool setting(struct profile *p, char *line) {
    char *equals = strchr(line, '='), *c = line;
    while (*c && !(strchr(BLANK, *c) && (c[1] == '#' || c[1] == ';'))) c++;
    *c = 0;
    if (!equals || equals >= c) return false;
    *equals = 0;
    values_put(&p->values, trim(line), trim(equals + 1));
    return true;
}

rc profile_parse(struct profile *p, bool is_config, char *text, const char *path, struct err *e) {
    bool ours = false, fine = true;
    size_t indent = SIZE_MAX; /* of the setting above */
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) text += 3;
    for (int number = 1; text; number++) {
        char *rest = strchr(text, '\n');
        if (rest) *rest++ = 0;
        size_t depth = strspn(text, BLANK);
        char *line = trim(text);
        text = rest;
        if (strchr("#;", *line)) continue; /* an empty one too */
        if (*line == '[') {
            fine = section(p, is_config, line, &ours);
            indent = SIZE_MAX;
        } else if (depth <= indent) {
            fine = !ours || setting(p, line);
            indent = depth;
        }
        if (!fine)
            return err_set(e, RC_USAGE, "%s:%d: neither '[profile]' nor 'name = value'", path,
                           number);
    }
    return ok();
}

static rc read_one(struct env *env, struct profile *p, bool is_config, char *looked, size_t size,
                   struct err *e) {
    char path[LIMIT_PATH];
    AUTO(secret_free) char *text = NULL;
    const char *home = system_env("HOME");
    const char *given = system_env(is_config ? "AWS_CONFIG_FILE" : "AWS_SHARED_CREDENTIALS_FILE");
    size_t n = strlen(looked);
    snprintf(path, sizeof path, "%s%s",
             given  ? given
             : home ? home
                    : "",
             given       ? ""
             : is_config ? "/.aws/config"
                         : "/.aws/credentials");
    rc r = given || home ? secret_file_read(env, path, &text, e)
                         : err_set(e, RC_NOTFOUND, "$HOME is not set");
    if (is_ok(r)) TRY(profile_parse(p, is_config, text, path, e));
    snprintf(looked + n, size - n, ", %.180s", is_ok(r) ? path : e->text);
    return ok();
}

rc profile_read(struct env *env, struct profile *p, char *looked, size_t size, struct err *e) {
    struct profile over = {.name = p->name};
    snprintf(looked, size, "profile '%s'", p->name);
    TRY(read_one(env, p, true, looked, size, e));
    rc r = read_one(env, &over, false, looked, size, e);
    bool keys = over.values.of[ACCESS_KEY] || over.values.of[SECRET_KEY];
    for (int i = 0; i < VALUES; i++) {
        char *of_config = p->values.of[i];
        if (i <= SESSION_TOKEN ? !keys : !over.values.of[i]) continue;
        p->values.of[i] = over.values.of[i];
        over.values.of[i] = of_config;
    }
    p->found |= over.found;
    values_wipe(&over.values);
    return r;
}
