"""The notebooks compared with their saved outputs as if this were another machine: `make test-machines`.

    python tests/machines.py [--machine NAME] [--threads N] [NOTEBOOK ...]     (default: all)

Switches of PyTorch, MKL, oneDNN and OpenBLAS turn off the instructions that an older processor lacks. Other
instructions and another number of threads add in another order, so the last digits differ as they do on a machine that
the course has never seen. It takes half an hour and more, and is not part of `make test`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VARIABLES = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE")
MACHINES = {
    "no-avx": dict(zip(VARIABLES, ("default", "COMPATIBLE", "SSE41", "Nehalem"))),
    "avx2": dict(zip(VARIABLES, ("avx2", "AVX2", "AVX2", "Haswell"))),
    "this": {},
}


def run(machine: str, threads: int, notebooks: list[str]) -> tuple[int, str]:
    """Exit status of pytest, and its output. With one thread two notebooks run side by side (see conftest.py)."""
    # PASSIVE: idle threads that spin take the cores from those that work.
    count = {"OMP_NUM_THREADS": str(threads), "MANY_MODELS_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    workers = "auto" if threads == 1 else "0"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "-n", workers, *notebooks]
    environment = {**os.environ, **MACHINES[machine], **count}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=-1, stderr=-2, encoding="utf-8")
    return done.returncode, done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    twice = "may be given twice; default: no-avx and avx2"
    parser.add_argument("--machine", action="append", choices=MACHINES, help=twice)
    parser.add_argument("--threads", action="append", type=int, help="may be given twice; default: 1 and 2")
    parser.add_argument("notebooks", nargs="*", default=["notebooks"])
    given = parser.parse_args()
    worst = 0
    for machine in given.machine or ["no-avx", "avx2"]:
        for threads in given.threads or [1, 2]:
            status, said = run(machine, threads, given.notebooks)
            failed = re.findall(r"^FAILED (\S+::Cell \d+)", said, flags=re.MULTILINE)
            closing = said.strip().splitlines()[-1] if said.strip() else "no output"
            print(f"{machine}, {threads} threads: {closing.strip('= ')}", *failed, sep="\n    ", flush=True)
            if status:
                print(said)
            worst = worst or status
    return worst


if __name__ == "__main__":
    sys.exit(main())
