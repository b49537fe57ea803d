"""What a network's batch-norm layers do on data: each channel's numbers, and what to watch, in no framework's terms."""

from gammabeta.networks.diagnose.findings import KINDS, Finding, Kind
from gammabeta.networks.diagnose.layer_stats import Layer
from gammabeta.networks.diagnose.result import Diagnosis, Origin

__all__ = ["KINDS", "Diagnosis", "Finding", "Kind", "Layer", "Origin"]
