export SOAK_KILLS SOAK_SEED

.PHONY: soak soak-tofu
soak: build ## kill the engine 50 times at random instants (SOAK_KILLS, SOAK_SEED)
	@go run ./test/soak

soak-tofu: build tofu ## kill Plumb and OpenTofu 30 times while modules are applied (SOAK_KILLS, SOAK_SEED)
	@go run ./test/soaktofu
