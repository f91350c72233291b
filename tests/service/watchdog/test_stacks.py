import threading

from service.watchdog.stacks import stacks


def test_every_thread_is_told_by_its_name_where_it_is() -> None:
    began, gate = threading.Event(), threading.Event()

    def waits_here() -> None:
        began.set()
        gate.wait(10)

    thread = threading.Thread(target=waits_here, name="somebody")
    thread.start()
    began.wait(10)
    found = stacks()
    gate.set()
    thread.join()

    (frames,) = [frames for name, frames in found.items() if name.startswith("somebody (")]
    assert any(":waits_here:" in frame for frame in frames)
    assert frames[-1].startswith("threading:")
    (main,) = [frames for name, frames in found.items() if name.startswith("MainThread (")]
    assert main[-1].startswith("service.watchdog.stacks:stacks:")
