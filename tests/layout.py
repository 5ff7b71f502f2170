"""Measure how the code is laid out, and fail where it is worse than agreed.

``python -m tests.layout`` prints one line for each measure with its bar; ``make lint`` runs it.
Imports inside functions and under ``TYPE_CHECKING`` count like all others.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "wsdarts_hub": ROOT,
    "wsdarts_sdk": ROOT / "sdk",
    "wsdarts_registry": ROOT / "registry",
    "wsdarts_cards": ROOT / "cards",
}
MAIN_JOB = "wsdarts_sdk.pipelines.warm_start"
# Modules beside the packages that each of them may import.
LOWEST = {"compiler", "devices", "distributed", "errors", "progress", "schedule", "setting_fields"}
PUBLIC_NAMES = ROOT / "wsdarts_hub" / "__init__.pyi"
SENTENCE = 5  # words from which on a literal in an assertion pins prose
Graph = dict[str, set[str]]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure and the most that it may be; None where it is only told."""

    name: str
    found: int
    bar: int | None = None
    where: tuple[str, ...] = ()


def measures() -> list[Measure]:
    """Return all measures of the checkout."""
    files = dict(modules())
    graph = imports(files)
    circles = strong_components(graph)
    folders = Counter(file.parent for file in files.values() if file.name != "__init__.py")
    widest = max(folders.values())
    sentences = [where for file in sorted((ROOT / "tests").rglob("*.py")) for where in pinned(file)]
    return [
        Measure(
            name="circles of imports",
            found=len(circles),
            bar=0,
            where=tuple(" ".join(sorted(circle)) for circle in circles),
        ),
        Measure(
            name="modules directly in one folder",
            found=widest,
            bar=16,
            where=tuple(str(f.relative_to(ROOT)) for f, n in folders.items() if n == widest),
        ),
        Measure(
            name="packages that import others than they say",
            found=len(untold := list(untold_imports(files, graph))),
            bar=0,
            where=tuple(untold),
        ),
        Measure(
            name="modules whose underscore is wrong",
            found=len(wrong := list(wrongly_marked(files))),
            bar=0,
            where=tuple(wrong),
        ),
        Measure(name="Python modules of the product", found=len(files), bar=210),
        Measure(
            name="modules that warm_start reaches", found=len(reached(graph, MAIN_JOB)), bar=144
        ),
        Measure(
            name="lines of the product",
            found=sum(len(text_of(file).splitlines()) for file in files.values()),
        ),
        Measure(
            name="lines of tests that pin sentences",
            found=len(sentences),
            bar=60,
            where=tuple(sentences),
        ),
    ]


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the file of each module of the product."""
    for package, base in PACKAGES.items():
        for file in sorted((base / package).rglob("*.py")):
            parts = file.relative_to(base).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


def imports(files: dict[str, Path]) -> Graph:
    """Return which modules each module imports, anywhere in its text."""
    graph: Graph = {name: set() for name in files}
    for name, file in files.items():
        for node in ast.walk(ast.parse(text_of(file))):
            if isinstance(node, ast.Import):
                graph[name].update(alias.name for alias in node.names if alias.name in files)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    below = f"{node.module}.{alias.name}"
                    graph[name].update({below if below in files else node.module} & files.keys())
        graph[name].discard(name)
    return graph


def untold_imports(files: dict[str, Path], graph: Graph) -> Iterator[str]:
    """Yield the packages whose docstring names other packages of their library than they import."""
    for package, file in files.items():
        library, _, name = package.partition(".")
        if library not in ("wsdarts_registry", "wsdarts_sdk") or file.name != "__init__.py":
            continue
        if not name or "." in name:
            continue
        own = [m for m in graph if f"{m}.".startswith(f"{package}.")]
        others = {o.split(".")[1] for m in own for o in graph[m] if o.startswith(f"{library}.")}
        imported = {o for o in others - LOWEST - {name} if not o.startswith("_")}
        text = ast.get_docstring(ast.parse(text_of(file))) or ""
        said = re.search(r"May\s+import (.*?)\.\s", text, re.DOTALL)
        if said is None or set(re.findall(r"``(\w+)``", said[1])) != imported:
            yield f"{package} imports {', '.join(sorted(imported)) or 'no other package'}"


def wrongly_marked(files: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of packages that begin with an underscore though others use them, or not.

    Others are modules outside the package and the public names. Benchmarks may look inside, and
    what they use needs no underscore.
    """
    product = {file: text_of(file) for file in (*files.values(), PUBLIC_NAMES)}
    benchmarks = {file: text_of(file) for file in (ROOT / "benchmarks").rglob("*.py")}
    for name, file in files.items():
        package, _, last = name.rpartition(".")
        if "." not in package or package.startswith("wsdarts_hub") or file.name == "__init__.py":
            continue
        looked_at = product if last.startswith("_") else product | benchmarks
        others = (text for path, text in looked_at.items() if file.parent not in path.parents)
        named = re.compile(
            rf"\b{re.escape(name)}\b|from {re.escape(package)} import [^\n]*\b{last}\b"
        )
        if any(named.search(text) for text in others) == last.startswith("_"):
            yield name


