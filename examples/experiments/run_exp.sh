#!/usr/bin/env bash
# Runs one experiment or a sweep; options are those of run_exp.py:
#   run_exp.sh --config FILE --save_dir DIR [--data_dir DIR] [--gpu N] [--resume] [--seed S]...
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$here/../../.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/run_exp.py" "$@"
