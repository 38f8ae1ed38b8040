"""What happens to a copy, stage by stage: ingest, dispatch, launch, poll, settle, reconcile, publish, delay."""
