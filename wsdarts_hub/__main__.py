"""``python -m wsdarts_hub`` is ``wsdarts-hub``."""

from wsdarts_hub.cli import main

if __name__ == "__main__":
    main()
