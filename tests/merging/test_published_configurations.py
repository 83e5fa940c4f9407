"""Configurations as people publish them, and model folders as they lie on disks: the right model or a true sentence."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from checkpoints import fine_tuned, load, random_state, save_llama
from safetensors.torch import save_file
from test_mergekit_parity import difference

from course_utils.merging import checkpoints, command
from course_utils.merging.checkpoints import MergeError


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Four relatives, float32, of four layers."""
    where, base = tmp_path_factory.mktemp("models"), random_state(0)
    return {name: str(save_llama(where / name, fine_tuned(base, i) if i else base)) for i, name in enumerate("abcd")}


def change_config(folder: Path | str, **change) -> Path:
    file = Path(folder) / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | change
    kept = {key: value for key, value in config.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")
    return Path(folder)


def linear(*folders, **rest) -> str:
    models = [{"model": str(folder), "parameters": {"weight": 1 / (i + 1)}} for i, folder in enumerate(folders)]
    return yaml.safe_dump({"merge_method": "linear", "models": models, "dtype": "float32"} | rest)


def stacked(*parts, **rest) -> str:
    """passthrough of (folder, first layer, end)."""
    slices = [{"sources": [{"model": str(folder), "layer_range": [start, end]}]} for folder, start, end in parts]
    return yaml.safe_dump({"merge_method": "passthrough", "slices": slices, "dtype": "float32"} | rest)


def merged(text: str, out: Path) -> dict[str, torch.Tensor]:
    return load(command.merge(command.loads(text), out, progress=False))


def refused(text: str, tmp_path: Path) -> str:
    """What the command says; nothing is left behind."""
    before = {*tmp_path.iterdir()}
    with pytest.raises(MergeError) as caught:
        command.merge(command.loads(text), tmp_path / "out", progress=False)
    assert {*tmp_path.iterdir()} == before
    assert all("\n" not in problem and len(problem) < 500 for problem in caught.value.problems)
    return str(caught.value)


# ---------------------------------------------------------------- the language, as it is written

PUBLISHED = {  # text with {a}, {b}, {c}, {d} for models; a part of the note that comes with it
    "throw-away keys with anchors": """
const_tag: &weight 0.3
attenuate-env: &gradient [0.0, 0.5, 1.0]
merge_method: linear
models:
  - model: {a}
    parameters: {weight: *weight}
  - model: {b}
    parameters:
      weight: *gradient
dtype: float32
""",
    "normalize at the top": """
models:
  - {model: {a}, parameters: {density: 0.5, weight: 0.5}}
  - {model: {b}, parameters: {density: 0.5, weight: 0.3}}
merge_method: ties
base_model: {c}
normalize: false
dtype: float32
""",
    "parameters.dtype and int8_mask": """
models:
  - model: {a}
    parameters: {weight: 1.0, density: 0.4}
  - model: {b}
    parameters: {weight: 0.5}
merge_method: linear
parameters: {normalize: true, int8_mask: true, dtype: bfloat16}
dtype: float32
name: our-best-7B
""",
    "task_arithmetic with what ties has": """
models:
  - model: {a}
  - model: {b}
    parameters: {weight: 0.4, density: 0.53}
  - model: {c}
    parameters: {weight: 0.2, density: 0.6}
merge_method: task_arithmetic
base_model: {a}
parameters: {normalize: false, rescale: true, int8_mask: true}
dtype: float32
""",
    "slerp with weights": """
slices:
- sources:
  - {model: {a}, layer_range: [0, 4], parameters: {weight: 0.5}}
  - {model: {b}, layer_range: [0, 4]}
merge_method: slerp
base_model: {a}
parameters:
  t:
  - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
  - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
  - value: 0.5
  embed_slerp: true
  int8_mask: true
dtype: float32
""",
    "ties with epsilon": """
models:
  - {model: {b}, parameters: {weight: 1, density: 1}}
  - {model: {c}, parameters: {weight: 1, density: 1, epsilon: 0.05}}
merge_method: ties
base_model: {a}
parameters: {epsilon: 0.05, lambda: 1}
dtype: float32
""",
    "normalize given to a model": """
models:
  - {model: {a}, parameters: {weight: 1, normalize: false}}
  - {model: {b}, parameters: {weight: 2}, density: 0.5}
merge_method: linear
dtype: float32
""",
    "dare_ties with everything kept": """
models:
  - model: {a}
    # no parameters necessary for base model
  - model: {b}
    parameters: {density: 1.0, weight: 0.4}
  - model: {d}
    parameters: {density: 1.0, weight: 0.6}
merge_method: dare_ties
base_model: {a}
parameters: {int8_mask: true}
dtype: float32
""",
    "filters with a rest": """
models:
  - model: {b}
    parameters:
      weight:
        - {filter: self_attn, value: 0.8}
        - {filter: mlp.down_proj, value: [0, 1]}
        - value: 0
  - model: {c}
    parameters: {weight: {filter: embed_tokens, value: 1}}
parameters: {weight: 0.25}
merge_method: task_arithmetic
base_model: {a}
dtype: float32
""",
    "a folder spelt twice": """
models: [{model: {a}/}, {model: {b}, parameters: {weight: 1}}]
merge_method: task_arithmetic
base_model: {a}
dtype: float32
""",
    "a frankenmerge": """
slices:
  - sources: [{model: {a}, layer_range: [0, 3]}]
  - sources: [{model: {b}, layer_range: [1, 4]}]
  - sources: [{model: {a}, layer_range: [2, 4]}]
merge_method: passthrough
dtype: float32
""",
    "a frankenmerge with silent layers": """
const_tag: &scale_attn 0.7071067812
slices:
  - sources: [{model: {a}, layer_range: [0, 3]}]
  - sources:
    - model: {a}
      layer_range: [1, 4]
      parameters:
        scale:
          - {filter: q_proj, value: *scale_attn}
          - {filter: down_proj, value: 0.0}
          - value: 1.0
merge_method: passthrough
dtype: float32
""",
    "linear to a lower type": """
models: [{model: {a}, parameters: {weight: 0.5}}, {model: {b}, parameters: {weight: 0.5}}]
merge_method: linear
dtype: float32
out_dtype: bfloat16
""",
}
NOTES = {
    "throw-away keys with anchors": ["const_tag has no effect: only its anchors (&) are used", "attenuate-env has no"],
    "normalize at the top": ["normalize has no effect at the top level: it belongs under parameters"],
    "parameters.dtype and int8_mask": [
        "name has no effect",
        "models[0].parameters.density has no effect: linear has no such setting",
        "parameters.dtype has no effect: it belongs to the top level",
    ],
    "task_arithmetic with what ties has": ["models[1].parameters.density has no effect", "parameters.rescale has no"],
    "slerp with weights": ["sources[0].parameters.weight has no", "embed_slerp has no", "int8_mask has no effect"],
    "ties with epsilon": ["parameters.epsilon has no effect: ties has no such setting"],
    "normalize given to a model": [
        "models[0].parameters.normalize has no effect: it is a setting for the whole merge",
        "models[1].density has no effect: it belongs under models[1].parameters",
    ],
    "a frankenmerge with silent layers": ["const_tag has no effect"],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_texts(name, folders, mergekit, tmp_path):
    """The model is mergekit's, and what has no effect in either program is said."""
    text = PUBLISHED[name]
    for key, folder in folders.items():
        text = text.replace(f"{{{key}}}", folder)
    theirs = text.replace("/}", "}")  # mergekit takes the folder that is spelt twice for two models
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = merged(text, tmp_path / "out")
    assert difference(found, mergekit(theirs)) <= 1e-6
    said = [str(warning.message) for warning in caught if warning.category is UserWarning]
    for words in NOTES.get(name, []):
        assert any(words in line for line in said), said
    assert bool(said) == (name in NOTES)


def test_the_readme_can_be_pasted(folders, mergekit, tmp_path):
    """Its examples run; the layers of the second are more than our stand-ins have."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    texts = [part.split("```")[0] for part in readme.split("```yaml\n")[1:] if "merge_method" in part.split("```")[0]]
    assert [command.loads(text).merge_method for text in texts] == ["task_arithmetic", "passthrough"]
    for i, text in enumerate(texts):
        for old, name in (("models/base", "a"), ("models/chat", "b"), ("models/a", "c"), ("models/b", "d")):
            text = text.replace(f"{old}\n", f"{folders[name]}\n").replace(f"{old},", f"{folders[name]},")
        text = text.replace("[0, 20]", "[0, 3]").replace("[10, 28]", "[1, 4]") + "dtype: float32\n"
        found = merged(text, tmp_path / str(i))
        assert difference(found, mergekit(text)) <= 1e-6
        if i == 0:
            moved = {name for name, old in load(folders["a"]).items() if not torch.equal(found[name], old)}
            assert len(moved) == 16 and all("self_attn" in name for name in moved)


@pytest.mark.parametrize(
    "text, words",
    [
        ("merge_method: ties\nrevision: main\nmodels: [{model: a}]", "unknown key 'revision'"),
        ("merge_method: linear\nmodels: [{model: a, revision: main}]", "unknown key 'revision' in models[0]"),
        ("merge_method: linear\nmodels: [{model: a, layer_range: [0, 4]}]", "it belongs in the sources of slices"),
        ("merge_method: linear\nmodels: [{model: a}]\n---\nmerge_method: ties", "2 configurations, separated by ---"),
        ("merge_method: linear\nmodules: {text: {}}", "models of several parts cannot be merged here"),
        ("weigth: &x 3\nweights: *x\nmerge_method: linear\nmodels: [{model: a}]", "unknown key 'weights'"),
    ],
)
def test_what_may_have_been_meant_is_refused(text, words):
    with pytest.raises(MergeError) as caught:
        command.loads(text)
    assert words in str(caught.value)


def test_every_fault_of_a_text_is_told():
    text = (
        "merge_method: ties\ndtype: int8\nfoo: 1\nmodels: [{model: 3}, {model: a, parameters: {wieght: 1, density: 2}}]"
    )
    with pytest.raises(MergeError) as caught:
        command.loads(text)
    parts = ["'foo'", "dtype is 'int8'", "models[0].model is 3", "'wieght'", "models[1].parameters.density is 2"]
    assert len(caught.value.problems) == len(parts)
    assert all(any(part in problem for problem in caught.value.problems) for part in parts)


# ---------------------------------------------------------------- files of other times


def add(folder: str, target: Path, more: dict[str, torch.Tensor], **change) -> Path:
    """A copy of a model with more tensors."""
    shutil.copytree(folder, target)
    save_file(load(folder) | more, target / "model.safetensors", metadata={"format": "pt"})
    return change_config(target, **change)


def test_rotary_frequencies_are_left_out(folders, mergekit, tmp_path):
    more = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.rand(4) for i in range(4)}
    old = add(folders["b"], tmp_path / "old", more)
    text = linear(folders["a"], old)
    with pytest.warns(UserWarning, match="old: 4 tensors that models compute by themselves are left out"):
        found = merged(text, tmp_path / "out")
    assert difference(found, mergekit(text)) <= 1e-6 and not any("inv_freq" in name for name in found)


def save_gpt2(folder: Path, seed: int, bare: bool) -> Path:
    """A GPT-2 of two layers; bare: as in old files, without the first word of the names and with causal masks."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=8)).save_pretrained(folder)
    if bare:
        state = {name.removeprefix("transformer."): tensor for name, tensor in load(folder).items()}
        state |= {f"h.{i}.attn.bias": torch.ones(8, 8).tril()[None, None] for i in range(2)}
        state |= {f"h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in range(2)}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("order", [(False, True), (True, False), (True, True)])
def test_gpt2_of_old_and_new_files(order, mergekit, tmp_path):
    from transformers import GPT2LMHeadModel

    text = linear(*(save_gpt2(tmp_path / str(i), i, bare) for i, bare in enumerate(order)))
    found, expected = merged(text, tmp_path / "out"), mergekit(text)
    bare = {name.removeprefix("transformer."): tensor for name, tensor in found.items()}
    assert len(bare) == 2 + 2 + 2 * 12
    assert difference(bare, {name.removeprefix("transformer."): tensor for name, tensor in expected.items()}) <= 1e-6
    model, info = GPT2LMHeadModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["unexpected_keys"] and set(info["missing_keys"]) <= {"lm_head.weight"}


def test_bert_with_and_without_its_prefix(tmp_path):
    """Embeddings as they lie on the hub: one file has position_ids and another prefix; mergekit has no BERT."""
    from transformers import BertConfig, BertModel

    size = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    for name in "ab":
        torch.manual_seed(ord(name))
        BertModel(BertConfig(**size, intermediate_size=20)).save_pretrained(tmp_path / name)
    a, b = load(tmp_path / "a"), load(tmp_path / "b")
    state = {f"bert.{name}": tensor for name, tensor in b.items()} | {
        "bert.embeddings.position_ids": torch.arange(9)[None]
    }
    save_file(state, tmp_path / "b" / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(UserWarning, match="1 tensor"):
        found = merged(yaml.safe_dump(yaml.safe_load(linear(tmp_path / "a", tmp_path / "b"))), tmp_path / "out")
    for name, tensor in a.items():
        assert torch.allclose(found[f"bert.{name}"], (tensor + b[name] / 2) / 1.5, atol=1e-6)


def tied(folder: Path, seed: int, head: bool, says: bool | None) -> Path:
    """A model whose head is its embeddings. head: it is in the file too; says: tie_word_embeddings."""
    state = fine_tuned(random_state(0), seed)
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    if not head:
        del state["lm_head.weight"]
    return change_config(save_llama(folder, state, tied=True), tie_word_embeddings=says)


@pytest.mark.parametrize("says", [True, None])
@pytest.mark.parametrize("heads", [(True, False), (False, True), (True, True), (False, False)])
def test_tied_models_stay_tied(heads, says, mergekit, tmp_path):
    """Also if a file holds the head a second time, and if config.json says nothing about it."""
    models = [tied(tmp_path / str(i), i, head, says) for i, head in enumerate(heads)]
    found = merged(linear(*models), tmp_path / "out")
    assert "lm_head.weight" not in found
    assert json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8")).get("tie_word_embeddings") is says
    expected = mergekit(linear(*(change_config(model, tie_word_embeddings=True) for model in models)))
    expected.pop("lm_head.weight", None)
    assert difference(found, expected) <= 1e-6


def test_a_head_of_its_own_beside_a_silent_tied_model(tmp_path):
    """config.json of the tied model says nothing: the file has no head, so it is its embeddings."""
    own = change_config(save_llama(tmp_path / "own", random_state(5)), tie_word_embeddings=None)
    found = merged(linear(tied(tmp_path / "tied", 1, False, None), own), tmp_path / "out")
    states = load(tmp_path / "tied"), load(own)
    expected = (states[0]["model.embed_tokens.weight"] + states[1]["lm_head.weight"] / 2) / 1.5
    assert torch.allclose(found["lm_head.weight"], expected, atol=1e-6)
    assert json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["tie_word_embeddings"] is False


# ---------------------------------------------------------------- layers


def test_every_list_with_an_entry_for_each_layer_is_cut(tmp_path):
    """SmolLM3 says for each layer whether it has rotary embeddings; without that the result does not load."""
    from transformers import AutoModelForCausalLM, SmolLM3Config, SmolLM3ForCausalLM

    size = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = SmolLM3Config(
        **size, intermediate_size=20, num_hidden_layers=4, pad_token_id=0, no_rope_layers=[1, 1, 1, 0]
    )
    torch.manual_seed(0)
    SmolLM3ForCausalLM(config).save_pretrained(tmp_path / "a")
    change_config(tmp_path / "a", eos_token_id=[1, 2, 3, 4], mlp_only_layers=[1, 3])
    text = stacked((tmp_path / "a", 0, 3), (tmp_path / "a", 1, 4), (tmp_path / "a", 3, 4))
    merged(text, tmp_path / "out")
    said = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert said["no_rope_layers"] == [1, 1, 1, 1, 1, 0, 0] and said["num_hidden_layers"] == 7
    assert len(said["layer_types"]) == 7 and said["eos_token_id"] == [1, 2, 3, 4]
    assert said["mlp_only_layers"] == [1, 3, 5, 6]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model(torch.arange(6)[None]).logits.isfinite().all()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_list_that_only_one_model_has(order, folders, tmp_path):
    """Files of older versions have no layer_types: where all layers are of a kind there is nothing to guess."""
    models = [Path(shutil.copytree(folders[name], tmp_path / name)) for name in "ab"]
    change_config(models[0], layer_types=["full_attention"] * 4)
    text = stacked((models[order[0]], 0, 3), (models[order[1]], 2, 4))
    merged(text, tmp_path / "out")
    said = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert said.get("layer_types") == (["full_attention"] * 5 if order == (0, 1) else None)


def test_layers_beyond_the_model(folders, tmp_path):
    """Heads for several tokens stand behind the last layer: whole models carry them, slices do not."""
    more = {"model.layers.4.eh_proj.weight": torch.rand(3, 3)}
    models = [add(folders[name], tmp_path / name, more, num_nextn_predict_layers=1) for name in "ab"]
    assert "says 4 layers (num_hidden_layers), the weights have 5: the layers beyond are heads" in refused(
        stacked((models[0], 0, 3), (models[1], 1, 4)), tmp_path
    )
    text = yaml.safe_load(linear(*models))
    for one in text["models"]:
        one["parameters"]["weight"] = [0, 1]
    whole = merged(yaml.safe_dump(text | {"parameters": {"normalize": False}}), tmp_path / "whole")
    last = "model.layers.3.input_layernorm.weight"  # the end of the gradient is the model's last layer
    assert torch.allclose(whole[last], sum(load(model)[last] for model in models))
    assert torch.allclose(whole["model.layers.4.eh_proj.weight"], 2 * more["model.layers.4.eh_proj.weight"])


# ---------------------------------------------------------------- what else a folder has


def test_files_that_a_model_needs_come_along(folders, tmp_path):
    model = Path(shutil.copytree(folders["a"], tmp_path / "a"))
    names = ["modeling_own.py", "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"]
    names += ["sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json"]
    (model / "1_Pooling").mkdir()
    for name in names:
        (model / name).write_text("{}", encoding="utf-8")
    modules = [{"path": "", "type": "a"}, {"path": "1_Pooling", "type": "b"}, {"path": "../b", "type": "c"}]
    (model / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (model / "README.md").write_text("of the source", encoding="utf-8")
    merged(linear(model, folders["b"]), tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {*names, "modules.json", "config.json", "model.safetensors", command.RECORD}


def test_names_on_the_hub_are_taken_from_the_local_cache(folders, tmp_path, monkeypatch):
    cache = tmp_path / "hub" / "models--org--our-model"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("c0ffee", encoding="utf-8")
    for commit, name in (("c0ffee", "b"), ("beef", "c")):
        shutil.copytree(folders[name], cache / "snapshots" / commit)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name, same in (("org/our-model", "b"), ("org/our-model@beef", "c"), ("org/our-model@main", "b")):
        out = tmp_path / f"out-{same}-{len(name)}"
        assert (
            difference(
                merged(linear(folders["a"], name), out),
                merged(linear(*map(folders.get, ["a", same])), tmp_path / f"{out.name}2"),
            )
            == 0
        )
    assert "does not hold the revision v2" in refused(linear("org/our-model@v2"), tmp_path)
    assert "no model of that name in the local hub cache" in refused(linear("org/other"), tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert "there is no model folder org/our-model" in refused(linear("org/our-model"), tmp_path)


def test_a_lora_adapter_is_told_how_to_be_merged(folders, tmp_path):
    lines = "PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained('org/base'), '{}')"
    said = refused(linear("org/base+some/lora"), tmp_path)
    assert lines.format("some/lora") in said and "merge_and_unload().save_pretrained(" in said
    adapter = tmp_path / "lora"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}', encoding="utf-8")
    assert lines.format(adapter) in refused(linear(folders["a"], adapter), tmp_path)
    plus = shutil.copytree(folders["b"], tmp_path / "a+b")  # a folder may be called so
    merged(linear(folders["a"], plus), tmp_path / "out")


def test_weights_that_are_not_numbers_in_safetensors(folders, tmp_path):
    pickled, packed = (Path(shutil.copytree(folders["a"], tmp_path / name)) for name in ("pickled", "packed"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    said = refused(linear(pickled, folders["b"]), tmp_path)
    assert "weights in pytorch_model.bin, a pickle" in said and ".save_pretrained('new folder')" in said
    change_config(packed, quantization_config={"quant_method": "bitsandbytes"})
    said = refused(linear(packed, packed), tmp_path)
    assert "packed is quantised (bitsandbytes)" in said and "the model that it was made from" in said


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize(
    "size, number",
    [("5GB", 5 * 10**9), ("1B", 10**9), ("500M", 5 * 10**8), ("1.5 gb", 1_500_000_000), ("2000000", 2 * 10**6)],
)
def test_shard_sizes(size, number):
    assert command._bytes(size) == number


@pytest.mark.parametrize("size", ["0", "-5", "10", "5XB", "GB", "nan"])
def test_shard_sizes_that_are_none(size, capsys):
    assert command.main(["a.yml", "out", f"--shard-size={size}"]) == 2
    assert "is no size of at least 1MB" in capsys.readouterr().err


def test_an_empty_target_is_taken(folders, tmp_path):
    (tmp_path / "out").mkdir()
    assert len(merged(linear(folders["a"], folders["b"]), tmp_path / "out")) > 10
    with pytest.raises(MergeError, match="is there already"):
        merged(linear(folders["a"], folders["b"]), tmp_path / "out")


def test_check_shows_the_plan_and_writes_nothing(folders, tmp_path, capsys):
    text = PUBLISHED["normalize at the top"]
    for key, folder in folders.items():
        text = text.replace(f"{{{key}}}", folder)
    file = tmp_path / "config.yml"
    file.write_text(text, encoding="utf-8")
    for more in ([], [str(tmp_path / "out")]):
        assert command.main([str(file), *more, "--check"]) == 0
        found = capsys.readouterr()
        for words in (
            "ties of 3 models",
            f"base {folders['c']}",
            "4 layers",
            "float32",
            "result: 39 tensors",
            "1 file",
        ):
            assert words in found.out, found.out
        assert "note: normalize has no effect" in found.err
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("arguments", [["--check"], ["out", "--check"], ["out"]])
def test_every_problem_is_told_at_once(arguments, folders, tmp_path, capsys, monkeypatch):
    """Also by the merge itself, before it writes a byte."""
    monkeypatch.chdir(tmp_path)
    wide = {name: tensor[:9].clone() for name, tensor in load(folders["b"]).items()}
    save_llama(tmp_path / "wide", load(folders["b"]))
    save_file(wide | {"extra": torch.zeros(1)}, tmp_path / "wide" / "model.safetensors")
    models = [{"model": folders["a"], "parameters": {"weight": 1}}, {"model": str(tmp_path / "wide")}]
    config = {"merge_method": "linear", "models": models}
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    before = {*tmp_path.iterdir()}
    assert command.main([str(file), *arguments, "--quiet"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("merge: ") for line in lines), lines
    if "out" in arguments:  # a target that is there is one problem more
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "precious").touch()
        before.add(tmp_path / "full")
        there = ["full" if argument == "out" else argument for argument in arguments]
        assert command.main([str(file), *there, "--quiet"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 4
    assert any(f"{folders['a']} has no tensor extra" in line for line in lines)
    assert any("has shape [9, 32]" in line and "more tensors" in line for line in lines)
    assert any("linear needs the setting weight for" in line and "(and 38 more tensors)" in line for line in lines)
    file.write_text(yaml.safe_dump(config | {"models": [{"model": "no/a"}, {"model": "no/b"}]}), encoding="utf-8")
    assert command.main([str(file), *arguments, "--quiet"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2 and {*tmp_path.iterdir()} == before


def test_notes_of_a_merge_go_to_stderr(folders, tmp_path, capsys):
    file = tmp_path / "config.yml"
    file.write_text("name: x\n" + linear(folders["a"], folders["b"]), encoding="utf-8")
    assert command.main([str(file), str(tmp_path / "out"), "--quiet"]) == 0
    assert capsys.readouterr().err == "note: name has no effect\n"


def test_the_time_for_files_grows_with_the_number_of_tensors():
    """18,435 experts and more: what a shard holds is not summed up anew for each of them."""

    def seconds(count: int) -> float:
        planned = [checkpoints.Planned(str(i), torch.float32, (2,)) for i in range(count)]
        start = time.process_time()
        assert len(checkpoints.in_shards(planned, 10**9)) == 1
        return time.process_time() - start

    assert seconds(40_000) < 40 * max(seconds(4_000), 1e-3)
