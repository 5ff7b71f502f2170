"""Write the pictures of the pages: ``python -m docs.pictures``, in the checkout."""

from docs.pictures.gallery import FOLDER, PICTURES
from wsdarts_registry._files import write_atomically


def main() -> None:
    """Write each of them."""
    for name, draw in PICTURES.items():
        write_atomically(FOLDER / f"{name}.svg", draw().encode())


if __name__ == "__main__":
    main()
