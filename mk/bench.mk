APPS ?= 200

.PHONY: bench
bench: build ## measure beside the physical limit (APPS=1000 for more)
	@go run ./bench/cmd/bench -apps $(APPS)
