#!/bin/sh
# Sets up the environment once, then does one thing in it. `make WORD` calls this; without make: sh dev.sh WORD
#   run    open the app            test   run the tests          check   lint, types, import contracts
#   setup  only set up             soak   the long tests: a hundred kills, a hundred lost terminals
#   bench       training beside HF Trainer and TRL in the same run (installs the extra bench; most of an hour)
#   bench-gpu   the same on a CUDA machine, with a model of 1.2B parameters
#   bench-data  reading and tokenizing, beside Hugging Face datasets in the same run
# Knobs: VENV=folder  PYTHON=interpreter  VENV_FLAGS=--system-site-packages (keep a torch that is already there)
#        TORCH_INDEX=https://download.pytorch.org/whl/cu126 (another build of torch)  CONSTRAINTS= (newest versions)
set -eu
cd "$(dirname "$0")"
VENV=${VENV:-.venv}
CONSTRAINTS=${CONSTRAINTS-constraints.txt}
LOCK=$VENV.lock

say() { printf 'finetunegem: %s\n' "$*" >&2; }

is_python() { [ "$("$1" -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null)" = True ]; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_python "$PYTHON" && command -v "$PYTHON" && return
        say "PYTHON=$PYTHON is no Python of 3.11 or newer"
        exit 1
    fi
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        is_python "$name" && command -v "$name" && return
    done
    say "Python 3.11 or newer is needed, and none was found; install one, or name it: PYTHON=/path/to/python3"
    exit 1
}

base() { echo "$(pwd) ${VENV_FLAGS:-} ${TORCH_INDEX:-}"; } # what makes another environment necessary

wanted() { # what the environment must have been made from
    base
    cat pyproject.toml "${CONSTRAINTS:-/dev/null}" | cksum
}

take_lock() { # two of these at once: the second waits for the first
    told=
    while ! mkdir "$LOCK" 2>/dev/null; do
        owner=$(cat "$LOCK/pid" 2>/dev/null || true)
        if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
            rm -rf "$LOCK"
            continue
        fi
        [ -n "$told" ] || say "another set-up of $VENV is running; waiting for it"
        told=yes
        sleep 1
    done
    echo $$ > "$LOCK/pid"
    trap 'rm -rf "$LOCK"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

is_set_up() { [ -x "$VENV/bin/finetunegem" ] && [ "$(cat "$VENV/.made-from" 2>/dev/null)" = "$(wanted)" ]; }

set_up() {
    is_set_up && return
    take_lock
    if ! is_set_up; then
        python=$(find_python)
        say "setting up $VENV with $("$python" --version) (the first time: some minutes and about 1.3 GB)"
        clear=--clear # a set-up that was cut short, or a moved folder, is begun anew
        [ "$(head -n 1 "$VENV/.made-from" 2>/dev/null)" != "$(base)" ] || clear=
        rm -f "$VENV/.made-from"
        # shellcheck disable=SC2086
        "$python" -m venv $clear ${VENV_FLAGS:-} "$VENV" || {
            say "$python can't make an environment; on Debian and Ubuntu: apt install python3-venv"
            exit 1
        }
        # A torch build of its own index comes first, so that what follows leaves it alone.
        if [ -n "${TORCH_INDEX:-}" ]; then
            "$VENV/bin/python" -m pip install torch --index-url "$TORCH_INDEX"
        fi
        "$VENV/bin/python" -m pip install ${CONSTRAINTS:+-c "$CONSTRAINTS"} -e '.[dev]' || {
            say "the packages could not be installed; what pip said stands above; the same command tries again"
            exit 1
        }
        wanted > "$VENV/.made-from"
        say "set up; from now on this takes seconds"
    fi
    rm -rf "$LOCK"
    trap - EXIT INT TERM HUP
}

word=${1:-run}
[ $# -eq 0 ] || shift
bin=$VENV/bin
case $word in
    run | setup | test | check | soak | bench | bench-gpu | bench-data) set_up ;;
    *) say "usage: sh dev.sh run | test | check | soak | bench | bench-gpu | bench-data | setup"; exit 2 ;;
esac
case $word in
    run) exec "$bin/finetunegem" "$@" ;;
    setup) ;;
    test)
        export OMP_NUM_THREADS=1
        [ $# -eq 0 ] || exec "$bin/python" -m pytest "$@"
        # All of them on all cores, and one process more, for they wait as much as they compute. What fails in that crowd
        # has to pass alone: a slow machine is no fault.
        processes=$("$bin/python" -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
        "$bin/python" -m pytest --numprocesses "$processes" --dist worksteal && exit
        say "what failed is tried once more, alone"
        exec "$bin/python" -m pytest --last-failed --last-failed-no-failures none
        ;;
    check)
        "$bin/ruff" format --check .
        "$bin/ruff" check .
        "$bin/mypy"
        exec "$bin/lint-imports"
        ;;
    bench | bench-gpu)
        # TRL comes for this word only; without it the table says so.
        "$bin/python" -m pip install --quiet ${CONSTRAINTS:+-c "$CONSTRAINTS"} -e '.[bench]' || say "TRL is not installed"
        [ "$word" = bench ] || set -- --gpu "$@"
        "$bin/python" -P benchmarks/engine.py "$@"
        [ "$word" != bench ] || OMP_NUM_THREADS=1 exec "$bin/python" benchmarks/overhead.py
        ;;
    bench-data) exec "$bin/python" benchmarks/data.py "$@" ;;
    soak)
        "$bin/python" -m tests.soak.kill --kills 100
        OMP_NUM_THREADS=1 exec "$bin/python" -m pytest -m soak "$@"
        ;;
esac
