"""Task2Vec: embeddings of tasks by the Fisher information of a probe network.

May import ``data``. Public: the names below.
"""

from wsdarts_sdk.task2vec._variational import VariationalSettings
from wsdarts_sdk.task2vec.embedding import (
    check_limits,
    embed,
    embedding_seconds,
    embedding_space,
)
from wsdarts_sdk.task2vec.fisher import FisherSettings
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Probe

__all__ = [
    "FisherSettings",
    "Probe",
    "VariationalSettings",
    "check_limits",
    "embed",
    "embedding_seconds",
    "embedding_space",
    "load_probe",
]
