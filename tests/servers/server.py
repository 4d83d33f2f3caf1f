"""What the servers of the tests have in common: a directory, free ports, processes by their pid files.

    tests/servers/NAME start DIR [OPTION...]   start it and print what a client needs, as DIR/env has it
    tests/servers/NAME stop DIR
    tests/servers/NAME run DIR [OPTION...]     start, print, and stop when the standard input ends

All is on loopback and below DIR, so that several run side by side, also where loopback is all the
network there is. `run` leaves nothing behind even if whoever started it is killed.
"""
import argparse
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# Of the one user of each server: a client needs but one set for all of them.
ACCESS, SECRET, REGION = "test:tester", "not-a-secret-0123456789", "us-east-1"
PATIENCE = 60.0
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    pass


def free_ports(count):
    """Below the range from which the kernel gives out ports by itself."""
    found = []
    while len(found) < count:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def call(argv, log, **env):
    """A step of the start; its output is kept."""
    with open(log, "ab") as to:
        done = subprocess.run(
            [str(a) for a in argv], env={**os.environ, **env}, stdin=subprocess.DEVNULL,
            stdout=to, stderr=to, timeout=PATIENCE,
        )
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))}: exit {done.returncode}: {tail(log)}")


def tail(log):
    return "\n".join(Path(log).read_text(errors="replace").splitlines()[-10:])


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """One server of one or several processes; NEEDS are its programs, in a package each or not."""

    NEEDS = []
    GROUP = "s3"  # of scripts/setup, which has them

    def __init__(self, directory):
        self.dir = Path(directory).resolve()
        self.tied = False  # the processes end with this one

    @classmethod
    def missing(cls):
        """The programs that are not here."""
        return [p for p in cls.NEEDS if not shutil.which(p)]

    # ---- processes ----

    def spawn(self, name, argv, **env):
        log = self.dir / "log" / f"{name}.out"
        with open(log, "ab") as to:
            process = subprocess.Popen(
                [str(a) for a in argv], env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=to,
                stderr=to, start_new_session=True, preexec_fn=die_with_parent if self.tied else None,
            )
        (self.dir / f"{name}.pid").write_text(f"{process.pid} {started(process.pid)}\n")

    def pid(self, name):
        """Of a process that runs, or None; never of another one that was given the same number."""
        try:
            pid, since = (self.dir / f"{name}.pid").read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if started(pid) == since else None

    def end(self, name, signal_number=signal.SIGTERM, patience=5.0):
        pid = self.pid(name)
        if pid is None:
            return
        os.kill(pid, signal_number)
        until = time.monotonic() + patience
        while self.pid(name) is not None:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def wait_port(self, name, port):
        """Until it answers; `name` is the process that will."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                pass
            if self.pid(name) is None or time.monotonic() > until:
                raise Failed(f"{name} does not answer: {tail(self.dir / 'log' / f'{name}.out')}")
            time.sleep(0.02)

    # ---- what a client needs ----

    def write_env(self, **values):
        self.env = values
        (self.dir / "env").write_text("".join(f"{k}={v}\n" for k, v in values.items()))

    def read_env(self):
        lines = (self.dir / "env").read_text().splitlines()
        self.env = dict(line.split("=", 1) for line in lines)
        return self.env


def started(pid):
    """When a process began, in the kernel's ticks; '' if there is none, or it is dead already."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def main(server_class, options=lambda parser: None, verbs=()):
    parser = argparse.ArgumentParser(usage=f"{Path(sys.argv[0]).name} VERB DIR [OPTION...]")
    parser.add_argument("verb", choices=["start", "stop", "run", *verbs])
    parser.add_argument("dir")
    options(parser)
    args = parser.parse_args()
    server = server_class(args.dir)
    try:
        if args.verb in verbs:
            getattr(server, args.verb.replace("-", "_"))()
        elif args.verb == "stop":
            server.stop()
        elif absent := server.missing():
            raise Failed(f"not installed: {', '.join(absent)}; see scripts/setup {server.GROUP}")
        else:
            serve(server, args)
    except (Failed, subprocess.TimeoutExpired) as why:
        sys.exit(f"{Path(sys.argv[0]).name}: {why}")


def serve(server, args):
    server.tied = args.verb == "run"
    (server.dir / "log").mkdir(parents=True, exist_ok=True)
    if server.tied:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))
    good = False
    try:
        server.start(args)
        print((server.dir / "env").read_text(), flush=True)
        good = not server.tied
        if server.tied:
            sys.stdin.read()
    except KeyboardInterrupt:
        pass
    finally:
        if not good:
            server.stop()
