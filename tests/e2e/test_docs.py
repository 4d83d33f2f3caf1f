"""The documents say what the program does."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

import pytest

from box import COMMAND, ROOT
from places import NO_REPLICA

COMMANDS = ["replicate", "wait", "sync", "restore", "status", "list", "verify", "kv", "schema", "promote"]
MAN = (ROOT / "docs/holdfast.1.scd").read_text()
CITES = re.compile(r"docs/(format|schema)\.md (\d(?:\.\d+)?(?:, \d(?:\.\d+)?)*)")


def options_of_help(box, command):
    return set(re.findall(r"(?<=[ \[])-([a-z][a-z0-9-]+)", box.holdfast(command, "-h").out))


def section_of_man(command):
    return re.search(rf"^## holdfast {command}\b(.*?)(?=^##? )", MAN, re.M | re.S).group(1)


@NO_REPLICA
@pytest.mark.parametrize("command", COMMANDS)
def test_man_page_has_the_options_of_the_help_and_no_others(box, command):
    said = set(re.findall(r"^\*-([a-z][a-z0-9-]+)\*", section_of_man(command), re.M))
    assert said == options_of_help(box, command)


@NO_REPLICA
@pytest.mark.parametrize("command", COMMANDS)
def test_man_page_has_the_defaults_of_the_help(box, command):
    """'(30s,5m,1h)' at the end of an option's line of the help is 'Default: 30s,5m,1h.' in the manual."""
    manual = dict(re.findall(r"^\*-([a-z0-9-]+)\*.*\n((?:\t.*\n)+)", section_of_man(command), re.M))
    lines = re.findall(r"^  (?:.*\[)?-([a-z0-9-]+)[^\n(]*\((\d[\w,]*)[);]", box.holdfast(command, "-h").out, re.M)
    for option, default in lines:
        assert re.search(rf"Default:\s+{default}\.", manual[option]), option
    assert lines or command in ("restore", "list", "verify", "kv", "promote")


@NO_REPLICA
def test_man_page_has_every_command_of_the_help(box):
    said = re.findall(r"^  holdfast ([a-z]+) ", box.holdfast("-h").out, re.M)
    assert said == [c for c in re.findall(r"^## holdfast ([a-z]+)", MAN, re.M)]


def test_man_page_has_the_exit_codes_of_the_code():
    code = re.findall(r"^    EXIT_\w+ = (\d+),", (ROOT / "src/cli/cli.h").read_text(), re.M)
    assert ["0", *code] == re.findall(r"^(?:\[\[|\|) +\*(\d+)\*$", MAN, re.M)


@pytest.mark.file_only("the samples are about directories")
def test_readme_samples_run(box):
    """In order, in one directory; the run in the background ends with the test."""
    c = box.new_app(20)
    bin_dir = box.path / "bin"
    bin_dir.mkdir()
    (bin_dir / "holdfast").symlink_to(COMMAND)
    (bin_dir / "python3").symlink_to(sys.executable)
    (box.path / "build").symlink_to(pathlib.Path(COMMAND).parent)
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert [kind for kind, _ in blocks] == ["sh"] * 6 + ["python"] * 2 + ["sh"] * 2 and blocks[0][1].endswith("&\n")
    run = {"sh": ["bash", "-ec"], "python": [sys.executable, "-c"]}
    with tempfile.TemporaryDirectory() as short:  # others than we have no long paths for sockets
        env = {**box.env(short), "PATH": f"{bin_dir}:{os.environ['PATH']}"}
        running = subprocess.Popen(["bash", "-ec", f"{blocks[0][1]} wait"], cwd=box.path, env=env,
                                   stderr=subprocess.PIPE, start_new_session=True)
        try:
            box.wait_safe(to=box.path / "backup")
            for kind, block in blocks[1:]:
                done = subprocess.run([*run[kind], block], cwd=box.path, env=env, capture_output=True, text=True)
                assert done.returncode == 0, f"{block}{done.stdout}{done.stderr}"
        finally:
            os.killpg(running.pid, signal.SIGTERM)
            running.communicate()
    rows = c.execute("SELECT * FROM t").fetchall()
    assert len(rows) == 20 and box.sql("SELECT * FROM t", db=box.path / "restored.db") == rows
    out = box.restore(to=box.path / "backup")
    assert box.sql("SELECT * FROM visit", db=out) == [("you",)]


def test_links_and_paths_of_the_documents_exist():
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/design.md", "docs/format.md",
                 "docs/service.md", "docs/tuning.md", "docs/schema.md", "docs/benchmarks.md"]:
        text = (ROOT / name).read_text()
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (ROOT / name).parent.joinpath(link).exists(), f"{name}: {link}"
        for path in re.findall(r"`((?:src|tests|scripts|docs)/[\w./-]+)`", text):
            assert ROOT.joinpath(path).exists(), f"{name}: {path}"


def test_sections_that_the_code_cites_exist():
    sections = {name: set(re.findall(r"^##+ (\d(?:\.\d+)?) ", (ROOT / f"docs/{name}.md").read_text(), re.M))
                for name in ["format", "schema"]}
    design = (ROOT / "docs/design.md").read_text().lower()
    cited = 0
    for path in [*ROOT.glob("src/*/*.[ch]"), *ROOT.glob("tests/*/*.[ch]")]:
        text = re.sub(r"\s*\n\s*\*?\s*", " ", path.read_text())
        for name, numbers in CITES.findall(text):
            for number in numbers.split(", "):
                assert number in sections[name], f"{path}: docs/{name}.md {number}"
                cited += 1
        for words in re.findall(r'docs/design\.md "([^"]+)"', text):
            assert re.search(rf"^##+ .*{re.escape(words.lower())}", design, re.M), f"{path}: docs/design.md {words}"
            cited += 1
    assert cited >= 10


def test_manual_of_the_schema_has_the_rules_of_lint():
    head = (ROOT / "src/schema/lint.c").read_text().split("*/")[0]
    code = set(re.findall(r"^ \*     ([a-z-]+)  ", head, re.M))
    section = re.search(r"^## 5 (.*?)^## 6 ", (ROOT / "docs/schema.md").read_text(), re.M | re.S).group(1)
    manual = {word for row in re.findall(r"^\| (`.*?) \|", section, re.M) for word in re.findall(r"`([a-z-]+)`", row)}
    assert len(code) > 20 and manual == code


def test_tables_of_interop_are_those_of_a_run_in_which_all_is_equal():
    """The run itself needs the other programs, which a network brings: make interop."""
    sys.path.append(str(ROOT / "tests/interop"))
    import matrix

    assert matrix.table(matrix.wanted()) in (ROOT / "docs/interop.md").read_text()
