"""scripts/fmt_comments.py FILE...: fold comments that are wider than 100 columns.

clang-format breaks numbered lists and diagrams, so comments are kept out of its hands. Here a paragraph or
a list item is folded to its own indent; a line that is indented by three or more, or has two spaces in a
row, is a diagram or an example and stays as it is.
"""
import re
import sys
import textwrap
from pathlib import Path

COLUMNS = 100
ITEM = re.compile(r"^(\s*)(\d+\.|-|\*) (\s*)")


def indent_of(text):
    return len(text) - len(text.lstrip())


def paragraphs(lines):
    """[(text, indent of its first line, of the others)]; None as an indent: leave it alone."""
    out, open_one = [], False
    for line in lines:
        item = ITEM.match(line)
        if not line.strip():
            out.append(["", None, None])
            open_one = False
        elif item:
            out.append([line.strip(), indent_of(line), item.end()])
            open_one = True
        elif open_one and indent_of(line) == out[-1][2]:
            out[-1][0] += " " + line.strip()
        elif indent_of(line) >= 3 or "  " in line.strip():
            out.append([line, None, None])
            open_one = False
        else:
            out.append([line.strip(), indent_of(line), indent_of(line)])
            open_one = True
    return out


def folded(comment):
    indent = comment[0][: indent_of(comment[0])]
    body = [line[len(indent) :] for line in comment]
    body = [line[2:] if line.startswith(("/*", " *")) else line for line in body]
    body[-1] = re.sub(r"\s*\*?/$", "", body[-1])
    ends_alone = comment[-1].strip() == "*/"
    if ends_alone:
        body.pop()
    lines = []
    for text, first, rest in paragraphs([line.rstrip() for line in body]):
        if first is None:
            lines.append(text)
            continue
        lines += textwrap.wrap(text, COLUMNS - 2 - len(indent), initial_indent=" " * first,
                               subsequent_indent=" " * rest, break_long_words=False, break_on_hyphens=False)
    out = [(indent + (" *" if i else "/*") + line).rstrip() for i, line in enumerate(lines)]
    if ends_alone:
        out.append(indent + " */")
    elif len(out[-1]) + 3 <= COLUMNS:
        out[-1] += " */"
    else:
        out[-1], word = out[-1].rsplit(" ", 1)
        out.append(f"{indent} * {word} */")
    return out


def fold(path):
    lines, out, at = path.read_text().split("\n"), [], 0
    while at < len(lines):
        end = at
        if re.match(r"\s*/\*", lines[at]):
            while "*/" not in lines[end]:
                end += 1
        comment = lines[at : end + 1]
        wide = any(len(line) > COLUMNS for line in comment)
        is_comment = comment[0].lstrip().startswith("/*") and comment[-1].rstrip().endswith("*/")
        out += folded(comment) if wide and is_comment else comment
        at = end + 1
    if out != lines:
        path.write_text("\n".join(out))


for name in sys.argv[1:]:
    fold(Path(name))
