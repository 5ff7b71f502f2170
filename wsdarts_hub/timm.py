"""Importing this module registers the networks of this library with timm.

```python
import timm
import wsdarts_hub.timm
from wsdarts_hub import load_network

model = timm.create_model("wsdarts_pdarts_cifar", num_classes=7)
model = timm.create_model("local-dir:exported", pretrained=True)  # `wsdarts-hub export --timm`

network = load_network("cifar10-1000@3", weights="inherited")
model = timm.create_model("wsdarts_network", genotype=network, pretrained=True, num_classes=10)
```

The ``genotype`` of ``wsdarts_network`` is a ``Genotype``, its JSON data, its text, or a network of
``load_network``, of which alone there are weights.
"""

from wsdarts_registry._libraries import naming_hidden_libraries

with naming_hidden_libraries():
    from wsdarts_sdk.models.model_folder import save_timm
    from wsdarts_sdk.models.timm_model import TimmNetwork

__all__ = ["TimmNetwork", "save_timm"]
