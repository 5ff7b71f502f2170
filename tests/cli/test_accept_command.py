"""Commands on a registry that shows an older state than before."""

import json
import shutil
from pathlib import Path

from tests.cli.conftest import Run
from tests.registry.factories import make_artifact


def test_what_is_older_is_told_until_it_is_accepted(zoo: Path, run: Run) -> None:
    there = ("--registry", zoo)
    assert run("list", *there).err == ""
    shutil.rmtree(zoo / "artifacts" / "textures")
    for command in (("list",), ("show", "textures@1"), ("pull", "textures")):
        assert run(*command, *there).err.count("textures@1 is gone") == 1
    assert run("show", "flowers", *there).err == ""
    assert run("accept", "textures", *there).lines == ["accepted: textures@1 is gone"]
    assert run("list", *there).err == ""
    assert len(run("accept", *there).lines) == 1
    assert run("accept", "-q", *there).out == ""


def test_another_artifact_under_a_version_is_refused(zoo: Path, run: Run, tmp_path: Path) -> None:
    there = ("--registry", zoo)
    run("list", *there)
    place = zoo / "artifacts" / "flowers" / "v1"
    shutil.rmtree(place)
    make_artifact(place, "flowers", description="another")
    out = tmp_path / "pulled"
    refused = run("pull", "flowers", "--out", out, *there)
    assert (refused.code, out.exists()) == (1, False)
    assert f"`wsdarts-hub accept flowers --registry {zoo}`" in refused.err
    assert run("verify", "flowers", *there).code == 1
    assert run("list", *there).code == 0
    accepted = json.loads(run("accept", "flowers", "--json", *there).out)
    assert (len(accepted["accepted"]), accepted["registry"]) == (1, str(zoo))
    assert run("pull", "flowers", "--out", out, *there).code == 0


def test_a_yank_that_was_forged_as_lifted_is_refused_in_one_line(
    zoo: Path, run: Run, tmp_path: Path
) -> None:
    there = ("--registry", zoo)
    run("yank", "flowers@1", "--reason", "stolen images", *there)
    record = zoo / "artifacts" / "flowers" / "v1.yanked.json"
    forged = json.loads(record.read_bytes())
    forged["lifted"] = {"reason": "they are fine", "when": forged["when"]}
    record.unlink()
    record.write_text(json.dumps(forged))
    out = tmp_path / "pulled"
    refused = run("pull", "flowers", "--out", out, *there)
    assert (refused.code, out.exists()) == (1, False)
    (error,) = (line for line in refused.err.splitlines() if line.startswith("error: "))
    assert "flowers@1 was yanked and" in error
    assert f"`wsdarts-hub accept flowers --registry {zoo}`" in error
    assert run("list", *there).err.count("flowers@1 was yanked and") == 1
    (accepted,) = run("accept", "flowers", *there).lines
    assert accepted.startswith("accepted: flowers@1 was yanked")
    assert run("pull", "flowers", "--out", out, *there).code == 0
