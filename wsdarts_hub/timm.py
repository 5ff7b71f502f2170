"""Importing this module registers the networks of this library with timm.

```python
import timm
import wsdarts_hub.timm

model = timm.create_model("wsdarts_pdarts_cifar", num_classes=7)
model = timm.create_model("local-dir:exported", pretrained=True)  # `wsdarts-hub export --timm`
```
"""

from wsdarts_registry._libraries import naming_hidden_libraries

with naming_hidden_libraries():
    from wsdarts_sdk.models.model_folder import save_timm
    from wsdarts_sdk.models.timm_model import TimmNetwork

__all__ = ["TimmNetwork", "save_timm"]
