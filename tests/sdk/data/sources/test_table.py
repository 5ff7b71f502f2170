import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.task import ImageTask

Make = Callable[..., Path]
Encode = Callable[..., bytes]


def _images(encode: Encode, count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"bytes": encode(start + i), "path": None} for i in range(count)]


def _write_dataset(path: Path, columns: dict[str, Any], features: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(path)
    return path


def test_a_parquet_file_that_datasets_wrote(tmp_path: Path, encode: Encode) -> None:
    names = ["zebra", "unused", "ant"]
    path = _write_dataset(
        tmp_path / "animals.parquet",
        {"image": _images(encode, 8), "id": list(range(8)), "label": [2, 0] * 4},
        {"image": datasets.Image(), "id": datasets.Value("int64"),
         "label": datasets.ClassLabel(names=names)},
    )  # fmt: skip
    task = ImageTask.load(path)
    assert task.name == "animals"
    # The file's own order, not the alphabet; a name without images is no class.
    assert task.class_names == ("zebra", "ant")
    assert task.labels.tolist() == [0] * 4 + [1] * 4
    assert task.pixels(12).shape == (8, 12, 12, 3)


@pytest.mark.parametrize("names", [{"1": "b", "0": "a"}, "ab", [0, 1], 2])
def test_class_names_in_another_form_are_not_read(
    names: Any, tmp_path: Path, encode: Encode
) -> None:
    features = {"label": {"_type": "ClassLabel", "names": names}}
    rows = pa.table({"image": [encode(i) for i in range(8)], "label": [7, 5] * 4})
    text = json.dumps({"info": {"features": features}})
    pq.write_table(rows.replace_schema_metadata({"huggingface": text}), tmp_path / "x.parquet")
    assert ImageTask.load(tmp_path / "x.parquet").class_names == ("5", "7")


def test_folder_and_parquet_of_the_same_files_are_the_same_task(
    make_folder: Make, make_parquet: Make
) -> None:
    folder = make_folder({"a": 4, "b": 5})
    files = sorted(folder.rglob("*.png"), key=lambda file: file.name)  # classes interleaved
    path = make_parquet(
        {"image": [f.read_bytes() for f in files], "label": [f.parent.name for f in files]}
    )
    from_folder, from_parquet = ImageTask.load(folder), ImageTask.load(path)
    assert from_folder.digest == from_parquet.digest
    assert (from_folder.pixels(8) == from_parquet.pixels(8)).all()
    assert (from_folder.parts == from_parquet.parts).all()


def test_plain_labels_are_sorted_by_value(make_parquet: Make, encode: Encode) -> None:
    images = [encode(i) for i in range(9)]
    numbers = make_parquet({"image": images, "label": [10, 9, 100] * 3}, "numbers.parquet")
    assert ImageTask.load(numbers).class_names == ("9", "10", "100")
    words = make_parquet({"image": images, "label": ["b", "a", "C"] * 3}, "words.parquet")
    assert ImageTask.load(words).class_names == ("C", "a", "b")
    coded = pa.array(["b", "a", "C"] * 3).dictionary_encode()
    assert ImageTask.load(make_parquet({"image": images, "label": coded})).classes == 3
    truth = make_parquet({"image": images[:8], "label": [True, False] * 4}, "truth.parquet")
    assert ImageTask.load(truth).class_names == ("False", "True")


def test_a_folder_of_parquet_files_is_one_task(make_parquet: Make, encode: Encode) -> None:
    images = [encode(i) for i in range(8)]
    whole = make_parquet({"image": images, "label": [0, 1] * 4}, "whole.parquet")
    make_parquet({"image": images[:3], "label": [0, 1, 0]}, "parts/data/a.parquet")
    make_parquet({"image": images[3:], "label": [1, 0, 1, 0, 1]}, "parts/data/b.parquet")
    make_parquet({"image": [b"x"], "label": [7]}, "parts/.cache/c.parquet")
    parts = ImageTask.load(whole.parent / "parts")
    assert parts.name == "parts"
    assert parts.digest == ImageTask.load(whole).digest
    assert (parts.pixels(8) == ImageTask.load(whole).pixels(8)).all()


def test_files_with_other_class_names_are_refused(tmp_path: Path, encode: Encode) -> None:
    for start, names in enumerate((["a", "b"], ["b", "a"])):
        _write_dataset(
            tmp_path / "parts" / f"{start}.parquet",
            {"image": _images(encode, 6, 10 * start), "label": [0, 1] * 3},
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)},
        )
    with pytest.raises(TaskError, match=r"1\.parquet .*0\.parquet"):
        ImageTask.load(tmp_path / "parts")


def test_ambiguous_labels_are_listed(tmp_path: Path, encode: Encode) -> None:
    label = datasets.ClassLabel(names=["a", "b"])
    path = _write_dataset(
        tmp_path / "two.parquet",
        {"img": _images(encode, 8), "fine": [0, 1] * 4, "coarse": [0] * 4 + [1] * 4},
        {"img": datasets.Image(), "fine": label, "coarse": label},
    )
    with pytest.raises(
        TaskError,
        match=r"fine, coarse; .*\(label_column=…\).* img \(Image\), fine \(ClassLabel\)",
    ):
        ImageTask.load(path)
    fine = ImageTask.load(path, label_column="fine")
    assert ImageTask.load(path, label_column="coarse").digest != fine.digest


