"""Copy batches: started, and read with what has become of their sources."""

from __future__ import annotations

from collections.abc import Sequence

from icav2_copy_batch.adapters.ica.bodies import item_in, text_in
from icav2_copy_batch.adapters.ica.http import Http
from icav2_copy_batch.adapters.ica.libica_light import (
    CreateProjectDataCopyBatch,
    CreateProjectDataCopyBatchItem,
    ProjectDataCopyBatchApi,
)
from icav2_copy_batch.adapters.ica.memory import Memory
from icav2_copy_batch.domain.ica import (
    CopyBatchItem,
    IcaAnswerLost,
    IcaRefused,
    IcaRefusedBatch,
    IcaUnavailable,
    StartedCopyBatch,
)
from icav2_copy_batch.domain.submit import CopyOptions


class CopyBatches:
    """``/api/projects/{projectId}/dataCopyBatch``, of the destination's project."""

    def __init__(self, *, http: Http, memory: Memory) -> None:
        self._http, self._memory = http, memory
        self._api = ProjectDataCopyBatchApi(http.client)

    def start_copy_batch(
        self, project_id: str, folder_id: str | None, data_ids: Sequence[str], options: CopyOptions
    ) -> StartedCopyBatch:
        """Start to copy data into a folder of a project, or into its root where ``folder_id`` is None.

        ``POST /api/projects/{projectId}/dataCopyBatch``, which takes no idempotency key. Raises ``IcaAnswerLost`` where
        nobody knows whether it was started: it must not be repeated then. Raises ``IcaRefusedBatch`` where fewer data
        may be accepted, ``IcaRefused``, and ``IcaUnavailable``, also where an id was remembered and may be stale.
        """
        batch = CreateProjectDataCopyBatch(
            items=[CreateProjectDataCopyBatchItem(dataId=data_id) for data_id in data_ids],
            destinationFolderId=folder_id,
            actionOnExist=options.action_on_exist,
            copyUserTags=options.copy_user_tags,
            copyTechnicalTags=options.copy_technical_tags,
            copyInstrumentInfo=options.copy_instrument_info,
        )
        try:
            answer = self._http.call(
                self._api.create_project_data_copy_batch_without_preload_content,
                project_id=project_id,
                create_project_data_copy_batch=batch,
                repeatable=False,
            )
        except IcaRefused as error:
            if self._memory.has_recalled([folder_id, *data_ids]):
                self._memory.forget_data()
                raise IcaUnavailable(f"{error}; what was looked up some minutes ago is looked up anew") from None
            if error.http_status in (400, 413, 422) and len(data_ids) > 1:
                hint = f"it was to copy {len(data_ids)} sources; if these are too many, set MaxSourcesPerJob lower"
                raise IcaRefusedBatch(f"{error} ({hint})", http_status=error.http_status) from None
            raise
        try:
            return StartedCopyBatch(batch_id=text_in(answer, "id"), job_id=text_in(answer, "job", "id"))
        except IcaUnavailable as error:
            raise IcaAnswerLost(f"the copy batch was started, but the answer cannot be read: {error}") from None

    def copy_batch_folder(self, project_id: str, batch_id: str) -> str | None:
        """The id of the folder that a copy batch copies into; None where ICA does not say.

        ``GET /api/projects/{projectId}/dataCopyBatch/{batchId}``. Raises ``IcaRefused`` where the project has no such
        copy batch, and ``IcaUnavailable``.
        """
        answer = self._http.call(
            self._api.get_project_data_copy_batch_without_preload_content, project_id=project_id, batch_id=batch_id
        )
        folder_id = answer.get("destinationFolderId")
        return folder_id if isinstance(folder_id, str) else None

    def copy_batch_items(self, project_id: str, batch_id: str) -> list[CopyBatchItem]:
        """The sources of a copy batch, each with what has become of it.

        ``GET /api/projects/{projectId}/dataCopyBatch/{batchId}/items``. Raises ``IcaRefused`` where the project has no
        such copy batch, and ``IcaUnavailable``.
        """
        operation = self._api.get_project_data_copy_batch_items_without_preload_content
        rows = self._http.rows(operation, project_id=project_id, batch_id=batch_id)
        return [item_in(row, self._http.ica_clock) for row in rows]
