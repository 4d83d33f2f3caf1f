"""What the benchmarks share: arguments, a place, processes that are measured, rows, verdicts.

A row has a figure of each system (peers.py) for each turn; what is printed and kept (--json) are its median and
quartiles, and those of the ratios within a turn. Everything is made in one directory below --dir ($TMPDIR, else
/var/tmp) and, for what belongs on tmpfs, one below /dev/shm; both are removed at the end, however it comes.
"""
import argparse
import contextlib
import json
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
    p.add_argument("--json", help="a file for rows and verdicts")
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
        others = {key for key in os.environ if key.startswith(("AWS_", "LITESTREAM_")) or key.lower().endswith("_proxy")}
        self.env = {key: value for key, value in os.environ.items() if key not in others}
        self.env |= {"RUNTIME_DIRECTORY": str(self.shm), "TMPDIR": str(place)}
        self.store = str(Path(args.build) / "tests/bench/bench_store")
        self.verdicts, self.rows, self.absent, self.count = [], [], [], 0

    def unique(self, stem):
        self.count += 1
        return self.shm / f"{stem}{self.count}"

    def title(self, title):
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

    def write(self, *words, program=None):
        """The same, each line as words."""
        return [words_of(line) for line in self.lines(*words, program=program).splitlines()]

    def measure(self, *command):
        """Run it to its end: seconds, user, system, peak_kb, as numbers."""
        note = self.unique("use")
        p = subprocess.run([self.writer, "run", note, *map(str, command)], env=self.env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if p.returncode != 0:
            raise Failure(f"{' '.join(map(str, command))}: exit {p.returncode}: {p.stderr.strip()}")
        return {key: float(value) for key, value in words_of(note.read_text()).items()}

    # ---- verdicts ----

    def missing(self, why):
        """What could not be measured here; the rest is."""
        print(f"  not measured: {why}", flush=True)
        self.absent.append(why)

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
        self.verdicts.append({"what": what, "value": value, "goal": goal, "gate": gate, "least": least, "unit": unit,
                              "state": state})

    # ---- rows ----

    def head(self, title, systems):
        print(f"  {title:44}" + "".join(f"{name:>19}" for name in systems), flush=True)

    def row(self, name, unit, runs, figure, more=False, digits=1, chart=False):
        """`runs`: {system: [a dict for each turn, or None where it stood aside]}; `figure`: a key, or a function of the
        dict; `more`: more is better; `chart`: it is one of the bars. The ratios say how many times better ours is."""
        pick = figure if callable(figure) else lambda run: run.get(figure)
        figures = {system: [None if run is None else pick(run) for run in turns] for system, turns in runs.items()}
        values = {system: quartiles(turns) for system, turns in figures.items()}
        ours = figures.get("holdfast", [])
        ratios = {}
        for system, turns in figures.items():
            pairs = [(our, its) for our, its in zip(ours, turns) if our and its]
            if system != "holdfast" and pairs:
                ratios[system] = quartiles([our / its if more else its / our for our, its in pairs])
        self.rows.append({"name": name, "unit": unit, "digits": digits, "chart": chart, "values": values,
                          "ratios": ratios, "turns": max(map(len, figures.values()))})
        cells = ("-" if v is None else f"{v[1]:,.{digits}f}" for v in values.values())
        print(f"  {f'{name}, {unit}' if unit else name:44}" + "".join(f"{cell:>19}" for cell in cells), flush=True)
        return ratios


class Beside:
    """A process beside the database, started by the launcher, which says what it has used."""

    def __init__(self, bench, *command, **how):
        self.bench, self.note = bench, bench.unique("use")
        self.process = subprocess.Popen([bench.writer, "run", self.note, *map(str, command)], stdin=subprocess.DEVNULL,
                                        env=bench.env, **how)

    def ready(self):
        """Its first backup is whole."""

    def pid(self):
        until(lambda: self.note.exists() and "pid" in words_of(self.note.read_text()), "the launcher's note")
        return int(words_of(self.note.read_text())["pid"])

    def memory_kb(self, which):
        """VmRSS or VmHWM, of /proc."""
        for line in Path(f"/proc/{self.pid()}/status").read_text().splitlines():
            if line.startswith(f"{which}:"):
                return int(line.split()[1])
        raise Failure(f"no {which} in /proc")

    def peak_kb(self):
        """So far."""
        return self.memory_kb("VmHWM")

    def words(self):
        """Its last, for a failure."""
        return ""

    def end(self, *codes):
        """SIGTERM; what it used, as numbers."""
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(300) not in (codes or (0,)):
            raise Failure(f"{Path(self.process.args[3]).name}: exit {self.process.returncode}: {self.words()}")
        return {key: float(value) for key, value in words_of(self.note.read_text()).items()}

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


class Replicate(Beside):
    """`holdfast replicate` beside a database."""

    def __init__(self, bench, db, url, *options):
        self.events, self.news = [], threading.Condition()
        command = [bench.holdfast, "replicate", "-log", "logfmt", *options, db, url]
        super().__init__(bench, *command, text=True, stderr=subprocess.PIPE)
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

    def words(self):
        return str(self.events[-3:])

    def requests(self):
        """Made so far, by kind."""
        since = len(self.events)
        os.kill(self.pid(), signal.SIGUSR1)
        event = self.wait("requests", since=since)
        return {key: int(value) for key, value in event.items() if key != "at_ns" and value.isdigit()}

    def end(self):
        """SIGTERM; the stop line and what it used, as numbers."""
        use = super().end()
        self.reader.join()
        stop = [event for event in self.events if event["event"] == "stop"][-1]
        use.update({key: float(value) for key, value in stop.items() if key not in ("time", "event", "at_ns")})
        return use


def until(question, what, seconds=60):
    """Ask again until the answer is true; the answer."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > end:
            raise Failure(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)
    return answer


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


def quartiles(values):
    values = [value for value in values if value is not None]
    return [quantile(values, q) for q in (0.25, 0.5, 0.75)] if values else None


def needs(path, megabytes):
    free = shutil.disk_usage(path).free // MB
    if free < megabytes:
        raise Failure(f"{path}: {megabytes} MB are needed, {free} are free")


def stop(_number, _frame):
    raise KeyboardInterrupt


def keep(args, bench, failure=None):
    """--json."""
    if args.json:
        rows, verdicts = (bench.rows, bench.verdicts) if bench else ([], [])
        out = {"rows": rows, "verdicts": verdicts, "absent": bench.absent if bench else [], "failure": failure,
               "load": os.getloadavg()[0], "quick": args.quick}
        Path(args.json).write_text(json.dumps(out, indent=1) + "\n")


def main(text, measure, *programs, **more):
    """Parse, build the programs (bench_writer if none is named), make the place, measure(bench), remove it. Exit 0:
    within all gates; 1: not; 2: not measured."""
    args, bench = arguments(text, **more), None
    programs = [f"tests/bench/{program}" for program in programs or ["bench_writer"]]
    signal.signal(signal.SIGTERM, stop)
    try:
        subprocess.run(["ninja", "--quiet", "-C", args.build, "holdfast", *programs], check=True,
                       stdout=subprocess.DEVNULL)
        with contextlib.ExitStack() as places:
            place = places.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=args.dir))
            shm = places.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir="/dev/shm"))
            bench = Bench(args, place, shm)
            bench.title(text.split("\n")[0])
            measure(bench)
    except (Failure, OSError, subprocess.SubprocessError) as why:
        print(f"  NOT MEASURED: {why}", flush=True)
        keep(args, bench, str(why))
        sys.exit(2)
    except KeyboardInterrupt:
        print("  stopped")
        sys.exit(130)
    keep(args, bench)
    sys.exit(1 if any(verdict["state"] == "MISSED" for verdict in bench.verdicts) else 0)
