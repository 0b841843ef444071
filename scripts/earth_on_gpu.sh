#!/usr/bin/env bash
# The packaged model of Earth, on one GPU or with --device cpu, in one command that goes on where it was stopped:
#
#     scripts/earth_on_gpu.sh compare [--minutes 9] [--ortho FOLDER] [--work runs/earth-on-gpu] [--out FILE.json]
#     scripts/earth_on_gpu.sh final   [--minutes 9] [--ortho FOLDER] [--work runs/earth-on-gpu] [--out FOLDER]
#
# compare: renders towns and worlds of every country, then short trainings side by side: small encoders,
# the trunk frozen and tuned, both; towns, worlds and both with a country left out in turn. Each is
# measured on worlds of the country left out. final: one long training on all of them; the weights as float16.
# Needs crossview with the extra train; on two cores, far fewer pairs and steps. PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv-dev/bin/python}
export PYTHONPATH="src:.${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
exec "$python" -m scripts.earth_on_gpu "$@"
