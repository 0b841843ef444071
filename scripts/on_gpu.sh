#!/usr/bin/env bash
# A quarter of an hour on one GPU, in one command that goes on where it was stopped:
#
#     scripts/on_gpu.sh [--minutes 9] [--seeds "1 2 3"] [--work runs/on-gpu] [--out on-gpu.json]
#
# 1. the tests that need CUDA;
# 2. a training step of GeoDTR+ and of SinGeo at full size against the plain loop;
# 3. two rows of the study singeo-fields, its seeds side by side, for as long as the minutes last.
#
# OUT tells the card, what passed, the ratios and the finished rows. Needs crossview with the extra
# train, pytest, and a GPU; PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes=9 seeds="1 2 3" work=runs/on-gpu out=on-gpu.json
while [ $# -gt 0 ]; do
    case $1 in
    --minutes) minutes=$2 ;;
    --seeds) seeds=$2 ;;
    --work) work=$2 ;;
    --out) out=$2 ;;
    *)
        echo "Unknown option $1; allowed: --minutes, --seeds, --work, --out." >&2
        exit 2
        ;;
    esac
    shift 2
done
ends=$((SECONDS + minutes * 60))
python=${PYTHON:-.venv-dev/bin/python}
export PYTHONPATH="src:.${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1
mkdir -p "$work"

"$python" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "PyTorch finds no CUDA device here.")'

step() { # step NAME COMMAND...: once; its output is kept in $work/NAME
    [ -s "$work/$1" ] && return
    local begun=$SECONDS
    if "${@:2}" >"$work/$1.part" 2>"$work/$1.log"; then
        mv "$work/$1.part" "$work/$1"
        echo "$1: $((SECONDS - begun)) s"
    else
        echo "$1 failed after $((SECONDS - begun)) s:" >&2
        tail -n 20 "$work/$1.part" "$work/$1.log" >&2
    fi
}

step tests.txt "$python" -m pytest -q tests/training/test_cuda.py
step singeo.json "$python" -m benchmarks.singeo_step --device cuda --pairs 16 --chunk 4 \
    --backbone convnext_base
step geodtr.json "$python" -m benchmarks.geodtr_step --device cuda --places 16
step towns.txt "$python" -c "
from pathlib import Path
from crossview.studies.running import open_town_areas
from crossview.studies.study import find_study
print(open_town_areas(Path('$work/towns'), find_study('singeo-fields').plan).data)"

rows() { # rows SEED: its start, then both rows
    timeout --signal=TERM $((ends - SECONDS)) "$python" -m crossview study singeo-fields \
        --row release --row sample4geo-shifted --seed "$1" --device cuda --threads 1 \
        --workers "$workers" --runs "$work/rows" --towns "$work/towns" --out "$work/tables-$1" \
        --quiet >"$work/rows-$1.log" 2>&1 || echo "seed $1 is not finished: $(tail -n 1 "$work/rows-$1.log")"
}

count=$(wc -w <<<"$seeds")
workers=$(($(nproc) / count > 1 ? $(nproc) / count : 1))
if [ $((ends - SECONDS)) -gt 20 ] && [ -s "$work/towns.txt" ]; then
    for seed in $seeds; do rows "$seed" & done
    wait
fi
"$python" -m scripts.on_gpu "$work" "$out"
