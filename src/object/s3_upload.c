/* A large object on its way to a bucket.
 *
 * A level-0 object is one conditional PUT, whatever its size: at a conditional
 * CompleteMultipartUpload a server was seen to replace what was there. As a PUT must say its length
 * first, it is collected in an unnamed file. Others go up in parts, of which memory holds one.
 *
 * After a crash the parts that went up stay until they are aborted by a rule of the bucket.
 */
#include "base/limits.h"
#include "object/key.h"
#include "object/s3_call.h"
#include "object/s3_xml.h"
#include "os/system.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PUT_MAX (5ull << 30) /* S3's */
#define PART_SIZE (8u << 20)
#define PARTS_MAX 9000u /* S3 has 10,000 */

struct s3_upload {
    struct s3 *s;
    char key[LIMIT_KEY];
    struct file *file; /* a level-0 object is collected here */
    EVP_MD_CTX *hash;  /* of what the file holds */
    uint64_t file_size;
    struct buf part; /* else: what is not sent yet */
    size_t part_size;
    char id[1024];    /* "" before the first part */
    struct buf parts; /* <Part>s, for the completion */
    int count;
};

static void upload_free(struct s3_upload *u) {
    struct env *env = u->s->store.env;
    if (u->file) env->files->close(env, u->file);
    EVP_MD_CTX_free(u->hash);
    buf_deinit(&u->part);
    buf_deinit(&u->parts);
    free(u);
}

/* A server that does not answer is found out before all is written. (A slot that is taken is the
 * PUT's to tell, and then its caller's to compare.) */
static rc open_spool(struct s3_upload *u, struct err *e) {
    struct env *env = u->s->store.env;
    struct object_info info;
    rc r = u->s->store.ops->stat(&u->s->store, u->key, &info, e);
    if (r.code != RC_NOTFOUND) TRY(r);
    u->hash = EVP_MD_CTX_new();
    if (!u->hash || EVP_DigestInit_ex(u->hash, EVP_sha256(), NULL) != 1)
        return err_set(e, RC_NOMEM, "no memory");
    return env->files->open(env, system_temp_dir(), FILE_TEMP, &u->file, e);
}

rc s3_upload_open(struct store *store, const char *key, uint64_t size_most,
                  struct object_upload **out, struct err *e) {
    struct s3 *s = s3_of(store);
    TRY(key_check(key, e));
    struct s3_upload *u = calloc(1, sizeof *u);
    if (!u) return err_set(e, RC_NOMEM, "no memory");
    u->s = s;
    snprintf(u->key, sizeof u->key, "%s", key);
    uint64_t least = size_most / PARTS_MAX + 1;
    u->part_size = (size_t)(s->at.part_size ? s->at.part_size : PART_SIZE);
    if (u->part_size < least) u->part_size = (size_t)least;
    buf_init(&u->part, u->part_size + 1);
    buf_init(&u->parts, PARTS_MAX * 256);
    rc r = strncmp(key, "0000/", 5) == 0 ? open_spool(u, e) : ok();
    if (is_ok(r)) *out = (struct object_upload *)u;
    else upload_free(u);
    return r;
}

static rc take_id(void *arg, const char *path, const char *text, struct err *e) {
    struct s3_upload *u = arg;
    (void)e;
    if (text && strcmp(path, "UploadId") == 0) snprintf(u->id, sizeof u->id, "%s", text);
    return ok();
}

/* "name=<id>" escaped */
static rc upload_query(const struct s3_upload *u, const char *before, struct buf *out,
                       struct err *e) {
    buf_init(out, 4096);
    buf_text(out, before);
    sigv4_escape(out, u->id, false);
    buf_u8(out, 0);
    return buf_check(out, "upload id", e);
}

static rc begin_parts(struct s3_upload *u, struct err *e) {
    struct http_reply reply;
    rc r = s3_call(u->s,
                   &(struct call){.kind = REQUEST_MULTIPART,
                                  .method = "POST",
                                  .key = u->key,
                                  .query = "uploads=",
                                  .writes = true,
                                  .has_customer_key = true,
                                  .time_ms = u->s->store.env->unix_ms(u->s->store.env)},
                   &reply, e);
    if (is_ok(r)) r = s3_xml_read(reply.text, strlen(reply.text), take_id, u, e);
    http_reply_deinit(&reply);
    if (is_ok(r) && !*u->id) r = err_set(e, RC_RETRY, "the server gave no upload id");
    return r;
}

static rc send_part(struct s3_upload *u, struct err *e) {
    char before[64], line[256];
    struct http_reply reply;
    struct buf query AUTO(buf_deinit) = {0};
    if (!*u->id) TRY(begin_parts(u, e));
    snprintf(before, sizeof before, "partNumber=%d&uploadId=", ++u->count);
    TRY(upload_query(u, before, &query, e));
    rc r = s3_call(u->s,
                   &(struct call){.kind = REQUEST_MULTIPART,
                                  .method = "PUT",
                                  .key = u->key,
                                  .query = (const char *)query.bytes,
                                  .body = u->part.bytes,
                                  .body_size = u->part.size,
                                  .has_customer_key = true},
                   &reply, e);
    snprintf(line, sizeof line, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", u->count,
             reply.etag);
    bool has_etag = reply.etag[0] && !strpbrk(reply.etag, "<>&");
    http_reply_deinit(&reply);
    TRY(r);
    if (!has_etag) return err_set(e, RC_RETRY, "the server gave a part no ETag");
    buf_text(&u->parts, line);
    buf_clear(&u->part);
    return buf_check(&u->parts, "list of parts", e);
}

