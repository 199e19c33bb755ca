"""A dataset as files: Parquet in the field's columns, and a card that tells `datasets.load_dataset` where they are."""

from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.manifest import LAYOUTS, SPLITS, Layout, Manifest, SnapshotFile, Split
from streams.dataset import ABOUT_OF, TEXTS, Dataset, Sample, example
from streams.pairs import pair

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_NO_TEXT = {
    **dict.fromkeys(("revision", "chosen_revision", "rejected_revision", "confidence_permille", "partition"), pa.int32()),
    "verdict_offset": pa.int64(),
    "label": pa.bool_(),
}


def schema(layout: Layout) -> pa.Schema:
    texts = [(name, _MESSAGES) for name in TEXTS[layout]]
    return pa.schema(texts + [(name, _NO_TEXT.get(name, pa.string())) for name in ABOUT_OF[layout]])


def write(dataset: Dataset, folder: Path) -> tuple[SnapshotFile, ...]:
    """Every layout and split of the dataset, also one without rows; the same rows give the same bytes."""
    return tuple(_write(dataset, layout, split, folder) for layout in LAYOUTS[dataset.kind] for split in SPLITS)


def _write(dataset: Dataset, layout: Layout, split: Split, folder: Path) -> SnapshotFile:
    name = f"{layout}/{split}.parquet"
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    rows = [row for found in dataset.examples if found.split == split for row in found.rows(layout)]
    pq.write_table(pa.Table.from_pylist(rows, schema(layout)), path, compression="zstd")
    return SnapshotFile(path=name, layout=layout, split=split, rows=len(rows), bytes=path.stat().st_size, sha256=sha256_of(path))


def sha256_of(path: Path) -> str:
    with path.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def read(manifest: Manifest, folder: Path) -> Iterator[Sample]:
    """The samples as they stand in the files of the first layout."""
    layout = LAYOUTS[manifest.kind][0]
    for file in manifest.files:
        if file.layout == layout:
            for found in pq.read_table(folder / file.path).to_pylist():
                yield pair(found, file.split) if layout == "preference" else example(found, layout, file.split)


def ids(manifest: Manifest, folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each row's id and the submissions that it ends with: one completion or prompt, or the two of a comparison."""
    layout = LAYOUTS[manifest.kind][0]
    columns = ["comparison", "chosen_id", "rejected_id"] if layout == "preference" else ["submission", "submission"]
    for file in manifest.files:
        if file.layout == layout:
            table = pq.read_table(folder / file.path, columns=sorted(set(columns)))
            for row, *ends in zip(*(table[name].to_pylist() for name in columns), strict=True):
                yield row, tuple(ends)
