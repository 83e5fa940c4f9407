"""Which row of a model's embeddings stands for which token: models with other vocabularies are merged token by token.

    row 300 of one model is <|im_start|>, row 300 of the other <|im_end|>: their mean would stand for neither

The result gets one tokenizer (`tokenizer_source` in mergekit's YAML), and every model's rows are put into its order. A
model that lacks a token takes the row of the one model that has it; of several that of the base, else their mean; where
no model has it, zeros. Source: mergekit 0.1.5, `tokenizer/build.py` and `tokenizer/embed.py`.

Tokens are read from tokenizer.json, without the transformers library, which alone would take seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_utils.merging.checkpoints import MergeError, locate, read_json, write_json
from course_utils.shelf.models import tokenizer_folder

Read = Callable[[int, int], Tensor]  # read(start, stop): these entries of a tensor, taken as one row of numbers

CHAT_TEMPLATES = {
    "chatml": "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "llama3": "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}<|start_header_id|>"
    "{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    "mistral": "{% set system = messages[0]['content'] + '\n\n' if messages[0]['role'] == 'system' else '' %}"
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %} [INST] "
    "{% if loop.index0 < 2 %}{{ system }}{% endif %}"
    "{{ message['content'] }} [/INST]{% elif message['role'] == 'assistant' %} {{ message['content'] }}{{ eos_token }}"
    "{% endif %}{% endfor %}",
    "alpaca": "{% for message in messages %}{% if message['role'] == 'user' %}### Instruction:\n"
    "{% elif message['role'] == 'assistant' %}### Response:\n{% endif %}{{ message['content'] | trim }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}",
}


@dataclass(frozen=True)
class Tokenizer:
    """The files of a tokenizer, the row of each of its tokens, and entries of `added_tokens` that its file lacks."""

    folder: Path
    ids: Mapping[str, int]
    added: tuple[dict[str, Any], ...] = ()


def read_tokenizer(model: Path) -> Tokenizer | None:
    """The tokenizer of a model folder, added tokens included; None if the folder has none.

    Raises MergeError: a tokenizer.json that is none, or only a tokenizer.model.
    """
    folder = tokenizer_folder(model)
    if not (folder / "tokenizer.json").exists():
        if (folder / "tokenizer.model").exists():
            raise MergeError(
                f"{model} has only a tokenizer.model, whose tokens cannot be read here; this writes a tokenizer.json: "
                f"AutoTokenizer.from_pretrained('{model}').save_pretrained('{model}')"
            )
        return None
    content = read_json(folder / "tokenizer.json")
    try:
        vocabulary = content["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: pairs of token and score
            vocabulary = {token: i for i, (token, _) in enumerate(vocabulary)}
        added = {entry["content"]: entry["id"] for entry in content.get("added_tokens") or []}
    except (KeyError, TypeError, ValueError):
        raise MergeError(f"{folder / 'tokenizer.json'} does not list the tokens and their numbers") from None
    return Tokenizer(folder, {**vocabulary, **added})


def difference(name: str, ids: Mapping[str, int], other: str, others: Mapping[str, int]) -> str:
    """What tells two vocabularies apart, in words with a few of the tokens; empty if nothing does."""

    def some(tokens: list[str]) -> str:
        return f"{len(tokens)} token{'s' * (len(tokens) > 1)} ({', '.join(tokens[:3])}{', …' * (len(tokens) > 3)})"

    more = [token for token in ids if token not in others]
    fewer = [token for token in others if token not in ids]
    moved = [token for token, row in ids.items() if others.get(token, row) != row]
    parts = [f"has {some(more)} that {other} lacks"] * bool(more)
    parts += [f"lacks {some(fewer)} of {other}"] * bool(fewer)
    parts += [f"has {some(moved)} in another row than {other}"] * bool(moved)
    return f"{name} {' and '.join(parts)}" if parts else ""


def union(base: Tokenizer, others: Sequence[Tokenizer]) -> Tokenizer:
    """The base's tokenizer with all tokens that only the others have, added behind its own as whole words."""
    contents = [read_json(tokenizer.folder / "tokenizer.json") for tokenizer in (base, *others)]
    entries = [{entry["content"]: entry for entry in content.get("added_tokens") or []} for content in contents]
    special = reduce(lambda all_, one: one | all_, entries, {})  # of two entries for a token the first counts
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    ids, added = dict(base.ids), []
    words = [token for other in others for token in other.ids if token not in special]
    for token in dict.fromkeys([*words, *special]):
        if token not in ids or token in special and token not in entries[0]:
            ids.setdefault(token, max(ids.values()) + 1)
            added.append({**plain, **special.get(token, {}), "id": ids[token], "content": token})
    return Tokenizer(base.folder, ids, tuple(added))


# ---------------------------------------------------------------- rows by token


