"""Fixtures for every test: caches that are thrown away, and data that may not be there."""

import itertools
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.documentation.workplace import Programs
from wsdarts_registry._files import cache_directory, write_atomically

# Triton decides when it is imported whether Python runs its kernels; it must where no GPU is.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")
# A shell that starts the tests in the background has them ignore SIGINT, and so would all programs
# that they start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# No test depends on how fast the machine is.
settings.register_profile("any-speed", deadline=None)
settings.load_profile("any-speed")
# What tests write does not outlive the machine, and no test can see whether it was flushed: without
# its waits for the disk, publishing a small artifact takes a third of the time.
os.fsync = lambda _: None  # type: ignore[assignment]
# On PYTHONPATH it shortens the pauses between what the libraries of a program try again.
SHORT_PAUSES = Path(__file__).parent / "short_pauses"
_SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def kernel_cache(pytestconfig: pytest.Config) -> Path:
    """Compiled kernels: those that the user's cache had before, and what tests have compiled."""
    assert pytestconfig.cache is not None
    directory = pytestconfig.cache.mkdir("kernels")
    for library in (cache_directory() / "kernels").glob("*.so"):
        if not (directory / library.name).exists():
            write_atomically(directory / library.name, library.read_bytes(), mode=0o600)
    return directory


def _use_cache(cache: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    (cache / "kernels").symlink_to(kernel_cache)
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(cache))
    monkeypatch.delenv("WSDARTS_HUB_POLICY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(cache / "no-configuration"))


@pytest.fixture(scope="session", autouse=True)
def _caches(
    tmp_path_factory: pytest.TempPathFactory, kernel_cache: Path
) -> Iterator[Iterator[Path]]:
    """Keep fixtures of many tests out of the user's own directories; name caches for each test.

    ``mktemp`` would look at all earlier directories for each new one.
    """
    parent = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as monkeypatch:
        _use_cache(parent / "shared", kernel_cache, monkeypatch)
        yield (parent / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_cache(
    _caches: Iterator[Path], kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give every test an empty cache; compile the kernels once for all."""
    _use_cache(next(_caches), kernel_cache, monkeypatch)


@pytest.fixture(scope="session")
def hub_port() -> int:
    """A port for the Hub of one test after another: its address is read when it is imported."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def programs(hub_port: int, kernel_cache: Path) -> Iterator[Programs]:
    """``wsdarts-hub`` and ``python``, forked from a process that has torch loaded."""
    # Not below pytest's own directory: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="forked-") as directory:
        endpoint = f"http://127.0.0.1:{hub_port}"
        running = Programs(Path(directory), kernels=kernel_cache, endpoint=endpoint)
        try:
            yield running
        finally:
            running.close()


@pytest.fixture
def environment(programs: Programs) -> dict[str, str]:
    """The environment of these programs that take all steps, on the CPU, with a test's cache."""
    hidden = {"DOCUMENTATION_STEPS": "all", "CUDA_VISIBLE_DEVICES": ""}
    cache = {"WSDARTS_HUB_CACHE": os.environ["WSDARTS_HUB_CACHE"]}
    return programs.environment | hidden | cache


@pytest.fixture
def shared_data() -> Path:
    """Directory of real image data that lies beside the project on some machines."""
    return _existing(_SHARED / "data")


@pytest.fixture
def shared_probe() -> Path:
    """Weights of an ImageNet probe (MobileNetV2) that lies beside the project on some machines."""
    return _existing(_SHARED / "probe" / "mobilenetv2_100.safetensors")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `pytest --update-golden` write golden files anew instead of comparing with them."""
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a committed file, or write it with ``--update-golden``."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} is missing; run pytest --update-golden"
        committed = path.read_text(encoding="utf-8")
        assert text == committed, f"{path.name} is out of date; run pytest --update-golden"

    return compare


def _existing(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout (../shared)")
    return path
