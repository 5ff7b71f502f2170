"""An architecture zoo: publish transfer architectures, and warm-start DARTS from the nearest.

```python
from wsdarts_hub import warm_start

result = warm_start("path/to/images")
print(result.source, result.genotype)
model = result.train(preset="small").model
```

``__init__.pyi`` lists the public names. Each is imported when it is first used, so that what needs
no torch does not load it. May import all other packages; none of them imports this one.
"""

import ast
import logging
from importlib import import_module
from pkgutil import get_data
from typing import Any


def _origins() -> dict[str, tuple[str, str]]:
    """Return the module of each public name and its name there, as ``__init__.pyi`` lists them."""
    stub = ast.parse(get_data(__name__, "__init__.pyi") or b"")
    found, private = {}, {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names = found if alias.asname else private
                names[alias.name] = (str(node.module), alias.name)
        elif isinstance(node, ast.Assign):
            found[ast.unparse(node.targets[0])] = private[ast.unparse(node.value)]
    return found


# Who embeds the library decides what is shown of its loggers, wsdarts_hub.*.
logging.getLogger(__name__).addHandler(logging.NullHandler())
_ORIGINS = _origins()
__all__ = sorted(_ORIGINS)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - only who asks waits for it

        return version("wsdarts-hub")
    if name not in _ORIGINS:
        raise AttributeError(f"module 'wsdarts_hub' has no attribute {name!r}")
    module, attribute = _ORIGINS[name]
    from wsdarts_registry._libraries import naming_hidden_libraries  # noqa: PLC0415

    with naming_hidden_libraries():
        value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
