from loadtest.bench.training.settings import Schedule


def test_pairs_and_their_rankings_make_equally_many_updates():
    for rankings, pairs, batch in ((686, 2700, 4), (640, 640, 16), (7, 21, 4), (1, 3, 4)):
        schedule = Schedule.of(rankings, pairs, batch)

        theirs = -(-pairs // schedule.pairs_batch)
        assert schedule.updates == -(-rankings // batch)
        assert abs(theirs - schedule.updates) <= 0.05 * schedule.updates
        assert 1 <= schedule.warmup <= max(1, schedule.updates // 10)


def test_one_pair_a_ranking_takes_the_batch_of_rankings():
    assert Schedule.of(640, 640, 16).pairs_batch == 16
