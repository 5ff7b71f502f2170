import builtins
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import Run
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_sdk.devices import hardware
from wsdarts_sdk.pipelines import doctor
from wsdarts_sdk.pipelines.doctor import diagnose


def test_all_is_well(zoo: Path, run: Run) -> None:
    shown = run("doctor", "--registry", zoo)
    assert shown.code == 0, shown.out
    for heading in ("versions", "devices", "cache", "registry", "probe", "nothing is broken"):
        assert heading in shown.lines
    assert f"ok     torch: {metadata.version('torch')}" in shown.lines
    assert "flowers-textures@1: verified, 8 files, 4 kB" in shown.out
    assert any(line.startswith("ok     shipped: ") and "sha256:" in line for line in shown.lines)


def test_quiet_says_nothing_where_nothing_is_broken(zoo: Path, run: Run) -> None:
    shown = run("doctor", "--registry", zoo, "-q")
    assert (shown.code, shown.out) == (0, "")


def test_every_note_and_everything_broken_has_an_advice(zoo: Path) -> None:
    for finding in diagnose(zoo):
        assert finding.state == "ok" or finding.advice


def test_sizes_of_the_cache(
    zoo: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache" / "tasks" / "abc").mkdir(parents=True)
    (tmp_path / "cache" / "tasks" / "abc" / "84px.npy").write_bytes(b"x" * 2500)
    with (tmp_path / "cache" / "embeddings").open("wb") as file:
        file.truncate(6 * 10**9)  # takes no room on the disk
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path / "cache"))
    shown = run("doctor", "--registry", zoo).lines
    assert any(line.startswith("ok     tasks: 2.5 kB") for line in shown)
    advice = [line for line in shown if "to free it" in line]
    big = tmp_path / "cache" / "embeddings"
    assert [line.split()[:3] for line in advice] == [["→", "delete", str(big)]]


def test_threads_are_counted_without_advice(
    zoo: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    shown = run("doctor", "--registry", zoo)
    assert "8 cores, torch uses 1 thread\n" in shown.out
    assert "OMP_NUM_THREADS" not in shown.out
    assert hardware(torch.device("cpu")).endswith(", 1 thread")
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    assert hardware(torch.device("cpu")).endswith(", 2 threads")


def test_a_damaged_artifact_is_found(zoo: Path, run: Run) -> None:
    path = zoo / "artifacts" / "flowers" / "v1" / "genotype.json"
    path.write_bytes(path.read_bytes().replace(b"sep_conv_3x3", b"sep_conv_5x5", 1))
    shown = run("doctor", "--registry", zoo, "-q")
    assert shown.code == 1
    assert shown.lines[0].startswith("BROKEN flowers@1: ")
    assert "genotype.json" in shown.lines[0]
    assert run("doctor", "--registry", zoo).lines[-1] == "1 broken"


def test_a_yanked_version_is_verified_and_named(zoo: Path, run: Run) -> None:
    DirectoryStore(zoo).yank("flowers@1", "wrong labels")
    shown = run("doctor", "--registry", zoo)
    assert any(
        line.startswith("ok     flowers@1: verified") and line.endswith("; yanked: wrong labels")
        for line in shown.lines
    )


def test_no_registry_where_one_is_named(run: Run, tmp_path: Path) -> None:
    shown = run("doctor", "--registry", tmp_path / "absent", "-q")
    assert shown.code == 1
    assert "is not a registry" in shown.lines[0]


def test_an_empty_registry_is_no_error(run: Run, tmp_path: Path) -> None:
    DirectoryStore(tmp_path / "empty", create=True)
    shown = run("doctor", "--registry", tmp_path / "empty")
    assert shown.code == 0
    assert "note   artifacts: none" in shown.lines


def test_a_cache_that_is_no_directory(
    zoo: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path / "file" / "cache"))
    shown = run("doctor", "--registry", zoo, "-q")
    assert shown.code == 1
    assert "cannot be written" in shown.lines[0]
    assert "WSDARTS_HUB_CACHE" in shown.lines[1]


def test_a_torch_that_does_not_load_is_a_finding(
    zoo: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        if name == "torch" or name.startswith("wsdarts_sdk.task2vec"):
            raise OSError("libcudart.so.13: cannot open shared object file\nno such file")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    shown = run("doctor", "--registry", zoo, "-q")
    assert shown.code == 1
    assert shown.lines[0].startswith("BROKEN torch: ")
    assert "libcudart.so.13" in shown.lines[0]


def test_a_library_that_is_too_old_or_missing(
    zoo: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "timm":
            return "0.9.16"
        if name in ("optuna", "scikit-learn"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    shown = run("doctor", "--registry", zoo)
    assert shown.code == 1
    least = next(r for r in metadata.requires("wsdarts-hub") or () if r.startswith("timm"))
    assert f"BROKEN timm: 0.9.16, needed is {least.removeprefix('timm>=')} or later" in shown.lines
    assert "BROKEN optuna: not installed" in shown.lines
    assert "note   scikit-learn: not installed" in shown.lines


@pytest.mark.parametrize(
    ("asked", "missing", "expected"),
    [
        ("portable", True, "portable kernels .*WSDARTS_HUB_KERNELS.* float32"),
        ("", True, "kernels that .* compiles, .* float32"),
    ],
)
def test_what_a_search_would_run_on_and_nothing_is_compiled(
    asked: str,
    missing: bool,
    expected: str,
    zoo: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", asked)
    monkeypatch.setattr("wsdarts_sdk.supernet.kernel_choice.must_compile", lambda _: missing)
    monkeypatch.setattr("wsdarts_sdk.supernet.kernel_choice.compiled_library", pytest.fail)
    lines = run("doctor", "--registry", zoo).lines
    assert any(re.fullmatch(f"ok     cpu engine: {expected}", line) for line in lines)


def test_kernels_that_are_not_known(zoo: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", "quick")
    monkeypatch.setattr("wsdarts_sdk.supernet.kernel_choice.must_compile", lambda _: False)
    shown = run("doctor", "--registry", zoo, "-q")
    assert shown.code == 1
    assert shown.lines[0].startswith("BROKEN cpu engine: ")
    assert "WSDARTS_HUB_KERNELS is 'quick'" in shown.lines[0]


def test_a_gpu_has_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", "portable")
    found = [(each.subject, each.found) for each in doctor._engine("cuda:0")]
    assert found[0][0] == "cuda:0 engine"
    assert found[0][1].startswith("portable kernels (WSDARTS_HUB_KERNELS")
    assert found[1][0] == "cuda:0 CUDA graphs"
