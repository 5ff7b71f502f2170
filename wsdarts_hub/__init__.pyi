"""The public names of wsdarts-hub, each with its module; ``__init__.py`` imports by this list."""

from wsdarts_registry.architecture.genotype import Genotype as Genotype
from wsdarts_registry.architecture.masks import OperationMasks as OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace as SearchSpace
from wsdarts_registry.artifact.difference import difference as difference
from wsdarts_registry.artifact.reader import Artifact as Artifact
from wsdarts_registry.artifact.signing import make_keys as make_keys
from wsdarts_registry.embedding.embedding import TaskEmbedding as TaskEmbedding
from wsdarts_registry.errors import WsdartsError as WsdartsError
from wsdarts_registry.gallery.site import build_gallery as build_gallery
from wsdarts_registry.gallery.site import serve_gallery as serve_gallery
from wsdarts_registry.publishing.publication import copy as copy
from wsdarts_registry.publishing.publication import push as push
from wsdarts_registry.publishing.publication import sign_version
from wsdarts_registry.stores.cache import clean_cache as clean_cache
from wsdarts_registry.stores.directory import DirectoryStore as DirectoryStore
from wsdarts_registry.stores.lineage import lineage as lineage
from wsdarts_registry.stores.opening import open_registry as open_registry
from wsdarts_registry.stores.query import find as find
from wsdarts_registry.stores.signature_policy import SignaturePolicy as SignaturePolicy
from wsdarts_sdk.artifacts.loading import load_network as load_network
from wsdarts_sdk.artifacts.pulling import pull as pull
from wsdarts_sdk.data.task import ImageTask as ImageTask
from wsdarts_sdk.models.classifier import Classifier as Classifier
from wsdarts_sdk.models.network import count as count
from wsdarts_sdk.pipelines.dry_runs import Estimate as Estimate
from wsdarts_sdk.pipelines.dry_runs import estimate_embedding as estimate_embedding
from wsdarts_sdk.pipelines.dry_runs import estimate_nearest as estimate_nearest
from wsdarts_sdk.pipelines.dry_runs import estimate_training as estimate_training
from wsdarts_sdk.pipelines.embed import embed_data
from wsdarts_sdk.pipelines.embed import nearest as nearest
from wsdarts_sdk.pipelines.evaluate import evaluate as evaluate
from wsdarts_sdk.pipelines.search import SearchRun as SearchRun
from wsdarts_sdk.pipelines.search import search as search
from wsdarts_sdk.pipelines.search_dry_runs import estimate_search as estimate_search
from wsdarts_sdk.pipelines.search_dry_runs import estimate_warm_start as estimate_warm_start
from wsdarts_sdk.pipelines.train import TrainingRun as TrainingRun
from wsdarts_sdk.pipelines.train import train as train
from wsdarts_sdk.pipelines.warm_start import WarmStart as WarmStart
from wsdarts_sdk.pipelines.warm_start import warm_start as warm_start
from wsdarts_sdk.presets import MEDIUM as MEDIUM
from wsdarts_sdk.presets import PAPER as PAPER
from wsdarts_sdk.presets import PRESETS as PRESETS
from wsdarts_sdk.presets import SMALL as SMALL
from wsdarts_sdk.presets import TINY as TINY
from wsdarts_sdk.presets import Preset as Preset
from wsdarts_sdk.progress import silent as silent
from wsdarts_sdk.reports.report import report as report
from wsdarts_sdk.runs.callbacks import Callback as Callback
from wsdarts_sdk.runs.callbacks import RunFacts as RunFacts
from wsdarts_sdk.runs.callbacks import TensorBoardWriter as TensorBoardWriter
from wsdarts_sdk.runs.result_records import Baseline as Baseline
from wsdarts_sdk.runs.result_records import Evaluation as Evaluation
from wsdarts_sdk.search.settings import darts as darts
from wsdarts_sdk.task2vec.fisher import FisherSettings as FisherSettings
from wsdarts_sdk.task2vec.loading import load_probe as load_probe
from wsdarts_sdk.task2vec.variational import VariationalSettings as VariationalSettings

__version__: str
embed = embed_data
sign = sign_version
