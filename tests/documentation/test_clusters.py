"""Recipes for clusters, whose syntax is checked: there is no scheduler to run them."""

import argparse
import json
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.documentation.pages import ROOT, blocks

GUIDES = ROOT / "docs" / "guides"
BATCH = "#SBATCH "
# batch/v1 Job and everything in it, where fields that Kubernetes does not know are refused.
JOB = json.loads((Path(__file__).parent / "kubernetes_job.schema.json").read_text())


def scripts() -> list[tuple[str, str]]:
    pages = sorted(GUIDES.glob("*.md"))
    found = [(page.stem, block.code) for page in pages for block in blocks(page.read_text())]
    return [(page, code) for page, code in found if BATCH in code]


def manifest() -> dict[str, object]:
    page = (GUIDES / "several-machines.md").read_text(encoding="utf-8")
    (block,) = (block for block in blocks(page) if block.language == "yaml")
    found = yaml.safe_load(block.code)
    assert isinstance(found, dict)
    return found


def sbatch() -> argparse.ArgumentParser:
    """Parse options of `man sbatch`, those that the recipes may use."""
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False, add_help=False)
    for name in ("job-name", "gres", "mem", "time", "output", "array", "partition", "account"):
        parser.add_argument(f"--{name}", required=name in ("job-name", "time"))
    for name in ("cpus-per-task", "nodes", "ntasks"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--open-mode", choices=["append", "truncate"])
    parser.add_argument("--requeue", action="store_true")
    return parser


@pytest.mark.parametrize(("page", "script"), scripts())
def test_a_batch_script_is_one(page: str, script: str) -> None:
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    checked = subprocess.run(
        ["bash", "-n"], input=script, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    # Slurm stops looking for options at the first command.
    first = next(n for n, line in enumerate(lines) if line.strip() and not line.startswith("#"))
    assert all(n < first for n, line in enumerate(lines) if line.startswith(BATCH))
    options = [line.removeprefix(BATCH) for line in lines if line.startswith(BATCH)]
    chosen = sbatch().parse_args([word for each in options for word in shlex.split(each)])
    assert chosen.requeue
    assert page == "one-gpu" or chosen.array == "0-3"


def test_there_is_a_script_for_one_gpu_and_one_for_several_machines() -> None:
    assert [page for page, _ in scripts()] == ["one-gpu", "several-machines"]


def test_the_kubernetes_job_is_valid() -> None:
    assert list(jsonschema.Draft202012Validator(JOB).iter_errors(manifest())) == []


def test_a_field_that_kubernetes_does_not_know_is_refused() -> None:
    wrong = manifest()
    wrong["spec"]["replicas"] = 4  # type: ignore[index]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(JOB).validate(wrong)


def test_what_the_kubernetes_job_mounts_is_there() -> None:
    pod = manifest()["spec"]["template"]["spec"]  # type: ignore[index]
    (container,) = pod["containers"]
    mounts = [mount["name"] for mount in container["volumeMounts"]]
    assert mounts == [volume["name"] for volume in pod["volumes"]]
    assert pod["restartPolicy"] in ("OnFailure", "Never")  # a Job has no other
    (script,) = container["args"]
    words = shlex.split(script)
    paths = [word for word in words if word.startswith("/")]
    roots = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {f"/{path.split('/')[1]}" for path in paths} <= roots


@pytest.mark.parametrize("recipe", ["kubernetes", "slurm"])
def test_a_worker_is_started_with_options_that_exist(recipe: str) -> None:
    if recipe == "kubernetes":
        (script,) = manifest()["spec"]["template"]["spec"]["containers"][0]["args"]  # type: ignore[index]
    else:
        script = dict(scripts())["several-machines"].replace("\\\n", " ")
        script = script[script.index("wsdarts-hub") :]
    # As it is generated from the commands themselves.
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    (section,) = (part for part in page.split("\n## ") if part.startswith("warm-start\n"))
    used = [word for word in shlex.split(script) if word.startswith("--")]
    assert "--sweep" in used
    assert [o for o in used if f"| `{o}` " not in section and f"| `{o} " not in section] == []
