#!/usr/bin/python3 -B
"""The suites under AddressSanitizer, LeakSanitizer and UBSan, and with them the command in the end-to-end tests; those
that have threads under ThreadSanitizer; and the command once around under valgrind.

    --only PART     address, thread or valgrind; again for another
    --seconds S     for all parts together, once they are built: what had no time left is said in `of` (0, the default: no limit)
    --count N       suites of each part at most
    --build DIR     the build whose command valgrind runs (default build)
    --suite NAME    only this suite (or tests/e2e/test_NAME.py), loudly

A finding is a report, in whatever process, or a test that fails. Exit status: 0 none, 1 some, 2 it could not run.
PROOF=long: every suite under ThreadSanitizer, too, and more of the end-to-end tests.
"""
import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONG = os.environ.get("PROOF") == "long"
OPTIONS = {
    "address": "ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:log_path={log}",
    "thread": "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:die_after_fork=0:log_path={log}",
}
UBSAN = "halt_on_error=1:print_stacktrace=1:log_path={log}"
SANITIZERS = {"address": "address,undefined", "thread": "thread"}
# Where more than one thread touches anything, the slowest left out: PROOF=long has them.
THREADED = ("daemon/", "soak_store", "store/replicate", "store/wait", "store/others", "store/kv_watch", "store/fake",
            "store/loop", "source/barrier", "os/", "object/", "schema/api")
# Minutes each under a sanitizer: last, when no earlier run has told what each takes.
SLOW = ("sim", "torture", "museum", "soak")
UNKNOWN = 60  # seconds, of those that no run has come to: a part of the time is enough for none of them
HARMLESS = "doesn't fully support makecontext/swapcontext"  # the simulators' threads; the whole of a report
E2E = ["input", "command", "restore", "reading"]
E2E_LONG = [*E2E, "damage", "databases", "runtime", "exec", "fencing", "kv", "status", "verify", "wait"]


def build(part, suite):
    """Not -Werror: gcc's flow warnings are wrong about instrumented code. For one suite with a program of its own only
    that."""
    out = ROOT / f"build-{'asan' if part == 'address' else 'tsan'}"
    options = ["-Dtests=enabled", "-Dwerror=false", "-Dbuildtype=debug", "-Doptimization=1", "-Db_lundef=false", f"-Db_sanitize={SANITIZERS[part]}"]
    commands = [[ROOT / "scripts/build", out, *options]]
    if suite and "/" in suite:
        setup = [] if (out / "build.ninja").exists() else [["meson", "setup", out, *options]]
        room, name = suite.split("/")
        target = f"tests/{room}/{'' if room == 'fuzz' else 'test_'}{room}_{name}"
        if (ROOT / f"tests/{room}/{name}.c").exists() and room != "sim":
            commands = [*setup, ["ninja", "-C", out, target]]
    for command in commands:
        done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            print(done.stdout[-4000:], file=sys.stderr)
            sys.exit(2)
    return out


def suites(out, part):
    listed = subprocess.run(["meson", "test", "-C", out, "--no-rebuild", "--list"], capture_output=True, text=True, check=True)
    names = [line.split(" / ")[-1].strip() for line in listed.stdout.splitlines() if line.strip() and not line.startswith("ninja:")]
    chosen = [name for name in names if part == "address" or LONG or name.startswith(THREADED)]
    return sorted(chosen, key=lambda name: (took(out).get(name, UNKNOWN), name.startswith(SLOW), name))


def took(out):
    """Seconds of each suite, when it ran last: the shortest first, they are the most for the time."""
    path = out / "took.json"
    return json.loads(path.read_text()) if path.exists() else {}


