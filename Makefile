# Halfkey. "make help" lists every target; "make check" is what CI runs.
# Building and testing the product needs Go alone: go build ./... && go test work

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Tools live in modules of their own, so that none changes a version in go.mod.
# -modfile does not work inside a workspace, hence GOWORK=off.
BUF := GOWORK=off go tool -modfile=tools/buf/go.mod buf
GOFUMPT := GOWORK=off go tool -modfile=tools/golangci/go.mod gofumpt

# Go files that a person wrote.
GOFILES := find . \( -path ./proto/gen -o -path ./gateway/httpjson/gen -o -path ./bin -o -name node_modules -o -name .git \) -prune -o -name '*.go' -print0

# What builds and runs containers; up.sh has the same default.
DOCKER ?= docker
COMPOSE ?= docker compose
HALFKEY_DOCKERFILE ?= deploy/Dockerfile
export COMPOSE HALFKEY_DOCKERFILE

# Seconds or a count, for each fuzz target; the benchmarks to run.
FUZZTIME ?= 10s
BENCH ?= .
BUYS ?= 100

.PHONY: help
help: ## list every target
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: check
check: ## everything CI runs, from format to lint, in its order
	.ci/run

.PHONY: generate
generate: ## write proto/gen from proto, and from it and its routes gateway/httpjson/gen and docs/openapi
	$(BUF) generate
	rm -rf gateway/httpjson/gen
	$(BUF) generate --template buf.gen.http.yaml

.PHONY: format
format: ## format Go and protobuf files in place
	$(BUF) format -w proto
	$(GOFILES) | xargs -0 env $(GOFUMPT) -w

.PHONY: validate-proto
validate-proto: ## print third_party/protovalidate again, after raising its module's version
	cd tools/printvalidate && GOWORK=off go run . -o ../../third_party/protovalidate/buf/validate/validate.proto
	cd tools/printvalidate && GOWORK=off go test .

.PHONY: deps
deps: ## write cmd/cosigner/deps.txt, the dependency list that is reviewed like code
	go test ./internal/archtest -count=1 -run '^TestCosignerDependencies$$' -update

.PHONY: vet
vet: ## gofmt, and go vet over all modules of the workspace
	@unformatted=$$($(GOFILES) | xargs -0 gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not formatted, \"make format\" does it:"; echo "$$unformatted"; exit 1; fi
	go vet work

.PHONY: lint-proto
lint-proto: ## buf lint, and the contracts' format
	$(BUF) lint
	$(BUF) format --diff --exit-code proto

.PHONY: lint-go
lint-go: ## golangci-lint over all modules of the workspace
	GOWORK=off go build -modfile=tools/golangci/go.mod -o bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@root=$$PWD; for dir in $$(go list -m -f '{{.Dir}}'); do \
		echo "golangci-lint $${dir#"$$root"/}"; \
		(cd "$$dir" && "$$root/bin/golangci-lint" run --config "$$root/.golangci.yml" ./...); \
	done

.PHONY: lint
lint: lint-proto lint-go ## both linters

.PHONY: drift
drift: ## generated code and validate.proto are what their sources give
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(BUF) generate -o "$$tmp"; \
	$(BUF) generate --template buf.gen.http.yaml -o "$$tmp"; \
	for made in proto/gen gateway/httpjson/gen docs/openapi/halfkey.swagger.json; do \
		diff -r "$$tmp/$$made" "$$made" || { echo "$$made is stale: \"make generate\""; exit 1; }; \
	done
	cd tools/printvalidate && GOWORK=off go test .

.PHONY: test
test: ## go test over all modules of the workspace
	go test work

.PHONY: race
race: ## the same under the race detector (needs a C compiler)
	go test -race -timeout 20m work

.PHONY: interop
interop: ## sign together with another implementation of RFC 9591, each as the other's co-signer
	cd test/interop && GOWORK=off go vet ./... && GOWORK=off go test ./...

# Install scripts of packages are not run: nothing here needs one.
.PHONY: x402
x402: ## our Solana payments beside other people's software, in a Solana VM (needs Node.js 20.18 or later, with npm)
	@for tool in node npm; do command -v $$tool >/dev/null || { echo "make x402: $$tool is missing; it comes with Node.js 20.18 or later"; exit 1; }; done
	cd test/x402 && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	cd test/x402/stock && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	cd test/x402 && GOWORK=off go vet ./... && GOWORK=off go run ./messages | node codec.mjs
	cd test/x402 && GOWORK=off go run ./messages -seed 2 -n 500 | node vm.mjs
	cd test/x402 && GOWORK=off go test -count=1 -p=1 ./vm ./stock ./buy

.PHONY: x402-bench
x402-bench: ## how long a fetch and its payment take, by the stock x402 client and by ours (BUYS=100), after make x402
	cd test/x402 && GOWORK=off go test -count=1 -timeout=30m -run 'TestCompare' -v ./buy -compare $(BUYS)

.PHONY: teeth
teeth: ## take each safety defence out and see its test fail
	go run ./test/teeth

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s)
	@grep -roE --include='*_test.go' --exclude-dir=node_modules '^func Fuzz[A-Za-z0-9_]*' . \
	| while IFS=: read -r file func; do \
		go test "$${file%/*}" -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) </dev/null; \
	done

.PHONY: demo
demo: ## one payment of each kind, everything in one process
	go run ./cmd/halfkey-dev demo

.PHONY: binaries
binaries: ## build what the images hold into bin/images, for deploy/Dockerfile.prebuilt
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/images/ \
		./cmd/gateway ./cmd/identity ./cmd/policy ./cmd/ledger ./cmd/cosigner ./cmd/halfkey-dev ./deploy/etcd
	install -d -m 1777 bin/images/data/ledger/var/lib/halfkey bin/images/data/etcd/var/lib/etcd

.PHONY: images
images: ## build the images by DOCKER (docker, or podman) from HALFKEY_DOCKERFILE (deploy/Dockerfile)
	for program in gateway identity policy ledger cosigner halfkey-dev etcd; do \
		$(DOCKER) build --file $(HALFKEY_DOCKERFILE) --target $$program --tag halfkey/$$program .; \
	done

.PHONY: up
up: ## an installation of etcd and the five programs on this machine, by COMPOSE (docker compose)
	deploy/up.sh

.PHONY: down
down: ## stop it; its data and its keys stay
	$(COMPOSE) down

.PHONY: compose-test
compose-test: ## bring that up under podman, pay, kill, roll and bring it down
	cd test/e2e && go test -count=1 -tags compose -timeout 15m -v ./compose

.PHONY: bench
bench: ## the benchmarks in test/bench, and of the command line's start, that match BENCH (all)
	cd test/bench && go test -run '^$$' -bench '$(BENCH)' ./...
	go test -run '^$$' -bench '$(BENCH)' ./cmd/halfkey

# An open-loop run: all-in-one or programs, payments a second, how long, how many agents, where their homes are made, and a file
# for a CPU profile.
MODE ?= all-in-one
RATE ?= 100
DURATION ?= 10s
AGENTS ?= 16
HOMES ?=
PROFILE ?=

.PHONY: load
load: ## let AGENTS pay at RATE for DURATION in MODE, and print what a payment costs
	go run ./test/bench/load -mode '$(MODE)' -rate '$(RATE)' -duration '$(DURATION)' -agents '$(AGENTS)' -homes '$(HOMES)' -profile '$(PROFILE)'