class Alignment:
    """The rows of every model in the order of the result's tokens. size: number of rows of the result."""

    def __init__(
        self,
        result: Tokenizer,
        tokenizers: Mapping[str, Tokenizer],
        rows: Mapping[str, int],
        pad_to_multiple_of: int | None,
    ) -> None:
        tokens = max(result.ids.values()) + 1
        self.size = tokens + -tokens % (pad_to_multiple_of or 1)
        self.own: dict[str, Tensor] = {}  # (tokens,): where the model has the token, or -1
        for name, tokenizer in tokenizers.items():
            own = torch.full((tokens,), -1)
            for token, row in result.ids.items():
                there = tokenizer.ids.get(token, -1)
                own[row] = there if there < rows[name] else -1
            self.own[name] = own

    def aligned(self, models: Sequence[str], reads: Sequence[Read], width: int, base: str | None) -> list[Read]:
        """For each model a `read` of its rows in the new order; width: entries in a row."""
        own = torch.stack([self.own[model] for model in models])  # (n, tokens)
        has = own >= 0
        owners = has.sum(0)
        substitute = torch.where(owners == 1, has.int().argmax(0), torch.where(owners == 0, _NONE, _MEAN))
        if base in models:
            number = models.index(base)
            substitute = torch.where(has[number] & (owners > 1), number, substitute)
        found = []
        for i in range(len(models)):
            donor = torch.where(has[i], i, substitute)  # (tokens,)
            row = own.gather(0, donor.clamp(min=0).unsqueeze(0))[0]
            found.append(_Rows(reads, donor.tolist(), row.tolist(), own, width))
        return found


_MEAN, _NONE = -1, -2  # instead of a donor: the mean of the models that have the token; nothing


@dataclass
class _Rows:
    """read(start, stop) of a tensor whose rows come from several places; rows behind the tokens hold their mean."""

    reads: Sequence[Read]
    donor: list[int]
    row: list[int]
    own: Tensor
    width: int
    padding: Tensor | None = None

    def __call__(self, start: int, stop: int) -> Tensor:
        first, end = start // self.width, -(-stop // self.width)
        parts, row = [], first
        while row < end:
            stretch = self._stretch(row, end)
            parts.append(self._read(row, stretch))
            row += stretch
        return torch.cat(parts)[start - first * self.width : stop - first * self.width]

    def _stretch(self, row: int, end: int) -> int:
        """How many rows from here on lie one behind the other in one place."""
        after = row + 1
        while after < min(end, len(self.donor)) and self.donor[row] >= 0 and self.donor[after] == self.donor[row]:
            if self.row[after] != self.row[row] + after - row:
                break
            after += 1
        return after - row

    def _read(self, row: int, count: int) -> Tensor:
        if row >= len(self.donor):
            return self._mean_of_tokens()
        if (donor := self.donor[row]) >= 0:
            return self.reads[donor](self.row[row] * self.width, (self.row[row] + count) * self.width)
        rows = [self._row_of(i, there) for i, there in enumerate(self.own[:, row].tolist()) if there >= 0]
        return torch.stack(rows).mean(0) if rows else torch.zeros(self.width)

    def _row_of(self, model: int, row: int) -> Tensor:
        return self.reads[model](row * self.width, (row + 1) * self.width).float()

    def _mean_of_tokens(self) -> Tensor:
        if self.padding is None:
            total, tokens = torch.zeros(self.width, dtype=torch.float64), len(self.donor)
            for start in range(0, tokens, 256):
                rows = self(start * self.width, min(start + 256, tokens) * self.width)
                total += rows.view(-1, self.width).sum(0, dtype=torch.float64)
            self.padding = (total / tokens).float()
        return self.padding


# ---------------------------------------------------------------- the files of the result


def template_of(model: Path) -> str | None:
    """The chat template that comes with a model folder; of several the one named default."""
    folder = tokenizer_folder(model)
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8").strip()
    if not (folder / "tokenizer_config.json").is_file():
        return None
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):
        template = next((entry.get("template") for entry in template if entry.get("name") == "default"), None)
    return template.strip() if isinstance(template, str) else None


def chosen_template(chat_template: str, models: Mapping[str, Path]) -> str | None:
    """The template that `chat_template` means: auto (what most models have), a known name, a model, or one as text.

    Raises MergeError: nothing of these. None: auto, and no model has one.
    """
    if chat_template == "auto":
        found = Counter(template for model in models.values() if (template := template_of(model)))
        return found.most_common(1)[0][0] if found else None
    if chat_template in CHAT_TEMPLATES:
        return CHAT_TEMPLATES[chat_template]
    if "{" in chat_template and len(chat_template) >= 20:
        return chat_template
    try:
        template = template_of(models[chat_template] if chat_template in models else locate(chat_template))
    except MergeError:
        known = ", ".join(CHAT_TEMPLATES)
        raise MergeError(
            f"chat_template is {chat_template!r}: auto, {known}, a model or a Jinja template is needed"
        ) from None
    if template is None:
        raise MergeError(f"chat_template names {chat_template}, which has no chat template")
    return template


def complete(folder: Path, added: Sequence[dict[str, Any]], template: str | None) -> None:
    """Write the added tokens and the chat template into the tokenizer's files, which were copied to this folder."""
    settings = folder / "tokenizer_config.json"
    content = read_json(settings) if settings.exists() else {}
    if added:
        tokenizer = read_json(folder / "tokenizer.json")
        tokenizer["added_tokens"] = sorted([*(tokenizer.get("added_tokens") or []), *added], key=lambda one: one["id"])
        write_json(folder / "tokenizer.json", tokenizer)
        if "added_tokens_decoder" in content:
            content["added_tokens_decoder"] |= {
                str(entry["id"]): {key: value for key, value in entry.items() if key != "id"} for entry in added
            }
    if template is not None:
        content["chat_template"] = template  # here every version of transformers finds it
        (folder / "chat_template.jinja").unlink(missing_ok=True)
    if added or template is not None:
        write_json(settings, content)
