"""What an installed wsdarts-hub consists of: licences, a bill of materials, known vulnerabilities.

``make audit`` runs ``python -m tests.audit``, which writes into ``audit/``:

- ``licences.tsv``: name, version and licence of all that ``pip install wsdarts-hub`` installs;
- ``sbom.cdx.json``: the same as a software bill of materials, CycloneDX 1.6;
- ``vulnerabilities.json``: the answer of ``pip-audit``, where it is installed and its service can
  be reached. Where it cannot, one line says so; what was not looked up does not count as safe.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = "wsdarts-hub"
# What a licence may be made of to count as permissive, by SPDX.
PERMISSIVE = frozenset(
    (
        *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause"),
        *("BSL-1.0", "CC0-1.0", "HPND", "ISC", "MIT", "MIT-CMU", "PSF-2.0", "Zlib"),
    )
)
# How older metadata name them, in lower case, without the words licence and software.
_OLDER_NAMES = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "isc": "ISC",
    "mit": "MIT",
    "mozilla public 2.0 (mpl 2.0)": "MPL-2.0",
    "python foundation": "PSF-2.0",
}
_TIMEOUT = 300  # seconds, for pip-audit


@dataclass(frozen=True, kw_only=True)
class Package:
    """One installed package, its licence by SPDX as far as its metadata say, and what it needs."""

    name: str
    version: str
    licence: str
    needs: tuple[str, ...]

    @property
    def is_permissive(self) -> bool:
        """Whether all parts of the licence are permissive, or one of which it leaves the choice."""
        choices = self.licence.replace("(", "").replace(")", "").split(" OR ")
        return any({*choice.split(" AND ")} <= PERMISSIVE for choice in choices)

    @property
    def purl(self) -> str:
        """Its address as a package, ``pkg:pypi/numpy@2.0.0``."""
        return f"pkg:pypi/{self.name}@{self.version.replace('+', '%2B')}"


def direct_dependencies() -> tuple[str, ...]:
    """Return the names of the direct dependencies, those of extras among them."""
    found = metadata.requires(PRODUCT) or ()
    return tuple(sorted({canonicalize_name(Requirement(text).name) for text in found}))


def installed() -> tuple[Package, ...]:
    """Return the product and all that it needs on this machine, sorted by name."""
    extras: dict[str, set[str]] = {PRODUCT: {""}}
    wanted, found = [PRODUCT], {}
    while wanted:
        name = wanted.pop()
        try:
            about = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # an old requirement that nothing uses here
            continue
        needed = _needs(about, extras[name])
        found[name] = Package(
            name=name,
            version=about.version,
            licence=_licence(about),
            needs=tuple(sorted(needed)),
        )
        for other, parts in needed.items():
            if not {"", *parts} <= extras.get(other, set()):
                extras.setdefault(other, {""}).update(parts)
                wanted.append(other)
    return tuple(found[name] for name in sorted(found))


def bill_of_materials(packages: tuple[Package, ...]) -> dict[str, Any]:
    """Return the CycloneDX document of the product and what it needs."""
    (product,) = (package for package in packages if package.name == PRODUCT)
    others = [package for package in packages if package is not product]
    known = {package.name: package.purl for package in packages}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _component(product, "application")},
        "components": [_component(package, "library") for package in others],
        "dependencies": [
            {"ref": p.purl, "dependsOn": [known[name] for name in p.needs if name in known]}
            for p in packages
        ],
    }


def vulnerabilities(packages: tuple[Package, ...], out: Path) -> str:
    """Ask ``pip-audit`` for known vulnerabilities, and return what it found in one line.

    Raises:
        SystemExit: There are some.
    """
    tool = Path(sys.executable).parents[1] / "audit-tools" / "bin" / "pip-audit"
    if not tool.is_file():
        return "vulnerabilities were not looked up: pip-audit is not installed (`make audit` does)"
    others = [package for package in packages if package.name != PRODUCT]
    pinned = out / "requirements.txt"
    pinned.write_text("".join(f"{p.name}=={p.version.partition('+')[0]}\n" for p in others))
    command = [str(tool), "-r", str(pinned), "--no-deps", "--disable-pip", "--timeout", "15"]
    try:
        run = subprocess.run(
            [*command, "--progress-spinner", "off", "--format", "json"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        answers = json.loads(run.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return "vulnerabilities were not looked up: the service of pip-audit cannot be reached"
    (out / "vulnerabilities.json").write_text(json.dumps(answers, indent=1))
    unknown = [answer["name"] for answer in answers if "vulns" not in answer]
    harmed = [f"{a['name']} {v['id']}" for a in answers for v in a.get("vulns", ())]
    if harmed:
        raise SystemExit(f"known vulnerabilities: {', '.join(harmed)}; see audit/")
    if unknown:
        return (
            f"of {len(answers)} packages {len(unknown)} were not looked up: the service of "
            "pip-audit does not know them, or is not the one of pypi.org"
        )
    return f"no known vulnerabilities in {len(answers)} packages"


def main() -> None:
    """Write the files and print one line for each."""
    out = ROOT / "audit"
    out.mkdir(exist_ok=True)
    packages = installed()
    rows = [f"{p.name}\t{p.version}\t{p.licence}\n" for p in packages]
    (out / "licences.tsv").write_text("".join(rows), encoding="utf-8")
    others = [f"{p.name} ({p.licence})" for p in packages if not p.is_permissive]
    print(f"licences of {len(packages)} packages; not known as permissive: {', '.join(others)}")
    text = json.dumps(bill_of_materials(packages), indent=1, sort_keys=True)
    (out / "sbom.cdx.json").write_text(f"{text}\n", encoding="utf-8")
    print(f"bill of materials: {(out / 'sbom.cdx.json').relative_to(ROOT)}")
    print(vulnerabilities(packages, out))


def _needs(about: metadata.Distribution, extras: set[str]) -> dict[str, set[str]]:
    """Return what a package needs with some of its extras, and the extras of each."""
    found: dict[str, set[str]] = {}
    for text in about.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            found.setdefault(canonicalize_name(requirement.name), set()).update(requirement.extras)
    return found


def _licence(about: metadata.Distribution) -> str:
    """Return the licence as SPDX, from the newest of the fields that there have been for it."""
    fields = about.metadata
    expression = fields.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = fields.get_all("Classifier") or ()
    named = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License :: ")]
    named += str(fields.get("License") or "").splitlines()[:1]
    for text in named:
        short = re.sub(r"licen[sc]e|software|,|version", "", text.lower())
        short = " ".join(short.split())
        if text in PERMISSIVE or short in _OLDER_NAMES:
            return _OLDER_NAMES.get(short, text)
    return named[0][:60] if named else "unknown"


def _component(package: Package, kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "licenses": [_licence_record(package.licence)],
    }


def _licence_record(licence: str) -> dict[str, Any]:
    if re.fullmatch(r"[A-Za-z0-9.-]+", licence) and licence != "unknown":
        is_spdx = licence in PERMISSIVE or licence == "MPL-2.0"
        return {"license": {"id" if is_spdx else "name": licence}}
    if " AND " in licence or " OR " in licence or " WITH " in licence:
        return {"expression": licence}
    return {"license": {"name": licence}}


if __name__ == "__main__":
    main()
