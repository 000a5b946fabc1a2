"""Checks which assumptions of a source hold for a download: probes P1 to P9, on a sample of its raw episodes.

Reads only raw trees: no shards are needed or written, and no filters of the build apply.
"""

from vita_data.probe.page import probe_page
from vita_data.probe.result import Probe, ProbeReport, ProbeResult, Verdict
from vita_data.probe.run import DEFAULT_LIMIT, probe, probe_tree

__all__ = ["DEFAULT_LIMIT", "Probe", "ProbeReport", "ProbeResult", "Verdict", "probe", "probe_page", "probe_tree"]
