"""The pages of the documentation and their blocks of code.

A block of ``bash`` or ``python`` is run unless a comment before it says why it cannot be::

    <!-- not run: asks for a token -->

``<!-- no block of this page is run: REASON -->`` says it for a whole page. Pages begin in a
directory that holds what readers are told to imagine (`beginning.py`);
``<!-- begins without: run, net -->`` leaves out what a page makes itself.
"""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = ("bash", "python")
SHOWN = ("console", "html", "json", "text", "toml", "yaml")
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+)(?P<language>[^`\n]*)$")
_BLOCK_REASON = re.compile(r"<!-- not run: (.+?) -->\s*\Z", re.DOTALL)
_PAGE_REASON = re.compile(r"<!-- no block of this page is run: (.+?) -->", re.DOTALL)
_WITHOUT = re.compile(r"<!-- begins without: (.+?) -->", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of code of a page.

    Attributes:
        language: What stands behind the fence.
        code: What stands in the block, less its indentation.
        line: Number of its first line of code in the page, from 1.
        reason: Why it is not run, or None.
    """

    language: str
    code: str
    line: int
    reason: str | None

    @property
    def runs(self) -> bool:
        """Whether it is run."""
        return self.language in RUN and self.reason is None


def pages() -> list[Path]:
    """README, CONTRIBUTING, and everything below ``docs/``."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]


def page_name(page: Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def left_out(text: str) -> set[str]:
    """Return what a page says that its directory begins without."""
    found = _WITHOUT.search(text)
    return {name.strip() for name in found[1].split(",")} if found else set()


def blocks(text: str) -> list[Block]:
    """The blocks of a page, in order.

    Raises:
        ValueError: A block has no end.
    """
    of_page = _PAGE_REASON.search(text)
    found: list[Block] = []
    before: list[str] = []
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            before.append(line)
            continue
        code = []
        for _, inside in lines:
            if inside.strip() == fence["fence"]:
                break
            code.append(inside)
        else:
            raise ValueError(f"the block that begins in line {number} has no end")
        reason = _BLOCK_REASON.search("\n".join(before)) or of_page
        found.append(
            Block(
                language=fence["language"].strip(),
                code=textwrap.dedent("\n".join(code)) + "\n",
                line=number + 1,
                reason=" ".join(reason[1].split()) if reason else None,
            )
        )
        before = []
    return found
