.PHONY: build test race fuzz lint crash bench clean ci

build:
	CGO_ENABLED=0 go build -trimpath -o posthorn .

test:
	go test -timeout 15m ./...

race:
	go test -race -timeout 20m ./...

# Each fuzz target for FUZZ_TIME (5s), one after the other.
fuzz:
	.ci/run fuzz

lint:
	.ci/run lint

# Kills and full disks around commits: nothing acknowledged may be lost.
crash:
	POSTHORN_CRASH_ROUNDS=50 go test -count=1 -timeout 20m -run 'Crash|Kill' ./storage/... ./integration_test/...

bench:
	go test -run '^$$' -bench . -benchmem -timeout 30m ./...

clean:
	rm -f posthorn
	go clean -testcache

# What the project's CI does.
ci:
	.ci/run
