#!/bin/sh
# Install what was carried (once), then run one job: sh benchmarks/gpu/run.sh check [ARGUMENTS]
set -e
cd "$(dirname "$0")/../.."
job=$1
shift
if [ -d carry/wheels ]; then
  [ -d carry/site ] ||
    python3 -m pip install -q --no-index --no-deps --target carry/site carry/wheels/*.whl
  PYTHONPATH=$PWD/carry/site${PYTHONPATH:+:$PYTHONPATH}
  export PYTHONPATH
fi
if [ "$job" = several_gpus ]; then
  exec python3 -m torch.distributed.run --standalone --nproc-per-node gpu "benchmarks/gpu/$job.py" "$@"
fi
exec python3 "benchmarks/gpu/$job.py" "$@"
