"""The course's texts as Hugging Face `datasets`, read from data/*.parquet; data/README.md is their datasheet."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from course_utils.shelf.models import data_dir

if TYPE_CHECKING:
    from datasets import DatasetDict

SPLITS = ("train", "validation", "test")


@cache
def verses() -> DatasetDict:
    """31,077 Bible verses, split by whole books. Columns: ref, book, chapter, verse, web (World English Bible),
    kjv (King James), es (Reina-Valera 1909), apertium (rule-based translation of `web` into Spanish).

    Raises FileNotFoundError, in one line, where the file is missing."""
    return _read("verses")


@cache
def snippets() -> DatasetDict:
    """23,703 short texts of four domains with the mean rating of 20 people, split by document. Columns: domain
    (movies, nyt, tweets, amazon), doc, text, rating (-4 most negative .. 4 most positive). Hutto & Gilbert, ICWSM 2014.

    Raises FileNotFoundError, in one line, where the file is missing."""
    return _read("snippets")


DOMAINS = ("web", "kjv", "movies", "nyt", "amazon", "tweets")


def domain_texts(domain: str, split: str = "train") -> list[str]:
    """The plain texts of one of the six English domains (two Bible translations, four kinds of snippets).

    Raises ValueError for a domain or split that does not exist."""
    if domain not in DOMAINS or split not in SPLITS:
        raise ValueError(f"no texts for {domain!r}, {split!r}: choose a domain of {DOMAINS} and a split of {SPLITS}")
    if domain in ("web", "kjv"):
        return list(verses()[split][domain])
    rows = snippets()[split]
    return [text for text, of in zip(rows["text"], rows["domain"]) if of == domain]


def _read(name: str) -> DatasetDict:
    path = data_dir() / f"{name}.parquet"
    if not path.exists():
        restore = f"restore it with `git checkout data/{path.name}` or rebuild it with data/recipes/{name}.py"
        raise FileNotFoundError(f"{path} is missing: {restore}")
    import pyarrow.parquet as pq  # these two take 0.6 s to import, which a notebook's first cell need not wait for
    from datasets import Dataset, DatasetDict

    table = Dataset(pq.read_table(path))
    split = table.with_format("numpy")["split"][:]
    return DatasetDict({s: table.select((split == s).nonzero()[0]).remove_columns("split") for s in SPLITS})
