"""A manifest like that of a BCLConvert run: R1 and R2 per sample and lane, with logs, reports and InterOp files."""

from __future__ import annotations

import random
from uuid import UUID

Manifest = dict[str, list[str]]

SAMPLES_PER_LANE = (11, 10, 10, 10)
REPORTS = [
    "Adapter_Cycle_Metrics.csv",
    "Adapter_Metrics.csv",
    "Demultiplex_Stats.csv",
    "Demultiplex_Tile_Stats.csv",
    "Index_Hopping_Counts.csv",
    "IndexMetricsOut.bin",
    "Quality_Metrics.csv",
    "Quality_Tile_Metrics.csv",
    "RunInfo.xml",
    "SampleSheet.csv",
    "Top_Unknown_Barcodes.csv",
    "fastq_list.csv",
    "report.html",
]
INTEROP = [
    "AlignmentMetricsOut",
    "BasecallingMetricsOut",
    "CorrectedIntMetricsOut",
    "EmpiricalPhasingMetricsOut",
    "ErrorMetricsOut",
    "EventMetricsOut",
    "ExtendedTileMetricsOut",
    "ExtractionMetricsOut",
    "FWHMGridMetricsOut",
    "ImageMetricsOut",
    "IndexMetricsOut",
    "OpticalModelMetricsOut",
    "PFGridMetricsOut",
    "QGridMetricsOut",
    "QMetrics2030Out",
    "QMetricsByLaneOut",
    "QMetricsOut",
    "RegistrationMetricsOut",
    "TileMetricsOut",
]
LOGS = ("Errors.log", "FastqComplete.txt", "Info.log", "Warnings.log")


def bclconvert_manifest(seed: int = 1) -> Manifest:
    """118 files into 44 destination folders, as of a real run; another seed gives another run."""
    chance = random.Random(seed)
    source_project, destination_project = (str(UUID(int=chance.getrandbits(128), version=4)) for _ in range(2))
    flowcell = f"H{chance.randrange(10**8):08d}DSXC"
    run = f"240229_A00130_{seed:04d}_B{flowcell}"
    output = f"icav2://{source_project}/ilmn-analyses/{run}-BclConvert v4_2_7-{chance.getrandbits(32):08x}/output"
    primary = f"icav2://{destination_project}/ilmn_primary/{run}/20240528"
    manifest: Manifest = {}
    for lane, samples in enumerate(SAMPLES_PER_LANE, start=1):
        for sample in range(samples):
            library = f"L2400{lane}{sample:02d}"
            for read in (1, 2):
                name = f"{library}_S{sample + 1}_L{lane:03d}_R{read}_001.fastq.gz"
                manifest[f"{output}/Samples/Lane_{lane}/{library}/{name}"] = [
                    f"{primary}/Samples/Lane_{lane}/{library}/"
                ]
    for name in LOGS:
        manifest[f"{output}/Logs/{name}"] = [f"{primary}/Logs/"]
    for name in REPORTS:
        manifest[f"{output}/Reports/{name}"] = [f"{primary}/Reports/"]
    for name in INTEROP:
        manifest[f"{output}/InterOp/{name}.bin"] = [f"{primary}/InterOp/"]
    return manifest
