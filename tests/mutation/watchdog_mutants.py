"""Mistakes by which a dead engine stays unseen, or a healthy one is ended."""

from tests.mutation.target import Target, target

WATCHDOG = "service/watchdog"
TEST_WATCHDOG = "tests/service/watchdog"
BATCHING, TEST_BATCHING = "service/batching", "tests/service/batching"

DOG = target(f"{WATCHDOG}/watchdog.py", f"{TEST_WATCHDOG}/test_watchdog.py")
CLOCK = target(f"{WATCHDOG}/running_clock.py", f"{TEST_WATCHDOG}/test_running_clock.py")
LIMITS = target(f"{WATCHDOG}/limits.py", f"{TEST_WATCHDOG}/test_limits.py")
RESORT = target(f"{WATCHDOG}/last_resort.py", f"{TEST_WATCHDOG}/test_last_resort.py")
WATCH = target(f"{WATCHDOG}/engine_watch.py", f"{TEST_WATCHDOG}/test_engine_watch.py")
RUNNER = target(f"{BATCHING}/pack_runner.py", f"{TEST_BATCHING}/test_pack_runner.py")
POOL = target(f"{BATCHING}/tokenizer_pool.py", f"{TEST_BATCHING}/test_tokenizer_pool.py")
SCHEDULER = target(f"{BATCHING}/scheduler.py", f"{TEST_BATCHING}/test_scheduler_failures.py")
STATE = target("service/state.py", "tests/service/routes/test_operations.py")

WATCHDOG_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    DOG: [
        ("self._last_resort.cover(call.seconds)", "pass"),
        ("self._calls.discard(call)", "pass"),
        ("call_soon_threadsafe(attended.watched.fail_all, error)", "call_soon_threadsafe(str)"),
        ("(death := attended.watched.death) is not None", "(death := None) is not None"),
        ("self._end_process(EXIT_CODE)", "self._end_process(0)"),
        ("attended.num_unanswered() > 0 and ", "attended.num_unanswered() > 0 or "),
    ],
    CLOCK: [("(min(gap, self._max_gap) if self._ticks else gap)", "gap")],
    LIMITS: [
        ("self._slowest.get(size, 0.0) * _FORGETTING", "0.0"),
        ("self._slowest.get(size, 0.0) * _FORGETTING", "self._slowest.get(size, 0.0)"),
        ("4.0 ** (size - nearest)", "1.0 ** (size - nearest)"),
        ("min(self._limits.warm_up, self._learned(expected))", "self._learned(expected)"),
        ("[*smaller, min(larger)]", "[*smaller, max(larger)]"),
        ("if self._limits.forward is not None:", "if self._limits.forward and self._slowest:"),
    ],
    RESORT: [
        ("self._ends_at is None or ends_at < self._ends_at", "True"),
        ("faulthandler.cancel_dump_traceback_later()", "pass"),
    ],
    WATCH: [
        ("        if learns:\n", "        if True:\n"),
        ("times.measured(cost", "self.pack_times.measured(cost"),
    ],
    RUNNER: [("learns=scorer is self._scorer", "learns=True")],
    POOL: [("        except BaseException as exc:", "        except Exception as exc:")],
    SCHEDULER: [
        ("self._tokenizers.abandon()", "self._tokenizers.close()"),
        ("return self.death is None and not self._over", "return self.death is None"),
    ],
    STATE: [("if (dead := reason_dead(state)) is not None:", "if False:")],
}
