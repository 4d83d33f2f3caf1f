#!/usr/bin/python3 -B
"""The S3 of tests/e2e for the torture test: says its port and keys, and ends with its standard input."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
import fake_s3

fake_s3.SKEW_MOST = 1 << 40  # the clock of those who ask is their own
server = fake_s3.S3()
print(server.port, fake_s3.ACCESS_KEY, fake_s3.SECRET_KEY, flush=True)
sys.stdin.read()
