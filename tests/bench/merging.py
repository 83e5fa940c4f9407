"""Seconds and peak memory of our merge program and of mergekit's, side by side; the copying speed is the floor.

Processor seconds say more than seconds where other programs run too. ATEN_CPU_CAPABILITY=avx2 measures both programs as
on a processor without AVX-512.

    python tests/bench/merging.py                 three Llama checkpoints of 125 M parameters, three runs of everything
    python tests/bench/merging.py --runs 5 --folder /some/disk

Both are run as a user runs them, a fresh process each time, without a network; runs are interleaved and medians are
printed. mergekit's model card is off: offline it would end in a traceback. The floor reads every byte that a merge has
to read and writes every byte that it has to write. Peak memory is the process's `ru_maxrss`; this parent imports
nothing large, since a child's figure cannot be below the parent's size at the fork.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHAPE = {"hidden": 768, "inner": 2048, "layers": 14, "vocabulary": 32_000, "tied": True}  # 124 M parameters
TIES = "  - {{model: {1}, parameters: {{weight: 0.6, density: 0.2}}}}\n"
TIES += "  - {{model: {2}, parameters: {{weight: 0.4, density: 0.2}}}}\n"
LINEAR = "  - {{model: {0}}}\n  - {{model: {1}}}\n  - {{model: {2}}}\n"
CONFIGS = {
    "ties": f"merge_method: ties\nbase_model: {{0}}\nmodels:\n{TIES}dtype: bfloat16\n",
    "linear": f"merge_method: linear\nmodels:\n{LINEAR}parameters: {{{{weight: 1}}}}\ndtype: bfloat16\n",
}
PROGRAMS = {
    "ours": ["-m", "course_utils.merging.command"],
    "mergekit": ["-m", "mergekit.scripts.run_yaml", "--no-write-model-card", "--no-copy-tokenizer"],
}
MAKE = """
import sys, torch
from pathlib import Path
from checkpoints import fine_tuned, random_state, save_llama
base = random_state(0, torch.bfloat16, **eval(sys.argv[2]))
for i in range(3):
    save_llama(Path(sys.argv[1]) / str(i), fine_tuned(base, i, 0.003) if i else base, heads=12, tied=True)
print(sum(tensor.numel() for tensor in base.values()))
"""
COMPARE = """
import sys
from checkpoints import load
a, b = map(load, sys.argv[1:3])
assert a.keys() == b.keys()
off = sum(((a[k].float() - b[k].float()).abs() > 2 ** -7 * b[k].float().abs() + 2 ** -13).sum().item() for k in a)
print(f"{off / sum(x.numel() for x in a.values()):.2%}")
"""


def python(*arguments: str) -> str:
    """Run a helper in its own process, so that this one stays small."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def measure(command: list[str]) -> tuple[float, float, float]:
    """(seconds, processor seconds, peak MB) of a process; its words are shown if it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile() as words:
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=words, stderr=words)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            words.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{words.read().decode()[-2000:]}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def floor(sources: list[Path], target: Path) -> float:
    """Seconds to read all sources and to write as much as one of them."""
    buffer = bytearray(4 << 20)
    start = time.perf_counter()
    with open(target, "wb", buffering=0) as out:
        for source in sources:
            with open(source, "rb", buffering=0) as file:
                while size := file.readinto(buffer):
                    if source is sources[0]:
                        out.write(memoryview(buffer)[:size])
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of everything (default 3)")
    where = "where the checkpoints and results go for the time of the benchmark (default: temporary)"
    parser.add_argument("--folder", help=where)
    options = parser.parse_args()
    row = "| {} | {} | {:.2f} | {:.2f} | {:.0f} | {:.2f} | {} |".format
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        parameters = int(python("-c", MAKE, str(folder), str(SHAPE)))
        models = [folder / str(i) for i in range(3)]
        sources = [model / "model.safetensors" for model in models]
        about = f"{options.runs} runs each, medians; {os.cpu_count()} processors"
        print(f"3 x {parameters / 1e6:.0f} M parameters, bfloat16; {about}\n")
        columns = ("method", "program", "seconds", "processor seconds", "peak MB", "copying floor, s")
        columns += ("times faster", "times less processor time", "share of memory", "entries a rounding apart")
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
        for method, text in CONFIGS.items():
            (folder / "config.yml").write_text(text.format(*models), encoding="utf-8")
            found: dict[str, list[tuple[float, float, float]]] = {program: [] for program in PROGRAMS}
            floors = [floor(sources, folder / "copy")]  # the first also brings the files into the page cache
            for _ in range(options.runs):
                for program, arguments in PROGRAMS.items():
                    shutil.rmtree(folder / program, ignore_errors=True)
                    command = [sys.executable, *arguments, str(folder / "config.yml"), str(folder / program), "--quiet"]
                    found[program].append(measure(command))
                    print(f"{method}, {program}: {found[program][-1][0]:.1f} s", file=sys.stderr)
                floors.append(floor(sources, folder / "copy"))
            middle = {program: [statistics.median(values) for values in zip(*runs)] for program, runs in found.items()}
            apart = python("-c", COMPARE, str(folder / "ours"), str(folder / "mergekit"))
            theirs = middle["mergekit"]
            for program, (seconds, work, memory) in middle.items():
                ratios = f"{theirs[0] / seconds:.1f} | {theirs[1] / work:.1f} | {memory / theirs[2]:.2f} | {apart}"
                ratios = ratios if program == "ours" else "| | |"
                print(row(method, program, seconds, work, memory, statistics.median(floors[1:]), ratios), flush=True)


if __name__ == "__main__":
    main()
