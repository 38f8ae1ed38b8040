"""The doubles: what the stages talk to, in memory. Each is held by tests that run on it and on what it stands for.

=============  ==================================  ======================================
double         stands for                          held by
=============  ==================================  ======================================
Table          ``adapters.table.CopyTable``        ``integration/test_table_contract.py``
Queue          ``adapters.aws.LaunchQueue``        ``integration/test_doubles.py``
Poller         ``adapters.aws.Poller``             nothing: it only counts
Bus            ``adapters.aws.EventBus``           ``integration/test_doubles.py``
Bucket         ``adapters.bucket.ManifestBucket``  ``integration/test_doubles.py``
Tasks          ``adapters.aws.TaskTokens``         ``integration/test_doubles.py``
SmallIca       our client of ICA                   ``integration/test_ica_contract.py``
SmallSetup     our client of ICA, for operators    ``integration/test_ica_setup.py``
SimulatedIca   ICA itself, served over HTTP        ``integration/test_simulator.py``
=============  ==================================  ======================================

``unit/test_doubles.py`` holds that those of AWS have the methods of what they stand for, with the same arguments.

There is one model of ICA, ``local/simulator``: ``SimulatedIca`` serves it, the simulated world steps it, and the tests
that hold ``SmallIca`` run on it. The simulated world's queues, lines and clock are in ``tests/simulation``; its table,
bucket, bus and tasks are these.

A request to a double goes over a ``Line``, which can be cut after the n-th: so a test kills a stage anywhere.
"""

from tests.doubles.aws import Bucket, Bus, Event, Failed, Poller, Queue, Succeeded, Tasks
from tests.doubles.clock import Clock, in_turn
from tests.doubles.ica import SmallIca
from tests.doubles.line import Line, LineCut
from tests.doubles.prepared import HeavyJobs, create_due_jobs, hold, nobody_calls_until, pacing, run
from tests.doubles.setup import SmallSetup
from tests.doubles.table import ConditionRefused, Table
from tests.doubles.world import SOURCES, World

__all__ = [
    "SOURCES",
    "Bucket",
    "Bus",
    "Clock",
    "ConditionRefused",
    "Event",
    "Failed",
    "HeavyJobs",
    "Line",
    "LineCut",
    "Poller",
    "Queue",
    "SmallIca",
    "SmallSetup",
    "Succeeded",
    "Table",
    "Tasks",
    "World",
    "create_due_jobs",
    "hold",
    "in_turn",
    "nobody_calls_until",
    "pacing",
    "run",
]
