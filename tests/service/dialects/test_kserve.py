"""KServe v2 with the tensors of NeMo-Aligner's reward server (reward_server.py)."""


async def test_health_follows_the_services_own(start):
    async with start() as service:
        paths = ("/v2/health/live", "/v2/health/ready", "/v2/models/reward_model/ready")
        before = [(await service.client.get(path)).status_code for path in paths]
        service.state.draining = True
        after = [(await service.client.get(path)).status_code for path in paths]

    assert before == [200, 200, 200]
    assert after == [200, 503, 503]
