"""Every block of code in the documentation runs as it is written, or says why it cannot."""

import shutil
import time
from pathlib import Path

import pytest

from tests.documentation.pages import RUN, SHOWN, Block, blocks, left_out, page_name, pages
from tests.documentation.workplace import Shell
from tests.few_steps import few_steps
from wsdarts_hub import TINY

pytestmark = pytest.mark.processes

_BLOCKS = {page_name(page): blocks(page.read_text(encoding="utf-8")) for page in pages()}
# The walk has a test of its own, in `test_walk.py`.
_RUN = [name for name, found in _BLOCKS.items() if any(b.runs for b in found)]
_HERE = [name for name in _RUN if name != "docs/start.md"]


@pytest.mark.slow
@pytest.mark.parametrize("name", _HERE)
def test_every_block_of_a_page_runs(
    name: str, beginning: Path, tmp_path: Path, shell: Shell
) -> None:
    text = (Path(__file__).parents[2] / name).read_text(encoding="utf-8")
    page = tmp_path / "page"
    shutil.copytree(beginning, page, dirs_exist_ok=True)
    for left in left_out(text):
        assert (page / left).exists(), f"a page begins without {left} anyway"
        shutil.rmtree(page / left) if (page / left).is_dir() else (page / left).unlink()
    for block in _BLOCKS[name]:
        if block.runs:
            try:
                shell.run(block)
            except AssertionError as error:
                raise AssertionError(f"{name}, line {block.line}: {error}") from None


@pytest.mark.parametrize("name", _BLOCKS)
def test_the_language_of_every_block_is_known(name: str) -> None:
    unknown = [f"{b.line}: {b.language!r}" for b in _BLOCKS[name] if b.language not in RUN + SHOWN]
    assert unknown == [], f"expected one of {RUN + SHOWN}"


def test_what_is_run_and_what_is_not() -> None:
    found = [(name, block) for name, page in _BLOCKS.items() for block in page]
    run = [block for _, block in found if block.runs]
    left = [(name, block) for name, block in found if block.language in RUN and not block.runs]
    for name, block in left:
        assert block.reason is not None
        assert len(block.reason.split()) >= 3, f"{name}:{block.line}: {block.reason!r} says little"
    # The commands' own page has a reason for all; elsewhere most blocks have to run.
    elsewhere = [block for name, block in left if name != "docs/cli.md"]
    assert len(run) >= len(elsewhere)


def test_blocks_are_read_with_their_reasons() -> None:
    text = (
        "Text.\n\n```bash\nls\n```\n\n<!-- not run: asks\nfor a token -->\n\n```bash\nlogin\n```\n"
        "- item\n\n  ```python\n  if 1:\n      pass\n  ```\n\n````text\n```\n````\n"
    )
    assert blocks(text) == [
        Block(language="bash", code="ls\n", line=4, reason=None),
        Block(language="bash", code="login\n", line=11, reason="asks for a token"),
        Block(language="python", code="if 1:\n    pass\n", line=16, reason=None),
        Block(language="text", code="```\n", line=21, reason=None),
    ]
    assert [block.runs for block in blocks(text)] == [True, False, True, False]


def test_a_reason_before_other_text_is_of_no_block() -> None:
    assert blocks("<!-- not run: because of it -->\n\nText.\n\n```bash\nls\n```")[0].runs


def test_a_page_gives_a_reason_for_all_its_blocks() -> None:
    text = "<!-- no block of this page is run: it is\ngenerated -->\n```bash\nls\n```\n"
    assert [block.reason for block in blocks(text)] == ["it is generated"]


def test_a_block_without_an_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 2"):
        blocks("Text.\n```bash\nls\n")


def test_what_a_page_begins_without() -> None:
    assert left_out("# Page\n<!-- begins without: run, net -->\n") == {"run", "net"}
    assert left_out("# Page\n") == set()


def test_a_block_that_fails_is_told_with_its_output(shell: Shell) -> None:
    block = Block(language="bash", code="echo before\nfalse\necho after\n", line=1, reason=None)
    with pytest.raises(AssertionError, match="exit code 1") as caught:
        shell.run(block)
    assert "before\n" in str(caught.value)
    assert "after\n" not in str(caught.value).split("echo after")[1]


def test_a_command_and_a_script_that_fail(shell: Shell) -> None:
    for language, code, said in (
        ("bash", "wsdarts-hub show nothing\n", "error: "),
        ("python", "import wsdarts_hub\nwsdarts_hub.nothing\n", "AttributeError"),
        ("python", "raise SystemExit('ended')\n", "ended"),
    ):
        with pytest.raises(AssertionError, match="exit code 1") as caught:
            shell.run(Block(language=language, code=code, line=1, reason=None))
        assert said in str(caught.value)


def test_directory_and_variables_stay(shell: Shell, tmp_path: Path) -> None:
    code = "mkdir inner && cd inner && export NAME='a b'\n"
    shell.run(Block(language="bash", code=code, line=1, reason=None))
    code = "import os, pathlib\nprint(os.environ['NAME'], pathlib.Path.cwd())\n"
    printed = shell.run(Block(language="python", code=code, line=5, reason=None))
    assert printed == f"a b {tmp_path / 'page' / 'inner'}\n"


def test_what_libraries_read_when_they_are_loaded_holds(shell: Shell) -> None:
    code = "import sys\nprint('torch' in sys.modules)\n"
    code += "from huggingface_hub import constants\nprint(constants.HF_HUB_OFFLINE)\n"
    online = Block(language="python", code=code, line=1, reason=None)
    assert shell.run(online) == "True\nFalse\n"  # torch is loaded before the script begins
    shell.run(Block(language="bash", code="export HF_HUB_OFFLINE=1\n", line=7, reason=None))
    assert shell.run(Block(language="python", code=code, line=9, reason=None)) == "False\nTrue\n"


def test_presets_take_few_steps_unless_all_are_asked_for(shell: Shell) -> None:
    code = "from wsdarts_hub import PRESETS, TINY\n"
    code += "print(TINY.search.steps_per_epoch, PRESETS['tiny'] == TINY)\n"
    few = few_steps(TINY).search.steps_per_epoch
    asked = Block(language="python", code=code, line=1, reason=None)
    assert shell.run(asked) == f"{few} True\n"
    code = "export DOCUMENTATION_STEPS=all\n"
    shell.run(Block(language="bash", code=code, line=7, reason=None))
    assert shell.run(asked) == f"{TINY.search.steps_per_epoch} True\n"


def test_nothing_goes_on_after_its_block(shell: Shell, tmp_path: Path) -> None:
    wait = "import time, pathlib\npathlib.Path('begun').touch()\ntime.sleep(600)\n"
    (tmp_path / "page" / "wait.py").write_text(wait)
    code = "python wait.py &\nuntil [ -e begun ]; do sleep 0.01; done\n"
    shell.run(Block(language="bash", code=code, line=1, reason=None))
    deadline = time.monotonic() + 600
    while _works_in(tmp_path / "page"):
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.05)


def _works_in(directory: Path) -> bool:
    """Whether a process has a directory as its own."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == directory:
                return True
        except OSError:  # it has ended meanwhile, or is another user's
            continue
    return False