def strong_components(graph: Graph) -> list[set[str]]:
    """Return the sets of modules that import each other, directly or not."""
    reach = {name: reached(graph, name) for name in graph}
    groups = {
        frozenset({name, *(other for other in reach[name] if name in reach[other])})
        for name in graph
    }
    return [set(group) for group in groups if len(group) > 1]


def reached(graph: Graph, start: str) -> set[str]:
    """Return all modules that a module imports, directly or not, and itself."""
    found: set[str] = set()
    waiting = [start] if start in graph else []
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(graph[name])
    return found


def pinned(file: Path) -> Iterator[str]:
    """Yield the places of a test file where an assertion holds a sentence literally.

    Assertions are ``assert``, calls of functions named ``assert_…``, and ``match=``. They hold what
    stands in them, and what ``parametrize`` gives the parameters of the test that they name.
    """
    tree = ast.parse(text_of(file))
    parts = list(_asserted(tree))
    for test in ast.walk(tree):
        if isinstance(test, ast.FunctionDef) and test.decorator_list:
            body = (part for statement in test.body for part in _asserted(statement))
            used = {n.id for part in body for n in ast.walk(part) if isinstance(n, ast.Name)}
            parts += [part for name, part in _parameters(test) if name in used]
    for literal in (node for part in parts for node in ast.walk(part)):
        if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
            words = [w for w in literal.value.split() if any(c.isalpha() for c in w)]
            if len(words) >= SENTENCE:
                yield f"{file.relative_to(ROOT)}:{literal.lineno}"


def _asserted(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what is asserted anywhere in a tree."""
    for node in ast.walk(tree):
        match node:
            case ast.Assert(test=part) | ast.keyword(arg="match", value=part):
                yield part
            case ast.Call(func=ast.Name(id=name)) if name.startswith("assert_"):
                yield from (*node.args, *(keyword.value for keyword in node.keywords))


def _parameters(test: ast.FunctionDef) -> Iterator[tuple[str, ast.AST]]:
    """Yield the parameters of a test, each with the values that ``parametrize`` spells out.

    Rows that cannot be told apart by parameter count for all of them.
    """
    for call in test.decorator_list:
        match call:
            case ast.Call(func=ast.Attribute(attr="parametrize"), args=[names, values, *_]):
                named = [str(n.value) for n in ast.walk(names) if isinstance(n, ast.Constant)]
                for row in getattr(values, "elts", [values]):
                    cells = getattr(row, "elts", getattr(row, "args", [row]))
                    if len(named) == 1 or len(cells) != len(named):
                        yield from ((name, row) for name in named)
                    else:
                        yield from zip(named, cells, strict=True)


def text_of(file: Path) -> str:
    """Return the text of a source file."""
    return file.read_text(encoding="utf-8")


def main() -> int:
    """Print all measures; return 1 if one is worse than its bar."""
    worse = 0
    for measure in measures():
        told = f"{measure.name:36}{measure.found:>8,}"
        if measure.bar is not None:
            fits = measure.found <= measure.bar
            told += f"  at most {measure.bar:>4,}  {'ok' if fits else 'TOO MANY'}"
            worse += not fits
            for where in () if fits else measure.where[:20]:
                told += f"\n    {where}"
        print(told)
    return int(worse > 0)


if __name__ == "__main__":
    sys.exit(main())
