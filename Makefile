# Halfkey. "make help" lists every target; "make check" is what CI runs.
# Building and testing the product needs Go alone: go build ./... && go test work

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Tools live in modules of their own, so that none changes a version in go.mod.
# -modfile does not work inside a workspace, hence GOWORK=off.
BUF := GOWORK=off go tool -modfile=tools/buf/go.mod buf
GOLANGCI := GOWORK=off go tool -modfile=tools/golangci/go.mod golangci-lint
GOFUMPT := GOWORK=off go tool -modfile=tools/golangci/go.mod gofumpt

# Go files a person wrote: all that git knows or would add, less generated code.
GOFILES = git ls-files -z --cached --others --exclude-standard -- '*.go' ':!proto/gen' \
	| while IFS= read -r -d '' f; do if [ -e "$$f" ]; then printf '%s\0' "$$f"; fi; done

.PHONY: help
help: ## list every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: generate
generate: ## write proto/gen from proto
	$(BUF) generate

.PHONY: validate-proto
validate-proto: ## print third_party/protovalidate again, after raising its module's version
	cd tools/printvalidate && GOWORK=off go run . -o ../../third_party/protovalidate/buf/validate/validate.proto
	cd tools/printvalidate && GOWORK=off go test .
