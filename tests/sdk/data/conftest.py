"""Small real files to load: folders and parquet, made of images with known pixels."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Encode = Callable[..., bytes]


def _encode(seed: int, side: int = 12, kind: str = "png") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def encode() -> Encode:
    """Bytes of a small image of noise: the same seed, the same bytes."""
    return _encode


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write an image folder: so many images for each class, all different."""

    def make(
        classes: Mapping[str, int], root: str = "images", kind: str = "png", start: int = 0
    ) -> Path:
        folder = tmp_path / root
        folder.mkdir(parents=True)
        for i, (name, count) in enumerate(classes.items()):
            (folder / name).mkdir()
            for j in range(count):
                content = _encode(start + 1000 * i + j, kind=kind)
                (folder / name / f"{j}.{kind}").write_bytes(content)
        return folder

    return make


@pytest.fixture
def make_parquet(tmp_path: Path) -> Callable[..., Path]:
    """Write a parquet file from columns of plain values."""

    def make(columns: Mapping[str, Any], name: str = "rows.parquet") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(dict(columns)), path)
        return path

    return make
