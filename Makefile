# Each word sets up .venv first, once; see dev.sh, which works the same without make.
.PHONY: run test check soak setup
run test check soak setup:
	@sh dev.sh $@
