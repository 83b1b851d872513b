.PHONY: e2e
e2e: build ## run the end-to-end tests alone, verbosely
	@PLUMB_TEST_BINARY=$(CURDIR)/$(BIN) go test -count=1 -v ./test/e2e
