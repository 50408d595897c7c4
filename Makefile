# make demo     set up and run the main job: watch a socket connect to itself
# make quick    set up and run lint, strict types and the tests that need nothing but Python, in two minutes
# make bundle   dist/selfconn.pyz, one file to copy to another host
# make test     set up and run lint, strict types and every test
# make install  put the commands where plain `sudo selfconn-capture` finds them
# make help     the rest
#
# Everything but install stays inside this directory.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
PYTHON_IN := $(VENV)/bin/python
PREFIX ?= /opt/selfconn
BINDIR ?= /usr/local/bin
MANDIR ?= /usr/local/share/man/man1
SOURCES := pyproject.toml setup.py $(wildcard analysis/engine/*.py analysis/engine/*.pxd)

# Files that root makes in somebody else's clone (sudo make test) are given to the owner of the clone.
HAND_BACK = if [ "$$(id -u)" -eq 0 ]; then trap 'chown --no-dereference --recursive --from=0 --reference=. .' EXIT; fi

.PHONY: help demo quick test test-versions kernels machines fuzz bench reliability docs screenshots pcaps install uninstall clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 20

$(VENV)/ready: $(SOURCES)
	@$(HAND_BACK); tools/venv $(VENV); touch $@

$(VENV)/ready-dev: $(SOURCES) | test-packages
	@$(HAND_BACK); tools/venv $(VENV) dev; touch $(VENV)/ready $(VENV)/ready-quick $@

# The same, but nothing of the distribution is asked for: no compiler, for one.
$(VENV)/ready-quick: $(SOURCES)
	@$(HAND_BACK); tools/venv $(VENV) dev; touch $(VENV)/ready $@

demo: $(VENV)/ready ## set up, then catch a socket connecting to itself and print how
	@$(HAND_BACK); $(VENV)/bin/selfconn-analyze --version; $(VENV)/bin/selfconn-capture
	@echo; echo "The commands are in $(CURDIR)/$(VENV)/bin. For this shell: PATH=$(CURDIR)/$(VENV)/bin:\$$PATH"
	@echo "With sudo: sudo $(CURDIR)/$(VENV)/bin/selfconn-check; or once sudo make install, then plain sudo selfconn-check"

.PHONY: test-packages
test-packages:
	@tools/packages tshark tcpdump chromium gcc gccgo libc6-dev bash-completion zsh fish tcptrace argus-server argus-client libndpi-bin tcpflow telnet redis-server nutcracker sudo \
	    systemd jq podman runc iproute2 \
	    $$(case $$(tools/find-python) in /usr/bin/*) echo python3-dev ;; esac)

quick: $(VENV)/ready-quick ## set up, then lint, strict types and the tests that need nothing else: two minutes
	@$(HAND_BACK); PYTHON="$(PYTHON_IN)" tools/check quick

test: $(VENV)/ready-dev ## set up, then lint, strict types and every test
	@$(HAND_BACK); PYTHON="$(PYTHON_IN)" tools/check

test-versions: test-packages ## the tests under each newer Python that is here, and with the oldest dependencies
	@$(HAND_BACK); tools/versions .cache

SEED ?= 1
SECONDS ?= 300
fuzz: $(VENV)/ready-dev ## every fuzzer in turn: make fuzz SEED=1 SECONDS=300; findings in .cache/fuzz/found
	@tools/packages clang libclang-rt-14-dev
	@$(HAND_BACK); PYTHON="$(PYTHON_IN)" tools/fuzz .cache/fuzz "$(SEED)" "$(SECONDS)"

# Both sides of each change that a kernel of the suites has: 4.19 (TIME-WAIT is renewed), 5.12 and 5.18 (port choice), 6.3
# and 6.8 (own ranges; who only binds is listed), 6.11 (the SYN-ACK); the newest; and one that is big-endian.
KERNELS = oldest:unsigned-4.15.0-[0-9]+-generic oldest:5.10.0-[0-9]+-cloud-amd64-unsigned oldest:unsigned-5.15.0-[0-9]+-generic \
    newest:6.1.0-[0-9]+-cloud-amd64-unsigned oldest:unsigned-6.8.0-[0-9]+-generic newest:6.12.[0-9]+.deb12-cloud-amd64-unsigned \
    newest:[0-9.]+.deb13-cloud-amd64 s390x:6.1.0-[0-9]+-s390x

kernels: $(VENV)/ready-dev ## this checkout on other Linux kernels, in QEMU: docs/kernels.md (5 minutes each; s390x 10)
	@tools/packages qemu-system-x86 qemu-system-misc qemu-user-static gcc-s390x-linux-gnu libc6-dev-s390x-cross busybox-static iproute2 cpio kmod xz-utils zstd bc
	@$(HAND_BACK); VENV=$(VENV) LIMIT=1800 tools/kernels/boot.sh .cache/kernels $(KERNELS)
	@$(VENV)/bin/python tools/kernels/table.py .cache/kernels/{vm,s390x}-*/log

machines: $(VENV)/ready-dev ## what looks at bytes, as programs of a big-endian (s390x) and a 32-bit machine (i386): 6 minutes
	@tools/packages qemu-user-static gcc-s390x-linux-gnu libc6-dev-s390x-cross gcc-i686-linux-gnu libc6-dev-i386-cross
	@$(HAND_BACK); for machine in s390x i386; do PYTHON=$(VENV)/bin/python tools/machine.sh $$machine || exit; done

bench: $(VENV)/ready ## us and other programs on big captures, side by side (24 GB of disk)
	@tools/packages tcpdump tshark tcptrace gcc libc6-dev
	@$(HAND_BACK); tools/venv $(VENV) bench; mkdir -p .cache/bench; cc -O3 -o .cache/bench/finding bench/finding.c; $(PYTHON_IN) bench/run.py

reliability: $(VENV)/ready-dev ## what is lost, left behind or late, at length (an hour; needs root)
	@$(HAND_BACK); $(PYTHON_IN) bench/reliability.py; $(PYTHON_IN) bench/watching.py

docs: $(VENV)/ready-dev ## write anew what the documents show of the program (manual pages, completion, pictures)
	@$(HAND_BACK); PYTHONPATH=. $(PYTHON_IN) docs/pages.py

.PHONY: site
site: $(VENV)/ready-quick ## dist/site: captures, lessons and the analysis itself as a folder for any web server (needs npm)
	@$(HAND_BACK); tools/site/fetch .cache/site; $(PYTHON_IN) tools/site/build.py dist/site .cache/site/node_modules/pyodide

screenshots: $(VENV)/ready-dev ## take the pictures of the HTML page anew; needs root or user namespaces
	@$(HAND_BACK); $(PYTHON_IN) docs/screenshots.py

pcaps: $(VENV)/ready-dev ## make the captures in pcaps/ and their pages anew, on this kernel
	@$(HAND_BACK); $(PYTHON_IN) pcaps/make.py

# The Pythons that wheels and the one file are made for: others run the same source without a compiled engine.
PYTHONS ?= $(PYTHON_IN)
.PHONY: wheel bundle release-check
wheel: $(VENV)/ready-quick ## the source archive and a wheel for each of PYTHONS="python3.11 ...", compiled, into dist/
	@$(HAND_BACK); tools/wheel dist $(PYTHONS)

bundle: $(VENV)/ready-quick ## dist/selfconn.pyz: the three commands in one file, for hosts with nothing but Python
	@$(HAND_BACK); tools/bundle/build dist/selfconn.pyz $(PYTHON_IN) $(PYTHONS)

release-check: $(VENV)/ready-dev ## check, build and try a release; then it says what is left to do (docs/releasing.md)
	@$(HAND_BACK); PYTHON="$(PYTHON_IN)" tools/release

# DESTDIR=... makes a package; WHEELS=... installs from a folder of wheels, without a network (tools/install).
export DESTDIR WHEELS
install: ## install into $(PREFIX), commands into $(BINDIR); needs root
	@tools/install "$(PREFIX)" "$(BINDIR)" "$(MANDIR)"

uninstall: ## remove what install put there
	@tools/uninstall "$(PREFIX)" "$(BINDIR)" "$(MANDIR)"

clean: ## remove what the other targets made in this directory
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f $(addprefix analysis/engine/*.,so c html pxi)
	find analysis capture tests -name __pycache__ -prune -exec rm -rf {} +
