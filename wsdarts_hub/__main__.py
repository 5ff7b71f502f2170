"""``python -m wsdarts_hub`` is the command line."""

import sys

from wsdarts_registry._libraries import naming_hidden_libraries
from wsdarts_registry.errors import LibraryError

if __name__ == "__main__":
    try:
        with naming_hidden_libraries():
            from wsdarts_hub.cli import main
    except LibraryError as error:  # the directory that it runs in comes first on Python's path
        sys.exit(f"error: {error}")
    main()
