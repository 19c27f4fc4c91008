# holdfast. `make help` lists the targets.
#
# The default build is pure Go. dpd's real ports need DPDK (libdpdk-dev) and cgo: the tag dpdk, set here where it belongs.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# go-dpdk's cgo lines carry flags that Go's own list doesn't allow.
export CGO_CFLAGS_ALLOW := -mrtm
export CGO_LDFLAGS_ALLOW := -Wl,--(?:no-)?whole-archive

# Git refuses to read another user's checkout (root's build in a mounted folder, say); then the programs go without the
# commit's name instead of not being built.
ifneq ($(shell git rev-parse --git-dir >/dev/null 2>&1 || echo no),)
export GOFLAGS := $(shell go env GOFLAGS) -buildvcs=false
endif

PURE := CGO_ENABLED=0 go
SIM_RUNS ?= 2000
CAMPAIGN_RUNS ?= 200
HAVE_DPDK := $(shell pkg-config --exists libdpdk 2>/dev/null && echo yes)

.PHONY: help setup build run demo hostile flood test test-quick test-vm sim rates bench lint fmt tidy tidy-check generate generate-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing (Debian packages, as root); otherwise say what is missing and what works without it
	@.ci/setup

build: ## build every program into bin/ (dpd with DPDK where libdpdk-dev is installed)
	@mkdir -p bin
	$(PURE) build -o bin/ ./services/... ./gateway/... ./e2e/...
ifeq ($(HAVE_DPDK),yes)
	CGO_ENABLED=1 go build -tags dpdk -o bin/dpd ./dpd
else
	$(PURE) build -o bin/dpd ./dpd
	@echo "build: no libdpdk: bin/dpd has no real ports (make setup installs it)"
endif

# What can't be installed is named in one line by the lab itself, so these go on.
run: ## set-up, build, and a lab with client, router, three dpds and two real servers until Ctrl-C
	@if [ $$(id -u) = 0 ]; then .ci/setup || true; fi
	@$(MAKE) --no-print-directory build
	@bin/lab up $(LAB_FLAGS)

demo: ## kill data planes under 200 connections, none may break; SYNC=off is the negative control, which must break some
	@if [ $$(id -u) = 0 ]; then .ci/setup || true; fi
	@$(MAKE) --no-print-directory build
	@SYNC=$(SYNC) bin/demo $(DEMO_FLAGS)

hostile: ## send hostile sync datagrams of 19 kinds while data planes restart in the lab: nothing may answer, end, break or wait
	@if [ $$(id -u) = 0 ]; then .ci/setup || true; fi
	@$(MAKE) --no-print-directory build
	@bin/hostile $(HOSTILE_FLAGS)

flood: ## SYN, UDP, mid-stream, ICMP error and ARP/ND floods in the lab: no connection lost, new ones open, memory flat
	@if [ $$(id -u) = 0 ]; then .ci/setup || true; fi
	@$(MAKE) --no-print-directory build
	@bin/flood $(FLOOD_FLAGS)

test: ## everything: formatting, vet, unit tests (race, shuffle), pure build, DPDK on vdevs, mocked and lab end to end
	@.ci/test

test-quick: ## formatting, vet and the unit tests alone
	@.ci/test quick

test-vm: ## hardware steering: dpd's rte_flow rules in a QEMU machine with net_tap
	@.ci/setup
	@$(MAKE) --no-print-directory build
	@bin/vm $(VM_FLAGS)

sim: ## the long forms of the simulation of session sync and of the campaign over its real threads
	go test -count=1 -timeout 120m -run 'Invariants|Mutant|Scenario' ./dpd/internal/syncer/sim -args -sim.runs $(SIM_RUNS)
	go test -count=1 -timeout 120m -run 'Campaign|Mutant' ./dpd/bench/campaign -args -campaign.runs $(CAMPAIGN_RUNS)

rates: ## session sync at 10 k and 100 k lives a second and beside a sick node, in virtual time; RATES_FLAGS=-list names the runs
	@.ci/rates $(RATES_FLAGS)

bench: ## the benchmarks of the goals with their baselines, as one table and .bench/latest.json
	@.ci/setup
	@.ci/bench $(BENCH_FLAGS)

lint: ## gofmt, vet with and without the tag dpdk, dependency rules; golangci-lint where it is installed
	@.ci/lint

fmt: ## format the Go files
	@gofmt -w $$(find . -name node_modules -prune -o -name '*.go' -print)

tidy: ## go mod tidy for both modules
	go mod tidy
	cd dpd/godpdk && go mod tidy

tidy-check: ## fail if go mod tidy would change something
	go mod tidy -diff
	cd dpd/godpdk && go mod tidy -diff

generate: ## regenerate proto/gen, the mocks and the page of configuration keys
	@proto/generate.sh
	@go generate ./dpd/internal/config/... ./e2e/mocked/...

generate-check: ## fail if generated files differ from what their sources give
	@proto/generate.sh check
	@go generate ./dpd/internal/config/... ./e2e/mocked/...
	@git diff --exit-code -- dpd/internal/config e2e/mocked || { echo "generate-check: run make generate and commit"; exit 1; }

clean: ## remove what the targets above made in this folder
	rm -rf bin .bench .cache
