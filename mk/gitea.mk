.PHONY: gitea e2e-forge
gitea: ## build the Gitea that tests of pull requests run against (the first time takes minutes)
	@scripts/gitea

e2e-forge: build gitea ## test pull requests, statuses and webhooks with a real Gitea
	@PLUMB_TEST_BINARY=$(CURDIR)/$(BIN) PLUMB_TEST_GITEA=$(CURDIR)/bin/gitea go test -count=1 -v -timeout 20m -run 'Gitea|PullRequests' ./test/forge ./internal/server

e2e: e2e-forge
