"""No module looks at paths by itself: ``pathlib`` raises raw errors, ``_files`` does not."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = Path("registry/wsdarts_registry/_files.py")
MODULES = sorted(
    path.relative_to(ROOT)
    for folder in ("wsdarts_hub", "registry", "sdk", "cards")
    for path in (ROOT / folder).rglob("*.py")
)
# What each call is in files.py, by the method of a path (or the function) that raises.
INSTEAD = {
    "exists": "exists",
    "is_file": "is_file",
    "is_dir": "is_directory",
    "is_symlink": "is_link",
    "iterdir": "entries",
    "glob": "matching",
    "rglob": "matching",
    "stat": "status",
    "lstat": "status",
    "resolve": "resolved",
    "expanduser": "expanded",
    "read_bytes": "read_regular",
    "read_text": "read_regular",
    "open": "open_regular, write_flushed or atomic_file",
    "realpath": "resolved",
    "listdir": "entries",
    "scandir": "entries",
}
# Looks that no user's path can spoil, and functions that write and say in their docstrings which
# OSErrors they raise, for their callers to explain.
ALLOWED = {
    "stores/records.py": ["path.read_bytes"],  # comes with the package
    "gallery/_scripts.py": [  # come with the package
        "package.joinpath('templates', 'report.css').read_text",
        "package.joinpath('gallery', 'gallery.css').read_text",
        "package.joinpath('gallery', 'scripts').iterdir",
        "script.read_bytes",
    ],
    "wsdarts_sdk/compiler.py": [  # an open directory; comes with the package; in its own directory
        "os.listdir",
        "os.open",
        "folder.joinpath(file).read_bytes",
        "folder.joinpath(_SHARED).read_bytes",
        "said.open",
        "said.open",
    ],
    "data/decoding.py": ["Image.open"],  # bytes in memory
    "sources/listing.py": ["entry.is_dir", "entry.is_symlink"],  # listed by the system, no raise
    "sources/_webdataset.py": ["tarfile.open"],  # an open file
    "wsdarts_registry/_file_lock.py": ["os.open", "path.lstat"],
    "wsdarts_registry/_libraries.py": ["os.path.realpath"] * 2,  # of modules that are loaded
    "wsdarts_hub/cli/__init__.py": ["open", "os.open"],  # /dev/null
    "stores/cache.py": [  # not if gone, below an open directory, or in /proc
        "path.lstat",
        "(Path(folder) / name).lstat",
        "os.open",
        "os.open",
        "os.stat",
        "(_PROCESSES / 'self' / 'maps').exists",
        "_PROCESSES.iterdir",
        "(process / 'maps').read_bytes",
        "(process / 'fd').iterdir",
    ],
    "stores/_listing_cache.py": ["os.open"],
    "artifact/checked_files.py": ["target.open"],
    "gallery/site.py": ["path.open"],
    "runs/checkpoints.py": ["self._metrics.open"],
}


def bare_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that look at a path where no handler beside them explains an OSError."""

    def visit(node: ast.AST, handled: bool) -> Iterator[ast.Call]:
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            handled = False
        elif isinstance(node, ast.Try):
            caught = any(h.type and "OSError" in ast.unparse(h.type) for h in node.handlers)
            for child in node.body:
                yield from visit(child, handled or caught)
            for other in (*node.handlers, *node.orelse, *node.finalbody):
                yield from visit(other, handled)
            return
        elif isinstance(node, ast.With):
            managers = [ast.unparse(item.context_expr) for item in node.items]
            handled |= any(m.startswith("suppress(") and "OSError" in m for m in managers)
        elif isinstance(node, ast.Call) and not handled and looks_at_a_path(node):
            yield node
        for child in ast.iter_child_nodes(node):
            yield from visit(child, handled)

    return visit(tree, False)


def looks_at_a_path(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id == "open"
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in INSTEAD:
        return False
    # A store resolves references, which are its argument; a path is resolved without one.
    return call.func.attr != "resolve" or not call.args


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_paths_are_looked_at_by_one_module(module: Path) -> None:
    if module == FILES:
        return
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    allowed = [c for name, calls in ALLOWED.items() if str(module).endswith(name) for c in calls]
    for call in bare_calls(tree):
        found = ast.unparse(call.func)
        if found in allowed:
            allowed.remove(found)
            continue
        method = found.rpartition(".")[2]
        pytest.fail(
            f"{module}:{call.lineno} calls {found}(), which raises a raw error for a directory "
            f"that may not be entered or a name that is too long; use {INSTEAD[method]} of "
            f"{FILES.stem}.py, or explain the OSError beside it"
        )
    assert not allowed, f"no longer there, so no longer allowed: {allowed}"
