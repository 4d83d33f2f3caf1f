/* The XML that S3 answers with, read by expat: lists and errors. Bounded, and without
 * document types or entities. Private to object/. */
#ifndef OBJECT_S3_XML_H
#define OBJECT_S3_XML_H

#include "object/object.h"

#define XML_TEXT_MAX 8192 /* of one element: a session token; a key, escaped, has 3072 */

/* Reads one document. `each` is told of each text: `path` is its element and its parent's, as
 * "Contents/Key", "UploadId"; and of the end of each element with `text` NULL. RC_RETRY: it is
 * cut, broken or hostile; or what `each` returned. */
MUST_USE rc s3_xml_read(const void *bytes, size_t n,
                        rc (*each)(void *, const char *path, const char *text, struct err *),
                        void *arg, struct err *);

/* <Code>, <Message> and <Region> of an error; "" where there is none. */
struct s3_error {
    char root[64], code[64], message[256], region[64];
};
void s3_xml_error(const char *text, struct s3_error *out);

bool s3_time(const char *text, int64_t *unix_ms); /* "2026-11-22T21:34:48.901Z" */

#endif
