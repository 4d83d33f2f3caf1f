"""The documents of the library say what it does, and their programs run."""
import json
import os
import pathlib
import re
import subprocess

import pytest

from box import COMMAND, ROOT
from places import NO_REPLICA

BUILD = pathlib.Path(COMMAND).parent
HEADER = (ROOT / "include/holdfast.h").read_text()
CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)
MAN = (ROOT / "docs/holdfast.3.scd").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```$", MAN, re.M | re.S)
PROGRAM = next(b for b in BLOCKS if "int main(" in b).replace("\\\\", "\\")
pytestmark = NO_REPLICA


def words(prototype):
    return re.sub(r"\s+", " ", prototype).strip()


def section(name):
    return re.search(rf"^# {name}$(.*?)(?=^# |\Z)", MAN, re.M | re.S).group(1)


def rows_of(table):
    """The members in the first column: '*event*, *event_arg*' are two."""
    first = re.findall(r"^\|  (.*)$", table, re.M)
    return [name for row in first for name in re.findall(r"\*(\w+)\*", row)]


def members(struct):
    body = re.search(rf"typedef struct {struct} {{(.*?)}} {struct};", CODE, re.S).group(1)
    functions = re.findall(r"\(\*(\w+)\)", body)
    plain = re.sub(r"\w+ \(\*\w+\)\([^;]*", "", body)
    return functions + [n for line in plain.split(";") for n in re.findall(r"(\w+)(?:\[\d+\])?\s*(?=,|$)", line)]


def compile_in(path, program, name="app"):
    """As the manual says: cc app.c $(pkg-config --cflags --libs holdfast)."""
    (path / f"{name}.c").write_text(program)
    env = {**os.environ, "PKG_CONFIG_PATH": str(BUILD / "meson-uninstalled")}
    done = subprocess.run(
        f"cc -Wall -Wextra -Werror -I {ROOT}/include -o {name} {name}.c $(pkg-config --cflags --libs holdfast-uninstalled)",
        shell=True, cwd=path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_in(box, name="app"):
    env = {**box.env(), "LD_LIBRARY_PATH": str(BUILD)}
    done = subprocess.run([f"./{name}"], cwd=box.path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_manual_has_the_functions_of_the_header_and_no_others():
    header = {words(p) for p in re.findall(r"^HF_API ([^;]*);", CODE, re.M)}
    manual = {words(p) for b in BLOCKS if "#include" not in b for p in b.split(";") if p.strip()}
    assert len(header) > 50 and manual == header


def test_manual_has_the_codes_of_the_header_in_their_order():
    enum = re.search(r"enum hf_code {(.*?)}", CODE, re.S).group(1)
    assert re.findall(r"^\|  \*(HF_\w+)\*$", section("ERRORS"), re.M) == re.findall(r"HF_\w+", enum)


@pytest.mark.parametrize("struct", ["hf_store_options", "hf_replicate_options", "hf_wait_options", "hf_schema_options",
                                    "hf_schema_run"])
def test_manual_has_the_options_of_the_header_and_no_others(struct):
    table = re.search(rf"^Members of \*{struct}\*[^:]*:\n\n(.*?)\n\n", MAN, re.M | re.S).group(1)
    assert sorted(rows_of(table)) == sorted(set(members(struct)) - {"size"})


def test_manual_tells_of_every_function():
    prose = re.sub(r"^```\n.*?^```$", "", MAN, flags=re.M | re.S)
    prototypes = "".join(re.findall(r"^HF_API [^;]*;", CODE, re.M))
    assert set(re.findall(r"\b(hf_\w+)\s*\(", prototypes)) <= set(re.findall(r"\*(hf_\w+)\*", prose))


def test_program_of_the_manual_runs(box):
    compile_in(box.path, PROGRAM)
    assert run_in(box) == "2 nodes are safe in backup\n"
    for file in box.path.glob("app.db*"):
        file.unlink()
    assert run_in(box) == "2 nodes are safe in backup, restored first\n"
    assert box.sql("SELECT name, address FROM node", db=box.path / "app.db") == [
        ("n1", "10.0.0.1"), ("n2", "10.0.0.2")]


def test_program_of_the_readme_runs(box):
    program, = re.findall(r"^```c\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    compile_in(box.path, program)
    assert run_in(box) == run_in(box) == "n1 can no longer be lost\n"
    box.holdfast("restore", "nodes-backup", "then.db")
    assert box.sql("SELECT name, Value FROM node, DBX WHERE Key = 'node/newest'", db=box.path / "then.db") == [("n1", "n1")]


def test_manual_has_the_members_of_the_status(box):
    ask = "    char *json = NULL;\n    if (hf_source_status(hf_store_source(s), &json) == HF_OK) puts(json);\n" \
          "    hf_free(json);\n"
    compile_in(box.path, PROGRAM.replace("    printf(", ask + "    printf("))
    status = json.loads(run_in(box).splitlines()[0])
    table = re.search(r"gives one object of JSON:\n\n(.*?)\n\n", MAN, re.S).group(1)
    assert sorted(rows_of(table)) == sorted(status)
    for name in status["destinations"][0]:
        assert f"*{name}*" in table, name
    assert status["state"] == "replicating" and status["destinations"][0]["safe"] is True


def test_manuals_have_the_functions_of_the_extension():
    table = re.findall(r'{"(holdfast_\w+)", \d, sql_', (ROOT / "src/ext/holdfast.c").read_text())
    table += re.findall(r'_function_v2\(db, "(holdfast_\w+)"', (ROOT / "src/ext/join.c").read_text())
    for page in MAN, (ROOT / "docs/holdfast.1.scd").read_text():
        assert set(re.findall(r"^\*(holdfast_\w+)\*\(", page, re.M)) == set(table) != set()


def test_migrations_of_the_manual_are_applied_at_each_start(box):
    sample = next(b for b in BLOCKS if "hf_migration migrations[]" in b)
    compile_in(box.path, f"""#include <stdio.h>
{sample}
int main(void) {{
    hf_store *s = NULL;
    hf_schema *schema = NULL;
    char *json = NULL;
    int code = hf_store_open("app.db", NULL, &s);
    if (!code) code = prepare(s, &schema);
    if (!code) code = hf_schema_clients(schema, &json);
    puts(code ? hf_errmsg() : json);
    hf_free(json);
    hf_schema_close(schema);
    return hf_store_close(s) || code;
}}
""")
    for _ in range(2):
        (client,) = json.loads(run_in(box))["clients"]
        assert client["app"] == "control 41" and client["version"] == 2 and client["alive"]
    assert box.sql("SELECT count(*) FROM holdfast_step") == [(2,)]
    assert [row[1] for row in box.sql("PRAGMA table_info(node)")] == ["name", "address", "seen"]


def test_program_of_the_service_document_runs(box):
    """Its pieces, in order, are one program."""
    compile_in(box.path, "".join(re.findall(r"^```c\n(.*?)^```$", (ROOT / "docs/service.md").read_text(), re.M | re.S)))
    assert run_in(box) == ""
