"""Merging by YAML: the language, the methods from the command line, and that nothing half-made is ever left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from checkpoints import fine_tuned, load, random_state, save_llama
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils import merging
from course_utils.merging import checkpoints, command, plan
from course_utils.merging.checkpoints import MergeError
from course_utils.merging.command import merge
from course_utils.merging.config import METHOD_NAMES, MergeConfig, Slice, Source, dumps, loads, setting

ROOT = Path(__file__).parents[2]
LEARNT = ROOT / "data" / "models"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A base and three children, bfloat16, the second child in three shards."""
    base, where = random_state(0, torch.bfloat16), tmp_path_factory.mktemp("models")
    return [
        str(save_llama(where / "base", base)),
        *(str(save_llama(where / f"child{i}", fine_tuned(base, i), shards=3 if i == 2 else 1)) for i in (1, 2, 3)),
    ]


RANDOM = ("dare_ties", "dare_linear", "della", "della_linear")


def model(name: str, layers: list[int] | None = None, **parameters) -> dict:
    """One entry of `models` or, with a range of layers, of `sources`."""
    return {"model": name} | ({"layer_range": layers} if layers else {}) | {"parameters": parameters}


def raw(method: str, folders: list[str], **rest) -> dict:
    """A configuration that the method accepts."""
    base, a, b, _ = folders
    task_vectors = {"base_model": base, "models": [model(a, weight=0.6), model(b, weight=0.4)]}
    sparse = {"parameters": {"density": 0.5}} if method in ("ties", *RANDOM) else {}
    shapes = {
        "linear": {"models": [model(a, weight=1), model(b, weight=0.5)]},
        "slerp": {"base_model": base, "models": [model(base), model(a)], "parameters": {"t": 0.3}},
        "passthrough": {"slices": [{"sources": [model(a, [0, 3])]}, {"sources": [model(b, [1, 4])]}]},
        "model_stock": {"base_model": base, "models": [model(a), model(b)]},
    }
    return {"merge_method": method} | shapes.get(method, task_vectors | sparse) | rest


def text(method: str, folders: list[str], **rest) -> str:
    return yaml.safe_dump(raw(method, folders, **rest))


def merged(config: MergeConfig, out: Path, **options) -> dict[str, torch.Tensor]:
    return load(merge(config, out, progress=False, **options))


# ---------------------------------------------------------------- the language


LECTURE = """
slices:
  - sources:
      - model: psmathur/orca_mini_v3_13b
        layer_range: [0, 40]
      - model: garage-bAInd/Platypus2-13B
        layer_range: [0, 40]
merge_method: slerp
base_model: psmathur/orca_mini_v3_13b
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - value: 0.5
dtype: float16
"""


def test_mergekits_own_example_is_read():
    config = loads(LECTURE)
    assert config.merge_method == "slerp" and config.dtype == "float16"
    assert config.slices[0].sources[1] == Source("garage-bAInd/Platypus2-13B", (0, 40))
    scopes = [config.slices[0].parameters, config.parameters]
    assert setting(scopes, "t", float, "model.layers.5.self_attn.q_proj.weight", 0.5) == pytest.approx(0.3)
    assert setting(scopes, "t", float, "model.layers.5.mlp.up_proj.weight", 0.125) == pytest.approx(0.75)
    assert setting(scopes, "t", float, "model.norm.weight", 0) == 0.5


@pytest.mark.parametrize("t, expected", [(0, 0), (0.25, 0.25), (0.5, 0.5), (0.75, 0.75), (1, 1)])
def test_a_gradient_goes_straight_from_value_to_value(t, expected):
    assert setting([{"t": [0, 0.5, 1]}], "t", float, "x", t) == pytest.approx(expected)
    assert setting([{"t": [expected]}], "t", float, "x", t) == expected


def test_the_nearest_scope_that_has_a_value_counts():
    scopes = [{"weight": [{"filter": "mlp", "value": 1}]}, {"weight": "2e-1"}, {"weight": 3}]
    assert [setting(scopes, "weight", float, name, 0) for name in ("layers.0.mlp.w", "norm")] == [1, 0.2]
    assert setting(scopes, "normalize", bool, "norm", 0) is None


