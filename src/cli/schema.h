/* What the files of `holdfast schema` share: one answer, for people. */
#ifndef CLI_SCHEMA_H
#define CLI_SCHEMA_H

#include <jansson.h>

/* Each prints what a function of the library gave as JSON (docs/schema.md 6). `db` is the database
 * as it was named, for the commands that are suggested. */
typedef void schema_printer(const json_t *answer, const char *db);
schema_printer print_applied, print_reverted, print_status, print_history, print_plan, print_drift,
    print_clients, print_findings, print_recorded, print_rehearsal, print_undone;

#endif
