"""Rebuild data/speech/ and data/speech.parquet: 41 short clips, what is said in them and what a recogniser hears.

    python data/recipes/speech.py voices    # word error rate of each synthetic voice on validation verses: chose VOICES
    python data/recipes/speech.py clips     # data/speech/*.ogg
    python data/recipes/speech.py table     # recognises the clips as they are committed and writes data/speech.parquet
    python data/recipes/speech.py report    # word error rates, oracle, scale of the scores

Needs Debian's packages pocketsphinx-testdata (five LibriVox clips) and flite (and espeak-ng for `voices` alone). The
other 36 clips are verses of the translators' test prose (Judges, Esther, Jonah; 6 to 16 words), drawn with a fixed seed
and spoken by flite, with the recogniser's unknown names left in. Nothing was chosen on these verses. Opus at 13.5
kbit/s, 16 kHz, mono. Rebuilt clips have the same samples and other bytes (an Ogg stream has a random serial number);
`table` writes the same again.
"""

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from scipy.signal import resample_poly

from course_utils.pipelines.recognition import (
    RATE,
    _decoder,
    load_clip,
    nbest_posterior,
    normalise,
    recognise,
    word_error_rate,
)

DATA = Path(__file__).parents[1]
SPEECH = DATA / "speech"
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
BOOKS = {"validation": ["Ruth", "Daniel"], "test": ["Judges", "Esther", "Jonah"]}
VERSES, SHORTEST, LONGEST, LONGEST_ES = 36, 6, 16, 32  # words; a test verse of the translators has at most 32
CANDIDATES = [
    "flite kal16",
    "flite awb",
    "flite rms",
    "flite slt",
    "espeak-ng en-us",
    "espeak-ng en-gb",
    "espeak-ng en-us+f3",
]
VOICES = ["flite awb", "flite rms", "flite slt"]  # the three with the fewest word errors in `voices`
CODEC = {"format": "OGG", "subtype": "OPUS", "compression_level": 0.97}  # 6 + 0.03 x 250 = 13.5 kbit/s
SCALES = [1, 1 / 2, 1 / 5, 1 / 9.5, 1 / 20, 1 / 40, 1 / 80]


def verses(split: str, n: int) -> pd.DataFrame:
    """n random short verses."""
    frame = pd.read_parquet(DATA / "verses.parquet")
    frame = frame[frame.book.isin(BOOKS[split]) & frame.web.str.split().str.len().between(SHORTEST, LONGEST)]
    return frame[frame.es.str.split().str.len() <= LONGEST_ES].sample(n, random_state=0)


def speak(text: str, voice: str) -> np.ndarray:
    """Samples (T,) at 16 kHz."""
    program, name = voice.split()
    options = (
        ["-voice", name, "-t", text, "-o", "/dev/stdout"] if program == "flite" else ["-v", name, "--stdout", text]
    )
    done = subprocess.run([program, *options], capture_output=True, check=True)
    samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    return samples if rate == RATE else resample_poly(samples, RATE, rate)


def voices() -> None:
    """Word errors of each candidate on twelve validation verses, after the codec; the clips take the three best in
    turn."""
    frame = verses("validation", 12)
    for voice in CANDIDATES:
        heard = []
        for text in frame.web:
            coded = io.BytesIO()
            soundfile.write(coded, speak(text, voice), RATE, **CODEC)
            coded.seek(0)
            heard.append(recognise(soundfile.read(coded, dtype="float32")[0].clip(-1, 1), 1).hypotheses[0])
        errors = word_error_rate(list(frame.web), heard)
        print(f"{voice:20s} WER {errors.rate:.3f} {errors}", flush=True)


def said() -> list[dict]:
    """clip, kind, ref, reference, voice of each clip: LibriVox in order, then the verses in the order they were
    drawn."""
    rows = []
    for line in (LIBRIVOX / "transcription").read_text(encoding="utf-8").splitlines():
        text, name = re.fullmatch(r"<s> (.*) </s> \((\S+)\)", line).groups()
        rows.append(
            {"clip": f"librivox-{name[-4:]}.ogg", "kind": "librivox", "ref": "", "reference": text, "voice": name}
        )
    for i, verse in enumerate(verses("test", VERSES).itertuples()):
        rows.append(
            {
                "clip": re.sub(r"\W+", "-", verse.ref.lower()) + ".ogg",
                "kind": "synthetic",
                "ref": verse.ref,
                "reference": verse.web,
                "voice": VOICES[i % len(VOICES)],
            }
        )
    return rows


