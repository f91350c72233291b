from typing import get_args

from rm_core.types import TextWarning
from service.observability.metrics import Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_two_apps_in_one_process_count_apart():
    one, other = Metrics(), Metrics()

    one.answered("/score", "POST", 200, 0.1)

    labels = {"route": "/score", "method": "POST", "code": "200"}
    assert value(one, "rm_http_requests_total", **labels) == 1
    assert value(other, "rm_http_requests_total", **labels) is None


def test_a_method_that_nobody_knows_is_no_label():
    metrics = Metrics()

    metrics.answered("/score", "BREW", 405, 0.1)
    metrics.answered("/score", "STEEP", 405, 0.1)

    labels = {"route": "/score", "method": "other", "code": "405"}
    assert value(metrics, "rm_http_requests_total", **labels) == 2


def test_enumerated_series_exist_before_the_first_event():
    metrics = Metrics()
    metrics.prepare(["/score"], {}, 7)

    assert value(metrics, "rm_queue_capacity_items") == 7
    assert value(metrics, "rm_deadline_exceeded_total", stage="queue") == 0
    for warning in get_args(TextWarning):
        assert value(metrics, "rm_sequence_warnings_total", warning=warning) == 0
    rejected = {"route": "/score", "reason": "queue_full"}
    assert value(metrics, "rm_admission_rejected_total", **rejected) == 0


def test_the_queue_is_read_at_each_scrape():
    metrics = Metrics()
    length = [3.0]
    metrics.watch_queue(lambda: length[0], lambda: 0.0, lambda: 0.0)
    assert b"rm_queue_items 3.0" in metrics.render()

    length[0] = 4.0

    assert b"rm_queue_items 4.0" in metrics.render()