def test_ambiguous_images_are_listed(make_parquet: Make, encode: Encode) -> None:
    images = [encode(i) for i in range(8)]
    path = make_parquet({"left": images, "right": images[::-1], "label": [0, 1] * 4})
    with pytest.raises(TaskError, match=r"left, right; .*--image-column"):
        ImageTask.load(path)
    assert len(ImageTask.load(path, image_column="right")) == 8


def test_labels_missing(make_parquet: Make, encode: Encode) -> None:
    images = [encode(i) for i in range(8)]
    path = make_parquet({"image": images, "weight": [0.5] * 8, "file": ["x", "y"] * 4})
    with pytest.raises(
        TaskError,
        match=r"--label-column .*image \(binary\), weight \(double\), file \(string\)",
    ):
        ImageTask.load(path)
    with pytest.raises(TaskError, match=r"'weight' .*type double"):
        ImageTask.load(path, label_column="weight")
    with pytest.raises(TaskError, match=r"'nothing'; .*image \(binary\)"):
        ImageTask.load(path, label_column="nothing")
    assert ImageTask.load(path, label_column="file").class_names == ("x", "y")


def test_images_missing(make_parquet: Make) -> None:
    path = make_parquet({"pixels": [[1, 2], [3, 4]], "label": [0, 1]})
    with pytest.raises(TaskError, match=r"image column .*datasets\.Image"):
        ImageTask.load(path)


def test_no_rows(make_parquet: Make) -> None:
    path = make_parquet({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())})
    with pytest.raises(TaskError, match=r"rows .*at least two"):
        ImageTask.load(path)


def test_null_and_negative_labels(make_parquet: Make, encode: Encode) -> None:
    images = [encode(i) for i in range(8)]
    path = make_parquet({"image": images, "label": [0, 1, None, 1, 0, None, 0, 1]})
    with pytest.raises(TaskError, match=r"2 of 8 rows .*first 2"):
        ImageTask.load(path)
    path = make_parquet({"image": images, "label": [0, 1, 0, 1, -1, 0, 0, 1]})
    with pytest.raises(TaskError, match=r"row 4 .*class id -1.*from 0"):
        ImageTask.load(path)


@pytest.mark.parametrize("label", [-1, 2])
def test_class_ids_without_a_name(tmp_path: Path, encode: Encode, label: int) -> None:
    table = pa.table(
        {"image": [encode(i) for i in range(8)], "label": [0, 1, 0, label, 0, 1, 0, 1]}
    )
    features = {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path = tmp_path / "ids.parquet"
    pa.parquet.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(TaskError, match=rf"row 3 .*class id {label}"):
        ImageTask.load(path)


def test_corrupt_rows_are_named_by_number(make_parquet: Make, encode: Encode) -> None:
    images: list[Any] = [{"bytes": encode(i), "path": None} for i in range(12)]
    images[5] = {"bytes": b"not an image", "path": None}
    images[7] = None
    images[9] = {"bytes": None, "path": "/etc/hostname"}
    path = make_parquet({"image": images, "label": [0, 1] * 6})
    with pytest.raises(
        TaskError,
        match=r"row 5 .*rows\.parquet .*not an image.*and 2 more",
    ):
        ImageTask.load(path)
    task = ImageTask.load(path, skip_corrupt=True)
    assert len(task) == 9
    assert [line.partition(" of ")[0] for line in task.skipped] == ["row 5", "row 7", "row 9"]
    assert "no image bytes" in task.skipped[2]  # and the path was not followed


def test_files_that_are_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(TaskError, match=r"broken\.parquet cannot be read"):
        ImageTask.load(path)


def test_a_flipped_byte_in_the_pages(make_parquet: Make) -> None:
    random = np.random.default_rng(0)
    images = [random.bytes(500) for _ in range(8)]
    path = make_parquet({"image": images, "label": [0, 1] * 4})
    content = bytearray(path.read_bytes())
    content[4:40] = bytes(36)  # the first page's header
    path.write_bytes(content)
    with pytest.raises(TaskError, match=r"rows\.parquet cannot be read"):
        ImageTask.load(path)


def test_images_beside_parquet_are_ambiguous(make_folder: Make, make_parquet: Make) -> None:
    folder = make_folder({"a": 3, "b": 3}, root="both")
    make_parquet({"image": [b"x"], "label": [0]}, "both/rows.parquet")
    with pytest.raises(TaskError, match=r"both/rows\.parquet"):
        ImageTask.load(folder)


def test_large_rows_are_read_few_at_a_time(tmp_path: Path, encode: Encode) -> None:
    # 400 rows of half a megabyte each, behind one valid image; 256 rows at once would be
    # 128 MB, and the whole file 200 MB.
    padding = np.random.default_rng(0).bytes(2**19)
    schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
    path = tmp_path / "large.parquet"
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, 400, 100):
            rows = range(start, start + 100)
            images = [encode(row) + padding for row in rows]
            columns = {"image": images, "label": [row % 2 for row in rows]}
            writer.write_table(pa.table(columns, schema=schema))
    program = (
        "import sys, pyarrow as pa\nfrom wsdarts_sdk.data.task import ImageTask\n"
        "ImageTask.load(sys.argv[1])\nprint(pa.default_memory_pool().max_memory())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, path]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(result.stdout) < 80_000_000
