/* Every bound on what comes from outside, in one place. Sizes in bytes. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#define LIMIT_PAGE_SIZE 65536u
#define LIMIT_PAGES 0xfffffffeu /* page numbers, SQLite's own limit */
#define LIMIT_PATH 4096u
#define LIMIT_KEY 1024u                     /* object key, S3's own limit */
#define LIMIT_INDEX (1024u * 1024u * 1024u) /* page index of one LTX file, encoded */
#define LIMIT_OBJECTS 50000000u             /* objects in one replica */
#define LIMIT_SMALL_OBJECT (1024u * 1024u)  /* owner.json, pins, verified.json */
#define LIMIT_LIST_PAGE (16u << 20)         /* one page of a bucket's list, as XML */
#define LIMIT_MEMORY_OBJECT (8u << 20)      /* a shipment larger than this is streamed */
#define LIMIT_RANGE (4u << 20)              /* one ranged read of a restore */
#define LIMIT_SOCKET_BODY (64u << 10)       /* of one request on a database's socket */
#define LIMIT_SOCKET_WAITING 4096           /* requests that wait on a socket at once */
#define LIMIT_LEVELS 10                     /* LTX levels 0..9 */
#define LEVEL_SNAPSHOT 9

#endif
