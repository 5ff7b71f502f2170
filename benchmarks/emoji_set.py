"""Write an image set that is free of terms for research only: Noto's emoji, by Unicode's groups.

    python benchmarks/emoji_set.py noto_emoji.parquet

Images of the font Noto Color Emoji (Apache-2.0; the font under the SIL Open Font License 1.1), 84
pixels a side on white, in the nine groups of Unicode's list of emoji. Emoji with a skin tone are
left out, as they differ by a colour alone, and so is what looks like an earlier one. Both files are
those of the Debian packages ``fonts-noto-color-emoji`` and ``unicode-data``; Pillow needs Raqm to
draw emoji of several characters.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import datasets
from PIL import Image, ImageDraw, ImageFont, features

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
LIST = Path("/usr/share/unicode/emoji/emoji-test.txt")
DRAWN, SIDE = 136, 84  # pixels: the font's own size, and that of the other sets
_FONT_SIZE = 109  # the only one that the font has
_WIDEST = 140  # a sequence that the font does not have is drawn as its parts
_SKIN_TONES = range(0x1F3FB, 0x1F400)


def main() -> None:
    """Draw all emoji and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--font", type=Path, default=FONT)
    parser.add_argument("--list", type=Path, default=LIST)
    arguments = parser.parse_args()
    if not features.check("raqm"):
        raise SystemExit("this Pillow draws no emoji of several characters: it has no Raqm")
    drawn = list(images(arguments.font, arguments.list))
    groups = sorted({group for group, _ in drawn})
    described = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=groups)}
    )
    rows = {
        "image": [{"bytes": png, "path": None} for _, png in drawn],
        "label": [groups.index(group) for group, _ in drawn],
    }
    datasets.Dataset.from_dict(rows, features=described).to_parquet(arguments.out)
    print(f"{arguments.out}: {len(drawn)} images of {len(groups)} groups: {', '.join(groups)}")


def images(font_file: Path, list_file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the group and the PNG file of each emoji."""
    font, seen = ImageFont.truetype(str(font_file), _FONT_SIZE), set()
    for group, emoji in listed(list_file.read_text(encoding="utf-8")):
        canvas = Image.new("RGB", (DRAWN, DRAWN), "white")
        pen = ImageDraw.Draw(canvas)
        left, _, right, _ = pen.textbbox((0, 0), emoji, font=font, embedded_color=True)
        if right - left > _WIDEST:
            continue
        middle = (DRAWN / 2, DRAWN / 2)
        pen.text(middle, emoji, font=font, anchor="mm", embedded_color=True)
        if (pixels := canvas.tobytes()) not in seen:
            seen.add(pixels)
            file = io.BytesIO()
            canvas.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(file, "PNG")
            yield group, file.getvalue()


def listed(text: str) -> Iterator[tuple[str, str]]:
    """Yield the group and the characters of each emoji of Unicode's list, without skin tones."""
    group = ""
    for line in text.splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ").strip()
        points, _, status = line.partition(";")
        if status.strip().startswith("fully-qualified"):
            numbers = [int(point, 16) for point in points.split()]
            if not any(number in _SKIN_TONES for number in numbers):
                yield group, "".join(map(chr, numbers))


if __name__ == "__main__":
    main()
