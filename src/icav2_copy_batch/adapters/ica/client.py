"""ICA for the stages: one client that combines the modules of this package.

``http`` makes the calls and ``bodies`` reads the answers; ``paths`` compares paths. ``projects``, ``listings``,
``data``, ``trees``, ``folders``, ``batches`` and ``jobs`` each know one part of ICA's API, and ``memory`` is what they
remember.
"""

from __future__ import annotations

from icav2_copy_batch.adapters.ica.batches import CopyBatches
from icav2_copy_batch.adapters.ica.data import Data
from icav2_copy_batch.adapters.ica.folders import Folders
from icav2_copy_batch.adapters.ica.http import Http
from icav2_copy_batch.adapters.ica.jobs import Jobs
from icav2_copy_batch.adapters.ica.listings import Listings
from icav2_copy_batch.adapters.ica.memory import Memory
from icav2_copy_batch.adapters.ica.projects import Projects
from icav2_copy_batch.adapters.ica.trees import Trees


class IcaClient:
    """The ICA API as far as the product needs it: the ports ``Ica`` and ``IcaSearch``, and ``project_id``.

    Every method raises ``IcaUnavailable`` when ICA did not carry out the call and may do so later, and ``IcaRefused``
    when it would refuse it again; ``start_copy_batch`` alone raises ``IcaAnswerLost``, when nobody knows.
    """

    def __init__(self, *, http: Http, memory: Memory | None = None) -> None:
        self._http = http
        self._memory = memory or Memory(monotonic=http.monotonic)
        projects = Projects(http=self._http, memory=self._memory)
        listings = Listings(http=self._http, memory=self._memory, projects=projects)
        data = Data(http=self._http, memory=self._memory, listings=listings)
        trees = Trees(listings=listings)
        folders = Folders(http=self._http, memory=self._memory, listings=listings, data=data)
        batches = CopyBatches(http=self._http, memory=self._memory)
        jobs = Jobs(http=self._http)

        self.project_id = projects.project_id

        self.find = data.find
        self.find_sources = data.find_sources
        self.find_by_ids = data.find_by_ids
        self.read = data.read
        self.delete_data = data.delete_data

        self.tree_pages = trees.tree_pages
        self.file_pages = trees.file_pages
        self.folders_in = trees.folders_in
        self.incomplete_files = trees.incomplete_files

        self.ensure_folders = folders.ensure_folders

        self.start_copy_batch = batches.start_copy_batch
        self.copy_batch_folder = batches.copy_batch_folder
        self.copy_batch_items = batches.copy_batch_items

        self.jobs = jobs.jobs
        self.recent_jobs = jobs.recent_jobs

    def impatient(self) -> IcaClient:
        """The same client for those who ask again later anyway: a call that fails is made once more at most.

        Both share what they remember.
        """
        return IcaClient(http=self._http.impatient(), memory=self._memory)