class Part:
    def __init__(self, part, args, until):
        self.part, self.args, self.until = part, args, until
        self.began, self.ran, self.of, self.bad = time.monotonic(), 0, 0, []

    def left(self):
        return self.until - time.monotonic() if self.until else 3600

    def environment(self, out):
        self.reports = out / "reports"
        shutil.rmtree(self.reports, ignore_errors=True)
        self.reports.mkdir()
        name, _, value = OPTIONS[self.part].format(log=self.reports / "report").partition("=")
        return dict(os.environ, **{name: value}, UBSAN_OPTIONS=UBSAN.format(log=self.reports / "ubsan"), PYTHONDONTWRITEBYTECODE="1",
                    CK_TIMEOUT_MULTIPLIER="10")

    def run(self, what, command, env):
        """Whether it ran to its end, well or badly."""
        self.of += 1
        if self.left() < 5 or (self.args.count and self.ran >= self.args.count):
            return
        began = time.monotonic()
        said, code = self.said(command, env)
        if code is None and self.until:
            return
        self.ran += 1
        if self.part != "valgrind":
            path = self.out / "took.json"
            path.write_text(json.dumps(took(self.out) | {what: time.monotonic() - began}))
        if self.args.suite:
            print(said, flush=True)
        if code != 0:
            self.bad.append(what)
            how = "does not end" if code is None else f"failed, exit {code}"
            again = f"tests/proof/sanitizers.py --only {self.part}" + ("" if self.part == "valgrind" else f" --suite {what}")
            print(f"{self.part}: {what} {how}:\n{said[-3000:]}\nalone: {again}")

    def said(self, command, env):
        """What it said, and its exit status; None: its time is over."""
        with tempfile.TemporaryFile("w+", errors="replace") as out:
            p = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            try:
                code = p.wait(self.left())
            except subprocess.TimeoutExpired:
                code = None
                p.terminate()  # meson ends its tests then
                with contextlib.suppress(subprocess.TimeoutExpired):
                    p.wait(10)
                p.kill()
                p.wait()
            out.seek(0)
            return out.read(), code

    def sanitized(self):
        out = self.out = build(self.part, self.args.suite)
        env = self.environment(out)
        meson = ["meson", "test", "-C", out, "--no-rebuild", "--timeout-multiplier", "15", "--print-errorlogs"]
        aloud = {key: value.partition(":log_path=")[0] if key.endswith("SAN_OPTIONS") else value for key, value in env.items()}
        for suite in suites(out, self.part):
            if self.args.suite in (None, suite):  # torture reads itself what its children die of
                self.run(suite, [*meson, suite], aloud if suite == "torture" else env)
        e2e = (E2E_LONG if LONG else E2E) if self.part == "address" else []
        for name in e2e:
            path = ROOT / f"tests/e2e/test_{name}.py"
            if self.args.suite in (None, name) and path.exists():
                self.run(name, ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-q", "--no-header", path],
                         dict(env, HOLDFAST=str(out / "holdfast")))
        for report in sorted(self.reports.iterdir()):
            said = report.read_text(errors="replace")
            if all(HARMLESS in line for line in said.splitlines() if line):
                continue
            print(f"{self.part}: {report}:\n{said[:3000]}")
            self.bad.append(report.name)

    def valgrind(self):
        holdfast = (ROOT / self.args.build / "holdfast").resolve()
        valgrind = shutil.which("valgrind")
        if not valgrind or not holdfast.exists():
            print(f"sanitizers: no {'valgrind here: scripts/setup lint' if not valgrind else holdfast}", file=sys.stderr)
            sys.exit(2)
        under = [valgrind, "-q", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite", holdfast]
        with tempfile.TemporaryDirectory(prefix="holdfast-valgrind-") as place:
            env = dict(os.environ, RUNTIME_DIRECTORY=place)
            sql = "PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t VALUES (1), (randomblob(50000)); DELETE FROM t WHERE a=1;"
            db, replica = f"{place}/app.db", f"{place}/backup"
            for words in (
                ["replicate", "-exec", f'sqlite3 {db} "{sql}"', db, replica], ["list", replica], ["list", "-json", replica],
                ["verify", replica], ["restore", replica, f"{place}/new.db"], ["restore", "-txid", "1", replica, f"{place}/old.db"],
                ["replicate", "-exec", "true", db, replica], ["--version"],
            ):
                self.run(words[0], [*under, *words], env)

    def line(self):
        getattr(self, "valgrind" if self.part == "valgrind" else "sanitized")()
        what = "commands" if self.part == "valgrind" else "suites"
        seconds = time.monotonic() - self.began
        print(f"tier=sanitizers.{self.part} ran={self.ran} of={self.of} found={len(self.bad)} seconds={seconds:.0f} what={what}", flush=True)


def main():
    parser = argparse.ArgumentParser(description="the suites and the command under sanitizers")
    parser.add_argument("--only", action="append", choices=("address", "thread", "valgrind"))
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1, help="means nothing here")
    parser.add_argument("--build", default="build")
    parser.add_argument("--suite")
    args = parser.parse_args()
    names = args.only or ["address", "thread", "valgrind"]
    for name in names:
        if name in SANITIZERS:
            build(name, args.suite)  # not in the time
    began, found = time.monotonic(), 0
    for i, name in enumerate(names):
        share = {"address": 0.6, "thread": 0.9, "valgrind": 1}[name] if len(names) == 3 else (i + 1) / len(names)
        part = Part(name, args, began + args.seconds * share if args.seconds else 0)
        part.line()
        found += len(part.bad)
    return int(found > 0)


sys.exit(main())
