"""The benchmark of the ledger gives the figures its readers look for; those of status need real nodes."""

from __future__ import annotations

from scripts.bench_ledger import FIGURES, swarm


def test_figures_go_by_the_names_that_readers_know() -> None:
    result: dict[str, object] = {}
    for figure in FIGURES:
        result |= figure(swarm(500), 1)
    assert result["records"] == 500
    assert result.keys() >= {"records_per_s", "cold_root_s", "merge_bytes_share"}
    assert result.keys() >= {"records_per_s_aim", "cold_root_aim_s", "merge_bytes_share_aim"}
