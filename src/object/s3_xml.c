/* S3's XML: see the header.
 *
 * The caller has bounded the document; here depth, names and texts are. No part of it is kept but
 * one element's text.
 */
#include "object/s3_xml.h"

#include <expat.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEPTH_MAX 8
#define NAME_MAX_SIZE 64

struct s3_xml {
    XML_Parser parser;
    rc (*each)(void *, const char *path, const char *text, struct err *);
    void *arg;
    char names[DEPTH_MAX + 1][NAME_MAX_SIZE];
    int depth;
    char text[XML_TEXT_MAX];
    size_t text_size;
    rc failed;
    struct err why;
};

static void stop(struct s3_xml *x, const char *words) {
    if (is_ok(x->failed)) x->failed = err_set(&x->why, RC_RETRY, "the server's XML %s", words);
    XML_StopParser(x->parser, XML_FALSE);
}

static void tell(struct s3_xml *x, const char *text) {
    char path[2 * NAME_MAX_SIZE + 2];
    snprintf(path, sizeof path, "%s%s%s", x->depth > 2 ? x->names[x->depth - 2] : "",
             x->depth > 2 ? "/" : "", x->names[x->depth - 1]);
    if (!is_ok(x->failed)) return;
    x->failed = x->each(x->arg, path, text, &x->why);
    if (!is_ok(x->failed)) XML_StopParser(x->parser, XML_FALSE);
}

static void XMLCALL on_start(void *arg, const char *name, const char **attributes) {
    struct s3_xml *x = arg;
    (void)attributes;
    if (x->depth >= DEPTH_MAX || strlen(name) >= NAME_MAX_SIZE) {
        stop(x, "is nested too deeply");
        return;
    }
    snprintf(x->names[x->depth++], NAME_MAX_SIZE, "%s", name);
    x->text_size = 0;
}

static void XMLCALL on_text(void *arg, const char *text, int n) {
    struct s3_xml *x = arg;
    if (x->text_size + (size_t)n >= sizeof x->text) {
        stop(x, "has a text that is too long");
        return;
    }
    memcpy(x->text + x->text_size, text, (size_t)n);
    x->text_size += (size_t)n;
}

static void XMLCALL on_end(void *arg, const char *name) {
    struct s3_xml *x = arg;
    (void)name;
    if (!is_ok(x->failed)) return; /* expat still ends an empty element that it was stopped at */
    x->text[x->text_size] = 0;
    x->text_size = 0;
    tell(x, x->text);
    tell(x, NULL);
    x->depth--;
}

static void XMLCALL on_doctype(void *arg, const char *name, const char *system_id,
                               const char *public_id, int internal) {
    (void)name, (void)system_id, (void)public_id, (void)internal;
    stop(arg, "has a document type");
}

rc s3_xml_read(const void *bytes, size_t n,
               rc (*each)(void *, const char *path, const char *text, struct err *), void *arg,
               struct err *e) {
    struct s3_xml x = {.parser = XML_ParserCreate("UTF-8"), .each = each, .arg = arg};
    if (!x.parser) return err_set(e, RC_NOMEM, "no memory to read XML");
    XML_SetUserData(x.parser, &x);
    XML_SetElementHandler(x.parser, on_start, on_end);
    XML_SetCharacterDataHandler(x.parser, on_text);
    XML_SetStartDoctypeDeclHandler(x.parser, on_doctype);
    if (XML_Parse(x.parser, bytes, (int)n, true) != XML_STATUS_OK) stop(&x, "is cut or broken");
    XML_ParserFree(x.parser);
    OPENSSL_cleanse(x.text, sizeof x.text); /* STS's answer holds a secret */
    if (!is_ok(x.failed) && e) *e = x.why;
    return x.failed;
}

/* ---- errors ---- */

static rc take_error(void *arg, const char *path, const char *text, struct err *e) {
    struct s3_error *out = arg;
    (void)e;
    if (!text) snprintf(out->root, sizeof out->root, "%s", path); /* the outermost ends last */
    else if (strcmp(path, "Code") == 0) snprintf(out->code, sizeof out->code, "%s", text);
    else if (strcmp(path, "Message") == 0) snprintf(out->message, sizeof out->message, "%s", text);
    else if (strcmp(path, "Region") == 0) snprintf(out->region, sizeof out->region, "%s", text);
    return ok();
}

void s3_xml_error(const char *text, struct s3_error *out) {
    struct err ignored;
    *out = (struct s3_error){0};
    if (!*text || is_ok(s3_xml_read(text, strlen(text), take_error, out, &ignored))) return;
    *out = (struct s3_error){0};
}

bool s3_time(const char *text, int64_t *unix_ms) {
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t ms = 0, unit = 100;
    if (!rest) return false;
    if (*rest == '.')
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10) ms += (*rest - '0') * unit;
    if (strcmp(rest, "Z") != 0) return false;
    *unix_ms = (int64_t)timegm(&tm) * 1000 + ms;
    return true;
}
