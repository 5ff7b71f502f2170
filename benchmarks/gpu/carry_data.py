"""Unpack image sets into class folders, which a machine without pyarrow can read.

    python benchmarks/gpu/carry_data.py --data DIRECTORY --sets flowers102

DIRECTORY holds the sets of ``benchmarks/six_sets.py``. They are unpacked into ``carry/data/NAME``,
which git ignores. A task is what its images and classes are, so its digest stays the same; that is
checked.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from six_sets import SETS, SHARED

from wsdarts_sdk.data.task import ImageTask

_JPEG = b"\xff\xd8"


def main() -> None:
    """Unpack what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--sets", nargs="+", default=["flowers102"], choices=list(SETS))
    parser.add_argument("--out", type=Path, default=Path("carry/data"))
    arguments = parser.parse_args()
    for name in arguments.sets:
        unpack(arguments.data / SETS[name], arguments.out / name)


def unpack(source: Path, target: Path) -> None:
    """Copy a folder, or write a table's images as files, one folder for each class."""
    shutil.rmtree(target, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        for number, (content, label) in enumerate(_rows(source)):
            suffix = "jpg" if content.startswith(_JPEG) else "png"
            path = target / f"{label:04}" / f"{number:06}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    before, after = (ImageTask.load(path).digest for path in (source, target))
    if before != after:
        raise SystemExit(f"{target} is another task than {source}: {after}, not {before}")
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target}: {size / 2**20:.1f} MiB, {after}")


def _rows(source: Path) -> Iterator[tuple[bytes, int]]:
    for batch in pq.ParquetFile(source).iter_batches(256, columns=["image", "label"]):
        for row in batch.to_pylist():
            yield row["image"]["bytes"], row["label"]


if __name__ == "__main__":
    main()
