.PHONY: bench-ledger
bench-ledger: ## measure how fast entries are recorded, beside bare files on the same disk
	@go run ./bench/ledger
