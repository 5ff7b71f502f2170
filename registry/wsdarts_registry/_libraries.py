"""Libraries: how this package and its extras are installed, and files that hide a library.

Python looks for modules beside the script, or in the directory of the notebook, before it looks
among what is installed; ``torch.py`` there hides PyTorch, and the error is about that file's
content. This module imports as little as it can: modules of Python itself may be hidden, too.
"""

import os.path
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, TracebackType

from wsdarts_registry._text import sanitize_spaced
from wsdarts_registry.errors import LibraryError, WsdartsError

# The package is on no index, so it is installed from a checkout of its repository. Once it is
# published, these lines change, and the documentation (a test names its places).
INSTALL = "`pip install .` in the checkout of wsdarts-hub"
UPDATE = "`git pull && pip install .` in the checkout of wsdarts-hub"
REINSTALL = "`pip install --force-reinstall --no-deps .` in the checkout of wsdarts-hub"

# What this library and its extras import, with the name that it is installed by.
_INSTALLED_AS = {
    "PIL": "pillow",
    "datasets": "datasets",
    "filelock": "filelock",
    "huggingface_hub": "huggingface-hub",
    "jinja2": "jinja2",
    "model_signing": "model-signing",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
    "optuna": "optuna",
    "pandas": "pandas",
    "platformdirs": "platformdirs",
    "psycopg": "psycopg",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "rich": "rich",
    "safetensors": "safetensors",
    "sklearn": "scikit-learn",
    "sqlalchemy": "sqlalchemy",
    "timm": "timm",
    "torch": "torch",
    "torchvision": "torchvision",
    "typer": "typer",
    "yaml": "pyyaml",
}


def install_extra(extra: str) -> str:
    """Return the command that installs an extra, such as ``onnx``, and where to type it."""
    return f"`pip install '.[{extra}]'` in the checkout of wsdarts-hub"


@contextmanager
def naming_hidden_libraries() -> Iterator[None]:
    """Name the file that hides a library, if the block fails because of it.

    Raises:
        LibraryError: Such a file was imported, or its import failed.
    """
    try:
        yield
    except WsdartsError:
        raise
    except Exception as error:
        found = _hiding_file(error)
        if found is None:
            raise
        library, file = found
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LibraryError(
            f"{file} is imported in place of the library {library} ({sanitize_spaced(reason)})",
            hint="give it another name, or start Python in another directory",
        ) from error


def _hiding_file(error: Exception) -> tuple[str, str] | None:
    """Return a library and the file by its name that was imported, or whose import raised this."""
    raised_in = set(_files(error.__traceback__))
    for name in (*sorted(sys.stdlib_module_names), *_INSTALLED_AS):
        file = _found(name)
        if file is None or not (file in raised_in or _is_of(sys.modules.get(name), file)):
            continue
        if not _is_own(name, file):
            return name, file
    return None


def _files(frames: TracebackType | None) -> Iterator[str]:
    """Return the files that a traceback goes through."""
    while frames is not None:
        yield frames.tb_frame.f_code.co_filename
        frames = frames.tb_next


def _found(name: str) -> str | None:
    """Return the file that Python takes for a module of a name."""
    for entry in sys.path:
        place = os.path.join(os.path.abspath(entry), name)  # noqa: PTH100, PTH118 - see above
        for path in (os.path.join(place, "__init__.py"), f"{place}.py"):  # noqa: PTH118
            if os.path.isfile(path):  # noqa: PTH113 - it never raises
                return path
    return None


def _is_of(module: ModuleType | None, file: str) -> bool:
    return module is not None and getattr(module, "__file__", None) == file


def _is_own(name: str, file: str) -> bool:
    """Return whether a file is where the library of that name is installed."""
    if name in sys.stdlib_module_names:
        homes = [os.path.dirname(os.__file__)]  # noqa: PTH120
    else:
        from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415

        try:
            homes = [str(distribution(_INSTALLED_AS[name]).locate_file(""))]
        except PackageNotFoundError:
            return False
    # Not by ``_files``, whose own imports may be what is hidden.
    real = os.path.realpath(file)
    return any(real.startswith(os.path.join(os.path.realpath(home), "")) for home in homes)  # noqa: PTH118