numbers = st.floats(-2, 2).map(lambda x: round(x, 3))
gradients = st.lists(numbers, min_size=1, max_size=4)
entries = st.fixed_dictionaries({"value": numbers | gradients}, optional={"filter": st.sampled_from(["mlp", "*"])})
values = numbers | gradients | st.lists(entries, min_size=1, max_size=3)
names = st.sampled_from(["a", "b/c", "models/Märchen 7B", "1e3", "null"])
ranges = st.tuples(st.integers(0, 5), st.integers(6, 9))


@st.composite
def configs(draw) -> MergeConfig:
    method = draw(st.sampled_from(METHOD_NAMES))
    each = {"passthrough": {"scale": values}, "slerp": {}, "model_stock": {}}.get(method, {"weight": values})
    shared = {"slerp": {"t": values}, "passthrough": {}, "linear": {"normalize": st.booleans()}}
    shared |= {"model_stock": {"filter_wise": st.booleans()}}
    whole = st.fixed_dictionaries(shared.get(method, {"lambda": values, "normalize": st.booleans()}))

    def some(sources):
        return st.lists(sources, min_size=1, max_size=3).map(tuple)

    source = partial(st.builds, Source, names, parameters=st.fixed_dictionaries(each))
    models = some(source(layer_range=st.none()))
    parts = some(st.builds(Slice, some(source(layer_range=ranges)), st.none() | names, whole))
    sliced, base = draw(st.booleans()), draw(st.none() | names)
    return MergeConfig(
        method,
        () if sliced else draw(models),
        draw(parts) if sliced else (),
        base,
        draw(whole),
        draw(st.sampled_from([None, "bfloat16"])),
        draw(st.sampled_from([None, "float32"])),
        "base" if base and draw(st.booleans()) else None,
    )


@given(configs())
@settings(max_examples=60, deadline=None)
def test_what_is_written_reads_back(config):
    assert loads(dumps(config)) == config


