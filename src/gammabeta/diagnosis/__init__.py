"""What a network's batch-norm layers do on data: each channel's numbers, and what to watch, in no framework's terms."""

from gammabeta.diagnosis.findings import KINDS, Finding, Kind
from gammabeta.diagnosis.layer import Layer
from gammabeta.diagnosis.result import Diagnosis, Origin

__all__ = ["KINDS", "Diagnosis", "Finding", "Kind", "Layer", "Origin"]
