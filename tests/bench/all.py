#!/usr/bin/python3 -B
"""All benchmarks, one after the other: `make bench`. About 10 minutes on a quiet machine; `make bench
ARGS=--quick` only tries that they run. Each is a program of its own here, with -h. Exit 0: all within their
gates; 1: one is not; 2: one could not be measured."""
import subprocess
import sys
from pathlib import Path

BENCHMARKS = ("lone", "saturated", "restore", "memory", "checkpoints")
WORDS = {0: "within its gates", 1: "MISSED a gate", 2: "not measured"}


def main():
    codes = {}
    for name in BENCHMARKS:
        try:
            codes[name] = subprocess.run([sys.executable, "-B", Path(__file__).with_name(name + ".py"), *sys.argv[1:]]).returncode
        except KeyboardInterrupt:
            return 130
        if codes[name] not in WORDS:
            return codes[name]
        print()
    for name, code in codes.items():
        print(f"{name:12} {WORDS[code]}")
    return max(codes.values())


sys.exit(main())
