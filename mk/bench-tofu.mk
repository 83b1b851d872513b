.PHONY: bench-tofu
bench-tofu: tofu ## measure looking for drift with warm providers beside plans (takes some minutes)
	@go run ./bench/tofu $(BENCH_TOFU_FLAGS)
