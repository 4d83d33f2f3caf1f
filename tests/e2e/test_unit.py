"""dist/holdfast@.service: systemd takes it, and it is as closed as the manual says."""
import re
import shutil
import subprocess

import pytest

from box import COMMAND, ROOT

UNIT = ROOT / "dist/holdfast@.service"


@pytest.fixture
def analyze(box):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    unit = box.path / "holdfast@app.service"
    text = UNIT.read_text()
    assert text.count("ExecStart=holdfast ") == 1
    unit.write_text(text.replace("ExecStart=holdfast ", f"ExecStart={COMMAND} "))

    def run(*args):
        return subprocess.run(["systemd-analyze", *args, unit], capture_output=True, text=True, timeout=60)

    return run


def test_systemd_takes_every_line(analyze):
    done = analyze("verify", "--man=no")
    about_us = [line for line in done.stderr.splitlines() if "holdfast" in line]
    assert done.returncode == 0 and not about_us, done.stderr


def test_exposure_is_what_the_manual_says(analyze):
    done = analyze("security", "--offline=true", "--no-pager", "--threshold=20")
    score = re.search(r"exposure level for .*: ([\d.]+) ", done.stdout).group(1)
    assert done.returncode == 0, "more exposed than 2.0: " + done.stdout
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True).stdout.split()[1]
    man = (ROOT / "docs/holdfast.1.scd").read_text()
    if f"systemd {version} gives" in man:
        assert f"exposure level: {score}," in man


def test_variables_of_the_file_make_the_command(box):
    """$OPTIONS and $URL are split into words, ${DB} is one, as systemd does it."""
    command = re.search(r"^ExecStart=holdfast (.*)$", UNIT.read_text(), re.M).group(1)
    assert command.split() == ["replicate", "-log", "logfmt", "$OPTIONS", "${DB}", "$URL"]
    sample = dict(re.findall(r"(DB|URL|OPTIONS)=(.*?)(?: {2,}.*)?$", UNIT.read_text().split("[Unit]")[0], re.M))
    assert sample.keys() == {"DB", "URL", "OPTIONS"}
    argv = ["replicate", "-log", "logfmt", *sample["OPTIONS"].split(), box.path / "none.db", *sample["URL"].split()]
    assert "none.db" in box.holdfast(*argv, code=3).err
