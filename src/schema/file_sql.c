/* The text of SQL, in words and statements.
 *
 * Why not sqlite3_complete() over growing prefixes: of a trigger with n statements it reads each n
 * times. Its states are here instead, over tokens; tests compare the two. Of EXPLAIN it knows more:
 * a migration has no use for that.
 *
 * Source: https://sqlite.org/lang_keywords.html and lang_expr.html, and tokenize.c and complete.c
 * of SQLite for what they leave open: what is no token of SQLite's is one mark here.
 */
#include "schema/file_parts.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BLANKS " \t\n\f\r"

static bool in_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

static size_t word_length(const char *at) {
    size_t n = 0;
    while (in_word(at[n])) n++;
    return n;
}

static size_t digits(const char *at) {
    return strspn(at, "0123456789");
}

static size_t number_length(const char *at) {
    size_t n = digits(at);
    if (n == 1 && *at == '0' && (at[1] == 'x' || at[1] == 'X')) return word_length(at);
    if (at[n] == '.') n += 1 + digits(at + n + 1);
    if (at[n] == 'e' || at[n] == 'E') {
        size_t sign = at[n + 1] == '+' || at[n + 1] == '-';
        if (isdigit((unsigned char)at[n + 1 + sign])) n += 1 + sign;
    }
    return n + word_length(at + n); /* letters behind it make it none, but it is one token */
}

/* With both quotes, a doubled one standing for itself; 0: it has no end. */
static size_t quoted_length(const char *at) {
    const char quote = (char)(*at == '[' ? ']' : *at);
    for (size_t n = 1; at[n]; n++) {
        if (at[n] != quote) continue;
        if (quote == ']' || at[n + 1] != quote) return n + 1;
        n++;
    }
    return 0;
}

static size_t mark_length(const char *at) {
    static const char *const longer[] = {"->>", "->", "||", "<=", "<>",
                                         "<<",  ">=", ">>", "==", "!="};
    for (size_t i = 0; i < sizeof longer / sizeof *longer; i++)
        if (strncmp(at, longer[i], strlen(longer[i])) == 0) return strlen(longer[i]);
    return 1;
}

static struct lexed lexed(enum lexeme kind, const char *at, size_t length) {
    return (struct lexed){kind, {at, length}};
}

static struct lexed comment(const char *at) {
    if (*at == '-') return lexed(LEX_LINE_COMMENT, at, strcspn(at, "\n"));
    const char *end = strstr(at + 2, "*/");
    if (!end) return lexed(LEX_OPEN, at, strlen(at));
    return lexed(LEX_BLOCK_COMMENT, at, (size_t)(end - at) + 2);
}

static struct lexed quoted(const char *at, size_t before) {
    size_t n = quoted_length(at + before);
    if (!n) return lexed(LEX_OPEN, at, strlen(at));
    return lexed(LEX_TOKEN, at, before + n);
}

struct lexed lex(const char *at) {
    if (!*at) return lexed(LEX_END, at, 0);
    if (strchr(BLANKS, *at)) return lexed(LEX_BLANK, at, strspn(at, BLANKS));
    if (strncmp(at, "--", 2) == 0 || strncmp(at, "/*", 2) == 0) return comment(at);
    if (strchr("'\"`[", *at)) return quoted(at, 0);
    if ((*at == 'x' || *at == 'X') && at[1] == '\'') return quoted(at, 1);
    if (isdigit((unsigned char)*at) || (*at == '.' && isdigit((unsigned char)at[1])))
        return lexed(LEX_TOKEN, at, number_length(at));
    if (strchr("?:@$#", *at)) return lexed(LEX_TOKEN, at, 1 + word_length(at + 1)); /* :name */
    if (in_word(*at)) return lexed(LEX_TOKEN, at, word_length(at));
    return lexed(LEX_TOKEN, at, mark_length(at));
}

struct token token_next(const char **at) {
    for (;;) {
        struct lexed x = lex(*at);
        *at += x.text.length;
        if (x.kind == LEX_END || x.kind == LEX_TOKEN) return x.text;
        if (x.kind == LEX_OPEN && strncmp(x.text.at, "/*", 2) != 0) return x.text;
    }
}

bool token_is(struct token t, const char *word) {
    return strlen(word) == t.length && strncasecmp(t.at, word, t.length) == 0;
}

bool token_is_one(struct token t, const char *const *words) {
    while (*words && !token_is(t, *words)) words++;
    return *words != NULL;
}

size_t token_plain(struct token t, char *out, size_t size) {
    const bool is_quoted = t.length > 1 && strchr("'\"`[", *t.at);
    const char quote = (char)(is_quoted && *t.at != '[' ? *t.at : 0);
    size_t n = 0;
    for (size_t i = is_quoted; i < t.length - is_quoted; i++, n++) {
        if (n + 1 < size) out[n] = t.at[i];
        if (is_quoted && t.at[i] == quote) i++; /* doubled */
    }
    out[n < size ? n : size - 1] = 0;
    return n;
}

char *token_identifier(struct token t) {
    char *out = malloc(t.length + 1);
    if (out) token_plain(t, out, t.length + 1);
    return out;
}

/* A trigger ends with ";" "END" ";" and with no other: a CASE in its body has an END, too, but none
 * that stands behind a semicolon. */
enum part part_next(enum part part, struct token t, bool *ends) {
    const bool in_trigger = part == PART_TRIGGER || part == PART_SEMI;
    if (token_is(t, ";")) {
        *ends = !in_trigger;
        return in_trigger ? PART_SEMI : PART_START;
    }
    *ends = false;
    switch (part) {
    case PART_START: return token_is(t, "CREATE") ? PART_CREATE : PART_NORMAL;
    case PART_CREATE:
        if (token_is(t, "TEMP") || token_is(t, "TEMPORARY")) return PART_CREATE;
        return token_is(t, "TRIGGER") ? PART_TRIGGER : PART_NORMAL;
    case PART_SEMI: return token_is(t, "END") ? PART_END : PART_TRIGGER;
    case PART_TRIGGER:
    case PART_END: return PART_TRIGGER;
    case PART_NORMAL: break;
    }
    return PART_NORMAL;
}
