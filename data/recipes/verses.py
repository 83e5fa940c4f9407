"""Rebuild data/verses.parquet: 31 thousand English-Spanish Bible verses, aligned by reference.

Needs Debian's packages sword-text-web, sword-text-kjv, sword-text-sparv, libsword-utils, apertium-eng-spa:
    python data/recipes/verses.py
`mod2imp MODULE` prints a module as "$$$Book C:V" lines, each followed by the verse as OSIS XML.
"""

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd

from course_utils.pipelines import apertium

MODULES = {"web": "engWEB2015eb", "kjv": "engKJV2006eb", "es": "spaRV1909eb"}
# Whole books are held out, so that no neighbouring verse leaks; none of them retells a training book verse by verse.
SPLITS = {
    "validation": ["Ruth", "Daniel", "Joel", "Ecclesiastes", "Philippians", "I Timothy", "I Peter", "I John"],
    "test": [
        "Judges",
        "Esther",
        "Song of Solomon",
        "Lamentations",
        "Jonah",
        "Habakkuk",
        "Galatians",
        "Hebrews",
        "James",
    ],
}
SPLIT_OF = {book: split for split, books in SPLITS.items() for book in books}
DROPPED = {"note", "title", "speaker"}  # footnotes, psalm headings, speaker labels: not verse text
SPACED = {"note", "title", "speaker", "l", "lg", "lb", "div", "chapter", "milestone", "item"}


class VerseText(HTMLParser):
    """The text of one verse. Verses are not balanced XML (a line may open here and close in the next verse),
    hence the forgiving HTML parser. HTMLParser lower-cases tag names."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.dropped = 0  # how many dropped elements we are inside of
        self.ended = False  # past the end of the book: what follows is the front or back matter of the edition

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        attributes = dict(attrs)
        if tag == "div" and (
            (attributes.get("type") == "book" and "eid" in attributes)
            or attributes.get("type") in ("glossary", "introduction")
        ):
            self.ended = True
        self._space(tag)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.dropped += tag in DROPPED
        self._space(tag)

    def handle_endtag(self, tag: str) -> None:
        self.dropped -= tag in DROPPED
        self._space(tag)

    def _space(self, tag: str) -> None:
        if tag in SPACED:  # "God<note>..</note>created" must not become "Godcreated"
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if not self.dropped and not self.ended:
            self.parts.append(data)


def verse_text(xml: str) -> str:
    parser = VerseText()
    parser.feed(xml.replace("</w><", "</w> <"))  # the Spanish module runs 302 words together: "que es</w><w>Ramat"
    parser.close()
    text = re.sub(r"\s+", " ", "".join(parser.parts)).strip().replace("¶", "").strip()
    text = re.sub(r"([a-zé])([A-Z][a-z])", r"\1 \2", text)  # nine Spanish names run on from the word before: "esRamat"
    text = re.sub(r"\s+([,.;:!?’”)])", r"\1", text)  # the space that a dropped footnote left before punctuation
    return re.sub(r"([“‘(¡¿])\s+", r"\1", text)


def read_module(module: str) -> dict[str, str]:
    out = subprocess.run(["mod2imp", module], capture_output=True, check=True, text=True, encoding="utf-8").stdout
    verses: dict[str, str] = {}
    for entry in out.split("$$$")[1:]:
        ref, _, xml = entry.partition("\n")
        if re.fullmatch(r".+ [1-9]\d*:[1-9]\d*", ref.strip()) and (text := verse_text(xml)):
            verses[ref.strip()] = text
    return verses


def main() -> None:
    texts = {column: read_module(module) for column, module in MODULES.items()}
    refs = [ref for ref in texts["web"] if all(ref in other for other in texts.values())]
    frame = pd.DataFrame({"ref": refs})
    frame[["book", "chapter", "verse"]] = frame.ref.str.extract(r"^(.+) (\d+):(\d+)$")
    frame[["chapter", "verse"]] = frame[["chapter", "verse"]].astype("int32")
    for column in MODULES:
        frame[column] = [texts[column][ref] for ref in refs]
    frame["apertium"] = apertium(frame.web.tolist())
    frame["split"] = [SPLIT_OF.get(book, "train") for book in frame.book]
    path = Path(__file__).parents[1] / "verses.parquet"
    partial = path.with_suffix(".partial")
    frame.to_parquet(partial, index=False, compression="zstd", compression_level=19)
    partial.replace(path)
    print(frame.groupby("split").size().to_string(), path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
