"""Rebuild data/snippets.parquet: human-rated snippets of four domains (Hutto & Gilbert, ICWSM 2014).

The texts lie in the source distribution of vaderSentiment:
    pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
    python data/recipes/snippets.py vaderSentiment-3.3.2.tar.gz
"""

import hashlib
import html
import io
import sys
import tarfile
from pathlib import Path

import pandas as pd

SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
FILES = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
}


def split_of(doc: str) -> str:
    """80 / 10 / 10 by a hash of the document's name: fixed for ever, and a review's snippets stay together."""
    tenth = int(hashlib.sha256(doc.encode()).hexdigest(), 16) % 10
    return {8: "validation", 9: "test"}.get(tenth, "train")


def main(sdist: Path) -> None:
    digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"{sdist.name} has SHA-256 {digest}, expected {SHA256}: download it again")
    rows = []
    with tarfile.open(sdist) as outer:
        inner = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz").read()
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        for domain, name in FILES.items():
            text = archive.extractfile(f"hutto_ICWSM_2014/{name}").read().decode("utf-8")
            for line in text.splitlines():
                ident, rating, snippet = line.split("\t", 2)
                doc = f"{domain}-{ident.split('_')[0]}"
                rows.append(
                    (domain, doc, " ".join(html.unescape(snippet).split()), round(float(rating), 4), split_of(doc))
                )
    frame = pd.DataFrame(rows, columns=["domain", "doc", "text", "rating", "split"])
    path = Path(__file__).parents[1] / "snippets.parquet"
    partial = path.with_suffix(".partial")
    frame.to_parquet(partial, index=False, compression="zstd", compression_level=19)
    partial.replace(path)
    print(frame.groupby(["domain", "split"]).size().unstack().to_string(), path.stat().st_size, "bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
