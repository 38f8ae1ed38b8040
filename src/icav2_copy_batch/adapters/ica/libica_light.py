"""The part of libica's v3 client that is needed, without the cost of importing all of libica.

``libica.openapi.v3`` and its ``api`` and ``models`` packages import some 400 modules in their ``__init__``. That takes
seconds of every cold start, and four APIs are needed. So the three packages are entered into ``sys.modules`` without
running their ``__init__``: Python then finds and imports their submodules as always, and only those that are needed.

Most of the remaining time would go into pydantic's validators, one for each method and each model. pydantic is
configured to build each validator with its first use.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pydantic


def _enter_without_running(package: str) -> None:
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"{package} is not installed; it is in requirements-ica.txt", name=package)
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    parent, _, name = package.rpartition(".")
    setattr(sys.modules[parent], name, module)


@contextmanager
def validators_built_with_their_first_use() -> Iterator[None]:
    """pydantic's ``defer_build``, for all methods and models that are imported meanwhile."""
    config = pydantic.ConfigDict(defer_build=True)

    class BaseModel(pydantic.BaseModel):
        model_config = config

    kept = {"BaseModel": pydantic.BaseModel, "validate_call": pydantic.validate_call}
    vars(pydantic).update(BaseModel=BaseModel, validate_call=partial(pydantic.validate_call, config=config))
    try:
        yield
    finally:
        vars(pydantic).update(kept)


for _package in ("libica.openapi.v3", "libica.openapi.v3.api", "libica.openapi.v3.models"):
    _enter_without_running(_package)

# Used by several threads at once, so that they are built here and now.
from libica.openapi.v3.models.create_folder import CreateFolder
from libica.openapi.v3.models.create_project_data_copy_batch import CreateProjectDataCopyBatch
from libica.openapi.v3.models.create_project_data_copy_batch_item import CreateProjectDataCopyBatchItem

with validators_built_with_their_first_use():
    from libica.openapi.v3.api.job_api import JobApi
    from libica.openapi.v3.api.project_api import ProjectApi
    from libica.openapi.v3.api.project_data_api import ProjectDataApi
    from libica.openapi.v3.api.project_data_copy_batch_api import ProjectDataCopyBatchApi
    from libica.openapi.v3.api_client import ApiClient
    from libica.openapi.v3.configuration import Configuration
    from libica.openapi.v3.exceptions import ApiException

__all__ = [
    "ApiClient",
    "ApiException",
    "Configuration",
    "CreateFolder",
    "CreateProjectDataCopyBatch",
    "CreateProjectDataCopyBatchItem",
    "JobApi",
    "ProjectApi",
    "ProjectDataApi",
    "ProjectDataCopyBatchApi",
    "validators_built_with_their_first_use",
]
