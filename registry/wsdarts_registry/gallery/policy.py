"""What a page of the gallery may do: a Content-Security-Policy that holds from a disk, too.

A page without scripts may run none. One with scripts may run one short loader, named by its hash,
and what that loads, and only from where the page is from. No page may send or fetch anything.
"""

import base64
import hashlib

from wsdarts_registry.gallery.script_data import script_json

# Where the page is from; browsers differ in whether "self" means that on a disk.
_HERE = "'self' file:"
_ALWAYS = (
    f"default-src 'none'; style-src {_HERE}; img-src {_HERE} data:; base-uri 'none'; "
    "form-action 'none'"
)


def loader(scripts: tuple[str, ...]) -> str:
    """The script that loads others from ``assets``, in order."""
    return (
        f"for(const name of {script_json(list(scripts))})"
        '{const script=document.createElement("script");'
        'script.async=false;script.src="assets/"+name+".js";document.head.append(script)}'
    )


def policies(scripts: tuple[str, ...]) -> tuple[str, ...]:
    """The policies of a page with these scripts; all of them must allow what happens."""
    if not scripts:
        return (_ALWAYS,)
    digest = hashlib.sha256(loader(scripts).encode()).digest()
    own = f"'sha256-{base64.b64encode(digest).decode()}'"
    return (
        f"{_ALWAYS}; script-src {own} 'strict-dynamic'",
        # "strict-dynamic" trusts what the loader loads wherever it is from; this does not.
        f"script-src {_HERE} {own}",
    )
