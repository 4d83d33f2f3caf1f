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

test:
	@scripts/setup build test
	@scripts/build $(BUILD) -Dtests=enabled
	@scripts/test $(BUILD)

soak:
	@scripts/setup build test
	@scripts/build $(BUILD) -Dtests=enabled
	@scripts/soak $(BUILD)

lint:
	@scripts/setup build test lint
	@scripts/lint

san:
	@scripts/setup build test
	@scripts/san

fmt:
	@scripts/setup lint
	@git ls-files -z '*.c' '*.h' | xargs -0 clang-format -i

install: all
	@meson install -C $(BUILD) --no-rebuild

.PHONY: all setup demo test soak lint san fmt install
