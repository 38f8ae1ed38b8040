"""libica's v3 client without the cost of importing all of it.

``libica.openapi.v3`` and its ``api`` and ``models`` packages import some 400 modules in their ``__init__``; that takes
seconds of every cold start, and we need four APIs. So the three packages are entered into ``sys.modules`` without
running their ``__init__``: submodules are then found and imported as always, and only those that are needed.
"""

from __future__ import annotations

import importlib.util
import sys


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


for _package in ("libica.openapi.v3", "libica.openapi.v3.api", "libica.openapi.v3.models"):
    _enter_without_running(_package)

from libica.openapi.v3.api.job_api import JobApi  # noqa: E402
from libica.openapi.v3.api.project_api import ProjectApi  # noqa: E402
from libica.openapi.v3.api.project_data_api import ProjectDataApi  # noqa: E402
from libica.openapi.v3.api.project_data_copy_batch_api import ProjectDataCopyBatchApi  # noqa: E402
from libica.openapi.v3.api_client import ApiClient  # noqa: E402
from libica.openapi.v3.configuration import Configuration  # noqa: E402
from libica.openapi.v3.exceptions import ApiException  # noqa: E402
from libica.openapi.v3.models.create_folder import CreateFolder  # noqa: E402
from libica.openapi.v3.models.create_project_data_copy_batch import CreateProjectDataCopyBatch  # noqa: E402
from libica.openapi.v3.models.create_project_data_copy_batch_item import CreateProjectDataCopyBatchItem  # noqa: E402

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
]
