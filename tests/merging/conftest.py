"""mergekit 0.1.5 inside this process, for the tests of parity."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from checkpoints import load


@pytest.fixture(scope="session")
def mergekit(tmp_path_factory):
    """run(yaml text) -> mergekit's state dict, run.folder(yaml text) -> its folder; never asks a network."""
    import mergekit.merge
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions

    number = itertools.count()

    def folder(text: str, seed: int = 0) -> Path:
        out = tmp_path_factory.mktemp("mergekit") / str(next(number))
        options = MergeOptions(
            write_model_card=False, copy_tokenizer=False, quiet=True, random_seed=seed, device="cpu", clone_tensors=True
        )
        mergekit.merge.run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), str(out), options)
        return out

    def run(text: str, seed: int = 0) -> dict[str, torch.Tensor]:
        return load(folder(text, seed))

    run.folder = folder
    return run


@pytest.fixture
def stable_sort(monkeypatch):
    """Of equal entries mergekit keeps the first."""
    import mergekit.sparsify

    class Torch:
        def __getattr__(self, name):
            return partial(torch.argsort, stable=True) if name == "argsort" else getattr(torch, name)

    monkeypatch.setattr(mergekit.sparsify, "torch", Torch())
