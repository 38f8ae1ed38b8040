"""Copies whole manifests of files between ICAv2 projects, driven by events on AWS.

Read it in the order of the flow: ``handlers`` (called by Lambda) → ``stages`` (ingest, dispatch, launch, poll, publish)
→ ``domain`` (the rules, no I/O) and ``adapters`` (DynamoDB, ICA and the rest of AWS).
"""
