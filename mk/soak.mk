export SOAK_KILLS SOAK_SEED

.PHONY: soak
soak: build ## kill the engine 50 times at random instants (SOAK_KILLS, SOAK_SEED)
	@go run ./test/soak
