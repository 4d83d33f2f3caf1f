"""What the benchmarks share: arguments, a place, processes that are measured, verdicts.

Everything is made in one directory below --dir ($TMPDIR, else /var/tmp) and, for what belongs on tmpfs, one
below /dev/shm; both are removed at the end, however it comes.
"""
import argparse
import contextlib
import os
import random
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MB = 1_000_000
sys.path.insert(0, str(ROOT / "tests/servers"))


class Failure(Exception):
    """Nothing was measured: something went wrong."""


def arguments(text, **more):
    """The common arguments and those of `more`: name = (default, help)."""
    p = argparse.ArgumentParser(description=text.split("\n")[0])
    p.add_argument("--quick", action="store_true", help="small and short: does it run? The figures mean little")
    p.add_argument("--seed", type=int, help="default: random, printed")
    p.add_argument("--dir", default=os.environ.get("TMPDIR") or "/var/tmp", help="where (%(default)s)")
    p.add_argument("--build", default=str(ROOT / "build"), help="build directory (%(default)s)")
    for name, (default, words) in more.items():
        kind = {"action": "store_true"} if default is False else {"default": default, "type": type(default)}
        p.add_argument("--" + name, **kind, help=words if default is False else f"{words} (%(default)s)")
    args = p.parse_args()
    args.build = str(Path(args.build).resolve())
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 31)
    return args


def words_of(line):
    """key=value ..., as logfmt has it."""
    try:
        parts = shlex.split(line)
    except ValueError:
        return {}
    return dict(part.split("=", 1) for part in parts if "=" in part)


def file_system(path):
    out = subprocess.run(["stat", "-f", "-c", "%T", path], stdout=subprocess.PIPE, text=True).stdout.strip()
    return "ext4" if out == "ext2/ext3" else out


