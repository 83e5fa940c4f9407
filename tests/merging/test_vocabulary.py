"""Models with other vocabularies: rows are merged by token, as mergekit does, or it is said which tokens differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from checkpoints import fine_tuned, load, random_state, save_llama
from test_mergekit_parity import difference

from course_utils.merging import command, vocabulary

WORDS = [f"w{i}" for i in range(300)]
IM = ["<|im_start|>", "<|im_end|>"]
NAMES = ("model.embed_tokens.weight", "lm_head.weight")


def save_tokenizer(folder: Path, words: list[str], added: list[str], template: str | None = None) -> None:
    """A tokenizer of whole words; `added` stand behind them and only in added_tokens."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in added])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "w1", "eos_token": (added or words)[-1]}
    settings |= {"chat_template": template} if template else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """base: 300 words. chatml, swapped: two tokens more, in either order. other: 20 words of its own, one shared token.

    padded: the base's tokens, but 320 rows. none: as the base, without a tokenizer.
    """
    where, base = tmp_path_factory.mktemp("models"), random_state(0, vocabulary=320)
    made = {
        "base": (300, WORDS, []),
        "chatml": (302, WORDS, IM),
        "swapped": (302, WORDS, IM[::-1]),
        "other": (305, [*WORDS[:250], *(f"v{i}" for i in range(20)), *WORDS[250:284]], IM[1:]),
        "padded": (320, WORDS, []),
        "none": (300, None, []),
    }
    folders = {}
    for i, (name, (rows, words, added)) in enumerate(made.items()):
        state = fine_tuned(base, i) if i else base
        state = {key: value[:rows].clone() if key in NAMES else value for key, value in state.items()}
        folders[name] = save_llama(where / name, state)
        if words:
            save_tokenizer(folders[name], words, added, "{{ messages }} of " + name if name != "base" else None)
    return folders


def text(folders, method: str, names: list[str], base: str | None = None, **rest) -> str:
    """A merge of these models, with weights that differ."""
    each = {"slerp": lambda i: {}}.get(method, lambda i: {"weight": 1.0 - 0.25 * i})
    models = [{"model": str(folders[name]), "parameters": each(i)} for i, name in enumerate(names)]
    raw = {"merge_method": method, "models": models, "dtype": "float32"} | rest
    return yaml.safe_dump(raw | ({"base_model": str(folders[base])} if base else {}))


def ids_of(folder: Path) -> dict[str, int]:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder).get_vocab()


def merge(text: str, out: Path) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    """The tensors and the vocabulary of the result, which has to load and to agree with itself."""
    from transformers import AutoModelForCausalLM

    command.merge(command.loads(text), out, progress=False)
    model, state, ids = AutoModelForCausalLM.from_pretrained(out), load(out), ids_of(out)
    assert model.config.vocab_size == len(state[NAMES[0]]) >= len(ids)
    assert model(torch.tensor([list(ids.values())[-5:]])).logits.isfinite().all()
    return state, ids


