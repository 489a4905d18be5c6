# Each word sets up .venv first, once; see dev.sh, which works the same without make.
.PHONY: run test check soak bench bench-gpu bench-data setup
run test check soak bench bench-gpu bench-data setup:
	@sh dev.sh $@
