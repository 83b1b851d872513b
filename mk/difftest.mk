CASES ?= 600
SEED ?= 1

.PHONY: difftest
difftest: tofu ## compare drift found by warm providers with real plans on random modules (CASES=600 SEED=1)
	@set -o pipefail; go test -count=1 -timeout 90m ./internal/driver/tofu/probe -run '^TestDifference$$' -v \
	  -difference.cases $(CASES) -difference.seed $(SEED) | grep -v -e '^=== ' -e '^ *--- PASS'
