# Plumb: `make up` to see it, `make test` to check it, `make help` for the rest.

SHELL := /bin/bash
BIN   := bin/plumb
# The version that the binary reports of itself.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# Without -trimpath: the tests and the linters then find what the build compiled.
GOFLAGS_BUILD := -ldflags '-s -w -X main.version=$(VERSION)'

.DEFAULT_GOAL := help
.PHONY: help build up demo test lint generate clean

help: ## show what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

build: ## build bin/plumb (the first time takes minutes: it holds Kubernetes)
	@scripts/build $(BIN) $(GOFLAGS_BUILD)

up: build ## start everything with the demo, until Ctrl-C
	@scripts/with-tofu $(BIN) up --demo

demo: build ## run the demo's scenario end to end, step by step
	@scripts/with-tofu $(BIN) demo

test: build ## run all tests, with the race detector
	@scripts/test

lint: ## run the linters
	@go tool -modfile=tools/lint/go.mod golangci-lint run ./...

generate: ## make generated files anew
	go generate ./api/...
	go test ./internal/cli -run '^TestReference$$' -update

clean: ## remove what was built
	rm -rf bin

include $(wildcard mk/*.mk)
