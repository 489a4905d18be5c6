# Each word sets up .venv first, once; see dev.sh, which works the same without make.
.PHONY: run test check bench setup
run test check bench setup:
	@sh dev.sh $@