def clips() -> None:
    SPEECH.mkdir(exist_ok=True)
    for row in said():
        librivox = row["kind"] == "librivox"
        samples = (
            soundfile.read(LIBRIVOX / f"{row['voice']}.wav")[0] if librivox else speak(row["reference"], row["voice"])
        )
        soundfile.write(SPEECH / row["clip"], samples, RATE, **CODEC)
    print(f"{sum(path.stat().st_size for path in SPEECH.iterdir()) / 1e3:.0f} kB")


def table() -> None:
    rows, times = [], []
    for row in said():
        start = time.perf_counter()
        best = recognise(row["clip"], 10)
        times.append(time.perf_counter() - start)
        seconds = len(load_clip(row["clip"])[0]) / RATE
        voice = "human" if row["kind"] == "librivox" else row["voice"]
        rows.append(
            row | {"voice": voice, "seconds": round(seconds, 2), "hypotheses": best.hypotheses, "scores": best.scores}
        )
        print(f"{row['clip']:28s} {times[-1]:5.1f} s  {best.hypotheses[0]}", flush=True)
    pq.write_table(pa.Table.from_pylist(rows), DATA / "speech.parquet", compression="zstd")
    print(f"seconds a clip: median {np.median(times):.2f}, largest {max(times):.2f}")


def report() -> None:
    """Word error rates by kind and voice, also of the best of each list (oracle); that one's log-weight at each
    scale."""
    frame = pd.read_parquet(DATA / "speech.parquet")
    frame["oracle"] = [
        min(h, key=lambda text, r=r: word_error_rate(r, text).rate) for r, h in zip(frame.reference, frame.hypotheses)
    ]
    frame["unknown"] = [sum(_decoder().lookup_word(w) is None for w in normalise(r).split()) for r in frame.reference]
    frame["first"] = frame.hypotheses.str[0]
    for name, part in [
        ("all", frame),
        *frame.groupby("kind"),
        *frame.groupby("voice"),
        ("verses, every word known", frame[(frame.kind == "synthetic") & (frame.unknown == 0)]),
        ("verses with unknown words", frame[frame.unknown > 0]),
    ]:
        wer, oracle = (word_error_rate(list(part.reference), list(part[column])) for column in ("first", "oracle"))
        print(
            f"{name:26s} clips {len(part):2d} {part.seconds.sum():6.1f} s  WER {wer.rate:.3f}  oracle "
            f"{oracle.rate:.3f}  "
            f"right {sum(word_error_rate(r, h).rate == 0 for r, h in zip(part.reference, part['first']))}  "
            f"unknown words {part.unknown.sum()}  {tuple(wer)}"
        )
    chosen = frame.iloc[: 5 + VERSES // 3]  # the five LibriVox clips and the first third of the verses
    for scale in SCALES:
        scores = []
        for name, part in [("first third", chosen), ("rest", frame.drop(chosen.index))]:
            logs = [
                np.log(nbest_posterior(s, scale).numpy()[list(h).index(o)])
                for s, h, o in zip(part.scores, part.hypotheses, part.oracle)
            ]
            top = [float(nbest_posterior(s, scale).max()) for s in part.scores]
            scores.append(f"{name}: log P(oracle) {np.mean(logs):7.3f}, mean weight of the first {np.mean(top):.3f}")
        print(f"scale {scale:.4f}  {'; '.join(scores)}")


if __name__ == "__main__":
    steps = {step.__name__: step for step in (voices, clips, table, report)}
    if not sys.argv[1:] or set(sys.argv[1:]) - steps.keys():
        raise SystemExit(f"usage: python data/recipes/speech.py STEP ...: choose of {', '.join(steps)}")
    for step in sys.argv[1:]:
        steps[step]()
