.PHONY: tofu test-providers
tofu: ## build OpenTofu and providers to test with (the first time takes minutes)
	@scripts/tofu

test-providers: tofu ## test the test providers with the real OpenTofu
	@cd test/providers && go vet ./... && go test ./...

test: test-providers
