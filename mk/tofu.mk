.PHONY: tofu test-providers lint-providers
tofu: ## build OpenTofu and providers to test with (the first time takes minutes)
	@scripts/tofu

test-providers: tofu ## test the test providers with the real OpenTofu
	@cd test/providers && go vet ./... && go test -count=1 ./... # the cache does not see bin

lint-providers:
	@cd test/providers && go tool -modfile=../../tools/lint/go.mod golangci-lint run -c ../../.golangci.yml ./...

test: test-providers
lint: lint-providers