MIXED = {
    "tokens in another order": ("linear", ["chatml", "swapped"], "chatml", "base"),
    "two tokens more": ("linear", ["base", "chatml"], "chatml", "base"),
    "two tokens fewer": ("linear", ["base", "chatml"], "base", "base"),
    "union with the base": ("linear", ["base", "chatml"], "base", "union"),
    "union of several": ("linear", ["base", "chatml", "other"], "base", "union"),
    "task vectors from a smaller base": ("task_arithmetic", ["chatml", "swapped"], "base", "union"),
    "ties, other words": ("ties", ["chatml", "other"], "base", "union"),
    "slerp": ("slerp", ["base", "other"], "base", "base"),
    "another model's": ("linear", ["base", "swapped"], "base", "other"),
    "one of the models": ("linear", ["base", "chatml"], "base", "chatml"),
    "a model without tokenizer": ("task_arithmetic", ["none", "chatml"], "base", "base"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MIXED)
def test_rows_are_merged_by_token(name, folders, mergekit, tmp_path):
    """Token by token the same rows as mergekit's, whose order of added tokens may be another one."""
    method, models, base, source = MIXED[name]
    rest = {"parameters": {"t": 0.4}} if method == "slerp" else {"parameters": {"density": 1}}
    rest = rest if method in ("slerp", "ties") else {}
    source = source if source in ("base", "union") else str(folders[source])
    config = text(folders, method, models, base, tokenizer_source=source, **rest)
    same_by_token(config, mergekit, tmp_path)


def same_by_token(config: str, mergekit, tmp_path: Path) -> None:
    found, ids = merge(config, tmp_path / "ours")
    folder = mergekit.folder(config)
    theirs, there = load(folder), ids_of(folder)
    assert ids.keys() == there.keys()
    assert [len(state[NAMES[0]]) for state in (found, theirs)] == [len(found[NAMES[1]])] * 2
    behind = list(
        range(len(there), len(found[NAMES[0]]))
    )  # rows without a token, where pad_to_multiple_of asks for some
    for key in NAMES:
        found[key], theirs[key] = found[key][[*ids.values(), *behind]], theirs[key][[*map(there.get, ids), *behind]]
    assert difference(found, theirs) <= 1e-6


@pytest.mark.parametrize("multiple", [1, 7, 64])
def test_rows_are_padded(multiple, folders, mergekit, tmp_path):
    config = text(folders, "linear", ["base", "chatml"], "base")
    tokenizer = {"source": "union", "pad_to_multiple_of": multiple}
    config = yaml.safe_dump(yaml.safe_load(config) | {"tokenizer": tokenizer})
    same_by_token(config, mergekit, tmp_path)
    again = yaml.safe_load((tmp_path / "ours" / command.RECORD).read_text(encoding="utf-8"))
    assert again["tokenizer"] == tokenizer and command.loads(yaml.safe_dump(again)) == command.loads(config)


def test_the_size_of_the_pieces_changes_nothing(folders, tmp_path, monkeypatch):
    from course_utils.merging import plan

    config = text(folders, "ties", ["chatml", "other"], "base", parameters={"density": 0.5}, tokenizer_source="union")
    whole, _ = merge(config, tmp_path / "whole")
    monkeypatch.setattr(plan, "PIECE", 100)  # three rows and a bit
    assert difference(merge(config, tmp_path / "pieces")[0], whole) <= 1e-6


def test_equal_vocabularies_keep_their_rows(folders, tmp_path):
    """Rows behind the last token stay where they are: nothing has to be matched."""
    config = text(folders, "linear", ["padded"], "padded", tokenizer_source="base")
    state, ids = merge(config, tmp_path / "out")
    assert len(ids) == 300 and torch.equal(state[NAMES[0]], load(folders["padded"])[NAMES[0]])
    config = text(folders, "linear", ["padded", "base"], "base", tokenizer_source="union")
    assert len(merge(config, tmp_path / "cut")[0][NAMES[0]]) == 300


def test_what_a_model_generates_until_comes_with_its_tokenizer(folders, tmp_path):
    for name, eos in (("base", 1), ("other", 284)):
        file = folders[name] / "config.json"
        file.write_text(
            json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"eos_token_id": eos}), encoding="utf-8"
        )
    config = text(folders, "task_arithmetic", ["other"], "base", tokenizer_source=str(folders["other"]))
    merge(config, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["eos_token_id"] == 284


# ---------------------------------------------------------------- what is said


@pytest.mark.parametrize(
    "models, words",
    [
        (["chatml", "swapped"], r"has 2 tokens \(<\|im_end\|>, <\|im_start\|>\) in another row than"),
        (["chatml", "other"], r"has 20 tokens \(v0, v1, v2, …\) that .* lacks and lacks 17 tokens"),
    ],
)
def test_rows_that_stand_for_other_tokens_are_named(models, words, folders, tmp_path):
    """Without tokenizer_source they are merged by number, as in mergekit, but not without a word."""
    other = save_llama(tmp_path / "other", {**load(folders["chatml"])})
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (other / file).write_bytes((folders[models[1]] / file).read_bytes())
    config = text({**folders, models[1]: other}, "linear", models)
    with pytest.warns(UserWarning, match=words):
        command.merge(command.loads(config), tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    "change, words",
    [
        ({}, "base lacks 2 tokens (<|im_start|>, <|im_end|>) of "),
        ({}, "tokenizer_source: base (or union) merges the rows by token"),
        ({"models": ["chatml", "none"]}, "none says which tokens they stand for"),
        ({"models": ["chatml", "padded"]}, "padded lacks 2 tokens"),
        ({"base": "none", "tokenizer_source": "union"}, "none has no tokenizer.json: tokenizer_source: union needs it"),
        ({"tokenizer_source": "no/model"}, "there is no model folder no/model"),
        ({"tokenizer": {"source": "base"}, "tokenizer_source": "base"}, "either tokenizer_source or tokenizer"),
        ({"tokenizer": {"tokens": {"w1": {}}}}, "tokenizer.tokens (embeddings chosen token by token) is not offered"),
        ({"tokenizer": {"pad_to_multiple_of": 0}}, "pad_to_multiple_of is 0"),
        ({"tokenizer": "union"}, "tokenizer is 'union': a mapping"),
        ({"chat_template": "vicuna"}, "chat_template is 'vicuna': auto, chatml, llama3"),
        ({"chat_template": "BASE"}, "which has no chat template"),
    ],
)
def test_other_vocabularies_are_refused_with_their_tokens(change, words, folders, tmp_path):
    change = {"models": ["chatml", "base"], "base": None} | change
    if change.get("chat_template") == "BASE":
        change |= {"chat_template": str(folders["base"]), "models": ["base", "none"]}
    with pytest.raises(command.MergeError) as caught:
        config = text(folders, "linear", change.pop("models"), change.pop("base"), **change)
        command.merge(command.loads(config), tmp_path / "out", progress=False)
    assert words in str(caught.value) and not [*tmp_path.iterdir()]
    assert all("\n" not in problem for problem in caught.value.problems)


def test_slices_of_models_with_other_vocabularies(folders, mergekit, tmp_path):
    """Embeddings come from the first slice's model, the head from the last one's: they need one vocabulary."""
    parts = [("base", 0, 2), ("other", 1, 4)]
    slices = [{"sources": [{"model": str(folders[name]), "layer_range": [start, end]}]} for name, start, end in parts]
    config = {"merge_method": "passthrough", "slices": slices, "dtype": "float32"}
    with pytest.raises(command.MergeError, match="embed_tokens.weight has 300 and lm_head.weight has 305 rows"):
        command.merge(command.loads(yaml.safe_dump(config)), tmp_path / "out", progress=False)
    config |= {"base_model": str(folders["base"]), "tokenizer_source": "union"}
    same_by_token(yaml.safe_dump(config), mergekit, tmp_path)
    between = [slices[0], {"sources": [{"model": str(folders["other"]), "layer_range": [1, 4]}]}, slices[0]]
    config = {"merge_method": "passthrough", "slices": between, "dtype": "float32"}
    merge(yaml.safe_dump(config), tmp_path / "between")


def test_only_a_sentencepiece_file(folders, tmp_path):
    other = save_llama(tmp_path / "old", load(folders["base"]))
    (other / "tokenizer.model").write_bytes(b"1")
    config = text({**folders, "old": other}, "linear", ["base", "old"], tokenizer_source="union")
    with pytest.raises(command.MergeError, match="only a tokenizer.model, .*AutoTokenizer.from_pretrained"):
        command.merge(command.loads(config), tmp_path / "out", progress=False)
    command.merge(command.loads(text({**folders, "old": other}, "linear", ["base", "old"])), tmp_path / "out")


@pytest.mark.parametrize("vocabulary_of", [{"a": 0, "b": 1}, [["a", -1.5], ["b", -2.5]]])
def test_kinds_of_vocabularies(vocabulary_of, tmp_path):
    content = {"model": {"vocab": vocabulary_of}, "added_tokens": [{"id": 2, "content": "<x>"}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    assert vocabulary.read_tokenizer(tmp_path).ids == {"a": 0, "b": 1, "<x>": 2}
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(command.MergeError, match="does not list the tokens"):
        vocabulary.read_tokenizer(tmp_path)


# ---------------------------------------------------------------- chat templates

TALK = [{"role": role, "content": f" {role} speaks "} for role in ("system", "user", "assistant", "user")]


@pytest.mark.parametrize("name", ["auto", "chatml", "llama3", "mistral", "alpaca", "a model", "text"])
def test_chat_templates(name, folders, mergekit, tmp_path):
    """The result speaks as mergekit's does, spaces aside: its alpaca loses the line break before ### Response."""
    from transformers import AutoTokenizer

    text_of_roles = "{% for m in messages %}{{ m.role }}{% endfor %}"
    setting = {"a model": str(folders["other"]), "text": text_of_roles}.get(name, name)
    config = text(folders, "linear", ["base", "chatml"], "base", chat_template=setting, tokenizer_source="union")
    merge(config, tmp_path / "out")
    found = AutoTokenizer.from_pretrained(tmp_path / "out").apply_chat_template(
        TALK, tokenize=False, add_generation_prompt=True
    )
    if name == "a model":
        assert found.endswith("of other")
        return
    theirs = AutoTokenizer.from_pretrained(mergekit.folder(config))
    expected = theirs.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    assert "".join(found.split()) == "".join(expected.split()) and found


def test_a_result_without_a_template_is_said(folders, tmp_path):
    config = text(folders, "task_arithmetic", ["chatml"], "base", tokenizer_source="base")
    with pytest.warns(UserWarning, match="no chat template; with chat_template: auto it gets that of .*chatml"):
        command.merge(command.loads(config), tmp_path / "out", progress=False)
