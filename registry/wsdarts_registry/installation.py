"""What to type to install or update this package, said in one place.

It is on no package index, so everything is installed from a checkout of its repository; once it is
published, these are the lines to change, and the documentation (a test names its places).
"""

INSTALL = "`pip install .` in the checkout of wsdarts-hub"
UPDATE = "`git pull && pip install .` in the checkout of wsdarts-hub"
REINSTALL = "`pip install --force-reinstall --no-deps .` in the checkout of wsdarts-hub"


def install_extra(extra: str) -> str:
    """Return the command that installs an extra, such as ``onnx``, and where to type it."""
    return f"`pip install '.[{extra}]'` in the checkout of wsdarts-hub"
