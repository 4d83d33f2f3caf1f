#!/usr/bin/python3 -B
"""All benchmarks, one after the other: `make bench`, about 10 minutes on a quiet machine; with `s3` as the first
word those of a bucket, `make bench-s3`, about 20. `make bench ARGS=--quick` only tries that they run. Each is a program of its own here, with -h. Exit 0: all within their
gates; 1: one is not; 2: one could not be measured."""
import subprocess
import sys
from pathlib import Path

BENCHMARKS = ("lone", "saturated", "restore", "memory", "checkpoints")
OF_A_BUCKET = ("s3_commits", "s3_restore", "s3_requests")
WORDS = {0: "within its gates", 1: "MISSED a gate", 2: "not measured"}


def main():
    codes, args = {}, sys.argv[1:]
    names = OF_A_BUCKET if args[:1] == ["s3"] else BENCHMARKS
    for name in names:
        try:
            codes[name] = subprocess.run([sys.executable, "-B", Path(__file__).with_name(name + ".py"), *args[names is OF_A_BUCKET:]]).returncode
        except KeyboardInterrupt:
            return 130
        if codes[name] not in WORDS:
            return codes[name]
        print()
    for name, code in codes.items():
        print(f"{name:12} {WORDS[code]}")
    return max(codes.values())


sys.exit(main())
