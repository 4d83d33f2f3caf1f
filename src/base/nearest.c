/* What somebody who mistyped a name may have meant: see the header. */
#include "base/nearest.h"

#include <ctype.h>
#include <string.h>

#define NEAR 2 /* edits between a name and what was meant */

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Levenshtein's, letters' case aside. */
static int edit_distance(const char *a, const char *b) {
    int row[NAME_LONGEST + 1], n = (int)strlen(b);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            int next = least(diagonal + !same, 1 + least(row[j], row[j - 1]));
            diagonal = row[j];
            row[j] = next;
        }
    }
    return row[n];
}

const char *nearest_name(const char *typed, const char *const *names) {
    const char *best = NULL;
    int best_distance = NEAR + 1;
    for (; *names; names++) {
        int d = edit_distance(typed, *names);
        if (d >= best_distance || d >= (int)strlen(*names)) continue;
        best = *names;
        best_distance = d;
    }
    return best;
}