@pytest.mark.parametrize(
    "change, words",
    [
        ({"merge_method": "nuslerp"}, "merge_method is 'nuslerp': choose one of linear"),
        ({"weigth": 1}, "unknown key 'weigth' in the configuration"),
        ({"modules": {}}, "unknown key 'modules'"),
        ({"models": []}, "either models or slices"),
        ({"slices": [{"sources": []}]}, "either models or slices"),
        ({"models": "a"}, "models is 'a': a list is needed"),
        ({"models": [{"model": "a", "wieght": 1}]}, r"unknown key 'wieght' in models\[0\]"),
        ({"models": [{"model": "a", "layer_range": [0, 1]}]}, r"unknown key 'layer_range' in models\[0\]"),
        ({"models": [{"model": 7}]}, r"models\[0\].model is 7: a text is needed"),
        ({"models": [{"parameters": {}}]}, r"models\[0\].model is None"),
        ({"models": [model("a", dense=1)]}, "ties has no setting 'dense' here; it has weight, density"),
        ({"models": [model("a", weight="heavy")]}, "weight is 'heavy': a number is needed"),
        ({"models": [model("a", weight=True)]}, "weight is True: a number"),
        ({"models": [model("a", weight=float("nan"))]}, "weight is nan: a number"),
        ({"models": [model("a", weight=[])]}, r"weight is \[\]"),
        ({"models": [model("a", weight=[1, {"value": 1}])]}, "a list of values, or a list of filter"),
        ({"models": [model("a", weight=[{"filter": "mlp"}])]}, "each entry needs a value"),
        ({"models": [model("a", weight=[{"value": [{"value": 1}]}])]}, "each entry needs a value"),
        ({"models": [model("a", density=1.5)]}, "density is 1.5: it is the share"),
        ({"models": [model("a", density=[{"value": [0.1, -1]}])]}, "is -1: it is the share"),
        ({"parameters": {"normalize": "perhaps"}}, "normalize is 'perhaps': true or false"),
        ({"parameters": [1]}, r"parameters is \[1\]: a mapping"),
        ({"dtype": "int8"}, "dtype is 'int8': choose one of"),
        ({"tokenizer_source": 3}, "tokenizer_source is 3: a text"),
        ({"base_model": 3}, "base_model is 3"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(change, words):
    config = {"merge_method": "ties", "base_model": "b", "models": [model("a", weight=1)]} | change
    with pytest.raises(MergeError, match=words) as caught:
        loads(yaml.safe_dump(config))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "words, content",
    [
        ("not YAML", "a: [1,"),
        ("a mapping", ""),
        ("a mapping", "- 1"),
        ("not YAML", "!!python/object/apply:os.system ['true']"),
        (r"layer_range is \[0\]", "merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [0]}]}]"),
        (r"layer_range is None", "merge_method: passthrough\nslices: [{sources: [{model: a}]}]"),
        (r"slices\[0\] has no sources", "merge_method: passthrough\nslices: [{}]"),
        ("has no setting 'u'", "merge_method: slerp\nmodels: [{model: a}]\nparameters: {t: 1, u: 2}"),
        ("a number is needed", "merge_method: slerp\nmodels: [{model: a}]\nparameters: {t: &x [*x]}"),
    ],
)
def test_odd_texts(words, content):
    with pytest.raises(MergeError, match=words) as caught:
        loads(content)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- the methods


def test_the_language_knows_the_methods_of_the_library():
    assert set(METHOD_NAMES) == set(merging.METHODS)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_from_the_command_line(method, folders, tmp_path, capsys):
    """Every method runs, loads, and gives what the function on state dicts gives."""
    from transformers import AutoModelForCausalLM

    (tmp_path / "config.yml").write_text(text(method, folders, out_dtype="bfloat16"), encoding="utf-8")
    out = tmp_path / "deep" / "out"
    assert command.main([str(tmp_path / "config.yml"), str(out), "--quiet", "--seed", "5"]) == 0
    assert capsys.readouterr().err == ""
    base, a, b, _ = map(load, folders)

    def dropped() -> dict:
        return merging.METHODS[method](base, [a, b], 0.5, weights=[0.6, 0.4], seed=5, **merging.MERGEKIT[method])

    expected = {
        "linear": lambda: merging.linear(None, [a, b], [1, 0.5]),
        "slerp": lambda: merging.slerp(base, [a], 0.3),
        "passthrough": lambda: merging.passthrough(None, [a, b], [(0, 0, 3), (1, 1, 4)]),
        "task_arithmetic": lambda: merging.task_arithmetic(base, [a, b], [0.6, 0.4]),
        "ties": lambda: merging.ties(base, [a, b], 0.5, [0.6, 0.4], **merging.MERGEKIT["ties"]),
        "model_stock": lambda: merging.model_stock(base, [a, b]),
        **dict.fromkeys(RANDOM, dropped),
    }[method]()
    found = load(out)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.num_hidden_layers == (6 if method == "passthrough" else 4) and model.dtype == torch.bfloat16
    assert model(torch.arange(5)[None]).logits.isfinite().all()
    assert loads((out / command.RECORD).read_text(encoding="utf-8")) == command.read(tmp_path / "config.yml")


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("piece", [64, 1000])
def test_the_size_of_the_pieces_changes_nothing(method, piece, folders, tmp_path, monkeypatch):
    config = loads(text(method, folders, dtype="float32"))
    whole = merged(config, tmp_path / "whole")
    monkeypatch.setattr(plan, "PIECE", piece)
    found = merged(config, tmp_path / "pieces")
    assert all(torch.allclose(found[name], whole[name], atol=1e-6) for name in whole)


def test_shards_are_written_and_read(folders, tmp_path):
    from transformers import AutoModelForCausalLM

    config = loads(text("ties", folders))
    a = merged(config, tmp_path / "one", shard_size=10**9)
    many = merge(config, tmp_path / "many", shard_size=20_000, progress=False)
    assert len(list(many.glob("*.safetensors"))) > 3 and (many / checkpoints.INDEX).exists()
    b = load(many)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    again = AutoModelForCausalLM.from_pretrained(many).state_dict()
    assert all(torch.equal(again[name].bfloat16(), a[name]) for name in a)


def test_the_family_merges_and_speaks(tmp_path):
    """Real models with tied weights: the result has the base's tokenizer and reads text better than chance."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    sources = tuple(Source(str(LEARNT / name), None, {"weight": 0.5}) for name in ("web", "kjv"))
    config = MergeConfig(
        "task_arithmetic", sources, base_model=str(LEARNT / "base"), out_dtype="float32", tokenizer_source="base"
    )
    out = merge(config, tmp_path / "bible", progress=False)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    ids = tokenizer("In the beginning God created the heaven and the earth.", return_tensors="pt").input_ids
    assert model(ids, labels=ids).loss < 5 < torch.tensor(model.config.vocab_size).log()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert (out / "tokenizer.json").read_bytes() == (LEARNT / "base" / "tokenizer.json").read_bytes()
    assert (out / "generation_config.json").exists() and not (out / "training.json").exists()


def test_a_tokenizer_beside_the_folder_comes_along(tmp_path):
    """The children share data/models/tokenizer: the merged folder, which stands elsewhere, gets its files."""
    from transformers import AutoTokenizer

    sources = tuple(Source(str(LEARNT / name), None, {"weight": 1}) for name in ("web", "kjv"))
    assert not (LEARNT / "web" / "tokenizer.json").exists()
    out = merge(MergeConfig("linear", sources), tmp_path / "bible", progress=False)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / file).read_bytes() == (LEARNT / "tokenizer" / file).read_bytes()
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (out, LEARNT / "base")]
    assert tokenizers[0]("In the beginning").input_ids == tokenizers[1]("In the beginning").input_ids


def test_encoder_decoder_models_can_be_averaged(tmp_path):
    """No list of architectures is needed where no layers are moved."""
    from transformers import MarianMTModel

    names = [str(LEARNT / f"nmt-{i}") for i in (1, 2)]
    sources = tuple(Source(name, None, {"weight": [1, 1]}) for name in names)
    out = merge(MergeConfig("linear", sources), tmp_path / "out", progress=False)
    mean = merging.average([load(name) for name in names])
    assert all(torch.equal(tensor, mean[name]) for name, tensor in load(out).items())
    MarianMTModel.from_pretrained(out)


def test_whole_numbers_are_copied_if_they_agree(tmp_path):
    base = random_state(0) | {"steps": torch.tensor([3, 4]), "mask": torch.tensor([True, False, True])}
    child = fine_tuned(random_state(0), 1)
    same = child | {"steps": base["steps"], "mask": base["mask"]}
    states = {"a": base, "b": same, "c": same | {"steps": base["steps"] + 1}}
    a, b, c = (str(save_llama(tmp_path / name, state)) for name, state in states.items())

    def slerp(other: str) -> MergeConfig:
        config = {"merge_method": "slerp", "base_model": a, "parameters": {"t": 0.5}}
        return loads(yaml.safe_dump(config | {"models": [model(a), model(other)]}))

    found = merged(slerp(b), tmp_path / "out")
    assert torch.equal(found["steps"], base["steps"]) and torch.equal(found["mask"], base["mask"])
    with pytest.raises(MergeError, match="steps holds whole numbers that differ"):
        merge(slerp(c), tmp_path / "refused", progress=False)
    assert not list(tmp_path.glob("refused*"))


def test_layers_of_several_kinds_are_listed_anew(folders, tmp_path):
    """Models that mix attention types list one type for each layer; the list has to follow the layers."""
    copies = []
    for name in folders[1:3]:
        copies.append(str(shutil.copytree(name, tmp_path / Path(name).name)))
        file = Path(copies[-1]) / "config.json"
        config = json.loads(file.read_text(encoding="utf-8")) | {"layer_types": ["full", "sliding", "full", "sliding"]}
        file.write_text(json.dumps(config), encoding="utf-8")
    out = merge(loads(text("passthrough", ["", *copies, ""])), tmp_path / "out", progress=False)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["layer_types"] == ["full", "sliding", "full", "sliding", "full", "sliding"]
    with pytest.raises(MergeError, match="does not list the types of its layers"):
        merge(loads(text("passthrough", ["", copies[0], folders[2], ""])), tmp_path / "refused")


# ---------------------------------------------------------------- what cannot be done: one line, exit code 2


def refuse(tmp_path, capsys, config: dict, words: str, out: str = "out") -> None:
    """The command says why in one line and leaves nothing."""
    file, before = tmp_path / "config.yml", {*tmp_path.iterdir()}
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    assert command.main([str(file), str(tmp_path / out), "--quiet"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "Traceback" not in message
    assert words in message, message
    assert {*tmp_path.iterdir()} == before | {file}


@pytest.mark.parametrize(
    "method, change, words",
    [
        ("ties", {"base_model": None}, "ties needs a base_model"),
        ("ties", {"base_model": "nowhere/at-all"}, "there is no model folder nowhere/at-all"),
        ("slerp", {"parameters": None}, "slerp needs the setting t for "),
        ("slerp", {"models": ["base", "child1", "child2"]}, "slerp needs exactly one model besides the base"),
        ("slerp", {"models": None, "slices": [[("base", [0, 2]), ("child1", [0, 3])]]}, "sources with 2 and 3 layers"),
        ("task_arithmetic", {"models": ["base"]}, "needs at least one model besides the base"),
        ("task_arithmetic", {"models": ["child1", "child2"]}, "task_arithmetic needs the setting weight for "),
        ("linear", {"models": ["child1", "child1"], "parameters": {"weight": 1}}, "lists"),
        ("linear", {"parameters": {"weight": 1, "normalise": True}}, "linear has no setting 'normalise'"),
        ("linear", {"base_model": "base"}, "linear needs the setting weight for"),
        ("linear", {"models": ["child1", "child2"], "parameters": {"weight": 0}}, "sum to 0"),
        ("passthrough", {"slices": [[("child1", [0, 5])]]}, "layer range [0, 5] does not fit"),
        ("passthrough", {"slices": [[("child1", [2, 2])]]}, "layer range [2, 2] does not fit"),
        ("passthrough", {"slices": None, "models": ["child1", "child2"]}, "passthrough computes nothing"),
    ],
)
def test_configurations_that_cannot_be_carried_out(method, change, words, folders, tmp_path, capsys):
    where = {Path(folder).name: folder for folder in folders}
    change = dict(change)
    if change.get("models"):
        change["models"] = [model(where[name]) for name in change["models"]]
    if change.get("slices"):
        change["slices"] = [{"sources": [model(where[name], layers) for name, layers in s]} for s in change["slices"]]
    if "base_model" in change:
        change["base_model"] = where.get(change["base_model"], change["base_model"])
    config = {key: value for key, value in (raw(method, folders) | change).items() if value is not None}
    refuse(tmp_path, capsys, config, words)


@pytest.fixture
def spoilt(folders, tmp_path):
    """spoilt(change of the state dict or of the folder) -> a configuration that merges the spoilt model."""

    def make(change) -> dict:
        folder = Path(shutil.copytree(folders[1], tmp_path / "spoilt"))
        state = load(folder)
        if (result := change(state, folder)) is not None:
            shutil.rmtree(folder)
            save_llama(folder, result)
        return raw("linear", ["", str(folder), folders[2], ""])

    return make


def change_file(name: str, content: str | bytes | int | None):
    """A change of the folder: the file is written anew, cut off at a length, or (None) removed."""

    def change(state, folder) -> None:
        file = folder / name
        if content is None:
            file.unlink()
        elif isinstance(content, int):
            os.truncate(file, content)
        else:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def header(content: dict, length: int | None = None):
    """A change of the folder: its weights have this header and 16 bytes, and say that the header has this length."""
    data = json.dumps(content).encode()
    return change_file("model.safetensors", struct.pack("<Q", length or len(data)) + data + bytes(16))


def tensor(dtype: str, shape: list[int], *offsets: int):
    return header({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}})


def index(file: str):
    return change_file(checkpoints.INDEX, json.dumps({"weight_map": {"a": file}}))


UP, NORM, DAMAGED = "model.layers.2.mlp.up_proj.weight", "model.norm.weight", "is damaged or no safetensors file"


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s, f: {name: tensor for name, tensor in s.items() if name != UP}, f"has no tensor {UP}, which"),
        (lambda s, f: s | {"extra.weight": torch.zeros(2)}, "has no tensor extra.weight, which"),
        (lambda s, f: s | {NORM: torch.zeros(9)}, "model.norm.weight has shape [32] in"),
        (lambda s, f: s | {NORM: torch.zeros(32, dtype=torch.int64)}, "model.norm.weight is torch."),
        (change_file("config.json", None), "has no config.json"),
        (change_file("config.json", "{"), "config.json is not readable as JSON"),
        (change_file("config.json", '{"model_type": "gpt2"}'), "only models of one architecture"),
        (change_file("model.safetensors", None), "has no model.safetensors"),
        (change_file("model.safetensors", 30_000), DAMAGED),
        (change_file("model.safetensors", 4), DAMAGED),
        (header({}), "holds no tensors"),
        (header({}, 2**60), DAMAGED),
        (header({"a": 3}), DAMAGED),
        (index("../../etc/passwd"), "is no index"),
        (index("model-2.safetensors"), "model-2.safetensors is missing"),
        (index("model.safetensors"), "a is not in"),
        (tensor("F8_E4M3", [1], 0, 1), "has the type F8_E4M3"),
        (tensor("F32", [8], 0, 4), DAMAGED),
        (tensor("F32", [-1], 4, 0), DAMAGED),
        (tensor("F32", [1], -8, -4), DAMAGED),
    ],
)
def test_models_that_cannot_be_merged(change, words, spoilt, tmp_path, capsys):
    refuse(tmp_path, capsys, spoilt(change), words)


def test_another_vocabulary_is_merged_by_token(tmp_path):
    """Same shapes, other tokens: numbers would be added that stand for different words."""
    other = Path(shutil.copytree(LEARNT / "web", tmp_path / "other"))
    tokenizer = json.loads((LEARNT / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[300:302]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    rows = [vocabulary[first], vocabulary[second]]
    new = load(other)["model.embed_tokens.weight"][rows].float()  # in the order of the shared tokenizer
    for base in ("base", "kjv"):  # with a tokenizer of its own, and with the shared one
        config = raw("linear", ["", str(LEARNT / base), str(other), ""], tokenizer_source="base")
        for one in config["models"]:
            one["parameters"] = {"weight": 1}
        config |= {"base_model": str(LEARNT / base), "dtype": "float32"}
        found = merged(loads(yaml.safe_dump(config)), tmp_path / f"out-{base}")["model.embed_tokens.weight"]
        old = load(LEARNT / base)["model.embed_tokens.weight"][sorted(rows)].float()
        assert torch.allclose(found[sorted(rows)], (old + new) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [[], ["only.yml"], ["a.yml", "out", "--sed", "3"], ["a.yml", "out", "--seed", "x"], ["no-such.yml", "out"]],
)
def test_a_wrong_command_is_one_line(arguments, capsys):
    assert command.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


# ---------------------------------------------------------------- all or nothing


def test_a_target_that_is_there_is_not_touched(folders, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("1", encoding="utf-8")
    refuse(tmp_path, capsys, raw("linear", folders), "is there already")
    assert (tmp_path / "out" / "precious").read_text(encoding="utf-8") == "1"


def test_a_target_that_is_a_broken_link_is_not_touched(folders, tmp_path, capsys):
    try:
        (tmp_path / "link").symlink_to("nowhere")
    except OSError:
        pytest.skip("Windows lets only some users make links")
    refuse(tmp_path, capsys, raw("linear", folders), "is there already", out="link")


def test_a_full_disk_is_noticed_before_the_work(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    refuse(tmp_path, capsys, raw("linear", folders), "only 0 MB are free")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["disk", "ctrl-c"])
def test_an_error_in_the_middle_leaves_nothing(error, folders, tmp_path, capsys, monkeypatch):
    calls, read = [], checkpoints.ModelFolder.read

    def failing(self, *arguments):
        calls.append(arguments)
        if len(calls) > 20:
            raise error
        return read(self, *arguments)

    monkeypatch.setattr(checkpoints.ModelFolder, "read", failing)
    (tmp_path / "config.yml").write_text(text("ties", folders), encoding="utf-8")
    code = command.main([str(tmp_path / "config.yml"), str(tmp_path / "out"), "--quiet"])
    assert code == (2 if isinstance(error, OSError) else 130)
    assert capsys.readouterr().err.count("\n") == 1 and [path.name for path in tmp_path.iterdir()] == ["config.yml"]


SLOW = """
import runpy, sys, time
from course_utils.merging import checkpoints
read = checkpoints.ModelFolder.read
checkpoints.ModelFolder.read = lambda *a: (time.sleep(0.05), read(*a))[1]
sys.argv = ["command", *sys.argv[1:]]
runpy.run_module("course_utils.merging.command", run_name="__main__")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends a process at once, whatever the signal")
@pytest.mark.parametrize("sign", [signal.SIGTERM, getattr(signal, "SIGKILL", 9)])
def test_a_killed_merge_leaves_no_target(sign, folders, tmp_path):
    """SIGTERM cleans up. After SIGKILL the unfinished folder keeps its other name until the next merge removes it."""
    (tmp_path / "config.yml").write_text(text("ties", folders), encoding="utf-8")
    out = tmp_path / "out"
    program = [sys.executable, "-c", SLOW, str(tmp_path / "config.yml"), str(out)]
    process = subprocess.Popen(program, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(tmp_path.glob("out.partial-*/model*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(sign)
    errors = process.communicate(timeout=30)[1]
    assert not out.exists()
    left = list(tmp_path.glob("out*"))
    if sign == signal.SIGTERM:
        assert process.returncode == 130 and left == []
        assert "interrupted, nothing was written" in errors and "Traceback" not in errors
    else:
        assert process.returncode == -9 and len(left) == 1
        merge(loads(text("ties", folders)), out, progress=False)
        assert [path.name for path in tmp_path.glob("out*")] == ["out"]


def test_a_running_merge_of_the_same_target_is_left_alone(folders, tmp_path):
    other = tmp_path / f"out.partial-{os.getppid()}"
    other.mkdir()
    merge(loads(text("linear", folders)), tmp_path / "out", progress=False)
    assert other.is_dir()


MEASURE = """
import re, sys
from course_utils.merging import command

def peak(config, out):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the highest size so far starts anew
    command.merge(command.read(config), out, progress=False)
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

small = peak(sys.argv[1], sys.argv[2] + "-small")
print(peak(sys.argv[3], sys.argv[2]) - small)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_model(folders, tmp_path):
    """Three models of 75 MB, with tensors of 33 MB: the merge needs a few MB more than that of tiny models."""
    base = random_state(0, torch.bfloat16, hidden=512, inner=64, layers=4, vocabulary=32_000)
    states = {"b": base, "c": fine_tuned(base, 1), "d": fine_tuned(base, 2)}
    big = [str(save_llama(tmp_path / name, state)) for name, state in states.items()]
    (tmp_path / "big.yml").write_text(text("ties", [*big, ""]), encoding="utf-8")
    (tmp_path / "small.yml").write_text(text("ties", folders), encoding="utf-8")
    program = [sys.executable, "-c", MEASURE, tmp_path / "small.yml", tmp_path / "out", tmp_path / "big.yml"]
    result = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(result.stdout) < 25_000, f"{result.stdout} kB more"


def test_the_progress_bar_counts_to_the_end(folders, tmp_path, capsys):
    merge(loads(text("ties", folders)), tmp_path / "out")
    assert "100%" in capsys.readouterr().err


def test_no_network_and_no_transformers_are_needed(folders, tmp_path):
    """Start-up is most of a small merge's time: neither transformers nor a hub client is imported."""
    (tmp_path / "config.yml").write_text(text("ties", folders), encoding="utf-8")
    code = (
        "import socket, sys; socket.socket.connect = None; from course_utils.merging import command; "
        f"assert command.main([{str(tmp_path / 'config.yml')!r}, {str(tmp_path / 'out')!r}, '--quiet']) == 0; "
        "assert not {'transformers', 'huggingface_hub', 'mergekit'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
