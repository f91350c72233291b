from service.streams.notices import OncePerStream


def test_each_stream_is_the_first_time_once() -> None:
    told = OncePerStream()

    assert [told.is_first(name) for name in ("a", "b", "a", "b")] == [True, True, False, False]


def test_invented_names_dont_fill_the_memory() -> None:
    told = OncePerStream(max_streams=2)

    assert [told.is_first(name) for name in ("a", "b", "c", "c", "a")] == [
        True,
        True,
        True,
        False,
        True,
    ]