class Bench:
    def __init__(self, args, place, shm):
        self.args, self.place, self.shm = args, Path(place), Path(shm)
        self.rng = random.Random(args.seed)
        self.holdfast = str(Path(args.build) / "holdfast")
        self.writer = str(Path(args.build) / "tests/bench/bench_writer")
        self.env = dict(os.environ, RUNTIME_DIRECTORY=str(self.shm), TMPDIR=str(place))
        self.verdicts, self.count = [], 0

    def unique(self, stem):
        self.count += 1
        return self.shm / f"{stem}{self.count}"

    def head(self, title):
        version = subprocess.run([self.holdfast, "--version"], stdout=subprocess.PIPE, text=True).stdout.strip()
        sqlite = sqlite3.sqlite_version
        print(f"{title}")
        print(f"  {version or 'holdfast'}, SQLite {sqlite}, Linux {os.uname().release}, {os.cpu_count()} CPUs, "
              f"load {os.getloadavg()[0]:.1f}, {self.args.dir} is {file_system(self.args.dir)}, seed {self.args.seed}"
              f"{', quick: the figures mean little' if self.args.quick else ''}")

    # ---- processes ----

    def lines(self, *words, program=None):
        """What the writer, or another program, says in one of its modes."""
        program = program or self.writer
        p = subprocess.run([program, *map(str, words)], env=self.env, stdout=subprocess.PIPE, text=True)
        if p.returncode != 0:
            raise Failure(f"{Path(program).name} {words[0]}: exit {p.returncode}")
        return p.stdout

    def write(self, *words):
        return [words_of(line) for line in self.lines(*words).splitlines()]

    def measure(self, *command):
        """Run it to its end: seconds, user, system, peak_kb, as numbers."""
        note = self.unique("use")
        p = subprocess.run([self.writer, "run", note, *map(str, command)], env=self.env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if p.returncode != 0:
            raise Failure(f"{' '.join(map(str, command))}: exit {p.returncode}: {p.stderr.strip()}")
        return {key: float(value) for key, value in words_of(note.read_text()).items()}

    # ---- verdicts ----

    def verdict(self, what, value, goal, gate=None, least=False, unit=""):
        """Whether `value` is within goal and gate: at most them, or at least."""
        gate = goal if gate is None else gate

        def within(bound):
            return value >= bound if least else value <= bound

        state = "goal met" if within(goal) else "gate met, goal missed" if within(gate) else "MISSED"
        sign = ">=" if least else "<="
        gates = f", gate {sign} {gate:g}{unit}" if gate != goal else ""
        print(f"  {'FAIL' if state == 'MISSED' else 'ok  '} {what}: {value:.4g}{unit} "
              f"(goal {sign} {goal:g}{unit}{gates}): {state}", flush=True)
        self.verdicts.append(state != "MISSED")


class Replicate:
    """`holdfast replicate` beside a database."""

    def __init__(self, bench, db, url, *options):
        self.bench, self.note = bench, bench.unique("use")
        self.events, self.news = [], threading.Condition()
        command = [bench.holdfast, "replicate", "-log", "logfmt", *options, str(db), str(url)]
        self.process = subprocess.Popen([bench.writer, "run", self.note, *command], env=bench.env, text=True,
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            now = time.monotonic_ns()
            with self.news:
                words = words_of(line)
                self.events.append((words if "event" in words else {"event": "text", "text": line.strip()}) | {"at_ns": now})
                self.news.notify_all()
        with self.news:
            self.events.append({"event": "ended", "at_ns": time.monotonic_ns()})
            self.news.notify_all()

    def wait(self, name, seconds=120, since=0, **wanted):
        """The first event `name` from the `since`-th on, for which each check of `wanted` holds."""
        until = time.monotonic() + seconds
        with self.news:
            while True:
                for event in self.events[since:]:
                    if event["event"] == name and all(ok(event.get(key, "")) for key, ok in wanted.items()):
                        return event
                    if event["event"] == "ended":
                        raise Failure(f"replicate ended by itself: {self.events[-3:]}")
                left = until - time.monotonic()
                if left <= 0:
                    raise Failure(f"replicate: no event {name} in {seconds} s: {self.events[-3:]}")
                self.news.wait(left)

    def wait_quiet(self, seconds):
        """Until nothing is logged for so long."""
        with self.news:
            while self.news.wait(seconds):
                pass

    def peak_kb(self):
        """VmHWM so far."""
        pid = words_of(self.note.read_text())["pid"]
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
        raise Failure("no VmHWM in /proc")

    def requests(self):
        """Made so far, by kind."""
        since = len(self.events)
        os.kill(int(words_of(self.note.read_text())["pid"]), signal.SIGUSR1)
        event = self.wait("requests", since=since)
        return {key: int(value) for key, value in event.items() if key != "at_ns" and value.isdigit()}

    def end(self):
        """SIGTERM; the stop line and what it used, as numbers."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        self.reader.join()
        if code != 0:
            raise Failure(f"replicate: exit {code}: {self.events[-3:]}")
        use = {key: float(value) for key, value in words_of(self.note.read_text()).items()}
        stop = [event for event in self.events if event["event"] == "stop"][-1]
        use.update({key: float(value) for key, value in stop.items() if key not in ("time", "event", "at_ns")})
        return use

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def size_of(path):
    return sum(p.stat().st_size for p in Path(path).rglob("*") if p.is_file())


def quantile(values, q):
    """The value below which a share q of them lies, interpolated."""
    values = sorted(values)
    at = q * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def median(values):
    return quantile(values, 0.5)


def needs(path, megabytes):
    free = shutil.disk_usage(path).free // MB
    if free < megabytes:
        raise Failure(f"{path}: {megabytes} MB are needed, {free} are free")


def stop(_number, _frame):
    raise KeyboardInterrupt


def main(text, measure, program="bench_writer", **more):
    """Parse, build `program`, make the place, measure(bench), remove it. Exit 0: within all gates; 1: not; 2: not measured."""
    args = arguments(text, **more)
    signal.signal(signal.SIGTERM, stop)
    try:
        subprocess.run(["ninja", "--quiet", "-C", args.build, "holdfast", f"tests/bench/{program}"],
                       check=True, stdout=subprocess.DEVNULL)
        with contextlib.ExitStack() as places:
            place = places.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=args.dir))
            shm = places.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir="/dev/shm"))
            bench = Bench(args, place, shm)
            bench.head(text.split("\n")[0])
            measure(bench)
    except (Failure, OSError, subprocess.SubprocessError) as why:
        print(f"  NOT MEASURED: {why}", flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        print("  stopped")
        sys.exit(130)
    sys.exit(0 if all(bench.verdicts) else 1)