rc s3_upload_write(struct object_upload *upload, const void *bytes, size_t n, struct err *e) {
    struct s3_upload *u = (struct s3_upload *)upload;
    struct env *env = u->s->store.env;
    if (u->file && u->file_size + n > PUT_MAX)
        return err_set(
            e, RC_UNFIT,
            "%s: over 5 GiB in one transaction, or in the first shipment of a database: a "
            "bucket does not take that in one request",
            u->key);
    if (u->file) {
        TRY(env->files->write(env, u->file, u->file_size, bytes, n, e));
        u->file_size += n;
        ENSURE(EVP_DigestUpdate(u->hash, bytes, n) == 1);
        return ok();
    }
    for (size_t done = 0, some; done < n; done += some) {
        some = u->part_size - u->part.size < n - done ? u->part_size - u->part.size : n - done;
        buf_put(&u->part, (const char *)bytes + done, some);
        TRY(buf_check(&u->part, "part", e));
        if (u->part.size == u->part_size) TRY(send_part(u, e));
    }
    return ok();
}

static rc put_spooled(struct s3_upload *u, int64_t time_ms, struct err *e) {
    uint8_t hash[32];
    char hex[SHA256_HEX_SIZE];
    ENSURE(EVP_DigestFinal_ex(u->hash, hash, NULL) == 1);
    hex_of(hash, sizeof hash, hex);
    return s3_create(u->s,
                     &(struct call){.key = u->key,
                                    .body_file = u->file,
                                    .body_size = u->file_size,
                                    .body_hash = hex,
                                    .creates = true,
                                    .time_ms = time_ms},
                     e);
}

/* A condition at the completion does not hold everywhere, so it is asked before as well. */
static rc complete_parts(struct s3_upload *u, struct err *e) {
    struct http_reply reply;
    struct s3_error x;
    struct object_info info;
    struct buf query AUTO(buf_deinit) = {0}, body AUTO(buf_deinit);
    buf_init(&body, PARTS_MAX * 256 + 128);
    if (u->part.size) TRY(send_part(u, e));
    rc r = u->s->store.ops->stat(&u->s->store, u->key, &info, e);
    if (is_ok(r)) return err_set(e, RC_CONFLICT, "%s exists", u->key);
    if (r.code != RC_NOTFOUND) return r;
    TRY(upload_query(u, "uploadId=", &query, e));
    buf_text(&body, "<CompleteMultipartUpload>");
    buf_put(&body, u->parts.bytes, u->parts.size);
    buf_text(&body, "</CompleteMultipartUpload>");
    TRY(buf_check(&body, "list of parts", e));
    r = s3_call(u->s,
                &(struct call){.kind = REQUEST_MULTIPART,
                               .method = "POST",
                               .key = u->key,
                               .query = (const char *)query.bytes,
                               .body = body.bytes,
                               .body_size = body.size,
                               .has_customer_key = true},
                &reply, e);
    if (is_ok(r)) s3_xml_error(reply.text, &x);
    http_reply_deinit(&reply);
    bool said = is_ok(r) && strcmp(x.root, "CompleteMultipartUploadResult") == 0;
    if (!is_ok(r) && r.code != RC_NOTFOUND) return r;
    /* It may have been completed by an attempt whose reply was lost or says nothing. */
    if (!said && !is_ok(u->s->store.ops->stat(&u->s->store, u->key, &info, e)))
        return is_ok(r)
                   ? err_set(e, RC_RETRY, "%s: the server did not say that it is complete", u->key)
                   : r;
    u->id[0] = 0;
    return ok();
}

void s3_upload_abort(struct object_upload *upload) {
    struct s3_upload *u = (struct s3_upload *)upload;
    struct http_reply reply;
    struct err ignored;
    struct buf query AUTO(buf_deinit) = {0};
    if (!u) return;
    if (*u->id && is_ok(upload_query(u, "uploadId=", &query, &ignored))) {
        struct call c = {.kind = REQUEST_MULTIPART,
                         .method = "DELETE",
                         .key = u->key,
                         .query = (const char *)query.bytes,
                         .attempts = 2};
        if (!is_ok(s3_call(u->s, &c, &reply, &ignored))) { /* the bucket's rules clean up */
        }
        http_reply_deinit(&reply);
    }
    upload_free(u);
}

rc s3_upload_commit(struct object_upload *upload, int64_t time_ms, struct err *e) {
    struct s3_upload *u = (struct s3_upload *)upload;
    rc r;
    if (u->file) r = put_spooled(u, time_ms, e);
    else if (*u->id) r = complete_parts(u, e);
    else
        r = s3_create(u->s,
                      &(struct call){.key = u->key,
                                     .body = u->part.bytes,
                                     .body_size = u->part.size,
                                     .creates = true,
                                     .time_ms = time_ms},
                      e);
    struct err first = {0};
    if (e) first = *e;
    s3_upload_abort(upload);
    if (e) *e = first;
    return r;
}
