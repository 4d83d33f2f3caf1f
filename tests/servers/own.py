"""Servers of one's own, for the programs of tests/soak and tests/bench that measure or torment them.

    with own.Ceph(directory) as ceph:
        box = ceph.box("app")                            an s3.Path: what str() gives is the URL
        with own.delayed(ceph, ms=27, log=file) as slow:
            slow.box("app")                              the same keys, through the proxy

Both end with this process, however it ends: their standard input does.
"""
import contextlib
import os
import subprocess
from pathlib import Path

import s3

HERE = Path(__file__).resolve().parent


class Absent(OSError):
    """It is not installed, or does not start."""


class Place:
    """An endpoint, and the keys for it."""

    def __init__(self, endpoint, values):
        self.endpoint, self.values = endpoint, values
        self.bucket = values["HOLDFAST_TEST_S3_BUCKET"]
        keys = values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"], values["AWS_REGION"]
        self.client = s3.Client(endpoint, *keys)

    def box(self, prefix):
        return s3.Path(self.client, self.bucket, prefix)

    def env(self):
        """For a program that is given the URL."""
        return {key: value for key, value in self.values.items() if key.startswith("AWS_")}


@contextlib.contextmanager
def etcd(directory):
    """Its endpoint."""
    process = subprocess.Popen([HERE / "etcd", "run", directory], text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, start_new_session=True)
    try:
        line = process.stdout.readline().strip()
        if not line:
            raise Absent(f"no etcd: exit {process.wait()}")
        yield line.partition("=")[2]
    finally:
        process.stdin.close()
        process.wait()


class Ceph(Place):
    def __init__(self, directory, memory_mb=2048):
        self.dir = Path(directory)
        self.process = subprocess.Popen([HERE / "ceph", "run", directory, "--memory", str(memory_mb)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        values = {}
        for line in iter(self.process.stdout.readline, ""):
            if line == "\n":
                return super().__init__(values["HOLDFAST_TEST_S3"], values)
            key, value = line.rstrip("\n").split("=", 1)
            values[key] = value
        raise Absent(f"no Ceph: exit {self.process.wait()}")

    def gateway(self, verb):
        """kill or start: the objects stay."""
        subprocess.run([HERE / "ceph", f"{verb}-gateway", self.dir], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def delayed(place, ms, log=None):
    command = [HERE / "delay", place.endpoint, "--ms", str(ms), *(["--log", log] if log else [])]
    process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               start_new_session=True, env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))
    try:
        yield Place(process.stdout.readline().strip(), place.values)
    finally:
        process.stdin.close()
        process.wait()
