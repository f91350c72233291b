"""Results of runs that never took place."""

from collections.abc import Sequence

from loadtest.results import RunResult


def made_up_run(
    name: str = "grpo",
    *,
    texts_per_second: float = 100.0,
    failed: int = 0,
    latencies: Sequence[float] = (10.0,) * 8,
    groups: Sequence[float] = (),
    lateness_ms: float = 0.1,
) -> RunResult:
    """One text a request; all but `failed` are ok."""
    return RunResult(
        name=name,
        offered=len(latencies) + failed,
        outcomes={"ok": len(latencies), "refused": 0, "failed": failed},
        reasons={"wrong reward": failed} if failed else {},
        texts_ok=len(latencies),
        makespan_seconds=len(latencies) / texts_per_second,
        latencies_ms=tuple(latencies),
        group_latencies_ms=tuple(groups),
        lateness_p99_ms=lateness_ms,
        max_error=1e-6,
    )
